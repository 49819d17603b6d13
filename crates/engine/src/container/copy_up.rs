//! Filling an empty volume with what the image has in its place.
//!
//! Everything is copied as it is: owners, modes, times, extended attributes, links, devices. The source is read
//! through descriptors of the layers (see [`crate::rootfs`]), the target is written through descriptors of the volume.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags};

use crate::rootfs::{Directory, Found, reopen};

/// A directory tree may be so deep.
const DEPTH_MAX: usize = 1024;

/// Copies the content and the attributes of `source` to the directory at `target`, if that is empty.
pub(crate) fn copy_up(source: &Directory, target: &Path) -> io::Result<()> {
    if std::fs::read_dir(target)?.next().is_some() {
        return Ok(());
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let target = rustix::fs::open(target, flags, Mode::empty())?;
    let mut links = HashMap::new();
    copy_directory(source, &target, Path::new(""), &mut Links { root: &target, seen: &mut links }, 0)
}

/// Files with several names, so that they stay one file.
struct Links<'a> {
    root: &'a OwnedFd,
    seen: &'a mut HashMap<(u64, u64), std::path::PathBuf>,
}

fn copy_directory(
    source: &Directory,
    target: &OwnedFd,
    path: &Path,
    links: &mut Links<'_>,
    depth: usize,
) -> io::Result<()> {
    if depth > DEPTH_MAX {
        return Err(io::Error::other("directories are nested too deeply"));
    }
    for name in source.names()? {
        let path = path.join(&name);
        match source.look(&name)? {
            None => {}
            Some(Found::Directory(directory)) => {
                rustix::fs::mkdirat(target, &name, Mode::RWXU)?;
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let inner = rustix::fs::openat(target, &name, flags, Mode::empty())?;
                copy_directory(&directory, &inner, &path, links, depth + 1)?;
            }
            Some(Found::Other(fd, stat)) => copy_other(&fd, &stat, target, &name, &path, links)?,
        }
    }
    let stat = source.stat()?;
    copy_xattrs(source.top().as_fd().as_raw_fd(), target.as_raw_fd())?;
    // Attributes last: the copying itself changes the times.
    rustix::fs::fchown(target, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
    rustix::fs::fchmod(target, mode_of(&stat))?;
    rustix::fs::futimens(target, &times_of(&stat))?;
    Ok(())
}

fn copy_other(
    source: &OwnedFd,
    stat: &Stat,
    target: &OwnedFd,
    name: &OsStr,
    path: &Path,
    links: &mut Links<'_>,
) -> io::Result<()> {
    let kind = FileType::from_raw_mode(stat.st_mode);
    if stat.st_nlink > 1 {
        if let Some(first) = links.seen.get(&(stat.st_dev, stat.st_ino)) {
            // Inside a tree that only we write: the path cannot lead elsewhere.
            return Ok(rustix::fs::linkat(links.root, first, target, name, AtFlags::empty())?);
        }
        links.seen.insert((stat.st_dev, stat.st_ino), path.to_owned());
    }
    match kind {
        FileType::RegularFile => return copy_file(source, stat, target, name),
        FileType::Symlink => {
            let text = rustix::fs::readlinkat(source, "", Vec::new())?;
            rustix::fs::symlinkat(&*text, target, name)?;
        }
        FileType::Socket => return Ok(()),
        kind => rustix::fs::mknodat(target, name, kind, mode_of(stat), stat.st_rdev)?,
    }
    let owner = (Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)));
    rustix::fs::chownat(target, name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW)?;
    if kind != FileType::Symlink {
        rustix::fs::chmodat(target, name, mode_of(stat), AtFlags::empty())?;
    }
    Ok(rustix::fs::utimensat(target, name, &times_of(stat), AtFlags::SYMLINK_NOFOLLOW)?)
}

fn copy_file(source: &OwnedFd, stat: &Stat, target: &OwnedFd, name: &OsStr) -> io::Result<()> {
    let mut source = reopen(source)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = std::fs::File::from(rustix::fs::openat(target, name, flags, Mode::RUSR | Mode::WUSR)?);
    // In the kernel: a reflink where the file system can.
    io::copy(&mut source, &mut file)?;
    copy_xattrs(source.as_raw_fd(), file.as_raw_fd())?;
    rustix::fs::fchown(&file, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
    rustix::fs::fchmod(&file, mode_of(stat))?;
    rustix::fs::futimens(&file, &times_of(stat))?;
    Ok(())
}

/// Copies extended attributes, but the overlay's own.
fn copy_xattrs(source: i32, target: i32) -> io::Result<()> {
    let (source, target) = (format!("/proc/self/fd/{source}"), format!("/proc/self/fd/{target}"));
    let mut names = vec![0_u8; 64 << 10];
    let length = match rustix::fs::listxattr(&source, &mut names[..]) {
        Ok(length) => length,
        Err(rustix::io::Errno::OPNOTSUPP) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        if name.starts_with(b"trusted.overlay.") {
            continue;
        }
        let mut value = vec![0_u8; 64 << 10];
        let length = rustix::fs::getxattr(&source, name, &mut value[..])?;
        match rustix::fs::setxattr(&target, name, &value[..length], XattrFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::OPNOTSUPP) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn mode_of(stat: &Stat) -> Mode {
    Mode::from_raw_mode(stat.st_mode & 0o7777)
}

fn times_of(stat: &Stat) -> Timestamps {
    let time =
        |seconds: i64, nanos: u64| Timespec { tv_sec: seconds, tv_nsec: i64::try_from(nanos).unwrap_or(0) };
    Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    }
}
