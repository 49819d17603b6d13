//! The database file itself: `redb` behind a lock that is only ever written to when the file is opened anew.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use redb::{ReadableDatabase, TableDefinition, TableError};

use super::DatabaseError;
use super::overlay::{Overlay, Value};

type Table<'a> = TableDefinition<'a, &'static str, &'static [u8]>;

/// The table that says up to which epoch of the journal everything is in the file.
const META: Table<'_> = TableDefinition::new("_meta");
const APPLIED: &str = "journal";
const CACHE_BYTES: usize = 2 << 20;

pub(super) struct Base {
    path: PathBuf,
    database: RwLock<Opened>,
}

struct Opened {
    /// `None` after a failed write, until it can be opened again.
    database: Option<redb::Database>,
    /// How often it was opened again.
    generation: u64,
}

impl Base {
    /// Opens the file, making it if it is not there; also tells up to which epoch the journal is in it.
    pub(super) fn open(path: &Path) -> Result<(Self, u64), DatabaseError> {
        let database = open(path, true)?;
        let applied = guarded(path, || read(&database, META, APPLIED))?;
        let applied = applied.and_then(|bytes| Some(u64::from_le_bytes((*bytes).try_into().ok()?)));
        let opened = Opened { database: Some(database), generation: 0 };
        Ok((Self { path: path.to_owned(), database: RwLock::new(opened) }, applied.unwrap_or(0)))
    }

    pub(super) fn get(&self, table: &str, key: &str) -> Result<Option<Value>, DatabaseError> {
        self.with(|database, _| read(database, TableDefinition::new(table), key))
    }

    /// The records of a table whose keys start with `prefix`, put into `found` where it has none of that key.
    pub(super) fn scan(
        &self,
        table: &str,
        prefix: &str,
        found: &mut BTreeMap<String, Option<Value>>,
    ) -> Result<(), DatabaseError> {
        self.with(|database, _| {
            let transaction = database.begin_read()?;
            let table = match transaction.open_table(Table::new(table)) {
                Ok(table) => table,
                Err(TableError::TableDoesNotExist(_)) => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            for entry in table.range(prefix..)? {
                let (key, value) = entry?;
                let key = key.value();
                if !key.starts_with(prefix) {
                    break;
                }
                if !found.contains_key(key) {
                    found.insert(key.to_owned(), Some(value.value().into()));
                }
            }
            Ok(())
        })
    }

    /// Brings all changes of an overlay into the file and notes that `epoch` is in it. Durable when it returns.
    ///
    /// Errors: nothing is changed; the file is opened anew if the failure made that necessary.
    pub(super) fn apply(&self, overlay: &Overlay, epoch: u64) -> Result<(), DatabaseError> {
        let mut used = 0;
        let result = self.with(|database, generation| {
            used = generation;
            let mut transaction = database.begin_write()?;
            // Opening after a crash must not depend on the size of the file.
            transaction.set_quick_repair(true);
            for (name, changes) in overlay.tables() {
                let mut table = transaction.open_table(Table::new(name))?;
                for (key, value) in changes {
                    match value {
                        Some(value) => table.insert(&**key, &**value)?,
                        None => table.remove(&**key)?,
                    };
                }
            }
            transaction.open_table(META)?.insert(APPLIED, epoch.to_le_bytes().as_slice())?;
            transaction.commit()?;
            Ok(())
        });
        if result.is_err() {
            self.reopen(used);
        }
        result
    }

    /// Opens the file anew, unless somebody else did since `seen`: after a failed write `redb` refuses everything,
    /// reading too.
    fn reopen(&self, seen: u64) {
        let mut opened = self.database.write().unwrap_or_else(PoisonError::into_inner);
        if opened.generation != seen {
            return;
        }
        opened.generation += 1;
        // The old one has the lock on the file.
        opened.database = None;
        match open(&self.path, false) {
            Ok(fresh) => opened.database = Some(fresh),
            Err(error) => tracing::error!(%error, "database cannot be opened again after a failed write"),
        }
    }

    /// Checks every page of the file against its checksum, on a copy in memory: the check itself mends what it can by
    /// going back to an older state.
    ///
    /// Errors: [`DatabaseError::Damaged`]; the system refused.
    pub(super) fn verify(&self) -> Result<(), DatabaseError> {
        let copy = redb::backends::InMemoryBackend::new();
        {
            // Nothing is written to the file meanwhile.
            let _exclusive = self.database.write().unwrap_or_else(PoisonError::into_inner);
            guarded(&self.path, || {
                let bytes = std::fs::read(&self.path)?;
                redb::StorageBackend::set_len(&copy, bytes.len() as u64)?;
                redb::StorageBackend::write(&copy, 0, &bytes)?;
                Ok(())
            })?;
        }
        let intact = guarded(&self.path, || {
            let mut copy = redb::Builder::new().create_with_backend(copy)?;
            Ok(copy.check_integrity()?)
        })?;
        let why = || "a page does not have its checksum".to_owned();
        let damaged = || DatabaseError::Damaged { path: self.path.display().to_string(), why: why() };
        if intact { Ok(()) } else { Err(damaged()) }
    }

    /// Runs `action` on the open database, with its generation. Where another thread's write has just failed and left the database
    /// refusing everything, it is opened anew first.
    fn with<T>(
        &self,
        mut action: impl FnMut(&redb::Database, u64) -> Result<T, redb::Error>,
    ) -> Result<T, DatabaseError> {
        const ATTEMPTS: u32 = 3;
        for _ in 0..ATTEMPTS {
            let opened = self.database.read().unwrap_or_else(PoisonError::into_inner);
            let seen = opened.generation;
            if let Some(database) = opened.database.as_ref() {
                let mut refused = false;
                let result = guarded(&self.path, || {
                    action(database, seen).inspect_err(|error| {
                        refused = matches!(error, redb::Error::PreviousIo | redb::Error::DatabaseClosed);
                    })
                });
                if !refused {
                    return result;
                }
            }
            drop(opened);
            self.reopen(seen);
        }
        Err(DatabaseError::Io {
            what: format!("database {} is closed after a failed write", self.path.display()),
            source: io::ErrorKind::StorageFull.into(),
        })
    }
}

fn read(database: &redb::Database, table: Table<'_>, key: &str) -> Result<Option<Value>, redb::Error> {
    let transaction = database.begin_read()?;
    match transaction.open_table(table) {
        Ok(table) => Ok(table.get(key)?.map(|value| value.value().into())),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn open(path: &Path, create: bool) -> Result<redb::Database, DatabaseError> {
    guarded(path, || {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(create)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(redb::Error::Io)?;
        match berth_sys::file::lock(&file) {
            Ok(true) => {}
            Ok(false) => return Err(redb::Error::DatabaseAlreadyOpen),
            Err(error) => return Err(redb::Error::Io(error.into())),
        }
        let mut builder = redb::Builder::new();
        builder.set_cache_size(CACHE_BYTES);
        Ok(builder.create_with_backend(Backend { file })?)
    })
}

/// Runs `action` and puts its error into our words. A damaged file can make `redb` panic; that is an error here.
fn guarded<T>(path: &Path, action: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, DatabaseError> {
    let damaged = |why: String| DatabaseError::Damaged { path: path.display().to_string(), why };
    match std::panic::catch_unwind(AssertUnwindSafe(action)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(match error {
            redb::Error::Io(error) if error.kind() == io::ErrorKind::InvalidData => {
                damaged(error.to_string())
            }
            redb::Error::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                damaged("it is cut short".to_owned())
            }
            redb::Error::Io(source) => {
                DatabaseError::Io { what: format!("use database {}", path.display()), source }
            }
            redb::Error::Corrupted(why) => damaged(why),
            redb::Error::RepairAborted | redb::Error::UpgradeRequired(_) => damaged(error.to_string()),
            redb::Error::DatabaseAlreadyOpen => DatabaseError::InUse { path: path.display().to_string() },
            other => DatabaseError::Io {
                what: format!("use database {}", path.display()),
                source: io::Error::other(other),
            },
        }),
        Err(_) => Err(damaged("its pages contradict each other".to_owned())),
    }
}

/// Plain file input and output. Space is reserved when the file grows, so that a full disk shows there and not when
/// a page of the new part is written.
#[derive(Debug)]
struct Backend {
    file: File,
}

impl redb::StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let present = self.file.metadata()?.len();
        if len > present {
            let flags = rustix::fs::FallocateFlags::empty();
            match rustix::fs::fallocate(&self.file, flags, present, len - present) {
                Ok(()) => return Ok(()),
                Err(rustix::io::Errno::OPNOTSUPP) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write_all_at(data, offset)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::database::overlay::Change;

    /// A file on a disk that is full while `full` is set.
    #[derive(Debug)]
    struct Full {
        backend: Backend,
        full: Arc<AtomicBool>,
    }

    impl redb::StorageBackend for Full {
        fn len(&self) -> io::Result<u64> {
            self.backend.len()
        }

        fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
            self.backend.read(offset, out)
        }

        fn set_len(&self, len: u64) -> io::Result<()> {
            self.backend.set_len(len)
        }

        fn sync_data(&self) -> io::Result<()> {
            self.backend.sync_data()
        }

        fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
            if self.full.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.backend.write(offset, data)
        }
    }

    fn overlay(value: &[u8]) -> Overlay {
        let mut overlay = Overlay::default();
        overlay.apply(Change { table: "t".into(), key: "k".into(), value: Some(value.into()) });
        overlay
    }

    #[test]
    fn a_reader_opens_the_file_that_anothers_failed_write_left_refusing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("database.redb");
        let (base, _) = Base::open(&path).unwrap();
        base.apply(&overlay(b"value"), 1).unwrap();
        let full = Arc::new(AtomicBool::new(false));
        {
            let mut opened = base.database.write().unwrap();
            opened.database = None;
            let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
            let backend = Full { backend: Backend { file }, full: Arc::clone(&full) };
            let mut builder = redb::Builder::new();
            builder.set_cache_size(CACHE_BYTES);
            let database = builder.create_with_backend(backend).unwrap();
            full.store(true, Ordering::Relaxed);
            // The moment between the failure of a write and the writer's opening of the file anew.
            let transaction = database.begin_write().unwrap();
            let large = vec![7; 4 * CACHE_BYTES];
            let written = transaction
                .open_table(Table::new("t"))
                .map_err(redb::Error::from)
                .and_then(|mut table| Ok(table.insert("large", large.as_slice()).map(drop)?))
                .and_then(|()| Ok(transaction.commit()?));
            assert!(written.is_err());
            assert!(matches!(read(&database, Table::new("t"), "k"), Err(redb::Error::PreviousIo)));
            opened.database = Some(database);
        }
        assert_eq!(base.get("t", "k").unwrap().as_deref(), Some(&b"value"[..]));
        base.apply(&overlay(b"newer"), 2).unwrap();
        assert_eq!(base.get("t", "k").unwrap().as_deref(), Some(&b"newer"[..]));
    }
}
