//! `tmpcopyup`: a tmpfs that starts with a copy of the directory it covers.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Uid, chmodat, chownat, fchmod, fchown, mkdirat, mknodat,
    openat, readlinkat, sendfile, statat, symlinkat,
};
use rustix::io::Errno;

/// Copies what is in one directory into another: modes and owners as well, no links followed, no mounts entered.
pub(crate) fn copy(from: &OwnedFd, to: &OwnedFd) -> Result<(), Errno> {
    let from = open_dir(from.as_fd(), c".")?;
    let to = open_dir(to.as_fd(), c".")?;
    let stat = rustix::fs::fstat(&from)?;
    copy_dir(&from, &to)?;
    fchown(&to, Some(uid(&stat)), Some(gid(&stat)))?;
    fchmod(&to, mode(&stat))
}

fn copy_dir(from: &OwnedFd, to: &OwnedFd) -> Result<(), Errno> {
    for entry in Dir::read_from(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        copy_entry(from.as_fd(), to.as_fd(), name)?;
    }
    Ok(())
}

fn copy_entry(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
    let stat = statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let private = Mode::from_raw_mode(0o600);
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            mkdirat(to, name, Mode::from_raw_mode(0o700))?;
            copy_dir(&open_dir(from, name)?, &open_dir(to, name)?)?;
        }
        FileType::Symlink => {
            let target = readlinkat(from, name, Vec::new())?;
            symlinkat(target.as_c_str(), to, name)?;
            return chownat(to, name, Some(uid(&stat)), Some(gid(&stat)), AtFlags::SYMLINK_NOFOLLOW);
        }
        FileType::RegularFile => {
            let source =
                openat(from, name, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let target = openat(to, name, flags, private)?;
            while sendfile(&target, &source, None, 1 << 30)? > 0 {}
        }
        FileType::Socket => return Ok(()),
        kind => mknodat(to, name, kind, private, stat.st_rdev)?,
    }
    // The owner first: changing it takes set-user-ID bits away.
    chownat(to, name, Some(uid(&stat)), Some(gid(&stat)), AtFlags::SYMLINK_NOFOLLOW)?;
    chmodat(to, name, mode(&stat), AtFlags::empty())
}

fn open_dir(dir: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(dir, name, flags, Mode::empty())
}

fn uid(stat: &Stat) -> Uid {
    Uid::from_raw(stat.st_uid)
}

fn gid(stat: &Stat) -> Gid {
    Gid::from_raw(stat.st_gid)
}

fn mode(stat: &Stat) -> Mode {
    Mode::from_raw_mode(stat.st_mode)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::open;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn a_tree_is_copied_with_its_modes() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        std::fs::create_dir_all(from.join("a/b")).unwrap();
        std::fs::create_dir(&to).unwrap();
        std::fs::write(from.join("a/b/file"), "text").unwrap();
        std::fs::set_permissions(from.join("a/b/file"), PermissionsExt::from_mode(0o4711)).unwrap();
        std::fs::set_permissions(&from, PermissionsExt::from_mode(0o1777)).unwrap();
        symlink("/etc/passwd", from.join("link")).unwrap();
        let opened = |path| open(path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        copy(&opened(&from), &opened(&to)).unwrap();
        assert_eq!(std::fs::read_to_string(to.join("a/b/file")).unwrap(), "text");
        assert_eq!(to.join("a/b/file").metadata().unwrap().permissions().mode() & 0o7777, 0o4711);
        assert_eq!(to.metadata().unwrap().permissions().mode() & 0o7777, 0o1777);
        assert_eq!(std::fs::read_link(to.join("link")).unwrap().to_str(), Some("/etc/passwd"));
    }
}
