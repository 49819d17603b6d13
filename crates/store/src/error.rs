//! What can go wrong in the store.

use std::io;
use std::path::Path;

use crate::database::DatabaseError;
use crate::layer::LayerError;

/// An error of the store. Where Docker's clients compare texts, the message is Docker's.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing has this name; the message is whole.
    #[error("{0}")]
    NotFound(String),
    /// Right, but not in the present state; the message is whole.
    #[error("{0}")]
    Conflict(String),
    /// The request itself is wrong; the message is whole.
    #[error("{0}")]
    Invalid(String),
    /// The store cannot do this; the message is whole.
    #[error("{0}")]
    NotImplemented(String),
    /// An archive or a layer is not acceptable.
    #[error(transparent)]
    Layer(#[from] LayerError),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// A document of an image is not acceptable.
    #[error(transparent)]
    Document(#[from] berth_oci::image::InvalidDocument),
    /// Something in the store is not what it was when it was written.
    #[error("{what} is damaged: {why}")]
    Damaged {
        /// What is damaged.
        what: String,
        /// How that shows.
        why: String,
    },
    /// The system refused.
    #[error("{what}")]
    Io {
        /// What was tried, and on what.
        what: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

/// What a caller can do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The thing named does not exist.
    NotFound,
    /// The request is right, but not in the present state.
    Conflict,
    /// The request itself, or what was sent with it, is wrong.
    Invalid,
    /// The store cannot do it.
    NotImplemented,
    /// The store or the machine failed.
    Internal,
}

impl Error {
    /// The class of this error.
    pub fn kind(&self) -> Kind {
        match self {
            Self::NotFound(_) => Kind::NotFound,
            Self::Conflict(_) => Kind::Conflict,
            Self::Invalid(_) | Self::Document(_) => Kind::Invalid,
            Self::NotImplemented(_) => Kind::NotImplemented,
            Self::Layer(error) if error.is_callers_fault() => Kind::Invalid,
            Self::Layer(_) | Self::Database(_) | Self::Damaged { .. } | Self::Io { .. } => Kind::Internal,
        }
    }

    /// The same error once more, for another image of the same archive.
    pub(crate) fn again(&self) -> Self {
        let mut text = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(error) = source {
            text = format!("{text}: {error}");
            source = error.source();
        }
        match self.kind() {
            Kind::NotFound => Self::NotFound(text),
            Kind::Conflict => Self::Conflict(text),
            Kind::NotImplemented => Self::NotImplemented(text),
            Kind::Invalid => Self::Invalid(text),
            Kind::Internal => Self::Io { what: text, source: io::ErrorKind::Other.into() },
        }
    }

    /// Wraps a failed system call; `what` says what was tried.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what: what.into(), source }
    }

    /// Wraps a failed system call on a path.
    pub(crate) fn at(what: &str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let what = format!("{what} {}", path.display());
        move |source| Self::Io { what, source }
    }
}
