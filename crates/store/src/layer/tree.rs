//! A layer's directory while it is filled: every operation goes by descriptor and stays below the layer's root.
//!
//! Parents of entries are opened with `openat2` inside the root, where a link can lead nowhere else; the last
//! component of a path is never followed. Nothing here trusts a joined path.

use std::collections::HashSet;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::{LayerError, Limits};
use crate::tar::{Entry, Kind};

/// The attribute that makes overlay hide what lower layers have in a directory.
pub(super) const OPAQUE: &str = "trusted.overlay.opaque";
/// What is opened: a directory, for its entries and attributes.
const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
const SCOPE: ResolveFlags = ResolveFlags::NO_MAGICLINKS.union(ResolveFlags::NO_XDEV);

/// A checked path below the root: no empty component, no `.` or `..`, no NUL. The root itself is the empty path.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct LayerPath(Vec<u8>);

impl LayerPath {
    /// Checks a path as it stands in an archive. Absolute ones are taken from the root.
    pub(super) fn parse(path: &[u8], limits: &Limits) -> Result<Self, LayerError> {
        let spelled = || String::from_utf8_lossy(path).into_owned();
        if path.len() > limits.path_bytes_max {
            return Err(LayerError::Limit(format!("path is longer than {} bytes", limits.path_bytes_max)));
        }
        if path.contains(&0) {
            return Err(LayerError::Path(format!("{:?}", spelled())));
        }
        let mut clean = Vec::with_capacity(path.len());
        let mut depth = 0;
        for part in path.split(|b| *b == b'/').filter(|part| !part.is_empty() && *part != b".") {
            if part == b".." {
                return Err(LayerError::Path(format!("{:?} leaves the layer", spelled())));
            }
            if depth > 0 {
                clean.push(b'/');
            }
            clean.extend_from_slice(part);
            depth += 1;
        }
        if depth > limits.depth_max {
            return Err(LayerError::Limit(format!("path is deeper than {} directories", limits.depth_max)));
        }
        Ok(Self(clean))
    }

    pub(super) fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// Parent and last component.
    pub(super) fn split(&self) -> (&[u8], &[u8]) {
        match self.0.iter().rposition(|b| *b == b'/') {
            Some(slash) => (&self.0[..slash], &self.0[slash + 1..]),
            None => (&[], &self.0),
        }
    }
}

/// The directory that is filled.
pub(super) struct Tree {
    root: OwnedFd,
    /// The directory around it: files that were replaced by later entries are moved there, for the recipe needs
    /// their data.
    layer: OwnedFd,
    /// The parent of the last entry: the next one usually has the same.
    parent: Option<Parent>,
    /// Directories that were made because an entry lies in them.
    pub(super) implicit: HashSet<Vec<u8>>,
    /// Names that are further names of files.
    links: HashSet<Vec<u8>>,
    /// Files (by inode) that were placed through a link: the recipe has their data itself.
    loose: HashSet<u64>,
    /// Paths of replaced files, in the order in which they were replaced.
    pub(super) kept: Vec<Vec<u8>>,
}

struct Parent {
    path: Vec<u8>,
    dir: OwnedFd,
    /// A link was followed on the way.
    through_link: bool,
}

/// Where an entry goes.
pub(super) struct Place<'a> {
    pub(super) dir: BorrowedFd<'a>,
    pub(super) name: CString,
    /// The way here leads through a link, so the path alone will not find the entry again.
    pub(super) through_link: bool,
}

impl Tree {
    /// `root` is the empty directory of the layer's files, `layer` the one around it.
    pub(super) fn new(root: OwnedFd, layer: OwnedFd) -> Self {
        Self {
            root,
            layer,
            parent: None,
            implicit: HashSet::new(),
            links: HashSet::new(),
            loose: HashSet::new(),
            kept: Vec::new(),
        }
    }

    pub(super) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// The place of an entry; parents that are missing are made.
    pub(super) fn place(&mut self, path: &LayerPath) -> Result<Place<'_>, LayerError> {
        self.enter(path)?;
        self.entered(path)
    }

    /// Opens the parent of an entry, unless it is that of the entry before.
    fn enter(&mut self, path: &LayerPath) -> Result<(), LayerError> {
        let (parent, _) = path.split();
        if self.parent.as_ref().is_none_or(|cached| cached.path != parent) {
            self.parent = None;
            self.parent = Some(self.open_parent(parent)?);
        }
        Ok(())
    }

    fn entered(&self, path: &LayerPath) -> Result<Place<'_>, LayerError> {
        let (_, name) = path.split();
        let name = CString::new(name).map_err(|_| LayerError::Path("NUL in a name".to_owned()))?;
        match &self.parent {
            Some(parent) => Ok(Place { dir: parent.dir.as_fd(), name, through_link: parent.through_link }),
            None => Err(LayerError::Path(spell(path.bytes()))),
        }
    }

    fn open_parent(&mut self, path: &[u8]) -> Result<Parent, LayerError> {
        let through_link = match self.resolve(path, ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS) {
            Ok(dir) => return Ok(Parent { path: path.to_vec(), dir, through_link: false }),
            Err(Errno::NOENT) => false,
            Err(Errno::LOOP) => true,
            Err(error) => return Err(at(path, error)),
        };
        let dir = match self.resolve(path, ResolveFlags::IN_ROOT) {
            Ok(dir) => dir,
            Err(Errno::NOENT) => self.make_parents(path)?,
            Err(error) => return Err(at(path, error)),
        };
        Ok(Parent { path: path.to_vec(), dir, through_link })
    }

    /// Opens a directory below the root.
    fn resolve(&self, path: &[u8], scope: ResolveFlags) -> Result<OwnedFd, Errno> {
        let path = if path.is_empty() { b"." } else { path };
        // A rename anywhere in the system can make the kernel ask for another try.
        loop {
            match rustix::fs::openat2(&self.root, path, DIRECTORY, Mode::empty(), SCOPE | scope) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                result => return result,
            }
        }
    }

    fn make_parents(&mut self, path: &[u8]) -> Result<OwnedFd, LayerError> {
        let mut dir = self.resolve(b"", ResolveFlags::IN_ROOT).map_err(|error| at(path, error))?;
        let ends = (0..path.len()).filter(|i| path[*i] == b'/').chain([path.len()]);
        let mut start = 0;
        for end in ends {
            let (prefix, name) = (&path[..end], &path[start..end]);
            start = end + 1;
            dir = match self.resolve(prefix, ResolveFlags::IN_ROOT) {
                Ok(next) => next,
                Err(Errno::NOENT) => {
                    // A link that leads nowhere makes this fail, as it must.
                    let mode = Mode::from_raw_mode(0o755);
                    rustix::fs::mkdirat(&dir, name, mode).map_err(|error| at(prefix, error))?;
                    rustix::fs::chmodat(&dir, name, mode, AtFlags::empty())
                        .map_err(|error| at(prefix, error))?;
                    self.implicit.insert(prefix.to_vec());
                    self.resolve(prefix, ResolveFlags::IN_ROOT).map_err(|error| at(prefix, error))?
                }
                Err(error) => return Err(at(prefix, error)),
            };
        }
        Ok(dir)
    }

    /// Makes something at a place. If something is there already, it gives way as later entries replace earlier ones.
    pub(super) fn make<T>(
        &mut self,
        path: &LayerPath,
        make: impl Fn(&Place<'_>) -> Result<T, Errno>,
    ) -> Result<T, LayerError> {
        match make(&self.place(path)?) {
            Err(Errno::EXIST) => self.clear(path)?,
            result => return result.map_err(|error| at(path.bytes(), error)),
        }
        make(&self.place(path)?).map_err(|error| at(path.bytes(), error))
    }

    /// Takes away what an earlier entry put here.
    fn clear(&mut self, path: &LayerPath) -> Result<(), LayerError> {
        let is_link = self.links.remove(path.bytes());
        self.enter(path)?;
        let place = self.entered(path)?;
        let fail = |error| at(path.bytes(), error);
        let stat = rustix::fs::statat(place.dir, &place.name, AtFlags::SYMLINK_NOFOLLOW).map_err(fail)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::Directory {
            let removed = rustix::fs::unlinkat(place.dir, &place.name, AtFlags::REMOVEDIR);
            self.parent = None;
            self.implicit.remove(path.bytes());
            return removed.map_err(|error| match error {
                Errno::NOTEMPTY | Errno::EXIST => {
                    LayerError::Path(format!("{} is a directory and something else", spell(path.bytes())))
                }
                error => fail(error),
            });
        }
        let in_recipe = kind == FileType::RegularFile
            && stat.st_size > 0
            && !is_link
            && !self.loose.contains(&stat.st_ino);
        if !in_recipe {
            return rustix::fs::unlinkat(place.dir, &place.name, AtFlags::empty()).map_err(fail);
        }
        if place.through_link {
            let path = spell(path.bytes());
            return Err(LayerError::Path(format!("{path} replaces a file through a link")));
        }
        let kept = kept_name(self.kept.len());
        rustix::fs::renameat(place.dir, &place.name, &self.layer, kept).map_err(fail)?;
        self.kept.push(path.bytes().to_vec());
        Ok(())
    }

    /// Makes an empty file; true if the recipe must hold its data, for its path will not lead to it. Of the mode only
    /// the permissions count, and the umask takes from them.
    pub(super) fn file(&mut self, path: &LayerPath, mode: u32) -> Result<(OwnedFd, bool), LayerError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let (fd, through_link) = self.make(path, |place| {
            let permissions = Mode::from_raw_mode(mode & 0o777);
            let fd = rustix::fs::openat(place.dir, &place.name, flags, permissions)?;
            Ok((fd, place.through_link))
        })?;
        if through_link {
            let stat = rustix::fs::fstat(&fd).map_err(|error| at(path.bytes(), error))?;
            self.loose.insert(stat.st_ino);
        }
        Ok((fd, through_link))
    }

    /// What is at a path now; `None` if nothing.
    pub(super) fn stat(&mut self, path: &LayerPath) -> Result<Option<rustix::fs::Stat>, LayerError> {
        let place = self.place(path)?;
        match rustix::fs::statat(place.dir, &place.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(at(path.bytes(), error)),
        }
    }

    /// Makes a directory; one that is there stays and gets the attributes of the entry.
    pub(super) fn directory(&mut self, path: &LayerPath) -> Result<OwnedFd, LayerError> {
        if path.is_root() {
            return self.resolve(b"", ResolveFlags::IN_ROOT).map_err(|error| at(path.bytes(), error));
        }
        let whiteout = self.stat(path)?.is_some_and(|stat| is_whiteout(&stat));
        let open = |place: &Place<'_>| {
            match rustix::fs::mkdirat(place.dir, &place.name, Mode::from_raw_mode(0o700)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error),
            }
            let flags = DIRECTORY | OFlags::NOFOLLOW;
            match rustix::fs::openat(place.dir, &place.name, flags, Mode::empty()) {
                // Something else is there.
                Err(Errno::NOTDIR | Errno::LOOP) => Err(Errno::EXIST),
                result => result,
            }
        };
        let dir = self.make(path, open)?;
        self.implicit.remove(path.bytes());
        if whiteout {
            set_opaque(&dir).map_err(|error| at(path.bytes(), error))?;
        }
        Ok(dir)
    }

    /// Hides what lower layers have at a path.
    pub(super) fn whiteout(&mut self, path: &LayerPath) -> Result<(), LayerError> {
        match self.stat(path)? {
            None => {
                let place = self.place(path)?;
                let kind = FileType::CharacterDevice;
                rustix::fs::mknodat(place.dir, &place.name, kind, Mode::empty(), 0)
                    .map_err(|error| at(path.bytes(), error))
            }
            // What this layer has here stays, and hides what is below anyway; a directory must be told to.
            Some(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                let dir = self.directory(path)?;
                set_opaque(&dir).map_err(|error| at(path.bytes(), error))
            }
            Some(_) => Ok(()),
        }
    }

    /// Makes the directory at `path` hide all of lower layers.
    pub(super) fn opaque(&mut self, path: &[u8]) -> Result<(), LayerError> {
        let dir = match self.resolve(path, ResolveFlags::IN_ROOT) {
            Err(Errno::NOENT) => self.make_parents(path)?,
            result => result.map_err(|error| at(path, error))?,
        };
        set_opaque(&dir).map_err(|error| at(path, error))
    }

    /// Makes another name of a file of this layer; false if this layer does not have that file.
    pub(super) fn hard_link(&mut self, path: &LayerPath, target: &LayerPath) -> Result<bool, LayerError> {
        let (parent, name) = target.split();
        let target_dir = match self.resolve(parent, ResolveFlags::IN_ROOT) {
            Ok(dir) => dir,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(false),
            Err(error) => return Err(at(target.bytes(), error)),
        };
        let stat = match rustix::fs::statat(&target_dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(false),
            Err(error) => return Err(at(target.bytes(), error)),
        };
        if is_whiteout(&stat) || FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            return Err(LayerError::Path(format!(
                "hard link to {}, which is no file",
                spell(target.bytes())
            )));
        }
        if path == target {
            return Err(LayerError::Path(format!("hard link of {} to itself", spell(target.bytes()))));
        }
        self.make(path, |place| {
            rustix::fs::linkat(&target_dir, name, place.dir, &place.name, AtFlags::empty())
        })?;
        self.links.insert(path.bytes().to_vec());
        Ok(true)
    }

    /// Sets the time of a directory, last of all. What is no directory any more is left alone.
    pub(super) fn directory_time(&self, path: &[u8], mtime: (i64, u32)) -> Result<(), LayerError> {
        match self.resolve(path, ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS) {
            Ok(dir) => rustix::fs::futimens(&dir, &times(mtime)).map_err(|error| at(path, error)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(()),
            Err(error) => Err(at(path, error)),
        }
    }
}

/// The name of the nth replaced file, in the directory of the layer.
pub(super) fn kept_name(number: usize) -> String {
    format!("kept-{number}")
}

/// Sets owner, permissions, extended attributes and, unless it is a directory, times of an opened entry. What is
/// right already is left alone: asking costs a tenth of setting.
pub(super) fn attributes(fd: BorrowedFd<'_>, entry: &Entry, path: &LayerPath) -> Result<(), LayerError> {
    let fail = |error| at(path.bytes(), error);
    let stat = rustix::fs::fstat(fd).map_err(fail)?;
    // The owner first: changing it clears set-user-id and capabilities.
    let is_theirs = (stat.st_uid, stat.st_gid) == (entry.uid, entry.gid);
    if !is_theirs {
        rustix::fs::fchown(fd, owner(entry.uid), group(entry.gid)).map_err(fail)?;
    }
    let mode = Mode::from_raw_mode(entry.mode);
    if !is_theirs || Mode::from_raw_mode(stat.st_mode) != mode {
        rustix::fs::fchmod(fd, mode).map_err(fail)?;
    }
    for (name, value) in entry.xattrs.iter().filter(|(name, _)| is_wanted(name)) {
        ignore_unsupported(rustix::fs::fsetxattr(fd, name.as_slice(), value, XattrFlags::empty()))
            .map_err(fail)?;
    }
    if entry.kind != Kind::Directory {
        rustix::fs::futimens(fd, &times(entry.mtime)).map_err(fail)?;
    }
    Ok(())
}

/// Sets owner, permissions, extended attributes and times of what cannot be opened: links, devices, pipes.
pub(super) fn attributes_at(place: &Place<'_>, entry: &Entry, path: &LayerPath) -> Result<(), LayerError> {
    let fail = |error| at(path.bytes(), error);
    let (dir, name) = (place.dir, &place.name);
    let uid_gid = (owner(entry.uid), group(entry.gid));
    rustix::fs::chownat(dir, name, uid_gid.0, uid_gid.1, AtFlags::SYMLINK_NOFOLLOW).map_err(fail)?;
    if entry.kind != Kind::Symlink {
        // Made a moment ago by nobody but us, so it is no link.
        rustix::fs::chmodat(dir, name, Mode::from_raw_mode(entry.mode), AtFlags::empty()).map_err(fail)?;
    }
    for (key, value) in entry.xattrs.iter().filter(|(key, _)| is_wanted(key)) {
        use std::os::fd::AsRawFd;
        let mut by_fd = format!("/proc/self/fd/{}/", dir.as_raw_fd()).into_bytes();
        by_fd.extend_from_slice(name.as_bytes());
        let set = rustix::fs::lsetxattr(by_fd.as_slice(), key.as_slice(), value, XattrFlags::empty());
        ignore_unsupported(set).map_err(fail)?;
    }
    rustix::fs::utimensat(dir, name, &times(entry.mtime), AtFlags::SYMLINK_NOFOLLOW).map_err(fail)
}

/// Attributes of overlay itself would let a layer rearrange what is above and below it; labels are given by mounts.
fn is_wanted(name: &[u8]) -> bool {
    !name.starts_with(b"trusted.overlay.")
        && !name.starts_with(b"user.overlay.")
        && name != b"security.selinux"
}

/// As Docker does: where the file system or a user namespace cannot have an attribute, the image works without.
fn ignore_unsupported(result: Result<(), Errno>) -> Result<(), Errno> {
    match result {
        Err(Errno::NOTSUP | Errno::PERM) => Ok(()),
        other => other,
    }
}

pub(super) fn set_opaque(dir: impl AsFd) -> Result<(), Errno> {
    rustix::fs::fsetxattr(dir, OPAQUE, b"y", XattrFlags::empty())
}

/// What overlay takes for a whiteout: a character device 0:0.
pub(super) fn is_whiteout(stat: &rustix::fs::Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

fn owner(uid: u32) -> Option<Uid> {
    // The highest number means "leave as it is" to the kernel.
    (uid != u32::MAX).then(|| Uid::from_raw(uid))
}

fn group(gid: u32) -> Option<Gid> {
    (gid != u32::MAX).then(|| Gid::from_raw(gid))
}

fn times((seconds, nanos): (i64, u32)) -> Timestamps {
    let time = Timespec { tv_sec: seconds, tv_nsec: i64::from(nanos) };
    Timestamps { last_access: time, last_modification: time }
}

pub(super) fn spell(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

/// Tells what an archive asked for in vain from what the machine failed to do.
pub(super) fn at(path: &[u8], error: Errno) -> LayerError {
    let source = io::Error::from(error);
    match error {
        Errno::NAMETOOLONG
        | Errno::LOOP
        | Errno::NOTDIR
        | Errno::ISDIR
        | Errno::EXIST
        | Errno::NOENT
        | Errno::XDEV
        | Errno::INVAL
        | Errno::MLINK => LayerError::Path(format!("{}: {source}", spell(path))),
        // In Docker's words.
        Errno::NOSPC | Errno::DQUOT => LayerError::Io { what: format!("write /{}", spell(path)), source },
        _ => LayerError::Io { what: format!("unpack {}", spell(path)), source },
    }
}
