//! How a command ends: its exit status and what is said about it.

use berth_api::client;

/// The end of a command that did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The exit status of the process.
    pub(crate) status: u8,
    /// What goes to standard error; empty where everything has been said.
    pub(crate) text: String,
}

/// What a command returns.
pub(crate) type Outcome = Result<(), Failure>;

impl Failure {
    /// Exit status 1 and a message.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self { status: 1, text: text.into() }
    }

    /// An exit status without a message.
    pub(crate) fn status(status: u8) -> Self {
        Self { status, text: String::new() }
    }

    /// Docker's status for a command line that cannot be read and for an engine that refuses a container.
    pub(crate) const REFUSED: u8 = 125;
}

impl From<client::Error> for Failure {
    fn from(error: client::Error) -> Self {
        Self::new(error.to_string())
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(error.to_string())
    }
}

/// An exit status of the engine's as the process' own: only its last eight bits exist.
pub(crate) fn exit_status(code: i64) -> u8 {
    u8::try_from(code & 0xff).unwrap_or(u8::MAX)
}

/// What `strerror` says, in Go's words, for the errors that opening a file meets.
pub(crate) fn io_text(error: &std::io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| first.to_lowercase().chain(characters).collect())
}

/// `open /path: no such file or directory`.
pub(crate) fn open_text(path: &str, error: &std::io::Error) -> String {
    format!("open {path}: {}", io_text(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn io_errors_read_as_go_writes_them() {
        let error = std::fs::File::open("/nonexistent").unwrap_err();
        assert_eq!(open_text("/nonexistent", &error), "open /nonexistent: no such file or directory");
        assert_eq!(exit_status(256 + 3), 3);
        assert_eq!(exit_status(-1), 255);
    }
}
