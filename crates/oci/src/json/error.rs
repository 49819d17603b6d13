//! What a JSON text can be wrong in, in Go's words.

use std::fmt;

/// Why a JSON text could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// The text is not JSON; the message is Go's.
    Syntax(String),
    /// A value has another type than its field.
    Type {
        /// What was found: `string`, `number 1.5`, `object`, …
        found: String,
        /// The Go type that was wanted: `int64`, `[]string`, …
        wanted: String,
        /// The struct that holds the field directly; empty when the value is the whole text.
        owner: &'static str,
        /// The path of the field from the root, in the order from the inside to the outside.
        path: Vec<String>,
    },
    /// More bytes follow the value.
    Trailing,
    /// A custom reader refused the value.
    Custom(String),
}

impl Error {
    /// Adds the field that the value was read for.
    pub(super) fn inside(mut self, name: &'static str, field: &str) -> Self {
        if let Self::Type { owner, path, .. } = &mut self {
            if owner.is_empty() {
                *owner = name;
            }
            path.push(field.to_owned());
        }
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax(message) | Self::Custom(message) => f.write_str(message),
            Self::Trailing => f.write_str("unexpected content after JSON"),
            Self::Type { found, wanted, path, .. } if path.is_empty() => {
                write!(f, "json: cannot unmarshal {found} into Go value of type {wanted}")
            }
            Self::Type { found, wanted, owner, path } => {
                write!(f, "json: cannot unmarshal {found} into Go struct field {owner}")?;
                for field in path.iter().rev() {
                    write!(f, ".{field}")?;
                }
                write!(f, " of type {wanted}")
            }
        }
    }
}

impl std::error::Error for Error {}

impl serde::de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::Custom(message.to_string())
    }
}
