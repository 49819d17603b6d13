//! The metadata database: versioned JSON records in tables, by string key.
//!
//! A write is in the journal file when [`Database::write`] returns: it is visible to all readers and survives the
//! death of this process (`kill -9`, panic, out of memory) from then on. Against power loss it is safe once its
//! [`Commit`] has been waited for, and with it every write before it; commits that nobody waits for reach the disk
//! within [`SYNC_DELAY`]. Writes are never reordered: what is found after a crash is a prefix of what was written.
//!
//! ```text
//! write ──► journal file (page cache) ──► overlay in memory ──► readers
//!                │ fdatasync, shared by all who wait      │
//!                ▼                                        ▼ when the journal is half full, and on closing
//!              disk                                 database.redb, one transaction; the journal starts anew
//! ```
//!
//! The two journal files take turns: while one is brought into the database file, the other takes writes. Reads
//! look into the overlays, then into the database file; they wait for no write and no sync.
//!
//! A full disk: the journals own their first megabyte, so small changes go on; a write that does not fit fails
//! with an error, changes nothing, and succeeds again once there is space.

mod base;
pub(crate) mod fuzz;
mod journal;
mod overlay;
mod record;
mod sync;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use base::Base;
use journal::{Journal, Recovered};
use overlay::Overlay;
pub use record::{Batch, Record};
pub use sync::Commit;

/// The time after which a write that nobody waits for is on the disk.
pub const SYNC_DELAY: Duration = Duration::from_millis(50);

/// The journal is brought into the database file when it is this large.
const CHECKPOINT_BYTES: u64 = journal::CAPACITY / 2;
/// The pause after a failed checkpoint.
const CHECKPOINT_PAUSE: Duration = Duration::from_secs(1);

/// A handle to the database; clones share it. The database is closed when the last one is dropped.
#[derive(Clone)]
pub struct Database {
    inner: Arc<Owner>,
}

/// Ends the background thread when the last handle is gone.
struct Owner {
    shared: Arc<Shared>,
    thread: Option<std::thread::JoinHandle<()>>,
}

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
    /// Another process has it open.
    #[error("database {path} is in use by another process")]
    InUse {
        /// The file.
        path: String,
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

/// What handles, commits and the background thread share.
struct Shared {
    base: Base,
    state: Mutex<State>,
    /// Something for the background thread to do.
    work: Condvar,
    /// A sync has ended.
    synced: Condvar,
}

struct State {
    journals: [Journal; 2],
    /// Which journal takes writes.
    active: usize,
    /// The changes in the active journal.
    overlay: Overlay,
    /// The changes in the other journal, if they are not in the database file yet.
    frozen: Option<Arc<Overlay>>,
    /// The other journal has data that is not on the disk yet.
    frozen_unsynced: bool,
    /// The number of writes so far, and of those on the disk.
    written: u64,
    on_disk: u64,
    /// Somebody is syncing.
    syncing: bool,
    /// Somebody is bringing a journal into the database file.
    checkpointing: bool,
    checkpoint_after: Option<Instant>,
    wakers: Vec<(u64, Waker)>,
    /// The number of syncs that failed.
    failures: u64,
    /// The first write that is not on the disk was made then.
    dirty_since: Option<Instant>,
    closing: bool,
}

impl Database {
    /// Opens the database in `directory`, making it if it is not there.
    ///
    /// Errors: [`DatabaseError::Damaged`] when a file is there but is no intact database; [`DatabaseError::InUse`].
    pub fn open(directory: &Path) -> Result<Self, DatabaseError> {
        let (base, applied) = Base::open(&directory.join("database.redb"))?;
        let open = |name: &str| {
            let path = directory.join(name);
            Journal::open(&path).map_err(|source| DatabaseError::Io {
                what: format!("open database journal {}", path.display()),
                source,
            })
        };
        let state = State::recover([open("journal.0")?, open("journal.1")?], applied)?;
        let shared =
            Arc::new(Shared { base, state: Mutex::new(state), work: Condvar::new(), synced: Condvar::new() });
        let for_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("database".to_owned())
            .spawn(move || sync::run(&for_thread))
            .map_err(|source| DatabaseError::Io { what: "start the database thread".to_owned(), source })?;
        Ok(Self { inner: Arc::new(Owner { shared, thread: Some(thread) }) })
    }

    /// The record with this key.
    ///
    /// Errors: [`DatabaseError::Record`] when it cannot be understood; the system refused.
    pub fn get<R: Record>(&self, key: &str) -> Result<Option<R>, DatabaseError> {
        let pending = self.state().find(R::TABLE, key);
        let value = match pending {
            Some(value) => value,
            None => self.shared().base.get(R::TABLE, key)?,
        };
        value.map(|value| record::decode(key, &value)).transpose()
    }

    /// All records of a table whose keys start with `prefix`, in order of their keys.
    ///
    /// Errors: as [`Database::get`]; one unreadable record fails the scan, see [`Database::scan_each`].
    pub fn scan<R: Record>(&self, prefix: &str) -> Result<Vec<(String, R)>, DatabaseError> {
        let mut records = Vec::new();
        for (key, record) in self.scan_each::<R>(prefix)? {
            records.push((key, record?));
        }
        Ok(records)
    }

    /// As [`Database::scan`], with the error of each record that cannot be understood in its place.
    #[expect(clippy::type_complexity, reason = "each record is there or is an error")]
    pub fn scan_each<R: Record>(
        &self,
        prefix: &str,
    ) -> Result<Vec<(String, Result<R, DatabaseError>)>, DatabaseError> {
        // Overlays first: a change may move from them into the file meanwhile, never the other way.
        let mut found = self.state().range(R::TABLE, prefix);
        self.shared().base.scan(R::TABLE, prefix, &mut found)?;
        let present = found.into_iter().filter_map(|(key, value)| Some((key, value?)));
        Ok(present
            .map(|(key, value)| {
                let record = record::decode(&key, &value);
                (key, record)
            })
            .collect())
    }

    /// Writes one record.
    ///
    /// Errors: as [`Database::write`].
    pub fn put<R: Record>(&self, key: &str, record: &R) -> Result<Commit, DatabaseError> {
        let mut batch = Batch::default();
        batch.put(key, record)?;
        self.write(batch)
    }

    /// Deletes one record; deleting what is not there is no error.
    ///
    /// Errors: as [`Database::write`].
    pub fn delete<R: Record>(&self, key: &str) -> Result<Commit, DatabaseError> {
        let mut batch = Batch::default();
        batch.delete::<R>(key);
        self.write(batch)
    }

    /// Makes all changes of a batch, or none.
    ///
    /// Errors: the disk is full or broken; nothing is changed and the database stays usable.
    pub fn write(&self, batch: Batch) -> Result<Commit, DatabaseError> {
        let changes = batch.into_changes();
        let payload = overlay::encode(&changes);
        let mut state = self.state();
        if !changes.is_empty() {
            let active = state.active;
            state.journals[active].append(&payload).map_err(|source| DatabaseError::Io {
                what: "write to the database journal".to_owned(),
                source,
            })?;
            for change in changes {
                state.overlay.apply(change);
            }
            state.written += 1;
            let must_wake = state.dirty_since.is_none() || state.wants_checkpoint();
            state.dirty_since.get_or_insert_with(Instant::now);
            if must_wake {
                self.shared().work.notify_one();
            }
        }
        Ok(Commit::new(Arc::clone(self.shared()), state.written))
    }

    /// Waits until all writes so far are on the disk. Blocking.
    ///
    /// Errors: the system refused.
    pub fn flush(&self) -> Result<(), DatabaseError> {
        let target = self.state().written;
        self.shared().sync(target)
    }

    /// Checks the database file. Blocking: reads all of it.
    ///
    /// Errors: [`DatabaseError::Damaged`]; the system refused.
    pub fn verify(&self) -> Result<(), DatabaseError> {
        self.shared().base.verify()
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.inner.shared
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared().state()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // The state is changed in single steps that do not panic; a poisoned lock is as good as another.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes up what two journal files hold beyond what is in the database file up to epoch `applied`.
    fn recover(recovered: [Recovered; 2], applied: u64) -> Result<Self, DatabaseError> {
        let [first, second] = recovered;
        let newer = usize::from(second.journal.epoch() > first.journal.epoch());
        let mut overlays = [Overlay::default(), Overlay::default()];
        let mut journals = Vec::with_capacity(2);
        for (index, Recovered { journal, payloads }) in [first, second].into_iter().enumerate() {
            if journal.epoch() > applied {
                for change in payloads.iter().filter_map(|payload| overlay::decode(payload)).flatten() {
                    overlays[index].apply(change);
                }
            }
            journals.push(journal);
        }
        let [first, second] = overlays;
        let (overlay, frozen) = if newer == 0 { (first, second) } else { (second, first) };
        let mut journals: [Journal; 2] =
            journals.try_into().unwrap_or_else(|_| unreachable!("there are two journals"));
        if journals[newer].epoch() <= applied {
            journals[newer].restart(applied + 1).map_err(|source| DatabaseError::Io {
                what: "start a database journal".to_owned(),
                source,
            })?;
        }
        let has_frozen = !frozen.is_empty();
        Ok(Self {
            journals,
            active: newer,
            overlay,
            frozen: has_frozen.then(|| Arc::new(frozen)),
            // What was found was read from the page cache: after a mere crash of the process it may be nowhere else.
            frozen_unsynced: has_frozen,
            written: 1,
            on_disk: 0,
            syncing: false,
            checkpointing: false,
            checkpoint_after: None,
            wakers: Vec::new(),
            failures: 0,
            dirty_since: Some(Instant::now()),
            closing: false,
        })
    }

    fn find(&self, table: &str, key: &str) -> Option<Option<overlay::Value>> {
        self.overlay.get(table, key).or_else(|| self.frozen.as_ref()?.get(table, key))
    }

    fn range(&self, table: &str, prefix: &str) -> BTreeMap<String, Option<overlay::Value>> {
        let older = self.frozen.iter().flat_map(|frozen| frozen.range(table, prefix));
        let newer = self.overlay.range(table, prefix);
        older.chain(newer).map(|(key, value)| (key.to_string(), value.clone())).collect()
    }

    /// Whether the journal should be brought into the database file now.
    fn wants_checkpoint(&self) -> bool {
        let due = self.checkpoint_after.is_none_or(|after| Instant::now() >= after);
        let large = self.journals[self.active].used() >= CHECKPOINT_BYTES;
        !self.checkpointing && due && (large || self.frozen.is_some())
    }

    /// The files that must be synced for all writes so far to be on the disk.
    fn unsynced_files(&self) -> std::io::Result<Vec<File>> {
        let mut files = Vec::with_capacity(2);
        if self.frozen_unsynced {
            files.push(self.journals[1 - self.active].file()?);
        }
        files.push(self.journals[self.active].file()?);
        Ok(files)
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.shared.state().closing = true;
        self.shared.work.notify_all();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the database thread panicked");
        }
    }
}
