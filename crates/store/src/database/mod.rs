//! The metadata database: versioned JSON records in tables, by string key.
//!
//! A write is in the journal file when [`Database::write`] returns: it is visible to all readers and survives the
//! death of this process (`kill -9`, panic, out of memory) from then on. Against power loss it is safe once its
//! [`Commit`] has been waited for; commits nobody waits for reach the disk within [`SYNC_DELAY`].

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The time after which a write that nobody waits for is on the disk.
pub const SYNC_DELAY: Duration = Duration::from_millis(50);

/// A handle to the database; clones share it.
#[derive(Clone)]
pub struct Database {}

/// What is kept in a table: a JSON value with a version.
pub trait Record: Serialize + DeserializeOwned {
    /// The table that these records live in.
    const TABLE: &'static str;
    /// The version of the shape that is written. Readers accept it and, through `upgrade`, older ones.
    const VERSION: u32;

    /// Turns a value of an older version into the present shape.
    ///
    /// Errors: `None` when that version is not known.
    fn upgrade(version: u32, value: serde_json::Value) -> Option<serde_json::Value> {
        let _ = (version, value);
        None
    }
}

/// Changes that are made together or not at all, in their order.
#[derive(Default)]
pub struct Batch {}

/// The durability of one write. Await or [`wait`](Commit::wait) for it, or drop it to let the write go to the disk
/// in its own time.
#[must_use = "drop it explicitly to leave the write to the background"]
pub struct Commit {}

/// What can go wrong with the database.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The file is not ours or is damaged.
    #[error("database {path} is damaged: {why}")]
    Damaged {
        /// The file.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// A record was written by a newer version, or is damaged.
    #[error("record {key} in table {table} cannot be read: {why}")]
    Record {
        /// The table.
        table: String,
        /// The key.
        key: String,
        /// What is wrong with it.
        why: String,
    },
    /// The system refused.
    #[error("{what}")]
    Io {
        /// What was tried, and on what.
        what: String,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
}

impl Database {
    /// Opens the database in `directory`, making it if it is not there.
    ///
    /// Errors: [`DatabaseError::Damaged`] when a file is there but is no intact database; nothing is changed then.
    pub fn open(directory: &Path) -> Result<Self, DatabaseError> {
        let _ = directory;
        Err(not_yet())
    }

    /// The record with this key.
    pub fn get<R: Record>(&self, key: &str) -> Result<Option<R>, DatabaseError> {
        let _ = key;
        Err(not_yet())
    }

    /// All records of a table whose keys start with `prefix`, in order of their keys.
    pub fn scan<R: Record>(&self, prefix: &str) -> Result<Vec<(String, R)>, DatabaseError> {
        let _ = prefix;
        Err(not_yet())
    }

    /// Writes one record.
    pub fn put<R: Record>(&self, key: &str, record: &R) -> Result<Commit, DatabaseError> {
        let mut batch = Batch::default();
        batch.put(key, record)?;
        self.write(batch)
    }

    /// Deletes one record; deleting what is not there is no error.
    pub fn delete<R: Record>(&self, key: &str) -> Result<Commit, DatabaseError> {
        let mut batch = Batch::default();
        batch.delete::<R>(key);
        self.write(batch)
    }

    /// Makes all changes of a batch, or none.
    ///
    /// Errors: the disk is full or broken; nothing is changed and the database stays usable.
    pub fn write(&self, batch: Batch) -> Result<Commit, DatabaseError> {
        drop(batch);
        Err(not_yet())
    }

    /// Waits until all writes so far are on the disk. Blocking.
    pub fn flush(&self) -> Result<(), DatabaseError> {
        Err(not_yet())
    }
}

impl Batch {
    /// Adds the writing of a record.
    pub fn put<R: Record>(&mut self, key: &str, record: &R) -> Result<(), DatabaseError> {
        let _ = (key, record);
        Err(not_yet())
    }

    /// Adds the deletion of a record.
    pub fn delete<R: Record>(&mut self, key: &str) {
        let _ = key;
    }
}

impl Commit {
    /// Waits until the write is on the disk. Blocking: about one `fdatasync`, shared with all who wait.
    pub fn wait(self) -> Result<(), DatabaseError> {
        Err(not_yet())
    }
}

impl Future for Commit {
    type Output = Result<(), DatabaseError>;

    fn poll(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(Err(not_yet()))
    }
}

fn not_yet() -> DatabaseError {
    DatabaseError::Io {
        what: "database is not there yet".to_owned(),
        source: std::io::ErrorKind::Unsupported.into(),
    }
}
