//! Black-box tests of the command line: ours and the real `docker` against our engine.

mod autostart;
mod helpful;
mod inside;
mod limits;
mod names;
mod seeds;
mod terminal;
mod transcripts;
mod walk;
