//! Black-box tests: images to and from registries, honest ones and others.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod debian;
mod honest;
mod lies;
mod mend;
mod server;
