//! Black-box tests: images to and from registries, honest ones and others.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod honest;
mod lies;
mod mend;
mod server;

use berth_tests::registry as debian;
