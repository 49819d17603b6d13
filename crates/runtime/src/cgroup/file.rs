//! Reading and writing the small files of a group.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Access, AtFlags, Mode, OFlags, accessat, openat};
use rustix::io::{Errno, read as read_fd, retry_on_intr, write as write_fd};
use rustix::path::Arg;

/// A group in one hierarchy: the root, which is open, and the path from there. Opening the directory of the group
/// itself would cost more than it saves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dir<'a> {
    pub(super) root: BorrowedFd<'a>,
    /// Without a leading slash; empty for the root itself.
    pub(super) path: &'a str,
}

impl<'a> Dir<'a> {
    pub(super) fn new(root: &'a OwnedFd, path: &'a str) -> Self {
        Self { root: root.as_fd(), path }
    }

    fn name(self, file: &str) -> String {
        if self.path.is_empty() {
            return file.to_owned();
        }
        let mut name = String::with_capacity(self.path.len() + 1 + file.len());
        name.push_str(self.path);
        name.push('/');
        name.push_str(file);
        name
    }

    /// Opens a file.
    pub(super) fn open(self, file: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        openat(self.root, self.name(file), flags | OFlags::CLOEXEC, Mode::empty())
    }

    /// Opens the directory as an anchor for `openat`.
    pub(super) fn open_self(self) -> Result<OwnedFd, Errno> {
        open_dir(self.root, if self.path.is_empty() { "." } else { self.path })
    }

    /// Writes a whole value, in one system call as these files want it.
    pub(super) fn write(self, file: &str, value: &[u8]) -> Result<(), Errno> {
        write_open(&self.open(file, OFlags::WRONLY)?, value)
    }

    /// Reads a whole file as text.
    pub(super) fn read(self, file: &str) -> Result<String, Errno> {
        let mut text = Vec::new();
        self.read_into(file, &mut text)?;
        String::from_utf8(text).map_err(|_| Errno::ILSEQ)
    }

    /// Reads a whole file into a buffer that is used again and again; what was in it is gone.
    pub(super) fn read_into(self, file: &str, buffer: &mut Vec<u8>) -> Result<(), Errno> {
        const STEP: usize = 4096;
        let fd = self.open(file, OFlags::RDONLY)?;
        buffer.clear();
        loop {
            let filled = buffer.len();
            buffer.resize(filled + STEP, 0);
            let count = retry_on_intr(|| read_fd(&fd, &mut buffer[filled..]))?;
            buffer.truncate(filled + count);
            // A list of processes comes page by page and may fall short of one; the others come in one piece.
            if count == 0 || (count < STEP && !file.ends_with("procs")) {
                return Ok(());
            }
        }
    }

    /// Reads a file that holds one number.
    pub(super) fn read_number(self, file: &str) -> Result<u64, Errno> {
        let mut buffer = [0_u8; 32];
        let fd = self.open(file, OFlags::RDONLY)?;
        let count = retry_on_intr(|| read_fd(&fd, &mut buffer))?;
        Ok(std::str::from_utf8(&buffer[..count]).map_or(0, |text| number(text.trim())))
    }

    /// Is there such a file?
    pub(super) fn has(self, file: &str) -> bool {
        accessat(self.root, self.name(file), Access::EXISTS, AtFlags::empty()).is_ok()
    }
}

/// Writes to a file whose name is ready. Neither allocates nor locks.
pub(super) fn write_at(root: BorrowedFd<'_>, name: &CStr, value: &[u8]) -> Result<(), Errno> {
    let fd = openat(root, name, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    write_open(&fd, value)
}

/// Writes a value to a file that is already open.
pub(super) fn write_open(fd: &OwnedFd, value: &[u8]) -> Result<(), Errno> {
    retry_on_intr(|| write_fd(fd, value)).map(drop)
}

/// One number of a cgroup file; `max` is `u64::MAX`, and what is not a number is nought.
pub(super) fn number(text: &str) -> u64 {
    if text == "max" { u64::MAX } else { text.parse().unwrap_or(0) }
}

/// Opens a directory as an anchor for `openat`.
pub(super) fn open_dir(dir: BorrowedFd<'_>, path: impl Arg) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(dir, path, flags, Mode::empty())
}

/// Opens a directory for reading its entries.
pub(super) fn open_list(dir: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    openat(dir, c".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}
