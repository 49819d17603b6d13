//! Query strings.

use std::fmt::{Display, Write};

/// Builds `?a=b&c=d`; parameters that say nothing are left out.
#[derive(Debug, Default, Clone)]
pub struct Query(String);

impl Query {
    /// An empty query.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `name=value`.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Display) -> Self {
        self.0.push(if self.0.is_empty() { '?' } else { '&' });
        self.0.push_str(name);
        self.0.push('=');
        encode(&value.to_string(), &mut self.0);
        self
    }

    /// Adds `name=value` if there is a value.
    #[must_use]
    pub fn with_some(self, name: &str, value: Option<impl Display>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// Adds `name=value` if the text is not empty.
    #[must_use]
    pub fn with_text(self, name: &str, value: &str) -> Self {
        if value.is_empty() { self } else { self.with(name, value) }
    }

    /// Adds `name=1` if it is on.
    #[must_use]
    pub fn with_flag(self, name: &str, on: bool) -> Self {
        if on { self.with(name, "1") } else { self }
    }

    /// The query as text, with its `?`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Percent-encodes everything but what every URL part allows.
pub(crate) fn encode(text: &str, into: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            into.push(char::from(byte));
        } else {
            let _ = write!(into, "%{byte:02X}"); // writing to a String cannot fail
        }
    }
}

/// A name as part of a path: a container's or an image's, its slashes and colons kept.
pub(crate) fn segment(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for (index, part) in text.split('/').enumerate() {
        if index > 0 {
            encoded.push('/');
        }
        for (index, part) in part.split(':').enumerate() {
            if index > 0 {
                encoded.push(':');
            }
            encode(part, &mut encoded);
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_says_nothing_is_left_out() {
        let query = Query::new().with_flag("all", false).with_text("name", "").with_some("t", None::<u32>);
        assert_eq!(query.as_str(), "");
        let query = Query::new().with_flag("all", true).with("filters", r#"{"a":["b c"]}"#);
        assert_eq!(query.as_str(), "?all=1&filters=%7B%22a%22%3A%5B%22b%20c%22%5D%7D");
        assert_eq!(segment("a/b:c?d"), "a/b:c%3Fd");
    }
}
