//! What a container changed: its own layer against those of its image.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{FileType, Mode, OFlags, Stat};

use super::pack::DEPTH_MAX;
use super::path::bytes;
use super::tree::{Item, Live, Tree as _};
use crate::Inner;
use crate::error::{Error, Result};
use crate::rootfs::{Directory, Found, RootFs, is_opaque, is_whiteout};

/// Files and directories that belong to every container and not to what it changed.
const OWN: [&str; 13] = [
    "/.dockerenv",
    "/dev",
    "/dev/console",
    "/dev/mqueue",
    "/dev/pts",
    "/dev/shm",
    "/etc",
    "/etc/hostname",
    "/etc/hosts",
    "/etc/mtab",
    "/etc/resolv.conf",
    "/proc",
    "/sys",
];

/// A path that a container changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The path, from the root.
    pub path: Vec<u8>,
    /// What happened to it.
    pub kind: ChangeKind,
}

/// What happened to a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// It is another one, or something in it is.
    Modified,
    /// It was not there before.
    Added,
    /// It is not there any more.
    Deleted,
}

impl Inner {
    /// What a container changed, by path.
    pub(crate) async fn changes(self: &Arc<Self>, reference: &str) -> Result<Vec<Change>> {
        let slot = self.registry.find(reference)?;
        let (upper, lower) = self.layers_of(slot.id())?;
        let found = tokio::task::spawn_blocking(move || {
            let mut changes = Vec::new();
            walk(&upper, &lower, &mut |change, _| {
                changes.push(change);
                Ok(())
            })?;
            Ok::<_, io::Error>(changes)
        });
        let found = found.await.map_err(|error| Error::internal("comparing", &error))?;
        found.map_err(Error::io(format!("cannot compare {} with its image", slot.id())))
    }

    /// The container's own layer, and those below it.
    pub(super) fn layers_of(&self, id: &str) -> Result<(OwnedFd, RootFs)> {
        let snapshots = self.store.snapshots();
        let mounts = snapshots.mounts(id).map_err(crate::image::error)?;
        let upper = snapshots.upper(id).map_err(crate::image::error)?;
        let open = open_directory(&upper);
        let upper = open.map_err(Error::io(format!("cannot open {}", upper.display())))?;
        Ok((upper, RootFs::below(&mounts)))
    }
}

fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

/// Told of each change, in order of the paths, with what is there now.
pub(super) type OnChange<'a> = &'a mut dyn FnMut(Change, Option<&Item<Live>>) -> io::Result<()>;

/// Compares a container's own layer with those below it.
pub(super) fn walk(upper: &OwnedFd, lower: &RootFs, tell: OnChange<'_>) -> io::Result<()> {
    let root = rustix::fs::fstat(upper)?.st_dev;
    let upper = Live::open(upper, root)?;
    let lower = match lower.find("/")? {
        Some(Found::Directory(lower)) => Some(lower),
        _ => None,
    };
    let mut found = Vec::new();
    Walk { path: Vec::new(), found: &mut found, tell }.directory(&upper, lower.as_ref(), false, 0)
}

struct Walk<'a> {
    path: Vec<u8>,
    /// Directories on the way that nothing was told of yet.
    found: &'a mut Vec<(Vec<u8>, bool)>,
    tell: OnChange<'a>,
}

impl Walk<'_> {
    fn directory(
        &mut self,
        upper: &Live,
        lower: Option<&Directory>,
        opaque: bool,
        depth: usize,
    ) -> io::Result<()> {
        if depth > DEPTH_MAX {
            return Err(io::Error::other("directories are nested too deeply"));
        }
        let mut names: BTreeSet<OsString> = upper.names()?.into_iter().collect();
        if opaque && let Some(lower) = lower {
            names.extend(lower.names()?);
        }
        for name in names {
            let length = self.path.len();
            self.path.push(b'/');
            self.path.extend_from_slice(bytes(&name));
            let result = self.entry(upper, lower, &name, depth);
            self.path.truncate(length);
            result?;
        }
        Ok(())
    }

    fn entry(
        &mut self,
        upper: &Live,
        lower: Option<&Directory>,
        name: &OsStr,
        depth: usize,
    ) -> io::Result<()> {
        let below = lower.map(|lower| lower.look(name)).transpose()?.flatten();
        let is_own = OWN.iter().any(|own| own.as_bytes() == self.path);
        let above = match upper.look(name)? {
            // Gone from an opaque directory, or hidden.
            None => None,
            Some(Item::Other(_, stat)) if is_whiteout(&stat) => None,
            above => above,
        };
        match (above, below) {
            (None, None) => Ok(()),
            (None, Some(_)) => self.change(ChangeKind::Deleted, None),
            (Some(item), None) if !is_own => {
                self.change(ChangeKind::Added, Some(&item))?;
                match &item {
                    Item::Directory(inner) => self.directory(inner, None, false, depth + 1),
                    Item::Other(..) => Ok(()),
                }
            }
            (Some(Item::Directory(inner)), None) => self.directory(&inner, None, false, depth + 1),
            (Some(Item::Other(..)), None) => Ok(()),
            (Some(item @ Item::Directory(_)), Some(Found::Directory(below))) => {
                self.both(upper, &item, &below, name, depth)
            }
            (Some(item), Some(below)) => {
                let same = match (&item, &below) {
                    (Item::Other(_, now), Found::Other(_, then)) => !differs_file(now, then),
                    _ => false,
                };
                if same {
                    return Ok(());
                }
                self.change(ChangeKind::Modified, Some(&item))?;
                match &item {
                    Item::Directory(inner) => self.directory(inner, None, false, depth + 1),
                    Item::Other(..) => Ok(()),
                }
            }
        }
    }

    /// A directory in both.
    fn both(
        &mut self,
        upper: &Live,
        item: &Item<Live>,
        below: &Directory,
        name: &OsStr,
        depth: usize,
    ) -> io::Result<()> {
        let Item::Directory(inner) = item else { return Ok(()) };
        self.found.push((self.path.clone(), false));
        if differs(&inner.stat()?, &below.stat()?) {
            self.change(ChangeKind::Modified, Some(item))?;
        }
        self.directory(inner, Some(below), is_opaque(upper.fd(), name), depth + 1)?;
        self.found.pop();
        Ok(())
    }

    /// Tells of a change, and first of the directories above it: something in them is another.
    fn change(&mut self, kind: ChangeKind, item: Option<&Item<Live>>) -> io::Result<()> {
        for (path, told) in self.found.iter_mut() {
            if !std::mem::replace(told, true) && *path != self.path {
                (self.tell)(Change { path: path.clone(), kind: ChangeKind::Modified }, None)?;
            }
        }
        (self.tell)(Change { path: self.path.clone(), kind }, item)
    }
}

/// Whether a directory is another one. Its time says nothing: it changes with what is in it.
fn differs(now: &Stat, then: &Stat) -> bool {
    (now.st_mode, now.st_uid, now.st_gid) != (then.st_mode, then.st_uid, then.st_gid)
}

fn differs_file(now: &Stat, then: &Stat) -> bool {
    let times = |stat: &Stat| (stat.st_mtime, stat.st_mtime_nsec);
    let size = |stat: &Stat| match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => 0,
        _ => stat.st_size,
    };
    differs(now, then) || now.st_rdev != then.st_rdev || times(now) != times(then) || size(now) != size(then)
}
