//! What can go wrong between a client and an engine.

use std::io;

/// An error of the client. `Display` is the text that Docker's command line shows.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody answers at the host.
    #[error("Cannot connect to the Docker daemon at {host}. Is the docker daemon running?")]
    Connect {
        /// The host as text.
        host: String,
        /// What `connect` said.
        source: io::Error,
    },
    /// The socket is there, but we may not use it.
    #[error("permission denied while trying to connect to the Docker daemon socket at {host}")]
    Permission {
        /// The host as text.
        host: String,
    },
    /// The engine is not who it must be, or speaks no TLS.
    #[error("error during connect: {host}: {source}")]
    Tls {
        /// The host as text.
        host: String,
        /// What the handshake found.
        source: io::Error,
    },
    /// The engine answered with an error.
    #[error("Error response from daemon: {message}")]
    Api {
        /// HTTP status.
        status: u16,
        /// The `message` of the body.
        message: String,
    },
    /// The connection broke, or what came over it was not HTTP.
    #[error("error during connect: {}", reason(.0))]
    Http(#[from] hyper::Error),
    /// Reading or writing a hijacked connection or an uploaded file failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The engine's JSON was not what its API says.
    #[error("{0}")]
    Json(String),
    /// A thing without a name was asked for.
    #[error("invalid container name or ID: value is empty")]
    EmptyName,
    /// The request could not be expressed in HTTP (a header or path with forbidden bytes).
    #[error("invalid request: {0}")]
    Request(String),
}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Self::Json(error.to_string())
    }
}

/// What broke a connection, where that is known: hyper itself only says that it broke, in one error or in several.
fn reason(error: &hyper::Error) -> String {
    let mut deepest: &dyn std::error::Error = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}

impl Error {
    /// The HTTP status, if the engine answered.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Api { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Whether the engine said that the thing does not exist.
    pub fn is_not_found(&self) -> bool {
        self.status() == Some(404)
    }

    /// Whether there was no engine to ask.
    pub fn is_connect(&self) -> bool {
        matches!(self, Self::Connect { .. } | Self::Permission { .. })
    }
}
