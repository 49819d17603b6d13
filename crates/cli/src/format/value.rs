//! What templates see: values as Go's reflection would show them.
//!
//! Docker runs templates over Go structs first and over the engine's JSON second. The two differ in what a script
//! notices: a struct prints as `{a b}` in the order of its declaration and has all of its fields, a map prints as
//! `map[k:v]`, sorted, and has what was sent. [`Value`] keeps the difference.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::rc::Rc;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// A value in a template.
#[derive(Clone)]
pub(crate) enum Value {
    /// No value: JSON's null, Go's nil.
    Nil,
    /// A nil slice (`[]`) or a nil map (`map[]`): empty to a template, null in JSON.
    Empty(&'static str),
    Bool(bool),
    Int(i64),
    Float(f64),
    /// A number kept as it was written (Go's `json.Number`).
    Number(Rc<str>),
    Text(Rc<str>),
    List(Rc<Vec<Value>>),
    Map(Rc<BTreeMap<Rc<str>, Value>>),
    Struct(Rc<Struct>),
    /// Something that answers for its fields itself: a row of a list.
    Row(Rc<dyn Row>),
}

/// A Go struct.
pub(crate) struct Struct {
    /// `container.State`, as error messages name it.
    pub(crate) type_name: &'static str,
    pub(crate) fields: Vec<Field>,
}

/// A field of a [`Struct`].
pub(crate) struct Field {
    /// Go's name of it.
    pub(crate) name: &'static str,
    /// JSON's name of it; empty for an embedded struct, whose fields are the outer one's too.
    pub(crate) json: &'static str,
    /// Whether JSON has it (an empty field may be left out there).
    pub(crate) present: bool,
    pub(crate) value: Value,
}

impl Struct {
    /// The field of that name, here or in an embedded struct.
    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        let own = self.fields.iter().find(|field| field.name == name).map(|field| &field.value);
        own.or_else(|| self.embedded().find_map(|inner| inner.get(name)))
    }

    fn embedded(&self) -> impl Iterator<Item = &Struct> {
        self.fields.iter().filter(|field| field.json.is_empty()).filter_map(|field| match &field.value {
            Value::Struct(inner) => Some(&**inner),
            _ => None,
        })
    }

    /// The fields that JSON has, those of embedded structs in their place.
    fn json_fields<'a>(&'a self, into: &mut Vec<(&'a str, &'a Value)>) {
        for field in &self.fields {
            match &field.value {
                Value::Struct(inner) if field.json.is_empty() => inner.json_fields(into),
                value if field.present => into.push((field.json, value)),
                _ => {}
            }
        }
    }
}

/// A row of a list (`docker ps`): methods instead of fields.
pub(crate) trait Row {
    /// Go's name of the type: `*formatter.ContainerContext`.
    fn type_name(&self) -> &'static str;
    /// The value of a method without arguments.
    fn get(&self, name: &str) -> Option<Value>;
    /// The value of a method with arguments (`.Label "x"`).
    fn call(&self, _name: &str, _arguments: &[Value]) -> Option<Value> {
        None
    }
    /// The methods that make up the row as JSON, sorted.
    fn names(&self) -> &'static [&'static str];
}

impl Value {
    pub(crate) fn text(text: impl Into<Rc<str>>) -> Self {
        Self::Text(text.into())
    }

    /// Whether `if` takes it for true.
    pub(crate) fn is_true(&self) -> bool {
        match self {
            Self::Nil | Self::Empty(_) => false,
            Self::Bool(value) => *value,
            Self::Int(value) => *value != 0,
            Self::Float(value) => *value != 0.0,
            Self::Number(text) | Self::Text(text) => !text.is_empty(),
            Self::List(list) => !list.is_empty(),
            Self::Map(map) => !map.is_empty(),
            Self::Struct(_) | Self::Row(_) => true,
        }
    }

    /// The type, as Go's error messages name it.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Self::Nil => "nil",
            Self::Empty(_) => "[]interface {}",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float64",
            Self::Number(_) | Self::Text(_) => "string",
            Self::List(_) => "[]interface {}",
            Self::Map(_) => "map[string]interface {}",
            Self::Struct(value) => value.type_name,
            Self::Row(row) => row.type_name(),
        }
    }

    /// The value as compact JSON, as Go's encoder writes it. `html`: with `<`, `>` and `&` escaped.
    pub(crate) fn json(&self, html: bool) -> String {
        let mut text = String::new();
        write_json(self, html, &mut text);
        text
    }
}

fn write_json(value: &Value, html: bool, into: &mut String) {
    match value {
        Value::Nil | Value::Empty(_) => into.push_str("null"),
        Value::Bool(value) => into.push_str(if *value { "true" } else { "false" }),
        Value::Int(value) => _ = write!(into, "{value}"),
        Value::Float(value) => _ = write!(into, "{value}"),
        Value::Number(text) => into.push_str(text),
        Value::Text(text) => write_json_text(text, html, into),
        Value::List(list) => {
            into.push('[');
            for (index, item) in list.iter().enumerate() {
                separate(index, into);
                write_json(item, html, into);
            }
            into.push(']');
        }
        Value::Map(map) => write_json_object(map.iter().map(|(name, value)| (&**name, value)), html, into),
        Value::Struct(value) => {
            let mut fields = Vec::new();
            value.json_fields(&mut fields);
            write_json_object(fields.into_iter(), html, into);
        }
        Value::Row(row) => {
            // A row is marshalled by a method of its own, which always escapes.
            let fields: Vec<_> =
                row.names().iter().map(|name| (*name, row.get(name).unwrap_or(Value::Nil))).collect();
            write_json_object(fields.iter().map(|(name, value)| (*name, value)), true, into);
        }
    }
}

fn separate(index: usize, into: &mut String) {
    if index > 0 {
        into.push(',');
    }
}

fn write_json_object<'a>(fields: impl Iterator<Item = (&'a str, &'a Value)>, html: bool, into: &mut String) {
    into.push('{');
    for (index, (name, value)) in fields.enumerate() {
        separate(index, into);
        write_json_text(name, html, into);
        into.push(':');
        write_json(value, html, into);
    }
    into.push('}');
}

/// A JSON text as Go writes it.
pub(crate) fn write_json_text(text: &str, html: bool, into: &mut String) {
    into.push('"');
    for character in text.chars() {
        match character {
            '"' => into.push_str("\\\""),
            '\\' => into.push_str("\\\\"),
            '\n' => into.push_str("\\n"),
            '\r' => into.push_str("\\r"),
            '\t' => into.push_str("\\t"),
            '\u{8}' => into.push_str("\\b"),
            '\u{c}' => into.push_str("\\f"),
            '<' | '>' | '&' if html => _ = write!(into, "\\u{:04x}", u32::from(character)),
            '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => _ = write!(into, "\\u{:04x}", u32::from(character)),
            character => into.push(character),
        }
    }
    into.push('"');
}

/// What Go's `%v` prints.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nil => f.write_str("<nil>"),
            Self::Empty(text) => f.write_str(text),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Float(value) => write!(f, "{value}"),
            Self::Number(text) | Self::Text(text) => f.write_str(text),
            Self::List(list) => {
                f.write_char('[')?;
                write_spaced(list.iter(), f)?;
                f.write_char(']')
            }
            Self::Map(map) => {
                f.write_str("map[")?;
                for (index, (name, value)) in map.iter().enumerate() {
                    if index > 0 {
                        f.write_char(' ')?;
                    }
                    write!(f, "{name}:{value}")?;
                }
                f.write_char(']')
            }
            Self::Struct(value) => {
                f.write_char('{')?;
                write_spaced(value.fields.iter().map(|field| &field.value), f)?;
                f.write_char('}')
            }
            Self::Row(row) => f.write_str(row.type_name()),
        }
    }
}

fn write_spaced<'a>(values: impl Iterator<Item = &'a Value>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (index, value) in values.enumerate() {
        if index > 0 {
            f.write_char(' ')?;
        }
        write!(f, "{value}")?;
    }
    Ok(())
}

/// JSON without a schema: objects are maps, numbers stay as they are written.
impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }

            fn visit_unit<E>(self) -> Result<Value, E> {
                Ok(Value::Nil)
            }

            fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
                Ok(Value::Bool(value))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
                Ok(Value::Number(value.to_string().into()))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
                Ok(Value::Number(value.to_string().into()))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
                Ok(Value::Number(value.to_string().into()))
            }

            fn visit_str<E>(self, value: &str) -> Result<Value, E> {
                Ok(Value::text(value))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = items.next_element()? {
                    list.push(item);
                }
                Ok(Value::List(list.into()))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
                let mut map = BTreeMap::new();
                while let Some((name, value)) = fields.next_entry::<String, Value>()? {
                    map.insert(Rc::from(name), value);
                }
                Ok(Value::Map(map.into()))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_print_as_go_prints_them() {
        let value: Value = serde_json::from_str(r#"{"b":[1,"x",null],"a":{"t":true}}"#).unwrap();
        assert_eq!(value.to_string(), "map[a:map[t:true] b:[1 x <nil>]]");
        assert_eq!(value.json(false), r#"{"a":{"t":true},"b":[1,"x",null]}"#);
        assert_eq!(Value::text("<a&b>\u{1}").json(true), r#""\u003ca\u0026b\u003e\u0001""#);
        assert_eq!(Value::text("<a&b>").json(false), r#""<a&b>""#);
    }
}
