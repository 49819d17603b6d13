//! The store as a whole: opening, its parts, and what an earlier process left half done.

use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::dir;
use crate::image::index::Index;
use crate::layer::Limits;
use crate::snapshot::Snapshotted;
use crate::trash::Trash;
use crate::{Content, Database, Error, Images, Snapshots};

/// How to open a store.
#[derive(Clone, Debug)]
pub struct Options {
    /// The directory of the store. It is made if it is not there (mode 0710); one process at a time holds it.
    pub root: PathBuf,
    /// Bounds on layers.
    pub limits: Limits,
}

/// A handle to an open store; clones share it. It is closed when the last one, and all its parts, are dropped.
#[derive(Clone)]
pub struct Store {
    content: Content,
    images: Images,
    snapshots: Snapshots,
    shared: Arc<Shared>,
}

/// What the parts of a store share.
pub(crate) struct Shared {
    pub(crate) path: PathBuf,
    pub(crate) dirs: Dirs,
    pub(crate) limits: Limits,
    pub(crate) database: Database,
    pub(crate) trash: Trash,
    /// Held by whoever changes images: publishes, names, removes. Never held while bytes are read or unpacked.
    gate: Mutex<()>,
    index: RwLock<Index>,
    pub(crate) snapshots: Snapshotted,
    pub(crate) ingests: AtomicU64,
    /// Distinguishes the names of ingests from those of earlier lives of the store: see [`dir::spread`].
    pub(crate) salt: u32,
}

/// The directories of a store, opened.
pub(crate) struct Dirs {
    pub(crate) blobs: OwnedFd,
    pub(crate) layers: OwnedFd,
    pub(crate) fixups: OwnedFd,
    pub(crate) snapshots: OwnedFd,
    pub(crate) ingest: OwnedFd,
}

impl Options {
    /// The usual options for a store in `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), limits: Limits::default() }
    }
}

impl Store {
    /// Opens a store and removes what an earlier process left half done. Blocking.
    ///
    /// Errors: another process holds it; the database is damaged; the system refused.
    pub fn open(options: &Options) -> Result<Self, Error> {
        let root = &options.root;
        let root_dir = open_dir(root)?;
        let path = root.canonicalize().map_err(Error::at("resolve", root))?;
        if path.to_str().is_none() {
            return Err(Error::Invalid(format!("data directory {} is not valid UTF-8", path.display())));
        }
        // The database is locked, so from here on the store is ours.
        let database = Database::open(&path)?;
        open_dir(&path.join("blobs"))?;
        // What an image without layers is made of; its attributes can be seen in containers.
        dir::open_or_make(&path.join("empty"), 0o755)
            .map_err(Error::at("open directory", &path.join("empty")))?;
        let dirs = Dirs {
            blobs: open_dir(&path.join("blobs/sha256"))?,
            layers: open_dir(&path.join("layers"))?,
            fixups: open_dir(&path.join("fixups"))?,
            snapshots: open_dir(&path.join("snapshots"))?,
            ingest: open_dir(&path.join("ingest"))?,
        };
        dir::spread(&dirs.ingest);
        // The directories themselves must not go away with the power either.
        dir::sync(&root_dir).map_err(Error::at("sync directory", &path))?;
        let trash_dir = open_dir(&path.join("trash"))?;
        let trash = Trash::start(trash_dir).map_err(Error::io("start the trash thread"))?;
        let salt = getrandom::u32()
            .map_err(|error| Error::Io { what: "random numbers".to_owned(), source: error.into() })?;
        let shared = Arc::new(Shared {
            path,
            dirs,
            limits: options.limits,
            trash,
            gate: Mutex::new(()),
            index: RwLock::new(Index::default()),
            snapshots: Snapshotted::default(),
            ingests: AtomicU64::new(0),
            salt,
            database,
        });
        shared.recover()?;
        Ok(Self {
            content: Content::new(Arc::clone(&shared)),
            images: Images::new(Arc::clone(&shared)),
            snapshots: Snapshots::new(Arc::clone(&shared)),
            shared,
        })
    }

    /// The metadata database, which the engine uses too.
    pub fn database(&self) -> &Database {
        &self.shared.database
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
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

fn open_dir(path: &Path) -> Result<OwnedFd, Error> {
    dir::open_or_make(path, dir::PRIVATE).map_err(Error::at("open directory", path))
}

impl Shared {
    /// The images, for looking.
    pub(crate) fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The images, for changing; only with the gate held, and never across input or output.
    pub(crate) fn index_mut(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets nobody else change images.
    pub(crate) fn gate(&self) -> MutexGuard<'_, ()> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads all records, then discards whatever no record names.
    fn recover(&self) -> Result<(), Error> {
        let index = Index::load(self)?;
        *self.index_mut() = index;
        self.snapshots.load(self)?;
        for id in self.index().removed() {
            self.forget_removed(&id)?;
        }
        let index = self.index();
        self.keep_only(&self.dirs.ingest, "ingest", &HashSet::new())?;
        self.keep_only(&self.dirs.snapshots, "snapshots", &self.snapshots.keys())?;
        if index.is_incomplete() {
            tracing::warn!("an image cannot be read, so nothing that may belong to it is removed");
            return Ok(());
        }
        self.keep_only(&self.dirs.layers, "layers", &index.layer_directories())?;
        self.keep_only(&self.dirs.fixups, "fixups", &index.fixup_directories())?;
        self.keep_only(&self.dirs.blobs, "blobs", &index.blob_files())?;
        Ok(())
    }

    fn keep_only(&self, directory: &OwnedFd, what: &str, wanted: &HashSet<String>) -> Result<(), Error> {
        let names = dir::names(directory).map_err(Error::io(format!("list {what} of the store")))?;
        for name in names {
            if std::str::from_utf8(name.as_bytes()).is_ok_and(|name| wanted.contains(name)) {
                continue;
            }
            tracing::info!(what, name = %name.display(), "left over from before, removed");
            let text = name.to_string_lossy();
            self.trash.discard(directory, &text).map_err(Error::io(format!("discard {what}/{text}")))?;
        }
        Ok(())
    }
}
