//! Snapshots: the root filesystems of containers, as mounts that the runtime makes.
//!
//! A snapshot is two directories of its own over the layers of an image. Making one is a handful of system calls and
//! a line in the database's journal; removing one is a rename.

use std::collections::{HashMap, HashSet};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use berth_oci::{Digest, Mount};
use rustix::fs::{AtFlags, FileType};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::database::Record;
use crate::image::index::Held;
use crate::layer;
use crate::store::Shared;
use crate::{Error, dir};

const UPPER: &str = "upper";
const WORK: &str = "work";

/// The snapshots; clones share them.
#[derive(Clone)]
pub struct Snapshots {
    shared: Arc<Shared>,
}

/// What a snapshot takes on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// The bytes of all files and links in the writable layer (`SizeRw`).
    pub bytes: u64,
    /// The number of files, directories and links in it.
    pub inodes: u64,
}

/// A snapshot in the database; its key is the snapshot's.
#[derive(Serialize, Deserialize)]
struct SnapshotRecord {
    image: Digest,
}

impl Record for SnapshotRecord {
    const TABLE: &'static str = "snapshots";
    const VERSION: u32 = 1;
}

/// Which snapshots there are, and of which images.
#[derive(Default)]
pub(crate) struct Snapshotted {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    images: HashMap<String, Digest>,
    counts: HashMap<Digest, u64>,
}

impl Snapshotted {
    /// Reads the records; those without a directory never came to be.
    pub(crate) fn load(&self, shared: &Shared) -> Result<(), Error> {
        for (key, record) in shared.database.scan::<SnapshotRecord>("")? {
            if dir::open(&shared.dirs.snapshots, key.as_str()).is_ok() {
                self.insert(&key, &record.image);
            } else {
                drop(shared.database.delete::<SnapshotRecord>(&key)?);
            }
        }
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn insert(&self, key: &str, image: &Digest) {
        let mut state = self.state();
        if state.images.insert(key.to_owned(), image.clone()).is_none() {
            *state.counts.entry(image.clone()).or_default() += 1;
        }
    }

    fn remove(&self, key: &str) -> Option<Digest> {
        let mut state = self.state();
        let image = state.images.remove(key)?;
        if let Some(count) = state.counts.get_mut(&image) {
            *count -= 1;
            if *count == 0 {
                state.counts.remove(&image);
            }
        }
        Some(image)
    }

    fn image(&self, key: &str) -> Option<Digest> {
        self.state().images.get(key).cloned()
    }

    /// Whether there is a snapshot of this image.
    pub(crate) fn uses(&self, image: &Digest) -> bool {
        self.state().counts.contains_key(image)
    }

    pub(crate) fn keys(&self) -> HashSet<String> {
        self.state().images.keys().cloned().collect()
    }
}

impl Snapshots {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Makes a writable snapshot of an image and gives its mounts. If the snapshot is there, only gives its mounts.
    ///
    /// Neither the database nor the disk is waited for: a few directories are made. The image and its layers are
    /// kept as long as the snapshot is there, even if the image is removed meanwhile.
    ///
    /// `key` is the container's ID.
    ///
    /// Errors: [`Error::NotFound`] if there is no such image; the system refused, and nothing is left.
    pub fn prepare(&self, key: &str, image: &Digest) -> Result<Vec<Mount>, Error> {
        check_key(key)?;
        let known = self.shared.snapshots.image(key);
        if known.is_some() {
            return self.mounts(key);
        }
        // First the use, then the look: a removal that comes between sees the use and spares the layers.
        self.shared.snapshots.insert(key, image);
        let result = self.make(key, image);
        if result.is_err() {
            self.shared.snapshots.remove(key);
            self.undo(key, image);
        }
        result
    }

    fn make(&self, key: &str, image: &Digest) -> Result<Vec<Mount>, Error> {
        let mounts = {
            let index = self.shared.index();
            let held =
                index.visible(image).ok_or_else(|| Error::NotFound(format!("No such image: {image}")))?;
            self.overlay(held, Some(key))
        };
        let fail = |error: std::io::Error| Error::io(format!("make snapshot {key}"))(error);
        let parent = &self.shared.dirs.snapshots;
        dir::make(parent, key, dir::PRIVATE).map_err(fail)?;
        dir::make(parent, &format!("{key}/{UPPER}"), 0o755).map_err(fail)?;
        dir::make(parent, &format!("{key}/{WORK}"), 0o700).map_err(fail)?;
        // Not waited for: the container's own record is written after this one, and is not durable without it.
        drop(self.shared.database.put(key, &SnapshotRecord { image: image.clone() })?);
        Ok(mounts)
    }

    fn undo(&self, key: &str, image: &Digest) {
        if let Err(error) = self.shared.trash.discard(&self.shared.dirs.snapshots, key) {
            tracing::warn!(%error, key, "snapshot cannot be discarded");
        }
        if let Err(error) = self.shared.forget_removed(image) {
            tracing::warn!(%error, %image, "removed image cannot be forgotten");
        }
    }

    /// The mounts of a snapshot that is there.
    ///
    /// Errors: [`Error::NotFound`].
    pub fn mounts(&self, key: &str) -> Result<Vec<Mount>, Error> {
        let missing = || Error::NotFound(format!("snapshot {key} not found"));
        let image = self.shared.snapshots.image(key).ok_or_else(missing)?;
        let index = self.shared.index();
        let held = index.held(&image).ok_or_else(missing)?;
        Ok(self.overlay(held, Some(key)))
    }

    /// The mounts for looking at an image without writing: read-only, no directory is made.
    ///
    /// Errors: [`Error::NotFound`].
    pub fn view(&self, image: &Digest) -> Result<Vec<Mount>, Error> {
        let index = self.shared.index();
        let held = index.held(image).ok_or_else(|| Error::NotFound(format!("No such image: {image}")))?;
        Ok(self.overlay(held, None))
    }

    /// Removes a snapshot. Its files go to the trash with one rename and are deleted in the background; removing
    /// what is not there is no error.
    ///
    /// Errors: the system refused.
    pub fn remove(&self, key: &str) -> Result<(), Error> {
        check_key(key)?;
        let fail = Error::io(format!("remove snapshot {key}"));
        self.shared.trash.discard(&self.shared.dirs.snapshots, key).map_err(fail)?;
        drop(self.shared.database.delete::<SnapshotRecord>(key)?);
        let Some(image) = self.shared.snapshots.remove(key) else { return Ok(()) };
        let is_removed = self.shared.index().held(&image).is_some_and(|held| held.record.removed);
        if is_removed { self.shared.forget_removed(&image) } else { Ok(()) }
    }

    /// What the writable layer takes. Blocking: walks it.
    ///
    /// Errors: [`Error::NotFound`]; the system refused.
    pub fn usage(&self, key: &str) -> Result<Usage, Error> {
        check_key(key)?;
        let fail = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::NotFound => Error::NotFound(format!("snapshot {key} not found")),
            _ => Error::io(format!("measure snapshot {key}"))(error),
        };
        let snapshot = dir::open(&self.shared.dirs.snapshots, key).map_err(fail)?;
        let upper = dir::open(&snapshot, UPPER).map_err(fail)?;
        measure(&upper).map_err(fail)
    }

    /// The writable layer's directory, for looking at what a container changed.
    ///
    /// Errors: [`Error::NotFound`].
    pub fn upper(&self, key: &str) -> Result<PathBuf, Error> {
        match self.shared.snapshots.image(key) {
            Some(_) => Ok(self.shared.path.join("snapshots").join(key).join(UPPER)),
            None => Err(Error::NotFound(format!("snapshot {key} not found"))),
        }
    }

    /// The directory of all layers.
    pub(crate) fn layers_path(&self) -> PathBuf {
        self.shared.path.join("layers")
    }

    /// The keys of all snapshots that are there, with the images that they are of.
    pub fn list(&self) -> Vec<(String, Digest)> {
        let state = self.shared.snapshots.state();
        state.images.iter().map(|(key, image)| (key.clone(), image.clone())).collect()
    }

    /// The mounts of an image, with a writable layer if there is a key.
    fn overlay(&self, held: &Held, key: Option<&str>) -> Vec<Mount> {
        let root = self.shared.path.to_string_lossy();
        let stack = &held.record.stack;
        let mut lower: Vec<String> = Vec::with_capacity(held.chains.len() + 1);
        if let Some(chain) = held.chains.last().filter(|_| stack.fixup) {
            lower.push(format!("{root}/fixups/{}/{}", layer::directory_name(chain), layer::DIFF));
        }
        let layers = held.image.config.rootfs.diff_ids.iter().skip(stack.first).rev();
        // A layer may be there twice, but overlay takes each directory once; the upper one hides the lower.
        let mut seen = HashSet::new();
        let layers = layers.filter(|layer| seen.insert(*layer));
        lower.extend(layers.map(|l| format!("{root}/layers/{}/{}", layer::directory_name(l), layer::DIFF)));
        if lower.is_empty() {
            lower.push(format!("{root}/empty"));
        }
        let Some(key) = key else {
            if let [only] = lower.as_slice() {
                return vec![Mount::new("bind", only, "/", &["rbind", "ro"])];
            }
            return vec![overlay_mount(&lower, Vec::new())];
        };
        let snapshot = format!("{root}/snapshots/{key}");
        let own = vec![format!("upperdir={snapshot}/{UPPER}"), format!("workdir={snapshot}/{WORK}")];
        vec![overlay_mount(&lower, own)]
    }
}

fn overlay_mount(lower: &[String], own: Vec<String>) -> Mount {
    let escaped: Vec<String> =
        lower.iter().map(|path| path.replace('\\', "\\\\").replace(':', "\\:")).collect();
    let mut options = vec![format!("lowerdir={}", escaped.join(":"))];
    options.extend(own);
    options.extend(features());
    Mount {
        destination: "/".to_owned(),
        kind: "overlay".to_owned(),
        source: "overlay".to_owned(),
        options,
        ..Mount::default()
    }
}

/// Features of overlay that a distribution may have switched on and that would make the writable layer something
/// else than plain files: they are switched off where they are on.
fn features() -> impl Iterator<Item = String> {
    static ON: std::sync::OnceLock<Vec<&'static str>> = std::sync::OnceLock::new();
    let on = ON.get_or_init(|| {
        let is_on = |name: &&str| {
            let path = format!("/sys/module/overlay/parameters/{name}");
            std::fs::read_to_string(path).is_ok_and(|value| value.trim() == "Y")
        };
        ["index", "redirect_dir", "metacopy"].into_iter().filter(is_on).collect()
    });
    on.iter().map(|name| format!("{name}=off"))
}

/// A key is the name of a directory and of a record.
fn check_key(key: &str) -> Result<(), Error> {
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if key.is_empty() || key.len() > 200 || key.starts_with('.') || !key.bytes().all(good) {
        return Err(Error::Invalid(format!("snapshot key {key:?} is not usable")));
    }
    Ok(())
}

/// Adds up a tree; hard links count once, and what goes away meanwhile not at all.
fn measure(root: &OwnedFd) -> std::io::Result<Usage> {
    let mut usage = Usage::default();
    let mut linked = HashSet::new();
    // Directories that wait, by descriptor of their parent and name, would be too many descriptors: paths will do,
    // resolved anew from the root, without links.
    let mut waiting: Vec<PathBuf> = vec![PathBuf::from(".")];
    while let Some(path) = waiting.pop() {
        let dir = match dir::open(root.as_fd(), &path) {
            Ok(dir) => dir,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) if Errno::from_io_error(&error) == Some(Errno::NAMETOOLONG) => continue,
            Err(error) => return Err(error),
        };
        for name in dir::names(&dir)? {
            let Ok(stat) = rustix::fs::statat(&dir, &name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            usage.inodes += 1;
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => waiting.push(path.join(&name)),
                FileType::RegularFile if stat.st_nlink > 1 && !linked.insert(stat.st_ino) => {}
                FileType::RegularFile | FileType::Symlink => {
                    usage.bytes += u64::try_from(stat.st_size).unwrap_or(0);
                }
                _ => {}
            }
        }
    }
    Ok(usage)
}
