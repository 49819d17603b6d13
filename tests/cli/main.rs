//! Black-box tests of the command line: ours and the real `docker` against our engine.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod autostart;
mod configured;
mod helpful;
mod inside;
mod limits;
mod names;
mod package;
mod seeds;
mod shells;
mod terminal;
mod transcripts;
mod walk;
