//! What can go wrong, and the class of each error.
//!
//! A class says what a client may do about an error. The daemon maps classes to HTTP statuses; nobody else does.
//! Where Docker's clients compare texts, the text is Docker's.

/// The result of an engine call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a client can do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// The thing named does not exist.
    NotFound,
    /// The request itself is wrong.
    InvalidParameter,
    /// The request is right, but not in the present state.
    Conflict,
    /// Nothing to do: it is already so.
    NotModified,
    /// The caller has not shown who it is.
    Unauthorized,
    /// The caller may not do this.
    Forbidden,
    /// Not now: try again later.
    Unavailable,
    /// This engine cannot do it.
    NotImplemented,
    /// The engine or the machine failed.
    Internal,
}

/// An error of the engine.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No container has this name, id or id prefix.
    #[error("No such container: {0}")]
    NoSuchContainer(String),
    /// No exec instance has this id.
    #[error("No such exec instance: {0}")]
    NoSuchExec(String),
    /// No image has this name, id or id prefix.
    #[error("No such image: {0}")]
    NoSuchImage(String),
    /// Something else that was named does not exist; the message is whole.
    #[error("{0}")]
    NotFound(String),
    /// An id prefix fits more than one container.
    #[error("multiple IDs found with provided prefix: {0}")]
    AmbiguousId(String),
    /// A container name is taken.
    #[error(
        "Conflict. The container name \"/{name}\" is already in use by container \"{holder}\". You have to \
         remove (or rename) that container to be able to reuse that name."
    )]
    NameInUse {
        /// The name, without a leading slash.
        name: String,
        /// The id of the container that has it.
        holder: String,
    },
    /// The container is not running, which the request needs. Carries its id.
    #[error("container {0} is not running")]
    NotRunning(String),
    /// The request is wrong; the message is whole.
    #[error("{0}")]
    InvalidParameter(String),
    /// The request does not fit the present state; the message is whole.
    #[error("{0}")]
    Conflict(String),
    /// It is already so (a start of a running container, a stop of a stopped one).
    #[error("{0}")]
    NotModified(String),
    /// A registry wants other credentials; the message is whole.
    #[error("{0}")]
    Unauthorized(String),
    /// The request is understood and refused.
    #[error("{0}")]
    Forbidden(String),
    /// Something the engine needs is not there at the moment.
    #[error("{0}")]
    Unavailable(String),
    /// This engine cannot do it (yet).
    #[error("{0}")]
    NotImplemented(String),
    /// The program could not be started inside the container; the text is Docker's, exit code 126 or 127 for
    /// a program that cannot be run or is not there, 128 otherwise.
    #[error("{message}")]
    StartFailed {
        /// The whole text.
        message: String,
        /// What `State.ExitCode` becomes.
        exit_code: i32,
    },
    /// The request is at fault, though Docker answers it as a failure of its own; the message is whole.
    #[error("{0}")]
    Refused(String),
    /// A call to the operating system failed.
    #[error("{what}: {}", errno_text(source))]
    Io {
        /// What was being done, and to what.
        what: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// Anything else that failed inside; the message is whole.
    #[error("{0}")]
    Internal(String),
}

impl Error {
    /// The class of the error.
    pub fn class(&self) -> Class {
        match self {
            Error::NoSuchContainer(_) | Error::NoSuchExec(_) | Error::NoSuchImage(_) | Error::NotFound(_) => {
                Class::NotFound
            }
            Error::AmbiguousId(_) | Error::InvalidParameter(_) => Class::InvalidParameter,
            Error::NameInUse { .. } | Error::NotRunning(_) | Error::Conflict(_) => Class::Conflict,
            Error::NotModified(_) => Class::NotModified,
            Error::Unauthorized(_) => Class::Unauthorized,
            Error::Forbidden(_) => Class::Forbidden,
            Error::Unavailable(_) => Class::Unavailable,
            Error::NotImplemented(_) => Class::NotImplemented,
            // As in Docker: a program that is not there is the request's fault, not the engine's.
            Error::StartFailed { exit_code: 126 | 127, .. } => Class::InvalidParameter,
            Error::StartFailed { .. } | Error::Refused(_) | Error::Io { .. } | Error::Internal(_) => {
                Class::Internal
            }
        }
    }

    /// Whether the engine or the machine is to blame, and an operator wants to know.
    pub fn is_fault(&self) -> bool {
        matches!(self, Error::Io { .. } | Error::Internal(_))
    }

    /// An [`Error::Io`] for `map_err`.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Error {
        let what = what.into();
        move |source| Error::Io { what, source }
    }

    /// An [`Error::InvalidParameter`].
    pub(crate) fn invalid(message: impl Into<String>) -> Error {
        Error::InvalidParameter(message.into())
    }

    /// An [`Error::Internal`] from any error, its chain of causes in the text.
    pub(crate) fn internal(what: impl std::fmt::Display, error: &dyn std::error::Error) -> Error {
        Error::Internal(format!("{what}: {}", chain(error)))
    }
}

/// An error and its causes in one line; a cause that the text already ends with is not repeated.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.downcast_ref().map_or_else(|| cause.to_string(), errno_text);
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

/// What the system says of an error, without the number that Rust adds: `no such file or directory`.
pub(crate) fn errno_text(error: &std::io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| first.to_lowercase().chain(characters).collect())
}
