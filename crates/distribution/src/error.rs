//! What can go wrong between here and a registry.

use berth_store::Error as StoreError;

/// An error of the registry client. Where Docker's clients compare texts, the message is Docker's.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A name, option or document is wrong; the message is whole.
    #[error("{0}")]
    Invalid(String),
    /// Nothing has this name; the message is whole.
    #[error("{0}")]
    NotFound(String),
    /// Other credentials are wanted; the message is whole.
    #[error("{0}")]
    Unauthorized(String),
    /// It is forbidden; the message is whole.
    #[error("{0}")]
    Forbidden(String),
    /// There is nothing to convince the registry with: its token service refuses, or nobody logged in.
    #[error("{method} \"{url}\": {why}")]
    Unconvinced {
        /// The method in Go's spelling: `Get`.
        method: String,
        /// What the registry was asked for.
        url: String,
        /// Why.
        why: String,
    },
    /// No answer came.
    #[error("{method} \"{url}\": {why}")]
    Transport {
        /// The method in Go's spelling: `Get`.
        method: String,
        /// Where to.
        url: String,
        /// Why.
        why: String,
    },
    /// The registry refused.
    #[error("{message}")]
    Refused {
        /// The status of the answer.
        status: u16,
        /// The code of the first error in the body: `MANIFEST_UNKNOWN`; empty if it has none.
        code: String,
        /// The error in words.
        message: String,
        /// How long to wait before asking again, in seconds, if the registry says so.
        retry_after: Option<u64>,
    },
    /// What came is not what was promised; the message is whole.
    #[error("{0}")]
    Lie(String),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a request failed that met a server without TLS; in Go's words.
pub(crate) const NO_TLS: &str = "http: server gave HTTP response to HTTPS client";

/// What a caller can do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The request is wrong.
    Invalid,
    /// There is no such thing.
    NotFound,
    /// Other credentials are needed.
    Unauthorized,
    /// It is forbidden.
    Forbidden,
    /// The registry, the way there, or this machine failed.
    Internal,
}

impl Error {
    /// The class of this error.
    pub fn class(&self) -> Class {
        match self {
            Self::Invalid(_) => Class::Invalid,
            Self::NotFound(_) => Class::NotFound,
            Self::Unauthorized(_) => Class::Unauthorized,
            Self::Forbidden(_) => Class::Forbidden,
            Self::Store(error) => match error.kind() {
                berth_store::Kind::NotFound => Class::NotFound,
                _ => Class::Internal,
            },
            Self::Transport { .. } | Self::Unconvinced { .. } | Self::Refused { .. } | Self::Lie(_) => {
                Class::Internal
            }
        }
    }

    /// Whether asking again, or asking another mirror, may help.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            // Who speaks no TLS will not learn it.
            Self::Transport { why, .. } => why != NO_TLS,
            Self::Refused { status, .. } => matches!(status, 408 | 429 | 500 | 502 | 503 | 504),
            _ => false,
        }
    }

    /// Of the failures of two endpoints the one to tell: the first, unless only the second is a registry's own word.
    pub(crate) fn or_telling(self, second: Self) -> Self {
        let is_word = |error: &Self| !matches!(error, Self::Transport { .. });
        if is_word(&second) && !is_word(&self) { second } else { self }
    }

    /// Of two endpoints that were asked in turn the error to tell: the first, unless nobody could be reached at all.
    pub(crate) fn or_last(first: Option<Self>, last: Self) -> Self {
        match first {
            Some(first) if !(first.is_unreached() && last.is_unreached()) => first,
            _ => last,
        }
    }

    fn is_unreached(&self) -> bool {
        matches!(self, Self::Transport { why, .. } if why.starts_with("dial "))
    }

    /// Whether what came is not what was promised, which another endpoint may do better.
    pub(crate) fn is_lie(&self) -> bool {
        match self {
            Self::Lie(_) => true,
            Self::Store(error) => error.kind() == berth_store::Kind::Invalid,
            _ => false,
        }
    }

    /// The code of a refusal.
    pub(crate) fn code(&self) -> &str {
        match self {
            Self::Refused { code, .. } => code,
            _ => "",
        }
    }

    pub(crate) fn status(&self) -> u16 {
        match self {
            Self::Refused { status, .. } => *status,
            _ => 0,
        }
    }
}

impl From<berth_oci::image::InvalidDocument> for Error {
    fn from(error: berth_oci::image::InvalidDocument) -> Self {
        Self::Lie(error.to_string())
    }
}
