//! Reading and writing the small files of a cgroup directory.

use std::ffi::CStr;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, openat};
use rustix::io::{Errno, read as read_fd, write as write_fd};
use rustix::path::Arg;

/// Writes a whole value to a file, in one system call as cgroup files want it.
pub(super) fn write(dir: BorrowedFd<'_>, file: impl Arg, value: &[u8]) -> Result<(), Errno> {
    let fd = openat(dir, file, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    write_open(&fd, value)
}

/// Writes a value to a file that is already open.
pub(super) fn write_open(fd: &OwnedFd, value: &[u8]) -> Result<(), Errno> {
    loop {
        match write_fd(fd, value) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// Reads a whole file as text.
pub(super) fn read(dir: BorrowedFd<'_>, file: impl Arg) -> Result<String, Errno> {
    let mut text = Vec::new();
    read_into(dir, file, &mut text)?;
    String::from_utf8(text).map_err(|_| Errno::ILSEQ)
}

/// Reads a whole file into a buffer that is used again and again; what was in it is gone.
pub(super) fn read_into(dir: BorrowedFd<'_>, file: impl Arg, buffer: &mut Vec<u8>) -> Result<(), Errno> {
    const STEP: usize = 4096;
    let fd = openat(dir, file, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    buffer.clear();
    loop {
        let filled = buffer.len();
        buffer.resize(filled + STEP, 0);
        let count = match read_fd(&fd, &mut buffer[filled..]) {
            Ok(count) => count,
            Err(Errno::INTR) => {
                buffer.truncate(filled);
                continue;
            }
            Err(errno) => return Err(errno),
        };
        buffer.truncate(filled + count);
        if count == 0 {
            return Ok(());
        }
    }
}

/// Reads a file that holds one number; `max` is `u64::MAX`, as is anything past it.
pub(super) fn read_number(dir: BorrowedFd<'_>, file: &CStr) -> Result<u64, Errno> {
    let mut buffer = [0_u8; 32];
    let fd = openat(dir, file, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let count = rustix::io::retry_on_intr(|| read_fd(&fd, &mut buffer))?;
    Ok(std::str::from_utf8(&buffer[..count]).map_or(0, |text| number(text.trim())))
}

/// Is there such a file?
pub(super) fn exists(dir: BorrowedFd<'_>, file: &CStr) -> bool {
    rustix::fs::accessat(dir, file, rustix::fs::Access::EXISTS, rustix::fs::AtFlags::empty()).is_ok()
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
