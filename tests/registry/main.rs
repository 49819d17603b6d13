//! Black-box tests: images to and from registries, honest ones and others.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod fetch;
mod formats;
mod honest;
mod hostile;
mod lies;
mod manifests;
mod mend;
mod mirrors;
mod secrets;
mod seeds;
mod server;
mod tokens;
mod uploads;

use berth_tests::registry as debian;
