//! Directories of the store, by descriptor: making, listing, moving, syncing and deleting.

use std::ffi::{CStr, OsStr};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// The mode of all directories of the store: nobody but root may list or pass them.
pub(crate) const PRIVATE: u32 = 0o710;

const OPEN: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW);

/// Opens a directory by path, making it (and those above it) if it is not there.
pub(crate) fn open_or_make(path: &Path, mode: u32) -> io::Result<OwnedFd> {
    if let Some(parent) = path.parent()
        && !parent.as_os_str().is_empty()
    {
        std::fs::create_dir_all(parent)?;
    }
    match rustix::fs::mkdirat(CWD, path, Mode::from_raw_mode(mode)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    let fd = rustix::fs::openat(CWD, path, OPEN, Mode::empty())?;
    // Whatever the umask is, and whatever an older version left.
    rustix::fs::fchmod(&fd, Mode::from_raw_mode(mode))?;
    Ok(fd)
}

/// Makes a directory with exactly this mode.
pub(crate) fn make(parent: impl AsFd, name: &str, mode: u32) -> io::Result<()> {
    let parent = parent.as_fd();
    rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(mode))?;
    if mode & umask() != 0 {
        rustix::fs::chmodat(parent, name, Mode::from_raw_mode(mode), AtFlags::empty())?;
    }
    Ok(())
}

/// The bits that the kernel takes off the mode of what this process makes. Nobody changes them once the store is
/// open; if they cannot be found out, all of them may be.
fn umask() -> u32 {
    static UMASK: std::sync::OnceLock<u32> = std::sync::OnceLock::new();
    *UMASK.get_or_init(|| {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("Umask:"));
        // What is not among the permissions is never kept by `mkdir`.
        line.and_then(|mask| u32::from_str_radix(mask.trim(), 8).ok()).unwrap_or(0o777) | 0o7000
    })
}

/// Has the file system place what is made directly in a directory as trees that have nothing to do with each other,
/// far from it and from one another (ext4's flag `T`, chattr(1)); file systems that have no such flag need none.
///
/// Otherwise ext4 fills the same groups of inodes again and again. One without a journal, as in many virtual machines,
/// looks for minutes after a removal at each inode that was freed there for every file that it makes: an image that is
/// removed and loaded anew then takes a multiple of its time. Among groups that are as empty the name chooses, so that
/// the same name should not come twice.
pub(crate) fn spread(dir: impl AsFd) {
    use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};
    let Ok(flags) = ioctl_getflags(&dir) else { return };
    if !flags.contains(IFlags::TOPDIR) {
        // It is only slower without.
        let _ = ioctl_setflags(&dir, flags | IFlags::TOPDIR);
    }
}

/// Opens a directory below another; no component may be a link or another mount.
pub(crate) fn open(parent: impl AsFd, path: impl rustix::path::Arg) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    Ok(rustix::fs::openat2(parent, path, OPEN, Mode::empty(), resolve)?)
}

/// The names in a directory, `.` and `..` left out.
pub(crate) fn names(dir: impl AsFd) -> io::Result<Vec<std::ffi::OsString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(OsStr::from_bytes(name).to_owned());
        }
    }
    Ok(names)
}

/// Writes a directory's entries to the disk.
pub(crate) fn sync(dir: impl AsFd) -> io::Result<()> {
    Ok(rustix::fs::fsync(dir)?)
}

/// Writes a small tree to the disk, file by file; a large one is better served by `syncfs`.
///
/// `budget` is the number of files and directories it may have; false if it has more.
pub(crate) fn sync_tree(dir: BorrowedFd<'_>, budget: &mut u32) -> io::Result<bool> {
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let Some(left) = budget.checked_sub(1) else { return Ok(false) };
        *budget = left;
        match kind_of(dir, &entry)? {
            FileType::Directory => {
                let child = open(dir, name)?;
                if !sync_tree(child.as_fd(), budget)? {
                    return Ok(false);
                }
            }
            FileType::RegularFile => {
                let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
                rustix::fs::fsync(rustix::fs::openat(dir, name, flags, Mode::empty())?)?;
            }
            // Links, devices and pipes are in their directory.
            _ => {}
        }
    }
    rustix::fs::fsync(dir)?;
    Ok(true)
}

/// Has what is written to a file go to the disk meanwhile, so that the sync at the end of an ingest waits for little.
#[derive(Debug)]
pub(crate) struct Behind {
    begun: u64,
    end: u64,
}

impl Behind {
    /// How much is gathered before the disk is bothered with it.
    const PIECE: u64 = 8 << 20;
    /// Files below this are left to the sync: there are many of them, and the file system writes them together.
    const LEAST: u64 = 128 << 10;

    /// Writing begins at this offset.
    pub(crate) fn at(offset: u64) -> Self {
        Self { begun: offset, end: offset }
    }

    /// All before `end` is written.
    pub(crate) fn wrote(&mut self, file: impl AsFd, end: u64) {
        self.end = end;
        if end - self.begun >= Self::PIECE {
            self.begin(file);
        }
    }

    /// This much more is written.
    pub(crate) fn more(&mut self, file: impl AsFd, bytes: u64) {
        self.wrote(file, self.end + bytes);
    }

    /// Nothing more will be written.
    pub(crate) fn end(mut self, file: impl AsFd) {
        if self.end - self.begun >= Self::LEAST {
            self.begin(file);
        }
    }

    fn begin(&mut self, file: impl AsFd) {
        // What fails here fails the sync as well, which tells.
        let _ = berth_sys::file::begin_write(file, self.begun, self.end - self.begun);
        self.begun = self.end;
    }
}

fn kind_of(dir: BorrowedFd<'_>, entry: &rustix::fs::DirEntry) -> io::Result<FileType> {
    match entry.file_type() {
        FileType::Unknown => {
            let stat = rustix::fs::statat(dir, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW)?;
            Ok(FileType::from_raw_mode(stat.st_mode))
        }
        kind => Ok(kind),
    }
}

/// The levels that are deleted by descending; what lies deeper is moved up first. A container can nest directories
/// without bound, but neither our stack nor our descriptors are.
const LEVELS_MAX: u32 = 64;

/// Deletes what is called `name` in `parent`, whatever it is. What lies too deep is moved to `aside` under a name
/// from `fresh_name`, for the caller to delete next; `go_on` is asked before each directory.
///
/// Errors: the first one, after all else was deleted.
pub(crate) fn remove_all(
    parent: BorrowedFd<'_>,
    name: &CStr,
    aside: BorrowedFd<'_>,
    fresh_name: &dyn Fn() -> String,
    go_on: &dyn Fn() -> bool,
) -> io::Result<()> {
    Removal { aside, fresh_name, go_on }.remove(parent, name, 0)
}

struct Removal<'a> {
    aside: BorrowedFd<'a>,
    fresh_name: &'a dyn Fn() -> String,
    go_on: &'a dyn Fn() -> bool,
}

impl Removal<'_> {
    fn remove(&self, parent: BorrowedFd<'_>, name: &CStr, level: u32) -> io::Result<()> {
        match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::ISDIR | Errno::PERM) => {}
            Err(error) => return Err(error.into()),
        }
        match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::NOTEMPTY | Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        if level >= LEVELS_MAX {
            return Ok(rustix::fs::renameat(parent, name, self.aside, (self.fresh_name)())?);
        }
        if !(self.go_on)() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let dir = open(parent, name)?;
        let mut first_error = None;
        for child in names(&dir)? {
            let child = std::ffi::CString::new(child.as_bytes())?;
            if let Err(error) = self.remove(dir.as_fd(), &child, level + 1) {
                if error.kind() == io::ErrorKind::Interrupted {
                    return Err(error);
                }
                first_error.get_or_insert(error);
            }
        }
        match first_error {
            Some(error) => Err(error),
            None => Ok(rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bottomless_trees_are_deleted() {
        let temporary = tempfile::tempdir().unwrap();
        let root = open_or_make(&temporary.path().join("root"), PRIVATE).unwrap();
        make(&root, "deep", 0o700).unwrap();
        let mut dir = open(&root, "deep").unwrap();
        for level in 0..1000 {
            make(&dir, "d", 0o700).unwrap();
            rustix::fs::symlinkat("/etc", &dir, "link").unwrap();
            if level % 100 == 0 {
                make(&dir, "empty", 0).unwrap();
            }
            dir = open(&dir, "d").unwrap();
        }
        drop(dir);
        let counter = std::cell::Cell::new(0);
        let fresh = || {
            counter.set(counter.get() + 1);
            format!("aside-{}", counter.get())
        };
        let go_on = || true;
        remove_all(root.as_fd(), c"deep", root.as_fd(), &fresh, &go_on).unwrap();
        loop {
            let left = names(&root).unwrap();
            let Some(name) = left.first() else { break };
            let name = std::ffi::CString::new(name.as_bytes()).unwrap();
            remove_all(root.as_fd(), &name, root.as_fd(), &fresh, &go_on).unwrap();
        }
        assert!(counter.get() >= 1000 / 64);
        assert!(Path::new("/etc/passwd").exists());
    }
}
