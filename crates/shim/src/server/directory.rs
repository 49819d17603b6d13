//! The shim's own directory: `<exec-root>/shim/<container id>/`.
//!
//! ```text
//! socket      listens for an engine that was restarted
//! state.json  where to find the container if the shim is killed
//! panic       what the shim said when it failed, if it ever does
//! ```
//!
//! It is made when the engine is lost, not before: as long as the connection stands nobody needs it, and a file system
//! may take a millisecond for every new inode (ext4 without a journal, where many were deleted a minute before).

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::protocol::{LAST_WORDS, SOCKET, STATE};
use crate::types::State;

/// An open directory of a shim.
#[derive(Debug)]
pub(super) struct Directory {
    fd: OwnedFd,
    path: PathBuf,
}

impl Directory {
    /// Makes it if it is missing, and empties it of what an earlier shim left.
    pub(super) fn make(path: PathBuf) -> io::Result<Directory> {
        match rustix::fs::mkdir(&path, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = Directory { fd: rustix::fs::open(&path, flags, Mode::empty())?, path };
        directory.unlink_all();
        Ok(directory)
    }

    /// A socket that listens here. The path may be longer than a socket address can be, so it goes by descriptor.
    pub(super) fn listen(&self) -> io::Result<OwnedFd> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        let address = SocketAddrUnix::new(format!("/proc/self/fd/{}/{SOCKET}", self.fd.as_raw_fd()))?;
        rustix::net::bind(&socket, &address)?;
        rustix::net::listen(&socket, 4)?;
        Ok(socket)
    }

    /// Writes the state, whole or not at all. The directory is lost with the boot, so nothing is synced.
    pub(super) fn write_state(&self, state: &State) -> io::Result<()> {
        const NEXT: &str = "state.json.next";
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.fd, NEXT, flags, Mode::RUSR | Mode::WUSR)?;
        write_all(&file, &serde_json::to_vec(state)?)?;
        Ok(rustix::fs::renameat(&self.fd, NEXT, &self.fd, STATE)?)
    }

    /// Removes what an earlier shim left, if it did.
    pub(super) fn clear(path: &Path) {
        if rustix::fs::access(path, rustix::fs::Access::EXISTS).is_ok()
            && let Ok(directory) = Directory::make(path.to_owned())
        {
            directory.remove();
        }
    }

    /// Whether somebody has removed it.
    pub(super) fn is_gone(&self) -> bool {
        rustix::fs::fstat(&self.fd).is_ok_and(|stat| stat.st_nlink == 0)
    }

    /// Removes it with everything the shim put there.
    pub(super) fn remove(&self) {
        self.unlink_all();
        if !self.is_gone() {
            // It stays if somebody else put something there, which is not ours to remove.
            let _ = rustix::fs::rmdir(&self.path);
        }
    }

    fn unlink_all(&self) {
        for name in [SOCKET, STATE, LAST_WORDS] {
            let _ = rustix::fs::unlinkat(&self.fd, name, AtFlags::empty());
        }
    }
}

/// Replaces a file by new content, whole or not at all; not synced. Gives the file.
pub(super) fn replace_file(path: &Path, content: &[u8]) -> io::Result<OwnedFd> {
    let mut next = path.as_os_str().to_owned();
    next.push(".next");
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
    let file = rustix::fs::open(&next, flags, Mode::RUSR | Mode::WUSR)?;
    let done = write_all(&file, content).and_then(|()| Ok(rustix::fs::rename(&next, path)?));
    if let Err(error) = done {
        let _ = rustix::fs::unlink(&next);
        return Err(error);
    }
    Ok(file)
}

fn write_all(file: &OwnedFd, mut content: &[u8]) -> io::Result<()> {
    while !content.is_empty() {
        match rustix::io::write(file, content) {
            Err(Errno::INTR) => {}
            other => content = &content[other?..],
        }
    }
    Ok(())
}
