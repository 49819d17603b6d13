//! Deleting without being waited for: a rename now, the work in the background.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;

use crate::error::{Error, Result};

/// Where things go that are no longer needed.
pub(crate) struct Trash {
    directory: PathBuf,
    next: AtomicU64,
    worker: mpsc::Sender<PathBuf>,
}

impl Trash {
    /// Opens the trash and begins to empty what an earlier engine left in it.
    pub(crate) fn open(directory: PathBuf) -> Result<Trash> {
        let failed = |error| Error::Io { what: format!("cannot use {}", directory.display()), source: error };
        let mut left = 0;
        let (worker, paths) = mpsc::channel::<PathBuf>();
        for entry in std::fs::read_dir(&directory).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            // Names are numbers that only grow: what is left must not be met again.
            let number =
                path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse::<u64>().ok());
            left = left.max(number.map_or(0, |number| number + 1));
            let _ = worker.send(path);
        }
        let empty = move || {
            for path in paths {
                delete(&path);
            }
        };
        std::thread::Builder::new().name("trash".to_owned()).spawn(empty).map_err(failed)?;
        Ok(Trash { directory, next: AtomicU64::new(left), worker })
    }

    /// Takes a directory away at once and deletes it later. What is not there is no error.
    pub(crate) fn discard(&self, path: &Path) -> Result<()> {
        let name = self.next.fetch_add(1, Ordering::Relaxed).to_string();
        let target = self.directory.join(name);
        match std::fs::rename(path, &target) {
            Ok(()) => {
                let _ = self.worker.send(target);
                Ok(())
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            // It is on another file system: volumes often are. A name that nobody else has will do as well.
            Err(error) if error.kind() == std::io::ErrorKind::CrossesDevices => {
                let target = path.with_file_name(format!(".trash-{}", crate::names::random_id()?));
                std::fs::rename(path, &target)
                    .map_err(Error::io(format!("cannot remove {}", path.display())))?;
                let _ = self.worker.send(target);
                Ok(())
            }
            Err(source) => Err(Error::Io { what: format!("cannot remove {}", path.display()), source }),
        }
    }
}

fn delete(path: &Path) {
    let result = match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(error) => Err(error),
    };
    if let Err(error) = result {
        tracing::warn!("deleting {}: {error}", path.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_discarded_is_gone_at_once_and_deleted_soon() {
        let directory = tempfile::tempdir().unwrap();
        let trash_path = directory.path().join("trash");
        std::fs::create_dir_all(trash_path.join("5/deep")).unwrap();
        let trash = Trash::open(trash_path.clone()).unwrap();
        for _ in 0..3 {
            let victim = directory.path().join("victim");
            std::fs::create_dir(&victim).unwrap();
            std::fs::write(victim.join("file"), "x").unwrap();
            trash.discard(&victim).unwrap();
            assert!(!victim.exists());
        }
        trash.discard(&directory.path().join("never-there")).unwrap();
        while std::fs::read_dir(&trash_path).unwrap().count() > 0 {
            std::thread::yield_now();
        }
    }
}
