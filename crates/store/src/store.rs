//! The store as a whole: opening, its parts, and the background deletion of what is no longer needed.

use std::path::PathBuf;

use crate::{Content, Database, Error, Images, Snapshots, layer::Limits};

/// How to open a store.
#[derive(Clone, Debug)]
pub struct Options {
    /// The directory of the store. It is made if it is not there (mode 0710); one process at a time holds it.
    pub root: PathBuf,
    /// Bounds on layers.
    pub limits: Limits,
    /// Threads that unpack; the number of cores if `None`.
    pub threads: Option<usize>,
}

/// A handle to an open store; clones share it.
#[derive(Clone)]
pub struct Store {
    database: Database,
    content: Content,
    images: Images,
    snapshots: Snapshots,
}

impl Options {
    /// The usual options for a store in `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), limits: Limits::default(), threads: None }
    }
}

impl Store {
    /// Opens a store and removes what an earlier process left half done. Blocking.
    ///
    /// Errors: another process holds it; the database is damaged; the system refused.
    pub fn open(options: &Options) -> Result<Self, Error> {
        let database = Database::open(&options.root)?;
        Ok(Self { database, content: Content {}, images: Images {}, snapshots: Snapshots {} })
    }

    /// The metadata database, which the engine uses too.
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// Blobs by digest.
    pub fn content(&self) -> &Content {
        &self.content
    }

    /// Images and their names.
    pub fn images(&self) -> &Images {
        &self.images
    }

    /// Root filesystems.
    pub fn snapshots(&self) -> &Snapshots {
        &self.snapshots
    }
}
