//! Volumes of the local driver: directories that outlive containers.
//!
//! ```text
//! <data-root>/volumes/<name>/_data      the content, or what is mounted there (see `active`)
//! ```
//! with a record in the database. A volume belongs to nobody; who uses it is known from the containers' records.
//!
//! A record without a directory gets an empty one when the engine opens, a directory without a record is discarded: so
//! a volume is made with its directory first and removed with its record first.

mod active;
mod ops;
mod options;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use berth_store::{Commit, Database};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::time::Time;
use crate::trash::Trash;
use active::Active;
pub use ops::VolumeView;
pub(crate) use ops::{Mounted, size};
use options::Options;

/// The label of volumes that nobody named.
const ANONYMOUS: &str = "com.docker.volume.anonymous";

/// A volume.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Volume {
    /// Its name; 64 hexadecimal digits if nobody gave it one.
    pub name: String,
    /// When it was made.
    pub created: Time,
    /// Its labels, if any were given.
    pub labels: Option<BTreeMap<String, String>>,
    /// Options of its driver, if any were given.
    pub options: Option<Options>,
    /// Nobody gave it a name.
    pub anonymous: bool,
}

impl berth_store::Record for Volume {
    const TABLE: &'static str = "volumes";
    const VERSION: u32 = 2;

    fn upgrade(version: u32, mut value: serde_json::Value) -> Option<serde_json::Value> {
        // No labels and none given were the same; only containers made volumes.
        for name in ["labels", "options"] {
            let given =
                value.get_mut(name).filter(|map| map.as_object().is_some_and(serde_json::Map::is_empty));
            if let Some(given) = given {
                *given = serde_json::Value::Null;
            }
        }
        (version == 1).then_some(value)
    }
}

impl Volume {
    /// Whether something is mounted as it.
    fn needs_mount(&self) -> bool {
        options::needs_mount(self.options.as_ref())
    }

    /// Its labels with the one that Docker gives.
    pub(crate) fn shown_labels(&self) -> Option<BTreeMap<String, String>> {
        let mut labels = self.labels.clone();
        if self.anonymous {
            labels.get_or_insert_default().insert(ANONYMOUS.to_owned(), String::new());
        }
        labels
    }
}

/// What volume to make.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CreateVolume {
    /// Its name; empty: one is made up.
    pub name: String,
    /// Its driver; empty: `local`, which is the only one.
    pub driver: String,
    /// Options of the driver.
    pub options: Option<BTreeMap<String, String>>,
    /// Labels.
    pub labels: Option<BTreeMap<String, String>>,
}

/// A volume that is there now.
pub(crate) struct Taken {
    pub(crate) volume: Volume,
    /// Its directory.
    pub(crate) path: PathBuf,
    /// It was not there before.
    pub(crate) is_new: bool,
    /// Something is mounted as it before it is used.
    pub(crate) needs_mount: bool,
    /// Done when its record is on the disk.
    pub(crate) commit: Commit,
}

/// All volumes of an engine.
pub(crate) struct Volumes {
    root: PathBuf,
    database: Database,
    trash: Arc<Trash>,
    /// Which containers use a volume.
    users: Mutex<Users>,
    active: Active,
    pruning: AtomicBool,
}

type Users = HashMap<String, HashSet<String>>;

impl Volumes {
    pub(crate) fn open(root: PathBuf, database: Database, trash: Arc<Trash>) -> Volumes {
        Volumes {
            root,
            database,
            trash,
            users: Mutex::default(),
            active: Active::default(),
            pruning: AtomicBool::new(false),
        }
    }

    /// Finds a volume or makes it, and takes it into use for a container. One that is there is taken as it is.
    ///
    /// Errors: `InvalidParameter`, `NotFound` with Docker's text.
    pub(crate) fn take(&self, wanted: CreateVolume, container: Option<&str>) -> Result<Taken> {
        let CreateVolume { name, driver, options, labels } = wanted;
        let anonymous = name.is_empty();
        let name = if anonymous { crate::names::random_id()? } else { name };
        if !matches!(driver.as_str(), "" | "local") {
            return Err(Error::NotFound(format!(
                "create {name}: error looking up volume plugin {driver}: plugin \"{driver}\" not found"
            )));
        }
        // Under the lock, so that nobody removes the volume between its making and its use.
        let mut users = self.lock();
        let found = self.get(&name)?;
        let is_new = found.is_none();
        let (volume, commit) = match found {
            // What others wrote before is waited for as well.
            Some(volume) => {
                (volume, self.database.write(berth_store::Batch::default()).map_err(database_error)?)
            }
            None => {
                check(&name)?;
                if let Some(Err(text)) = options.as_ref().map(options::check) {
                    return Err(Error::invalid(format!("create {name}: {text}")));
                }
                let volume = Volume { name: name.clone(), created: Time::now(), labels, options, anonymous };
                let commit = self.make(&volume)?;
                (volume, commit)
            }
        };
        if let Some(container) = container {
            users.entry(name.clone()).or_default().insert(container.to_owned());
        }
        let needs_mount = volume.needs_mount();
        Ok(Taken { path: self.data(&name), volume, is_new, needs_mount, commit })
    }

    /// Notes that a container uses a volume that is there.
    pub(crate) fn hold(&self, name: &str, container: &str) {
        self.lock().entry(name.to_owned()).or_default().insert(container.to_owned());
    }

    /// Notes that a container uses a volume no longer.
    pub(crate) fn release(&self, name: &str, container: &str) {
        let mut users = self.lock();
        if let Some(holders) = users.get_mut(name) {
            holders.remove(container);
            if holders.is_empty() {
                users.remove(name);
            }
        }
    }

    /// Notes that a container that runs has a volume mounted.
    pub(crate) fn resume(&self, name: &str, container: &str) {
        self.active.resume(name, container);
    }

    /// Removes a volume that nobody uses. `None`: there is none.
    ///
    /// Errors: `Conflict` with Docker's text if somebody uses it.
    fn discard(&self, name: &str) -> Result<Option<Commit>> {
        let users = self.lock();
        if self.get(name)?.is_none() {
            return Ok(None);
        }
        if let Some(holders) = users.get(name) {
            let mut ids: Vec<&str> = holders.iter().map(String::as_str).collect();
            ids.sort_unstable();
            let ids = ids.join(", ");
            return Err(Error::Conflict(format!("remove {name}: volume is in use - [{ids}]")));
        }
        // Also what somebody mounted there by hand: it is not the volume's to delete.
        self.detach(name)?;
        let commit = self.database.delete::<Volume>(name).map_err(database_error)?;
        self.trash.discard(&self.root.join(name))?;
        Ok(Some(commit))
    }

    /// Removes a volume, unless somebody uses it. Whether it is gone by this.
    pub(crate) fn remove_unused(&self, name: &str) -> Result<bool> {
        match self.discard(name) {
            Ok(commit) => Ok(commit.is_some()),
            Err(Error::Conflict(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// A volume.
    fn get(&self, name: &str) -> Result<Option<Volume>> {
        self.database.get::<Volume>(name).map_err(database_error)
    }

    /// All volumes, with how many containers use each.
    fn list(&self) -> Result<Vec<(Volume, usize)>> {
        let volumes = self.database.scan::<Volume>("").map_err(database_error)?;
        let users = self.lock();
        let count = |name: &str| users.get(name).map_or(0, HashSet::len);
        Ok(volumes.into_iter().map(|(name, volume)| (volume, count(&name))).collect())
    }

    /// Puts right what a crash left, when those that run are known: directories that no record speaks of are discarded,
    /// those that are missing are made, and what nobody uses is unmounted.
    pub(crate) fn sweep(&self) -> Result<()> {
        let failed = || Error::io(format!("cannot read {}", self.root.display()));
        let mut known = HashSet::new();
        for (name, volume) in self.database.scan::<Volume>("").map_err(database_error)? {
            let put_right = if volume.needs_mount() { self.detach(&name) } else { Ok(()) };
            let put_right = put_right.and_then(|()| match active::is_mounted(&self.data(&name)) {
                true => Ok(()),
                false => self.make_directories(&name),
            });
            if let Err(error) = put_right {
                tracing::error!("volume {name}: {error}");
            }
            known.insert(name);
        }
        for entry in std::fs::read_dir(&self.root).map_err(failed())? {
            let entry = entry.map_err(failed())?;
            let name = entry.file_name().to_string_lossy().into_owned();
            // What is mounted in it may be the host's, and must not be deleted with it.
            if !known.contains(&name)
                && let Err(error) = self.detach(&name).and_then(|()| self.trash.discard(&entry.path()))
            {
                tracing::error!("what is left of volume {name}: {error}");
            }
        }
        Ok(())
    }

    fn detach(&self, name: &str) -> Result<()> {
        let path = self.data(name);
        let failed = Error::io(format!("remove {name}: unmount {}", path.display()));
        self.active.forget(name, &path).map_err(|errno| failed(errno.into()))
    }

    fn data(&self, name: &str) -> PathBuf {
        self.root.join(name).join("_data")
    }

    /// Makes a volume's directory and record; where that fails, neither is left.
    fn make(&self, volume: &Volume) -> Result<Commit> {
        let made = self
            .make_directories(&volume.name)
            .and_then(|()| self.database.put(&volume.name, volume).map_err(database_error));
        if made.is_err()
            && let Err(error) = self.trash.discard(&self.root.join(&volume.name))
        {
            tracing::warn!("undoing the making of volume {}: {error}", volume.name);
        }
        made
    }

    fn make_directories(&self, name: &str) -> Result<()> {
        let make = |path: &Path, what: &str, mode: u32| {
            let at = path.display();
            let text = format!("create {name}: error while creating volume {what} path '{at}': mkdir {at}");
            make_directory(path, mode).map_err(Error::io(text))
        };
        make(&self.root.join(name), "root", 0o700)?;
        make(&self.data(name), "data", 0o755)
    }

    fn lock(&self) -> MutexGuard<'_, Users> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes a directory with exactly this mode; one that is there is kept.
pub(crate) fn make_directory(path: &Path, mode: u32) -> std::io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
    match std::fs::DirBuilder::new().mode(mode).create(path) {
        Ok(()) => std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Checks a name that a user gave.
fn check(name: &str) -> Result<&str> {
    if name.len() == 1 {
        let text = "volume name is too short, names should be at least two alphanumeric characters";
        return Err(Error::invalid(format!("create {name}: {text}")));
    }
    if crate::names::check(name).is_err() || name.starts_with('/') {
        return Err(Error::invalid(format!(
            "create {name}: {name:?} includes invalid characters for a local volume name, only \
             \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path"
        )));
    }
    Ok(name)
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
pub(crate) fn database_error(error: berth_store::DatabaseError) -> Error {
    Error::internal("database", &error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_the_first_shape_are_understood() {
        use berth_store::Record as _;
        let old = r#"{"name":"a","created":5,"labels":{},"options":{},"anonymous":true}"#;
        let made = Volume { name: "a".into(), anonymous: true, ..Volume::default() };
        let upgraded = Volume::upgrade(1, serde_json::from_str(old).unwrap()).unwrap();
        let read: Volume = serde_json::from_value(upgraded).unwrap();
        assert_eq!(Volume { created: Time::default(), ..read.clone() }, made);
        assert_eq!(read.shown_labels(), Some([(ANONYMOUS.to_owned(), String::new())].into()));
        let labelled = r#"{"name":"a","created":5,"labels":{"b":"c"},"options":{},"anonymous":false}"#;
        let upgraded = Volume::upgrade(1, serde_json::from_str(labelled).unwrap()).unwrap();
        let read: Volume = serde_json::from_value(upgraded).unwrap();
        assert_eq!(read.labels, Some([("b".to_owned(), "c".to_owned())].into()));
        assert!(Volume::upgrade(3, serde_json::Value::Null).is_none());
    }

    #[test]
    fn names_are_checked_as_docker_does() {
        let text = |name: &str| check(name).map_or_else(|error| error.to_string(), str::to_owned);
        assert_eq!(text("data-1.x_y"), "data-1.x_y");
        assert_eq!(
            text("x"),
            "create x: volume name is too short, names should be at least two alphanumeric characters"
        );
        for bad in ["a/b", "/tmp", "..", "-a"] {
            assert_eq!(
                text(bad),
                format!(
                    "create {bad}: \"{bad}\" includes invalid characters for a local volume name, only \
                     \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use \
                     absolute path"
                )
            );
        }
    }
}
