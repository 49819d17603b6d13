//! What can go wrong with a container, in runc's words where Docker's clients compare them.

use std::io;

use rustix::io::Errno;

/// A container or a process in it could not be made.
///
/// Whatever failed has been undone: the process is reaped, the cgroup removed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration asks for what cannot be.
    #[error("invalid configuration: {0}")]
    InvalidSpec(String),
    /// The program could not be executed.
    #[error("unable to start container process: exec: {program:?}: {failure}")]
    Exec {
        /// As the configuration names it.
        program: String,
        /// Why.
        failure: ExecFailure,
    },
    /// The container's own set-up failed (mounts, devices, limits, identity, …).
    #[error("unable to start container process: error during container init: {message}")]
    Init {
        /// What failed and on what, with the cause.
        message: String,
        /// The system's answer, if it was a system call.
        errno: Option<Errno>,
    },
    /// A hook failed.
    #[error("error running {kind} hook #{index}: {message}")]
    Hook {
        /// `createRuntime` and so on.
        kind: &'static str,
        /// Its place in the list, from 0.
        index: usize,
        /// How it ended and what it wrote.
        message: String,
    },
    /// A system call on the caller's side failed.
    #[error("cannot {operation}")]
    System {
        /// What, and on what.
        operation: String,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
}

/// Why a program could not be executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ExecFailure {
    /// No directory of `PATH` has it.
    #[error("executable file not found in $PATH")]
    NotInPath,
    /// The system's answer for a file that was named or found.
    #[error("{}", crate::error::text(*.0))]
    System(Errno),
}

impl Error {
    /// Docker's exit code of a container that failed so: 127 not found, 126 not executable, 128 otherwise.
    #[must_use]
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::Exec { failure: ExecFailure::NotInPath | ExecFailure::System(Errno::NOENT), .. } => 127,
            Self::Exec { .. } => 126,
            Self::Init { errno: Some(Errno::NOENT | Errno::NOTDIR), .. } => 127,
            Self::Init { errno: Some(Errno::ACCESS | Errno::PERM | Errno::ISDIR), .. } => 126,
            _ => 128,
        }
    }

    pub(crate) fn system(operation: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::System { operation: operation.into(), source: source.into() }
    }
}

/// The system's text of an error number as Go writes it: lower case.
pub(crate) fn text(errno: Errno) -> String {
    let text = io::Error::from_raw_os_error(errno.raw_os_error()).to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    match letters.next() {
        // `Is a directory` becomes `is a directory`; `RPC ...` and the like stay.
        Some(first) if letters.clone().next().is_some_and(char::is_lowercase) => {
            first.to_lowercase().chain(letters).collect()
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_runc() {
        let missing = Error::Exec { program: "foo".to_owned(), failure: ExecFailure::NotInPath };
        assert_eq!(
            missing.to_string(),
            r#"unable to start container process: exec: "foo": executable file not found in $PATH"#
        );
        assert_eq!(missing.exit_code(), 127);
        let denied = Error::Exec { program: "/x".to_owned(), failure: ExecFailure::System(Errno::ACCESS) };
        assert_eq!(denied.to_string(), r#"unable to start container process: exec: "/x": permission denied"#);
        assert_eq!(denied.exit_code(), 126);
    }
}
