//! The command line of Berth.
//!
//! [`main`] reads the global flags, finds the command and runs it; a command is one file under `commands` with its
//! table of flags and its body. Called as `docker` it is Docker's command line: same words, same tables, same exit
//! codes.
//!
//! Invariant: this crate sees the engine only through the API client, and only `printer` writes to the terminal.

#![forbid(unsafe_code)]

mod autostart;
mod command;
mod commands;
mod completion;
mod config;
mod container;
mod context;
mod copy;
mod flags;
mod format;
#[doc(hidden)]
pub mod fuzz;
mod outcome;
mod plugins;
mod printer;
mod root;
mod since;
mod suggest;
mod terminal;
mod values;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use context::Program;

/// Runs the command line `arguments`, of which the first is the name under which the program was called.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut arguments = arguments.into_iter();
    let called = arguments.next().unwrap_or_default();
    let words = |arguments: &mut dyn Iterator<Item = OsString>| -> Vec<String> {
        arguments.map(|word| word.to_string_lossy().into_owned()).collect()
    };
    let program = match Path::new(&called).file_name().and_then(|name| name.to_str()) {
        Some("docker") => Program::DOCKER,
        Some("docker-credential-berth") => return credential_helper(&words(&mut arguments)),
        _ => Program::BERTH,
    };
    let words = words(&mut arguments);
    // For packages, whose scripts cannot choose the name that a program is called by.
    if let Some((first, rest)) = words.split_first()
        && first == "docker-credential-berth"
    {
        return credential_helper(rest);
    }
    match root::run(program, &words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.text.is_empty() {
                printer::Printer.say(&failure.text);
            }
            ExitCode::from(failure.status)
        }
    }
}

/// Called as a credential helper. What it says goes to standard output, errors too: its callers read nothing else.
fn credential_helper(words: &[String]) -> ExitCode {
    let (text, code) = match config::vault::helper(words) {
        Ok(text) => (text, ExitCode::SUCCESS),
        Err(failure) => (failure.text, ExitCode::from(failure.status)),
    };
    let said = if text.is_empty() { Ok(()) } else { printer::Printer.line(text) };
    if said.is_err() { ExitCode::FAILURE } else { code }
}
