//! Records: JSON with a version in front, and batches of changes to them.
//!
//! A value is the version (u32, little-endian) and JSON.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::DatabaseError;
use super::overlay::{Change, Value};

/// What is kept in a table: a JSON value with a version.
///
/// WHEN CHANGING A RECORD in a way that its older form does not deserialise into: raise `VERSION` and turn the older
/// JSON into the new one in `upgrade`.
pub trait Record: Serialize + DeserializeOwned {
    /// The table that these records live in. Names that start with `_` are the database's own.
    const TABLE: &'static str;
    /// The version of the shape that is written. Readers accept it and, through `upgrade`, older ones.
    const VERSION: u32;

    /// Turns a value of an older version into the present shape; `None` when that version is not known.
    fn upgrade(version: u32, value: serde_json::Value) -> Option<serde_json::Value> {
        let _ = (version, value);
        None
    }
}

/// Changes that are made together or not at all, in their order.
#[derive(Default)]
pub struct Batch {
    changes: Vec<Change>,
}

impl Batch {
    /// Adds the writing of a record.
    ///
    /// Errors: the record has no JSON form.
    pub fn put<R: Record>(&mut self, key: &str, record: &R) -> Result<(), DatabaseError> {
        let mut bytes = Vec::with_capacity(512);
        bytes.extend_from_slice(&R::VERSION.to_le_bytes());
        serde_json::to_writer(&mut bytes, record).map_err(|error| unreadable::<R>(key, error.to_string()))?;
        self.changes.push(Change { table: R::TABLE.into(), key: key.into(), value: Some(bytes.into()) });
        Ok(())
    }

    /// Adds the deletion of a record.
    pub fn delete<R: Record>(&mut self, key: &str) {
        self.changes.push(Change { table: R::TABLE.into(), key: key.into(), value: None });
    }

    pub(super) fn into_changes(self) -> Vec<Change> {
        self.changes
    }
}

pub(super) fn decode<R: Record>(key: &str, value: &Value) -> Result<R, DatabaseError> {
    let (version, json) =
        value.split_at_checked(4).ok_or_else(|| unreadable::<R>(key, "it is cut short".to_owned()))?;
    let version = u32::from_le_bytes([version[0], version[1], version[2], version[3]]);
    if version == R::VERSION {
        return serde_json::from_slice(json).map_err(|error| unreadable::<R>(key, error.to_string()));
    }
    let old = serde_json::from_slice(json).map_err(|error| unreadable::<R>(key, error.to_string()))?;
    let new = R::upgrade(version, old)
        .ok_or_else(|| unreadable::<R>(key, format!("its version {version} is not known")))?;
    serde_json::from_value(new).map_err(|error| unreadable::<R>(key, error.to_string()))
}

fn unreadable<R: Record>(key: &str, why: String) -> DatabaseError {
    DatabaseError::Record { table: R::TABLE.to_owned(), key: key.to_owned(), why }
}
