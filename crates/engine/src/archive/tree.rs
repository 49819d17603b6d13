//! Directories to be packed: real ones, and the layers of an image seen as one.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;

use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::kernel;
use crate::rootfs::{self, Found};

/// A directory whose entries can be looked at.
pub(super) trait Tree: Sized {
    /// The names of all entries, sorted.
    fn names(&self) -> Result<Vec<OsString>, Errno>;
    /// The entry with this name, links not followed; `None` if it is not there any more.
    fn look(&self, name: &OsStr) -> Result<Option<Item<Self>>, Errno>;
    /// Owner, mode and times.
    fn stat(&self) -> Result<Stat, Errno>;
    /// A descriptor, for extended attributes.
    fn fd(&self) -> BorrowedFd<'_>;
    /// What is in it is not the container's.
    fn is_closed(&self) -> bool;
}

/// An entry of a directory.
pub(super) enum Item<T> {
    /// A directory.
    Directory(T),
    /// Anything else, opened with `O_PATH`.
    Other(OwnedFd, Stat),
}

/// A real directory.
pub(super) struct Live {
    fd: OwnedFd,
    /// The device of the container's own root.
    root: u64,
    closed: bool,
}

impl Live {
    /// The directory behind a descriptor, in a container whose root is on the device `root`.
    pub(super) fn open(directory: impl AsFd, root: u64) -> Result<Live, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(directory, ".", flags, Mode::empty())?;
        let closed = kernel::is_made_up(&fd);
        Ok(Live { fd, root, closed })
    }
}

impl Tree for Live {
    fn names(&self) -> Result<Vec<OsString>, Errno> {
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.fd)? {
            let name = entry?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(OsString::from_vec(name));
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn look(&self, name: &OsStr) -> Result<Option<Item<Live>>, Errno> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = match rustix::fs::openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(error),
        };
        let stat = rustix::fs::fstat(&fd)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Ok(Some(Item::Directory(Live::open(&fd, self.root)?))),
            // Those that a running container is given under `/dev`: not its files, and nobody wants copies of them.
            FileType::CharacterDevice | FileType::BlockDevice if stat.st_dev != self.root => Ok(None),
            _ => Ok(Some(Item::Other(fd, stat))),
        }
    }

    fn stat(&self) -> Result<Stat, Errno> {
        rustix::fs::fstat(&self.fd)
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    fn is_closed(&self) -> bool {
        self.closed
    }
}

impl Tree for rootfs::Directory {
    fn names(&self) -> Result<Vec<OsString>, Errno> {
        rootfs::Directory::names(self)
    }

    fn look(&self, name: &OsStr) -> Result<Option<Item<Self>>, Errno> {
        Ok(rootfs::Directory::look(self, name)?.map(|found| match found {
            Found::Directory(directory) => Item::Directory(directory),
            Found::Other(fd, stat) => Item::Other(fd, stat),
        }))
    }

    fn stat(&self) -> Result<Stat, Errno> {
        rootfs::Directory::stat(self)
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.top()
    }

    fn is_closed(&self) -> bool {
        false
    }
}
