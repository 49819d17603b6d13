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
        owner: String,
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
    pub(super) fn inside(mut self, name: &str, field: &str) -> Self {
        if let Self::Type { owner, path, .. } = &mut self {
            if owner.is_empty() {
                name.clone_into(owner);
            }
            path.push(field.to_owned());
        }
        self
    }
}

impl Error {
    /// Tells the error as Go does where the struct `name` is embedded in the struct `outer`: fields that stand in
    /// `name` directly count as fields of `outer`, and the path shows both.
    #[must_use]
    pub fn embedded(mut self, name: &str, outer: &str) -> Self {
        if let Self::Type { owner, path, .. } = &mut self {
            if path.is_empty() {
                return self;
            }
            if owner == name {
                outer.clone_into(owner);
            }
            path.push(name.to_owned());
        }
        self
    }

    /// Reads a type error back from its text. Serde hands errors of hand-written readers on as text only.
    fn from_text(text: &str) -> Option<Self> {
        let (found, rest) = text.strip_prefix("json: cannot unmarshal ")?.split_once(" into Go ")?;
        let (place, wanted) = rest.split_once("of type ")?;
        let (owner, path) = match place.trim_end().strip_prefix("struct field ") {
            Some(field) => field.split_once('.')?,
            None => ("", ""),
        };
        let path = path.split('.').rev().filter(|field| !field.is_empty()).map(str::to_owned).collect();
        Some(Self::Type { found: found.to_owned(), wanted: wanted.to_owned(), owner: owner.to_owned(), path })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax(message) | Self::Custom(message) => f.write_str(message),
            Self::Trailing => f.write_str("unexpected content after JSON"),
            Self::Type { found, wanted, path, .. } if path.is_empty() => {
                let found = in_go(found, wanted);
                write!(f, "json: cannot unmarshal {found} into Go value of type {wanted}")
            }
            Self::Type { found, wanted, owner, path } => {
                let found = in_go(found, wanted);
                write!(f, "json: cannot unmarshal {found} into Go struct field {owner}")?;
                for field in path.iter().rev() {
                    write!(f, ".{field}")?;
                }
                write!(f, " of type {wanted}")
            }
        }
    }
}

/// What was found, as Go tells it: numbers with their digits only where a number was wanted.
fn in_go<'a>(found: &'a str, wanted: &str) -> &'a str {
    let number = ["int", "uint", "float"].iter().any(|kind| wanted.starts_with(kind));
    if found.starts_with("number ") && !number { "number" } else { found }
}

impl std::error::Error for Error {}

impl serde::de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        let text = message.to_string();
        Self::from_text(&text).unwrap_or(Self::Custom(text))
    }
}
