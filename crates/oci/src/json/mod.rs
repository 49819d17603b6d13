//! JSON as Go's `encoding/json` reads and writes it, which is what every Docker client is written against.
//!
//! Reading ([`from_slice`], [`Node`]) differs from serde's habits in what real clients rely on:
//! - object keys match the field names without regard to case (an exact match first);
//! - `null` leaves any value at its zero, for strings, numbers, lists, maps and structs alike;
//! - of two equal keys the last one wins, and unknown keys are ignored;
//! - fixed-size arrays are padded and cut;
//! - type errors carry Go's text, with the path of the field.
//!
//! It is general: any type with a derived `Deserialize` gets it, because a derived struct tells its deserializer the
//! names of its fields. Types need `#[serde(default)]` on the struct, as every Go field is optional.
//!
//! Writing ([`to_vec`], [`to_vec_html`]) differs in the escapes and in the form of floating-point numbers.

mod error;
mod node;
mod read;
mod write;

pub use error::Error;
pub use node::Node;
pub use write::{to_vec, to_vec_html, to_writer};

use serde::de::DeserializeOwned;

/// Reads one JSON text as Go's decoder would.
///
/// Errors: [`Error`], whose text is Go's (`unexpected EOF`, `json: cannot unmarshal string into …`); the caller puts
/// Docker's `invalid JSON: ` in front of it.
pub fn from_slice<T: DeserializeOwned>(text: &[u8]) -> Result<T, Error> {
    T::deserialize(&Node::parse(text)?)
}

#[cfg(test)]
mod tests;
