//! The user's terminal: raw mode, its size, a line that counts, the keys that detach, signals that are passed on.

mod counter;
mod input;
mod raw;
mod signals;

pub(crate) use counter::Counter;
pub(crate) use input::Input;
pub(crate) use raw::RawMode;
pub(crate) use signals::Forwarded;

use std::io::{IsTerminal, stdin, stdout};

use crate::outcome::Failure;

/// Height and width of the terminal behind standard output.
pub(crate) fn size() -> Option<(u16, u16)> {
    let size = rustix::termios::tcgetwinsize(stdout()).ok()?;
    (size.ws_row > 0 || size.ws_col > 0).then_some((size.ws_row, size.ws_col))
}

/// Refuses a terminal inside when there is none outside to type on.
///
/// # Errors
/// Docker's text.
pub(crate) fn check_input(attach_stdin: bool, tty: bool) -> Result<(), Failure> {
    if attach_stdin && tty && !stdin().is_terminal() {
        return Err(Failure::new("the input device is not a TTY"));
    }
    Ok(())
}

/// Standard input as a file.
///
/// # Errors
/// What duplicating the descriptor says.
pub(crate) fn input_file() -> std::io::Result<std::fs::File> {
    let descriptor = std::os::fd::AsFd::as_fd(&stdin()).try_clone_to_owned()?;
    Ok(std::fs::File::from(descriptor))
}
