//! A tar stream into a directory of a container.
//!
//! The archive's names are tidied as text and stay below the directory; the directories on the way are resolved by the
//! kernel inside the container's root, so that links which the container has, or makes meanwhile, lead nowhere else.
//! What is at a name already is replaced, never written through.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;

use berth_store::tar::{Entry, Kind, Reader};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::pack::DEPTH_MAX;
use super::path::lookup;
use crate::error::{Error, Result, errno_text};

/// An archive may have so many directories whose times are set at the end.
const DIRECTORIES_MAX: usize = 1 << 20;

/// Where and how to unpack.
pub(super) struct Unpack<'a> {
    /// The container's root.
    pub(super) root: BorrowedFd<'a>,
    /// The directory, from the root.
    pub(super) target: &'a str,
    /// A directory is not replaced by anything else, nor anything else by a directory.
    pub(super) keep_kinds: bool,
    /// Who owns what is made, in place of whom the archive says.
    pub(super) owner: Option<(u32, u32)>,
}

impl Unpack<'_> {
    /// Unpacks a stream, compressed or not.
    ///
    /// Errors: the stream is no archive, or wants to leave the directory; a full disk. What was unpacked stays.
    pub(super) fn run(&self, stream: impl Read + Send + 'static) -> Result<()> {
        let stream = berth_store::layer::decompress(stream).map_err(Error::io("cannot read the archive"))?;
        let mut reader = Reader::new(stream);
        let mut entry = Entry::default();
        let mut times: HashMap<Vec<u8>, (i64, u32)> = HashMap::new();
        while reader.next(&mut entry).map_err(|error| Error::Internal(error.to_string()))? {
            let name = tidy(&entry.path).ok_or_else(|| self.outside(&entry.path))?;
            let made = self.entry(&name, &entry, &mut reader);
            made.map_err(|failure| failure.explain(&self.full(&name)))?;
            if entry.kind == Kind::Directory && times.len() < DIRECTORIES_MAX {
                times.insert(name, entry.mtime);
            }
        }
        for (name, time) in times {
            // Something newer may be in its place by now.
            if let Ok(directory) = lookup(self.root, &self.full(&name), false) {
                let path = berth_store::path_of(directory.as_fd());
                let _ = rustix::fs::utimensat(rustix::fs::CWD, path, &timestamps(time), AtFlags::empty());
            }
        }
        Ok(())
    }

    fn entry<R: std::io::BufRead>(&self, name: &[u8], entry: &Entry, reader: &mut Reader<R>) -> Outcome<()> {
        if name.is_empty() {
            // The directory itself stays as it is.
            return Ok(());
        }
        let (parent, last) = split(name);
        let parent = self.parent(parent)?;
        let last = OsStr::from_bytes(last);
        let is_directory = entry.kind == Kind::Directory;
        match rustix::fs::statat(&parent, last, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
            Ok(there) => {
                let was_directory = FileType::from_raw_mode(there.st_mode) == FileType::Directory;
                if self.keep_kinds && was_directory != is_directory {
                    return Err(Failure::Kinds { was_directory, target: self.target.to_owned() });
                }
                if !(was_directory && is_directory) {
                    remove(&parent, last, 0)?;
                }
            }
        }
        self.make(&parent, last, entry, reader)
    }

    fn make<R: std::io::BufRead>(
        &self,
        parent: &OwnedFd,
        name: &OsStr,
        entry: &Entry,
        reader: &mut Reader<R>,
    ) -> Outcome<()> {
        match entry.kind {
            Kind::File => return self.file(parent, name, entry, reader),
            Kind::Directory => match rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o700)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            },
            Kind::Symlink => rustix::fs::symlinkat(entry.link.as_slice(), parent, name)?,
            Kind::HardLink => return self.hard_link(parent, name, entry),
            Kind::Character => self.node(parent, name, entry, FileType::CharacterDevice)?,
            Kind::Block => self.node(parent, name, entry, FileType::BlockDevice)?,
            Kind::Fifo => self.node(parent, name, entry, FileType::Fifo)?,
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = rustix::fs::openat(parent, name, flags, Mode::empty())?;
        self.attributes(&made, entry)
    }

    fn node(&self, parent: &OwnedFd, name: &OsStr, entry: &Entry, kind: FileType) -> Outcome<()> {
        let device = match kind {
            FileType::Fifo => 0,
            _ => rustix::fs::makedev(entry.device.0, entry.device.1),
        };
        Ok(rustix::fs::mknodat(parent, name, kind, Mode::from_raw_mode(0o600), device)?)
    }

    fn hard_link(&self, parent: &OwnedFd, name: &OsStr, entry: &Entry) -> Outcome<()> {
        let target = tidy(&entry.link).filter(|target| !target.is_empty());
        let target =
            target.ok_or_else(|| Failure::Link(String::from_utf8_lossy(&entry.link).into_owned()))?;
        let (directory, last) = split(&target);
        let directory = self.parent(directory)?;
        Ok(rustix::fs::linkat(&directory, OsStr::from_bytes(last), parent, name, AtFlags::empty())?)
    }

    fn file<R: std::io::BufRead>(
        &self,
        parent: &OwnedFd,
        name: &OsStr,
        entry: &Entry,
        reader: &mut Reader<R>,
    ) -> Outcome<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o600))?;
        let mut file = File::from(fd);
        let whole = [berth_store::tar::Segment { offset: 0, length: entry.size }];
        for segment in entry.segments.as_deref().unwrap_or(&whole) {
            std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(segment.offset))?;
            let mut left = segment.length;
            while left > 0 {
                let data = reader.data().map_err(|error| Failure::Archive(error.to_string()))?;
                if data.is_empty() {
                    return Err(Failure::Archive("unexpected EOF".to_owned()));
                }
                let usable = usize::try_from(left).unwrap_or(usize::MAX).min(data.len());
                file.write_all(&data[..usable])?;
                reader.consume(usable);
                left -= usable as u64;
            }
        }
        if entry.segments.is_some() {
            file.set_len(entry.size)?;
        }
        self.attributes(&file.into(), entry)
    }

    /// Owner, mode, extended attributes and times of what was just made. By its descriptor, so it is that very file.
    fn attributes(&self, made: &OwnedFd, entry: &Entry) -> Outcome<()> {
        let (uid, gid) = self.owner.unwrap_or((entry.uid, entry.gid));
        let is_link = entry.kind == Kind::Symlink;
        let flags = AtFlags::EMPTY_PATH | AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::chownat(made, "", Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)), flags)?;
        if is_link {
            // A link has no path of its own but the one it is at; times of links are not worth the risk.
            return Ok(());
        }
        let path = format!("/proc/self/fd/{}", made.as_raw_fd());
        rustix::fs::chmod(&path, Mode::from_raw_mode(entry.mode))?;
        for (key, value) in entry.xattrs.iter().filter(|(key, _)| !key.starts_with(b"trusted.overlay.")) {
            match rustix::fs::setxattr(&path, key.as_slice(), value, XattrFlags::empty()) {
                Ok(()) | Err(Errno::NOTSUP | Errno::PERM) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(rustix::fs::utimensat(rustix::fs::CWD, &path, &timestamps(entry.mtime), AtFlags::empty())?)
    }

    /// The directory that an entry lies in, made where it is missing.
    fn parent(&self, name: &[u8]) -> Outcome<OwnedFd> {
        match lookup(self.root, &self.full(name), true) {
            Err(Errno::NOENT) => {}
            found => return Ok(found?),
        }
        let mut made: Vec<u8> = Vec::new();
        for part in name.split(|byte| *byte == b'/').filter(|part| !part.is_empty()) {
            let directory = lookup(self.root, &self.full(&made), true)?;
            match rustix::fs::mkdirat(&directory, OsStr::from_bytes(part), Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            if !made.is_empty() {
                made.push(b'/');
            }
            made.extend_from_slice(part);
        }
        Ok(lookup(self.root, &self.full(name), true)?)
    }

    /// A name of the archive as a path from the container's root.
    fn full(&self, name: &[u8]) -> Vec<u8> {
        let target = self.target.trim_end_matches("/.").trim_end_matches('/');
        [target.as_bytes(), b"/", name].concat()
    }

    fn outside(&self, name: &[u8]) -> Error {
        let target = self.target.trim_end_matches('/');
        let target = if target.is_empty() { "/" } else { target };
        Error::Refused(format!("{:?} is outside of {target:?}", String::from_utf8_lossy(name)))
    }
}

/// Why an entry could not be made.
enum Failure {
    Errno(Errno),
    Io(std::io::Error),
    /// The archive itself is not right.
    Archive(String),
    /// A hard link that leads out of the directory.
    Link(String),
    /// A directory is where none should be, or the other way round.
    Kinds {
        was_directory: bool,
        target: String,
    },
}

type Outcome<T> = std::result::Result<T, Failure>;

impl From<Errno> for Failure {
    fn from(error: Errno) -> Failure {
        Failure::Errno(error)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Failure {
        Failure::Io(error)
    }
}

impl Failure {
    fn explain(self, path: &[u8]) -> Error {
        let path = String::from_utf8_lossy(path).into_owned();
        match self {
            Failure::Errno(error) => Error::Internal(format!("unpack {path}: {}", errno_text(&error.into()))),
            Failure::Io(error) => Error::Internal(format!("unpack {path}: {}", errno_text(&error))),
            Failure::Archive(text) => Error::Internal(text),
            Failure::Link(target) => Error::Refused(format!("invalid hardlink {path:?} -> {target:?}")),
            Failure::Kinds { was_directory: true, target } => {
                Error::Refused(format!("cannot overwrite directory {path:?} with non-directory {target:?}"))
            }
            Failure::Kinds { was_directory: false, target } => {
                Error::Refused(format!("cannot overwrite non-directory {path:?} with directory {target:?}"))
            }
        }
    }
}

/// A name in one spelling, without a slash at its start; `None` if it leaves the directory.
fn tidy(name: &[u8]) -> Option<Vec<u8>> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in name.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join(&b'/'))
}

fn split(name: &[u8]) -> (&[u8], &[u8]) {
    match name.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&name[..slash], &name[slash + 1..]),
        None => (b"", name),
    }
}

/// Removes what is at a name, with all that is in it.
fn remove(parent: &OwnedFd, name: &OsStr, depth: usize) -> std::result::Result<(), Errno> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error),
    }
    if depth > DEPTH_MAX {
        return Err(Errno::NAMETOOLONG);
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    for entry in rustix::fs::Dir::read_from(&directory)? {
        let entry = entry?;
        let inner = entry.file_name().to_bytes();
        if inner != b"." && inner != b".." {
            remove(&directory, OsStr::from_bytes(inner), depth + 1)?;
        }
    }
    rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)
}

fn timestamps((seconds, nanos): (i64, u32)) -> Timestamps {
    let time = Timespec { tv_sec: seconds, tv_nsec: i64::from(nanos) };
    Timestamps { last_access: time, last_modification: time }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_below() {
        let check = |name: &str, expect: Option<&str>| {
            assert_eq!(tidy(name.as_bytes()).as_deref(), expect.map(str::as_bytes), "{name}");
        };
        check("./a//b/", Some("a/b"));
        check("/a", Some("a"));
        check("a/../b", Some("b"));
        check("./", Some(""));
        check("../a", None);
        check("a/../../b", None);
    }
}
