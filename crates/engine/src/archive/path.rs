//! Paths inside a container as clients write them, and what is at the end of one.

use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use crate::time::Time;

/// A lookup that meets a rename is tried again so often.
const TRIES: usize = 64;
/// Links that one path may pass, as in Docker.
const LINKS_MAX: usize = 255;

/// What is at a path of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathStat {
    /// The last part of the path.
    pub name: String,
    /// Its size in bytes.
    pub size: i64,
    /// Type and permissions, in the bits of Go's `FileMode`.
    pub mode: u32,
    /// When it was last changed.
    pub modified: Time,
    /// What a symbolic link leads to, all links followed; empty for anything else.
    pub link_target: String,
}

/// The path from the root, tidied as Docker tidies it: `..` is taken off as text, a slash or dot at the end stays.
pub(super) fn absolute(path: &str) -> String {
    let mut names: Vec<&str> = Vec::new();
    for name in path.split('/') {
        match name {
            "" | "." => {}
            ".." => drop(names.pop()),
            name => names.push(name),
        }
    }
    let mut clean = format!("/{}", names.join("/"));
    if base(path) == "." {
        if !clean.ends_with('/') {
            clean.push('/');
        }
        clean.push('.');
    }
    if path.ends_with('/') && !clean.ends_with('/') {
        clean.push('/');
    }
    clean
}

/// The last name of a path, `/` for the root.
pub(super) fn base(path: &str) -> &str {
    let trimmed = path.trim_end_matches('/');
    if trimmed.is_empty() {
        return if path.is_empty() { "." } else { "/" };
    }
    trimmed.rsplit('/').next().unwrap_or(trimmed)
}

/// Opens what is at a path with `O_PATH`. The kernel resolves it; no link leads out of the root.
pub(super) fn lookup(root: BorrowedFd<'_>, path: &[u8], follow: bool) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::CLOEXEC | if follow { OFlags::empty() } else { OFlags::NOFOLLOW };
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    for _ in 0..TRIES {
        match rustix::fs::openat2(root, path, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other,
        }
    }
    Err(Errno::AGAIN)
}

/// Describes what is at a path.
pub(super) fn describe(root: BorrowedFd<'_>, path: &str, stat: &Stat) -> PathStat {
    let is_link = FileType::from_raw_mode(stat.st_mode) == FileType::Symlink;
    let seconds = stat.st_mtime.saturating_mul(1_000_000_000);
    PathStat {
        name: base(path).to_owned(),
        size: stat.st_size,
        mode: go_mode(stat.st_mode),
        modified: Time::from_unix_nanos(seconds.saturating_add_unsigned(stat.st_mtime_nsec)),
        link_target: if is_link { evaluate(root, path) } else { String::new() },
    }
}

/// Where a path leads when all links are followed, as far as there is anything.
fn evaluate(root: BorrowedFd<'_>, path: &str) -> String {
    let split = |path: &[u8]| -> Vec<Vec<u8>> {
        let names = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".");
        names.rev().map(<[u8]>::to_vec).collect()
    };
    let mut waiting = split(path.as_bytes());
    let mut done: Vec<Vec<u8>> = Vec::new();
    let mut links = 0;
    while let Some(name) = waiting.pop() {
        if name == b".." {
            done.pop();
            continue;
        }
        done.push(name);
        let here = [b"/".as_slice(), &done.join(&b'/')].concat();
        let target = lookup(root, &here, false)
            .and_then(|found| rustix::fs::readlinkat(found.as_fd(), "", Vec::new()));
        let Ok(target) = target else { continue };
        links += 1;
        if links > LINKS_MAX {
            break;
        }
        let target = target.into_bytes();
        done.pop();
        if target.first() == Some(&b'/') {
            done.clear();
        }
        waiting.extend(split(&target));
    }
    let text = [b"/".as_slice(), &done.join(&b'/')].concat();
    OsString::from_vec(text).to_string_lossy().into_owned()
}

/// Type and permissions in the bits of Go's `FileMode`.
///
/// Source: Go, package `io/fs`, constants `ModeDir` and following.
fn go_mode(mode: u32) -> u32 {
    let kind = match FileType::from_raw_mode(mode) {
        FileType::Directory => 1 << 31,
        FileType::Symlink => 1 << 27,
        FileType::BlockDevice => 1 << 26,
        FileType::CharacterDevice => 1 << 26 | 1 << 21,
        FileType::Fifo => 1 << 25,
        FileType::Socket => 1 << 24,
        _ => 0,
    };
    let bit = |from: u32, to: u32| if mode & from == 0 { 0 } else { to };
    kind | (mode & 0o777) | bit(0o4000, 1 << 23) | bit(0o2000, 1 << 22) | bit(0o1000, 1 << 20)
}

/// The name of an entry as bytes.
pub(super) fn bytes(name: &std::ffi::OsStr) -> &[u8] {
    name.as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_tidied_as_docker_does() {
        let check = |path: &str, expect: &str, name: &str| {
            assert_eq!(absolute(path), expect, "{path}");
            assert_eq!(base(expect), name, "{path}");
        };
        check("/d", "/d", "d");
        check("d/f", "/d/f", "f");
        check("/d/", "/d/", "d");
        check("/d/.", "/d/.", ".");
        check("/d/./", "/d/./", ".");
        check(".", "/.", ".");
        check("/", "/", "/");
        check("../../d/../e", "/e", "e");
        check("/a//b/./c", "/a/b/c", "c");
    }

    #[test]
    fn links_stay_inside_the_root() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        std::fs::create_dir_all(at("etc/deep")).unwrap();
        std::fs::write(at("etc/file"), "").unwrap();
        std::os::unix::fs::symlink("/etc/file", at("absolute")).unwrap();
        std::os::unix::fs::symlink("../../../../../etc/file", at("etc/deep/up")).unwrap();
        std::os::unix::fs::symlink("/no/../such/x", at("broken")).unwrap();
        std::os::unix::fs::symlink("loop", at("loop")).unwrap();
        let root = rustix::fs::open(directory.path(), OFlags::PATH, Mode::empty()).unwrap();
        let check = |path: &str, expect: &str| assert_eq!(evaluate(root.as_fd(), path), expect, "{path}");
        check("/absolute", "/etc/file");
        check("/etc/deep/up", "/etc/file");
        check("/broken", "/such/x");
        let inside = std::fs::metadata(at("etc/file")).unwrap();
        for path in ["/absolute", "/etc/deep/up", "/../etc/file"] {
            let found = rustix::fs::fstat(lookup(root.as_fd(), path.as_bytes(), true).unwrap()).unwrap();
            assert_eq!(found.st_ino, std::os::unix::fs::MetadataExt::ino(&inside), "{path}");
        }
        assert_eq!(lookup(root.as_fd(), b"/loop", true).unwrap_err(), Errno::LOOP);
        assert_eq!(lookup(root.as_fd(), b"/etc/file/", false).unwrap_err(), Errno::NOTDIR);
    }

    #[test]
    fn modes_are_gos() {
        assert_eq!(go_mode(0o100_644), 420);
        assert_eq!(go_mode(0o040_755), 2_147_484_141);
        assert_eq!(go_mode(0o120_777), 134_218_239);
        assert_eq!(go_mode(0o041_777), 1 << 31 | 1 << 20 | 0o777);
    }
}
