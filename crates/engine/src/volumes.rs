//! Volumes of the local driver: directories that outlive containers.
//!
//! ```text
//! <data-root>/volumes/<name>/_data      the content
//! ```
//! with a record in the database. A volume belongs to nobody; who uses it is known from the containers' records.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use berth_store::Database;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::time::Time;
use crate::trash::Trash;

/// A volume.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Volume {
    /// Its name; 64 hexadecimal digits if nobody gave it one.
    pub name: String,
    /// When it was made.
    pub created: Time,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Options of its driver.
    pub options: BTreeMap<String, String>,
    /// Nobody gave it a name.
    pub anonymous: bool,
}

impl berth_store::Record for Volume {
    const TABLE: &'static str = "volumes";
    const VERSION: u32 = 1;
}

/// All volumes of an engine.
pub(crate) struct Volumes {
    root: PathBuf,
    database: Database,
    trash: Arc<Trash>,
    /// Which containers use a volume.
    users: Mutex<HashMap<String, HashSet<String>>>,
}

impl Volumes {
    pub(crate) fn open(root: PathBuf, database: Database, trash: Arc<Trash>) -> Volumes {
        Volumes { root, database, trash, users: Mutex::default() }
    }

    /// Takes a volume into use for a container, making it if there is none. Answers with its name and directory.
    ///
    /// Errors: `InvalidParameter` with Docker's text.
    pub(crate) fn take(
        &self,
        name: Option<&str>,
        driver: &str,
        labels: BTreeMap<String, String>,
        container: &str,
    ) -> Result<(String, PathBuf)> {
        if driver != "local" {
            let name = name.map_or_else(crate::names::random_id, |name| Ok(name.to_owned()))?;
            return Err(Error::NotFound(format!(
                "create {name}: error looking up volume plugin {driver}: plugin \"{driver}\" not found"
            )));
        }
        let (name, anonymous) = match name {
            Some(name) => (check(name)?.to_owned(), false),
            None => (crate::names::random_id()?, true),
        };
        let mut users = self.lock();
        // Under the lock, so that nobody removes the volume between its making and its use.
        if self.database.get::<Volume>(&name).map_err(database_error)?.is_none() {
            self.make(&name)?;
            let volume =
                Volume { name: name.clone(), created: Time::now(), labels, anonymous, ..Volume::default() };
            // Written behind: the container's own record makes it durable, or both are gone.
            drop(self.database.put(&name, &volume).map_err(database_error)?);
        }
        users.entry(name.clone()).or_default().insert(container.to_owned());
        let path = self.data(&name);
        Ok((name, path))
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

    /// Removes a volume, unless somebody uses it.
    pub(crate) fn remove_unused(&self, name: &str) -> Result<()> {
        let users = self.lock();
        if users.contains_key(name) {
            return Ok(());
        }
        drop(self.database.delete::<Volume>(name).map_err(database_error)?);
        self.trash.discard(&self.root.join(name))
    }

    /// All volumes, with how many containers use each.
    pub(crate) fn list(&self) -> Result<Vec<(Volume, PathBuf, usize)>> {
        let volumes = self.database.scan::<Volume>("").map_err(database_error)?;
        let users = self.lock();
        let count = |name: &str| users.get(name).map_or(0, HashSet::len);
        Ok(volumes.into_iter().map(|(name, volume)| (volume, self.data(&name), count(&name))).collect())
    }

    /// Removes directories that no record speaks of: their making was cut off.
    pub(crate) fn sweep(&self) -> Result<()> {
        let failed =
            |error| Error::Io { what: format!("cannot read {}", self.root.display()), source: error };
        for entry in std::fs::read_dir(&self.root).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if self.database.get::<Volume>(&name).map_err(database_error)?.is_none() {
                self.trash.discard(&entry.path())?;
            }
        }
        Ok(())
    }

    fn data(&self, name: &str) -> PathBuf {
        self.root.join(name).join("_data")
    }

    fn make(&self, name: &str) -> Result<()> {
        let data = self.data(name);
        let failed = |error| Error::Io { what: format!("cannot create {}", data.display()), source: error };
        let directory = self.root.join(name);
        make_directory(&directory, 0o700).map_err(failed)?;
        make_directory(&data, 0o755).map_err(failed)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, HashSet<String>>> {
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
