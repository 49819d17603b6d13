//! Files into a tar stream.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::{self, Read as _, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use berth_store::path_of;
use berth_store::tar::{Entry, Kind, Writer};
use rustix::fs::{FileType, Stat};

use super::path::bytes;
use super::tree::{Item, Tree};
use crate::rootfs::reopen;

/// A tree may be so deep.
pub(super) const DEPTH_MAX: usize = 512;
const CHUNK_BYTES: usize = 128 << 10;
/// What a program may do without being root's: the one attribute that Docker's archives have.
const CAPABILITY: &str = "security.capability";

/// Writes files to a stream.
pub(super) struct Packer<W: Write> {
    writer: Writer<W>,
    /// Files with several names, by device and number: the first name of each.
    linked: HashMap<(u64, u64), Vec<u8>>,
    chunk: Vec<u8>,
}

impl<W: Write> Packer<W> {
    pub(super) fn new(stream: W) -> Packer<W> {
        Packer { writer: Writer::new(stream), linked: HashMap::new(), chunk: vec![0; CHUNK_BYTES] }
    }

    /// Ends the archive.
    pub(super) fn finish(self) -> io::Result<()> {
        self.writer.finish()?.flush()
    }

    /// Adds what is in a directory; `prefix` (with a slash at its end, or empty) goes before all names.
    pub(super) fn content<T: Tree>(&mut self, directory: &T, prefix: &[u8], depth: usize) -> io::Result<()> {
        if depth > DEPTH_MAX {
            return Err(io::Error::other("directories are nested too deeply"));
        }
        if directory.is_closed() {
            return Ok(());
        }
        for name in directory.names()? {
            let path = [prefix, bytes(&name)].concat();
            match directory.look(&name)? {
                None => {}
                Some(Item::Directory(inner)) => {
                    self.directory(&inner, &path)?;
                    self.content(&inner, &[path.as_slice(), b"/"].concat(), depth + 1)?;
                }
                Some(Item::Other(fd, stat)) => self.other(&fd, &stat, &path)?,
            }
        }
        Ok(())
    }

    /// Adds a directory, without what is in it.
    pub(super) fn directory<T: Tree>(&mut self, directory: &T, path: &[u8]) -> io::Result<()> {
        let stat = directory.stat()?;
        let mut path = path.to_vec();
        if path.last() != Some(&b'/') {
            path.push(b'/');
        }
        let xattrs = capability(directory.fd());
        self.writer.start(&Entry { kind: Kind::Directory, path, xattrs, ..entry(&stat) })
    }

    /// Adds anything but a directory.
    pub(super) fn other(&mut self, fd: &OwnedFd, stat: &Stat, path: &[u8]) -> io::Result<()> {
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Kind::File,
            FileType::Symlink => Kind::Symlink,
            FileType::CharacterDevice => Kind::Character,
            FileType::BlockDevice => Kind::Block,
            FileType::Fifo => Kind::Fifo,
            // A socket without its process is nothing, and tar has no word for it.
            _ => return Ok(()),
        };
        let mut entry = Entry { kind, path: path.to_vec(), ..entry(stat) };
        if stat.st_nlink > 1 {
            let number = (stat.st_dev, stat.st_ino);
            if let Some(first) = self.linked.get(&number) {
                entry.kind = Kind::HardLink;
                entry.link.clone_from(first);
                return self.writer.start(&entry);
            }
            self.linked.insert(number, path.to_vec());
        }
        match kind {
            Kind::File => return self.file(fd, stat, entry),
            Kind::Symlink => entry.link = rustix::fs::readlinkat(fd, "", Vec::new())?.into_bytes(),
            Kind::Character | Kind::Block => {
                entry.device = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
            }
            _ => {}
        }
        self.writer.start(&entry)
    }

    /// Adds an entry that stands for nothing but its name.
    pub(super) fn mark(&mut self, path: Vec<u8>) -> io::Result<()> {
        self.writer.start(&Entry { kind: Kind::File, path, mode: 0o600, ..Entry::default() })
    }

    fn file(&mut self, fd: &OwnedFd, stat: &Stat, mut entry: Entry) -> io::Result<()> {
        entry.size = u64::try_from(stat.st_size).unwrap_or(0);
        entry.xattrs = capability(fd.as_fd());
        let mut file = reopen(fd)?;
        self.writer.start(&entry)?;
        let mut left = entry.size;
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(self.chunk.len());
            let read = file.read(&mut self.chunk[..most])?;
            // A file that became shorter meanwhile is filled up: its header is on its way already.
            let length = if read == 0 { most } else { read };
            if read == 0 {
                self.chunk[..most].fill(0);
            }
            self.writer.stream().write_all(&self.chunk[..length])?;
            left -= length as u64;
        }
        Ok(())
    }
}

fn entry(stat: &Stat) -> Entry {
    Entry {
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        // Whole seconds, as Docker writes them: fractions would cost each entry a header of its own.
        mtime: (stat.st_mtime, 0),
        ..Entry::default()
    }
}

/// The capabilities of a file, where it has any.
fn capability(fd: BorrowedFd<'_>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut value = [0_u8; 64];
    match rustix::fs::getxattr(path_of(fd), OsStr::new(CAPABILITY), &mut value[..]) {
        Ok(length) if length > 0 => vec![(CAPABILITY.into(), value[..length].to_vec())],
        _ => Vec::new(),
    }
}
