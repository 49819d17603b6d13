//! What can go wrong with a container, in runc's words where Docker's clients compare them.

use std::io;

use rustix::io::Errno;

use crate::cgroup;

/// A container or a process in it could not be made.
///
/// Whatever failed has been undone: the process is reaped, the cgroup removed. Each message is whole, with its cause
/// in Go's spelling; there are no sources to add.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration asks for what cannot be.
    #[error("invalid configuration: {0}")]
    InvalidSpec(String),
    /// The program could not be executed.
    #[error("unable to start container process: exec: {program:?}: {}", exec_text(.program, *.failure))]
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
    /// The set-up of a further process in a container failed.
    #[error("unable to start container process: {message}")]
    Enter {
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
    /// The control group could not be made, or a limit not set.
    #[error("unable to apply cgroup configuration: {}", chain(.0))]
    Cgroup(cgroup::Error),
    /// A system call on the caller's side failed.
    #[error("cannot {operation}: {}", io_text(.cause))]
    System {
        /// What, and on what.
        operation: String,
        /// The system's answer.
        cause: io::Error,
    },
}

/// Why a program could not be executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExecFailure {
    /// No directory of `PATH` has it.
    NotInPath,
    /// It was given with its path, and cannot be looked at.
    Stat(Errno),
    /// It is there and cannot be executed.
    System(Errno),
}

impl Error {
    /// Docker's exit code of a container that failed so: 127 not found, 126 not executable, 128 otherwise.
    #[must_use]
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::Exec { failure: ExecFailure::NotInPath, .. }
            | Self::Exec {
                failure: ExecFailure::Stat(Errno::NOENT) | ExecFailure::System(Errno::NOENT),
                ..
            } => 127,
            Self::Exec { .. } => 126,
            Self::Init { errno: Some(errno), .. } | Self::Enter { errno: Some(errno), .. } => match *errno {
                Errno::NOENT | Errno::NOTDIR => 127,
                Errno::ACCESS | Errno::PERM | Errno::ISDIR => 126,
                _ => 128,
            },
            _ => 128,
        }
    }

    pub(crate) fn system(operation: impl Into<String>, cause: impl Into<io::Error>) -> Self {
        Self::System { operation: operation.into(), cause: cause.into() }
    }
}

impl From<cgroup::Error> for Error {
    fn from(error: cgroup::Error) -> Self {
        Self::Cgroup(error)
    }
}

/// The error of a step inside the container.
pub(crate) fn init(what: impl std::fmt::Display, errno: Errno) -> Error {
    Error::Init { message: format!("{what}: {}", text(errno)), errno: Some(errno) }
}

/// The system's text of an error number as Go writes it: lower case.
pub(crate) fn text(errno: Errno) -> String {
    io_text(&io::Error::from_raw_os_error(errno.raw_os_error()))
}

/// The same of an I/O error.
pub(crate) fn io_text(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    match letters.next() {
        // `Is a directory` becomes `is a directory`; `RPC ...` and the like stay.
        Some(first) if letters.clone().next().is_some_and(|next| next.is_lowercase() || next == ' ') => {
            first.to_lowercase().chain(letters).collect()
        }
        _ => text.to_owned(),
    }
}

fn exec_text(program: &str, failure: ExecFailure) -> String {
    match failure {
        ExecFailure::NotInPath => "executable file not found in $PATH".to_owned(),
        ExecFailure::Stat(errno) => format!("stat {program}: {}", text(errno)),
        ExecFailure::System(errno) => text(errno),
    }
}

pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.downcast_ref::<io::Error>().map_or_else(|| error.to_string(), io_text));
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_runc() {
        let check = |program: &str, failure, text: &str, code| {
            let error = Error::Exec { program: program.to_owned(), failure };
            assert_eq!(error.to_string(), format!("unable to start container process: exec: {text}"));
            assert_eq!(error.exit_code(), code);
        };
        check("foo", ExecFailure::NotInPath, r#""foo": executable file not found in $PATH"#, 127);
        check("/x", ExecFailure::Stat(Errno::NOENT), r#""/x": stat /x: no such file or directory"#, 127);
        check("/x", ExecFailure::System(Errno::ACCESS), r#""/x": permission denied"#, 126);
        check("/x", ExecFailure::System(Errno::ISDIR), r#""/x": is a directory"#, 126);
    }
}
