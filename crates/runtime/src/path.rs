//! Paths inside a container's root, by descriptor: no link in them leads outside, no check is made before the use.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, mkdirat, openat, openat2, readlinkat, unlinkat};
use rustix::io::Errno;

/// How many links that lead to nothing yet are followed while directories are made.
const LINKS_MAX: u32 = 40;

/// The root directory of a container.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RootDir<'fd>(pub(crate) BorrowedFd<'fd>);

impl RootDir<'_> {
    /// Opens a path as if the root were `/`. Links are followed, inside; magic links are not.
    pub(crate) fn open(self, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        // A link of a proc file system would lead out of every root.
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        loop {
            match openat2(self.0, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
                // Something was renamed or mounted on the way: the kernel could not be sure, so it asks again.
                Err(Errno::AGAIN | Errno::INTR) => {}
                result => return result,
            }
        }
    }

    /// Opens the directory at a path, and makes it and those above it where they are missing.
    pub(crate) fn make_dir(self, path: &str) -> Result<OwnedFd, Errno> {
        match self.open(path, OFlags::PATH | OFlags::DIRECTORY) {
            Err(Errno::NOENT) => self.make_missing(path, LINKS_MAX),
            result => result,
        }
    }

    /// Opens the file at a path, and makes it, empty, and the directories above it where they are missing.
    pub(crate) fn make_file(self, path: &str) -> Result<OwnedFd, Errno> {
        match self.open(path, OFlags::PATH) {
            Err(Errno::NOENT) => {}
            result => return result,
        }
        let (parent, name) = split(path);
        let parent = self.make_dir(parent)?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC;
        match openat(&parent, name, flags, Mode::from_raw_mode(0o755)) {
            Ok(_) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
        openat(&parent, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
    }

    /// The directory that a path's last component is in (made where it is missing), and that component.
    pub(crate) fn make_parent(self, path: &str) -> Result<(OwnedFd, &str), Errno> {
        let (parent, name) = split(path);
        if name.is_empty() || name == ".." {
            return Err(Errno::INVAL);
        }
        Ok((self.make_dir(parent)?, name))
    }

    fn make_missing(self, path: &str, links: u32) -> Result<OwnedFd, Errno> {
        let mut current = self.open("/", OFlags::PATH | OFlags::DIRECTORY)?;
        let mut done = String::from("/");
        for name in path.split('/').filter(|name| !name.is_empty() && *name != ".") {
            let above = done.len();
            done.push_str(name);
            current = match self.open(&done, OFlags::PATH | OFlags::DIRECTORY) {
                Ok(next) => next,
                Err(Errno::NOENT) if name != ".." => {
                    match mkdirat(&current, name, Mode::from_raw_mode(0o755)) {
                        Ok(()) | Err(Errno::EXIST) => {
                            match self.open(&done, OFlags::PATH | OFlags::DIRECTORY) {
                                Ok(next) => next,
                                Err(Errno::NOENT) => {
                                    self.make_link_target(&current, &done[..above], name, links)?
                                }
                                Err(errno) => return Err(errno),
                            }
                        }
                        Err(errno) => return Err(errno),
                    }
                }
                Err(errno) => return Err(errno),
            };
            done.push('/');
        }
        Ok(current)
    }

    /// `name` is a link to a directory that is not there: it is made, where the link says, inside the root.
    fn make_link_target(
        self,
        parent: &OwnedFd,
        above: &str,
        name: &str,
        links: u32,
    ) -> Result<OwnedFd, Errno> {
        let links = links.checked_sub(1).ok_or(Errno::LOOP)?;
        let target = readlinkat(parent, name, Vec::new())?;
        let target = target.to_str().map_err(|_| Errno::INVAL)?;
        if target.starts_with('/') {
            self.make_missing(target, links)
        } else {
            self.make_missing(&format!("{above}/{target}"), links)
        }
    }
}

/// `/a/b/c` is `c` in `/a/b`.
fn split(path: &str) -> (&str, &str) {
    let path = path.trim_end_matches('/');
    match path.rsplit_once('/') {
        Some(("", name)) => ("/", name),
        Some((parent, name)) => (parent, name),
        None => ("/", path),
    }
}

/// Removes a file or link, if it is there.
pub(crate) fn remove_file<Fd: AsFd>(parent: Fd, name: &str) -> Result<(), Errno> {
    match unlinkat(parent, name, AtFlags::empty()) {
        Err(Errno::NOENT) => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::CWD;
    use std::os::unix::fs::symlink;

    fn with_root(test: impl FnOnce(RootDir<'_>, &std::path::Path)) {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        std::fs::create_dir(&root).unwrap();
        let fd = openat(CWD, &root, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        test(RootDir(fd.as_fd()), dir.path());
    }

    #[test]
    fn links_stay_inside() {
        with_root(|root, dir| {
            std::fs::create_dir(dir.join("outside")).unwrap();
            symlink(dir.join("outside"), dir.join("root/absolute")).unwrap();
            symlink("../../outside", dir.join("root/relative")).unwrap();
            root.make_dir("/absolute/x").unwrap();
            root.make_dir("/relative/y").unwrap();
            root.make_file("/relative/../../../z").unwrap();
            assert_eq!(std::fs::read_dir(dir.join("outside")).unwrap().count(), 0);
            assert!(dir.join("root/outside/y").is_dir());
            assert!(dir.join("root/z").is_file());
        });
    }

    #[test]
    fn a_link_to_nothing_is_made_true() {
        with_root(|root, dir| {
            symlink("/run", dir.join("root/var-run")).unwrap();
            root.make_file("/var-run/a/b").unwrap();
            assert!(dir.join("root/run/a/b").is_file());
            symlink("loop2", dir.join("root/loop1")).unwrap();
            symlink("loop1", dir.join("root/loop2")).unwrap();
            assert_eq!(root.make_dir("/loop1/x").unwrap_err(), Errno::LOOP);
        });
    }

    #[test]
    fn a_file_is_no_directory() {
        with_root(|root, dir| {
            std::fs::write(dir.join("root/file"), "").unwrap();
            assert_eq!(root.make_dir("/file/x").unwrap_err(), Errno::NOTDIR);
        });
    }

    #[test]
    fn last_components() {
        assert_eq!(split("/a/b/c"), ("/a/b", "c"));
        assert_eq!(split("/a/"), ("/", "a"));
        assert_eq!(split("a"), ("/", "a"));
    }
}
