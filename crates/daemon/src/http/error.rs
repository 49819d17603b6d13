//! Errors on their way to a client. Here, and nowhere else, a class of error becomes an HTTP status.

use std::fmt;

use berth_engine::Class;
use hyper::StatusCode;

/// A status and a text.
#[derive(Debug)]
pub(crate) struct Error {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
    /// The engine or the machine is to blame, and an operator wants to know.
    pub(crate) fault: bool,
}

impl Error {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        let fault = status == StatusCode::INTERNAL_SERVER_ERROR;
        Self { status, message: message.into(), fault }
    }

    /// The request is wrong.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// Something that is named does not exist.
    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    /// The engine cannot do it yet.
    pub(crate) fn not_built(what: &str) -> Self {
        Self::new(StatusCode::NOT_IMPLEMENTED, format!("{what} is not built yet"))
    }

    /// The same as a failure of the engine: Docker answers 500 to some requests that are wrong.
    pub(crate) fn into_failure(self) -> Self {
        Self { status: StatusCode::INTERNAL_SERVER_ERROR, fault: false, ..self }
    }

    /// A parameter that should be a number is none.
    pub(crate) fn bad_number(value: &str) -> Self {
        let why =
            if !value.is_empty() && value.trim_start_matches('-').bytes().all(|byte| byte.is_ascii_digit()) {
                "value out of range"
            } else {
                "invalid syntax"
            };
        Self::invalid(format!("strconv.Atoi: parsing {value:?}: {why}"))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<berth_engine::Error> for Error {
    fn from(error: berth_engine::Error) -> Self {
        Self { fault: error.is_fault(), ..Self::new(status(error.class()), error.to_string()) }
    }
}

impl From<berth_oci::json::Error> for Error {
    fn from(error: berth_oci::json::Error) -> Self {
        match error {
            berth_oci::json::Error::Trailing => Self::invalid(error.to_string()),
            other => super::go_types::named(Self::invalid(format!("invalid JSON: {other}"))),
        }
    }
}

impl From<super::body::ReadError> for Error {
    fn from(error: super::body::ReadError) -> Self {
        Self::invalid(error.to_string())
    }
}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, format!("the answer cannot be written: {error}"))
    }
}

/// The status of a class of errors.
fn status(class: Class) -> StatusCode {
    match class {
        Class::NotFound => StatusCode::NOT_FOUND,
        Class::InvalidParameter => StatusCode::BAD_REQUEST,
        Class::Conflict => StatusCode::CONFLICT,
        Class::NotModified => StatusCode::NOT_MODIFIED,
        Class::Unauthorized => StatusCode::UNAUTHORIZED,
        Class::Forbidden => StatusCode::FORBIDDEN,
        Class::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Class::NotImplemented => StatusCode::NOT_IMPLEMENTED,
        Class::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
