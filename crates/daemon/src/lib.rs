//! The server of the Docker Engine API.
//!
//! [`main`] reads flags and file, takes the pidfile and the sockets, opens the engine and serves until it is told to
//! end. Containers outlive it. A client may connect as soon as the socket exists and is answered when the engine is
//! open: an accepted connection is the sign of readiness.
//!
//! Invariant: this crate is the only one that chooses a status code, and it never touches the kernel or the store.

#![forbid(unsafe_code)]

mod config;
#[doc(hidden)]
pub mod fuzz;
mod http;
mod listen;
mod pidfile;
mod run;
mod systemd;

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use config::{Error, Invocation};

/// How long `stop` waits for the daemon to end. A daemon that ends waits for nothing but a last write.
const STOP_PATIENCE: Duration = Duration::from_secs(30);

/// Runs `berth daemon` with the arguments behind these two words, `stop` among them.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    match config::read(arguments.iter().cloned()) {
        Ok(Invocation::Run(config)) => match run::run(*config, &arguments) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&format!("failed to start daemon: {error}"), 1),
        },
        Ok(Invocation::Stop { pidfile }) => match pidfile::stop(&pidfile, STOP_PATIENCE) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&error.to_string(), 1),
        },
        Ok(Invocation::Valid) => say("configuration OK\n"),
        Ok(Invocation::Help(text)) => say(&text),
        Ok(Invocation::Version) => say(&format!("Berth version {}\n", env!("CARGO_PKG_VERSION"))),
        Err(error @ Error::Usage(_)) => fail(&error.to_string(), 125),
        Err(error @ Error::Invalid(_)) => fail(&error.to_string(), 1),
    }
}

fn say(text: &str) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn fail(text: &str, code: u8) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "{text}"); // nobody is left to be told
    ExitCode::from(code)
}
