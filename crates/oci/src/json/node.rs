//! A JSON text as a tree that keeps the order and the repetition of its keys.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, Serializer};
use serde_json::Number;

use super::Error;

/// One JSON value.
#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number.
    Number(Number),
    /// A string.
    String(String),
    /// A list.
    Array(Vec<Node>),
    /// An object, keys in the order of the text.
    Object(Vec<(String, Node)>),
}

impl Node {
    /// Parses one JSON text; nothing but white space may follow it.
    pub fn parse(text: &[u8]) -> Result<Self, Error> {
        let mut stream = serde_json::Deserializer::from_slice(text);
        let node = Self::deserialize(&mut stream).map_err(|error| syntax(&error, text))?;
        stream.end().map_err(|_| Error::Trailing)?;
        Ok(node)
    }

    /// The value of a key, found as Go finds it: the last one that matches exactly, else without regard to case.
    pub fn get(&self, name: &str) -> Option<&Self> {
        let Self::Object(entries) = self else { return None };
        let matching = |(key, _): &&(String, Self)| key == name || folds_to(key, name);
        entries.iter().rev().find(matching).map(|(_, node)| node)
    }

    /// As [`Node::get`], to change the value.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Self> {
        let Self::Object(entries) = self else { return None };
        entries.iter_mut().rev().find(|(key, _)| key == name).map(|(_, node)| node)
    }

    /// A string.
    pub fn string(text: &str) -> Self {
        Self::String(text.to_owned())
    }

    /// Gives a key of an object a value, where the key stands or else at the end. Other values are left alone.
    pub fn set(&mut self, name: &str, value: Self) {
        match self.get_mut(name) {
            Some(slot) => *slot = value,
            None => {
                if let Self::Object(entries) = self {
                    entries.push((name.to_owned(), value));
                }
            }
        }
    }

    /// The object under a key of an object, made at the end where there is none or something else.
    pub fn entry(&mut self, name: &str) -> &mut Self {
        let Self::Object(entries) = self else { return self };
        let found = entries.iter().rposition(|(key, node)| key == name && matches!(node, Self::Object(_)));
        let place = found.unwrap_or_else(|| {
            entries.retain(|(key, _)| key != name);
            entries.push((name.to_owned(), Self::Object(Vec::new())));
            entries.len() - 1
        });
        &mut entries[place].1
    }

    /// Adds an entry to an object that does not have it, before the key `next`, or at the end.
    pub fn insert_before(&mut self, next: &str, name: &str, value: Self) {
        if self.get_mut(name).is_some() {
            return;
        }
        if let Self::Object(entries) = self {
            let at = entries.iter().position(|(key, _)| key == next).unwrap_or(entries.len());
            entries.insert(at, (name.to_owned(), value));
        }
    }

    /// Adds an entry at the beginning of an object.
    pub fn insert_first(&mut self, name: &str, value: Self) {
        if let Self::Object(entries) = self {
            entries.insert(0, (name.to_owned(), value));
        }
    }

    /// Removes a key of an object.
    pub fn remove(&mut self, name: &str) {
        if let Self::Object(entries) = self {
            entries.retain(|(key, _)| key != name);
        }
    }

    /// Removes a key of an object and answers with its value.
    pub fn take(&mut self, name: &str) -> Option<Self> {
        let Self::Object(entries) = self else { return None };
        let at = entries.iter().position(|(key, _)| key == name)?;
        Some(entries.remove(at).1)
    }

    /// What Go calls this value in its errors.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "bool",
            Self::Number(_) => "number",
            Self::String(_) => "string",
            Self::Array(_) => "array",
            Self::Object(_) => "object",
        }
    }
}

/// Says whether Go's decoder takes `key` for the field `name`: equal under simple Unicode folding, which for the ASCII
/// names of Docker's fields adds only the long s and the Kelvin sign to the letters.
pub(super) fn folds_to(key: &str, name: &str) -> bool {
    let fold = |c: char| match c {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        c => c.to_ascii_lowercase(),
    };
    key.chars().map(fold).eq(name.chars().map(fold))
}

/// Go's words for a malformed text.
fn syntax(error: &serde_json::Error, text: &[u8]) -> Error {
    if error.is_eof() {
        return Error::Syntax("unexpected EOF".to_owned());
    }
    let at = offset(text, error.line(), error.column());
    let Some(&byte) = text.get(at) else {
        return Error::Syntax("unexpected EOF".to_owned());
    };
    let shown = match byte {
        b'\'' => r"\'".to_owned(),
        b'\n' => r"\n".to_owned(),
        b'\r' => r"\r".to_owned(),
        b'\t' => r"\t".to_owned(),
        0x20..=0x7e => char::from(byte).to_string(),
        _ => format!("\\x{byte:02x}"),
    };
    let message = error.to_string();
    let looking = if message.starts_with("key must be a string")
        || message.starts_with("trailing comma") && byte == b'}'
    {
        "looking for beginning of object key string"
    } else if message.starts_with("expected `:`") {
        "after object key"
    } else if message.starts_with("expected `,` or `}`") {
        "after object key:value pair"
    } else if message.starts_with("expected `,` or `]`") {
        "after array element"
    } else if message.starts_with("control character") {
        "in string literal"
    } else if message.starts_with("invalid escape") {
        "in string escape code"
    } else if message.starts_with("invalid number") {
        "in numeric literal"
    } else if message.starts_with("expected ident") {
        "in literal"
    } else {
        "looking for beginning of value"
    };
    Error::Syntax(format!("invalid character '{shown}' {looking}"))
}

/// The index of the byte at serde's line and column, both counted from one.
fn offset(text: &[u8], line: usize, column: usize) -> usize {
    let start = match line {
        0 | 1 => 0,
        line => text
            .iter()
            .enumerate()
            .filter(|(_, byte)| **byte == b'\n')
            .nth(line - 2)
            .map_or(0, |(at, _)| at + 1),
    };
    start + column.saturating_sub(1)
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

impl Serialize for Node {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Number(number) => number.serialize(serializer),
            Self::String(text) => serializer.serialize_str(text),
            Self::Array(items) => serializer.collect_seq(items),
            Self::Object(entries) => serializer.collect_map(entries.iter().map(|(key, value)| (key, value))),
        }
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Number::from_f64(value).map_or(Node::Null, Node::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Node, E> {
        Ok(Node::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = items.next_element()? {
            nodes.push(node);
        }
        Ok(Node::Array(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let mut nodes = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            nodes.push(entry);
        }
        Ok(Node::Object(nodes))
    }
}
