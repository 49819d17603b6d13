//! Reading a [`Node`] into any type, with Go's rules.

use serde::de::value::{BorrowedStrDeserializer, StrDeserializer};
use serde::de::{self, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Number;

use super::node::folds_to;
use super::{Error, Node};

static NULL: Node = Node::Null;

impl Node {
    fn mismatch(&self, wanted: &str) -> Error {
        let found = match self {
            Self::Number(number) if wanted.contains("int") || wanted.contains("float") => {
                format!("number {number}")
            }
            other => other.kind().to_owned(),
        };
        Error::Type { found, wanted: wanted.to_owned(), owner: String::new(), path: Vec::new() }
    }

    fn signed(&self, bits: u32, wanted: &str) -> Result<i64, Error> {
        let Self::Number(number) = self else {
            return if *self == Self::Null { Ok(0) } else { Err(self.mismatch(wanted)) };
        };
        let range = i64::MIN >> (64 - bits)..=i64::MAX >> (64 - bits);
        number.as_i64().filter(|value| range.contains(value)).ok_or_else(|| self.mismatch(wanted))
    }

    fn unsigned(&self, bits: u32, wanted: &str) -> Result<u64, Error> {
        let Self::Number(number) = self else {
            return if *self == Self::Null { Ok(0) } else { Err(self.mismatch(wanted)) };
        };
        number.as_u64().filter(|value| *value <= u64::MAX >> (64 - bits)).ok_or_else(|| self.mismatch(wanted))
    }
}

macro_rules! integers {
    ($($method:ident $visit:ident $read:ident $bits:literal $go:literal $to:ty;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            let value = self.$read($bits, $go)?;
            visitor.$visit(<$to>::try_from(value).map_err(|_| self.mismatch($go))?)
        }
    )*};
}

impl<'de> Deserializer<'de> for &'de Node {
    type Error = Error;

    integers! {
        deserialize_i8 visit_i8 signed 8 "int8" i8;
        deserialize_i16 visit_i16 signed 16 "int16" i16;
        deserialize_i32 visit_i32 signed 32 "int" i32;
        deserialize_i64 visit_i64 signed 64 "int64" i64;
        deserialize_u8 visit_u8 unsigned 8 "uint8" u8;
        deserialize_u16 visit_u16 unsigned 16 "uint16" u16;
        deserialize_u32 visit_u32 unsigned 32 "uint32" u32;
        deserialize_u64 visit_u64 unsigned 64 "uint64" u64;
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Node::Null => visitor.visit_unit(),
            Node::Bool(value) => visitor.visit_bool(*value),
            Node::Number(number) => match (number.as_u64(), number.as_i64()) {
                (Some(value), _) => visitor.visit_u64(value),
                (None, Some(value)) => visitor.visit_i64(value),
                (None, None) => visitor.visit_f64(number.as_f64().unwrap_or_default()),
            },
            Node::String(value) => visitor.visit_borrowed_str(value),
            Node::Array(items) => visitor.visit_seq(Items { items: items.iter(), rest: 0 }),
            Node::Object(entries) => {
                visitor.visit_map(Entries { entries: entries.iter(), value: &NULL, key: "" })
            }
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Node::Null => visitor.visit_bool(false),
            Node::Bool(value) => visitor.visit_bool(*value),
            other => Err(other.mismatch("bool")),
        }
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Node::Null => visitor.visit_f64(0.0),
            Node::Number(number) => visitor.visit_f64(Number::as_f64(number).unwrap_or_default()),
            other => Err(other.mismatch("float64")),
        }
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Node::Null => visitor.visit_borrowed_str(""),
            Node::String(value) => visitor.visit_borrowed_str(value),
            other => Err(other.mismatch("string")),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Node::Null => visitor.visit_none(),
            other => visitor.visit_some(other),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Node::Null => visitor.visit_seq(Items { items: [].iter(), rest: 0 }),
            Node::Array(items) => visitor.visit_seq(Items { items: items.iter(), rest: 0 }),
            other => Err(other.mismatch("[]string")),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Error> {
        let items = match self {
            Node::Null => &[],
            Node::Array(items) => &items[..items.len().min(len)],
            other => return Err(other.mismatch(&format!("[{len}]uint"))),
        };
        visitor.visit_seq(Items { items: items.iter(), rest: len - items.len() })
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Node::Null => visitor.visit_map(Entries { entries: [].iter(), value: &NULL, key: "" }),
            Node::Object(entries) => {
                visitor.visit_map(Entries { entries: entries.iter(), value: &NULL, key: "" })
            }
            other => Err(other.mismatch("map[string]string")),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self {
            Node::Null => visitor.visit_map(Fields::new(name, fields, &[])),
            Node::Object(entries) => visitor.visit_map(Fields::new(name, fields, entries)),
            other => Err(other.mismatch(name)),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self {
            Node::String(value) => visitor.visit_enum(value.as_str().into_deserializer()),
            Node::Null => visitor.visit_enum("".into_deserializer()),
            other => Err(other.mismatch("string")),
        }
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! { i128 u128 bytes byte_buf unit unit_struct tuple_struct }
}

/// The elements of a list, and `rest` nulls after them.
struct Items<'de> {
    items: std::slice::Iter<'de, Node>,
    rest: usize,
}

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        match self.items.next() {
            Some(node) => seed.deserialize(node).map(Some),
            None if self.rest > 0 => {
                self.rest -= 1;
                seed.deserialize(&NULL).map(Some)
            }
            None => Ok(None),
        }
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len() + self.rest)
    }
}

/// The entries of a map; keys are data and keep their case.
struct Entries<'de> {
    entries: std::slice::Iter<'de, (String, Node)>,
    key: &'de str,
    value: &'de Node,
}

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let Some((key, value)) = self.entries.next() else { return Ok(None) };
        (self.key, self.value) = (key, value);
        seed.deserialize(BorrowedStrDeserializer::<Error>::new(key)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        seed.deserialize(self.value)
    }
}

/// The fields of a struct that the object has, under the struct's own names, each once.
struct Fields<'de> {
    name: &'static str,
    found: Vec<Option<&'de Node>>,
    fields: &'static [&'static str],
    at: usize,
}

impl<'de> Fields<'de> {
    fn new(name: &'static str, fields: &'static [&'static str], entries: &'de [(String, Node)]) -> Self {
        let mut found = vec![None; fields.len()];
        for (key, value) in entries {
            let exact = fields.iter().position(|field| field == key);
            if let Some(at) = exact.or_else(|| fields.iter().position(|field| folds_to(key, field))) {
                found[at] = Some(value);
            }
        }
        Self { name, found, fields, at: 0 }
    }
}

impl<'de> MapAccess<'de> for Fields<'de> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        while self.at < self.found.len() {
            self.at += 1;
            if self.found[self.at - 1].is_some() {
                let name: StrDeserializer<'static, Error> = self.fields[self.at - 1].into_deserializer();
                return seed.deserialize(name).map(Some);
            }
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let at = self.at - 1;
        let node =
            self.found[at].ok_or_else(|| <Error as de::Error>::custom("a value was read before its key"))?;
        seed.deserialize(node).map_err(|error| error.inside(self.name, self.fields[at]))
    }
}
