//! Versions of the Engine API, and how answers are told to clients of older ones.

use std::fmt;

use berth_oci::json::{self, Node};
use serde::Serialize;

/// A version of the Engine API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Version {
    /// 1, so far.
    pub major: u16,
    /// The part that changes.
    pub minor: u16,
}

impl Version {
    /// The newest version that we speak; the types of this crate are its types.
    pub const NEWEST: Self = Self::new(52);
    /// The oldest version that we speak.
    pub const OLDEST: Self = Self::new(24);

    /// Version `1.minor`.
    pub const fn new(minor: u16) -> Self {
        Self { major: 1, minor }
    }

    /// Reads `1.52`; a missing part is zero, as Docker compares versions.
    pub fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.split_once('.').unwrap_or((text, "0"));
        Some(Self { major: major.parse().ok()?, minor: minor.parse().ok()? })
    }

    /// Says whether this version is older than `1.minor`.
    pub fn is_before(self, minor: u16) -> bool {
        self < Self::new(minor)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// One difference between two versions of an answer: clients older than `before` get it through `apply`.
///
/// WHEN CHANGING AN ANSWER: give the type the newest shape and add a row to the table of its module that makes the
/// old shape out of the new one. Rows are in the order of falling versions.
#[derive(Debug, Clone, Copy)]
pub struct Change {
    /// The minor version from which on clients do not see this.
    pub before: u16,
    /// Turns the newer shape into the older one.
    pub apply: fn(&mut Node),
}

/// The JSON of `value` in the shape of `version`.
///
/// Errors: only those that the value's own `Serialize` makes.
pub fn to_vec<T: Serialize + ?Sized>(
    value: &T,
    version: Version,
    changes: &[Change],
) -> serde_json::Result<Vec<u8>> {
    write(value, version, changes, false)
}

/// As [`to_vec`], with the escapes that streams have.
///
/// Errors: as [`to_vec`].
pub fn to_vec_html<T: Serialize + ?Sized>(
    value: &T,
    version: Version,
    changes: &[Change],
) -> serde_json::Result<Vec<u8>> {
    write(value, version, changes, true)
}

fn write<T: Serialize + ?Sized>(
    value: &T,
    version: Version,
    changes: &[Change],
    html: bool,
) -> serde_json::Result<Vec<u8>> {
    let mut text = Vec::with_capacity(256);
    json::to_writer(&mut text, value, html)?;
    let mut changes = changes.iter().filter(|change| version.is_before(change.before)).peekable();
    if changes.peek().is_none() {
        return Ok(text);
    }
    // What was just written can be read again.
    let Ok(mut node) = Node::parse(&text) else { return Ok(text) };
    for change in changes {
        (change.apply)(&mut node);
    }
    text.clear();
    json::to_writer(&mut text, &node, html)?;
    Ok(text)
}

/// Calls `apply` for each element of a list.
pub(crate) fn each(node: &mut Node, apply: impl Fn(&mut Node)) {
    if let Node::Array(items) = node {
        items.iter_mut().for_each(apply);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_and_compared() {
        assert_eq!(Version::parse("1.52"), Some(Version::NEWEST));
        assert_eq!(Version::parse("1"), Some(Version { major: 1, minor: 0 }));
        assert_eq!(Version::parse("1.x"), None);
        assert!(Version::new(9) < Version::new(24));
        assert!(Version::parse("2.0") > Some(Version::NEWEST));
    }

    #[test]
    fn only_older_versions_are_changed() {
        let changes = [Change { before: 44, apply: |node| node.set("Old", Node::Bool(true)) }];
        let text = |minor| {
            String::from_utf8(to_vec(&serde_json::json!({"a": 1}), Version::new(minor), &changes).unwrap())
        };
        assert_eq!(text(44).unwrap(), r#"{"a":1}"#);
        assert_eq!(text(43).unwrap(), r#"{"a":1,"Old":true}"#);
    }
}
