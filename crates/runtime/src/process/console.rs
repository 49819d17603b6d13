//! The pseudo-terminal of a process, from the container's own devpts.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use berth_oci::runtime::Process;
use rustix::fs::{FileType, Gid, Mode, OFlags, Uid, fchown, fstat, fstatfs, major, minor, openat};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::Surroundings;
use crate::Error;
use crate::error::init;
use crate::path::RootDir;

/// `DEVPTS_SUPER_MAGIC`, `include/uapi/linux/magic.h`.
const DEVPTS_MAGIC: u64 = 0x1cd1;

/// Opens a terminal, makes it standard input, output, error and the controlling terminal, and gives back its master.
/// With `place` its slave is put at `/dev/console` as well.
pub(super) fn open(process: &Process, around: Surroundings<'_>, place: bool) -> Result<OwnedFd, Error> {
    let failed = |errno| init("open a terminal", errno);
    let master = open_master(around).map_err(failed)?;
    unlockpt(&master).map_err(failed)?;
    // By the master itself: no name is looked up that could have been swapped for another.
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let slave = ioctl_tiocgptpeer(&master, flags).map_err(failed)?;
    if let Some(size) = process.console_size {
        let clamp = |number: u32| u16::try_from(number).unwrap_or(u16::MAX);
        let size =
            Winsize { ws_row: clamp(size.height), ws_col: clamp(size.width), ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&slave, size).map_err(|errno| init("set the size of the terminal", errno))?;
    }
    if process.user.uid != 0 {
        fchown(&slave, Some(Uid::from_raw(process.user.uid)), None::<Gid>).map_err(failed)?;
    }
    if place {
        place_console(around.root, &slave).map_err(|errno| init("mount /dev/console", errno))?;
    }
    rustix::process::ioctl_tiocsctty(&slave).map_err(|errno| init("set the controlling terminal", errno))?;
    rustix::stdio::dup2_stdin(&slave)
        .and_then(|()| rustix::stdio::dup2_stdout(&slave))
        .and_then(|()| rustix::stdio::dup2_stderr(&slave))
        .map_err(failed)?;
    Ok(master)
}

/// Opens ptmx, but not before it is known to be one: an image could have put anything there.
fn open_master(around: Surroundings<'_>) -> Result<OwnedFd, Errno> {
    let found = around.root.open("/dev/pts/ptmx", OFlags::PATH | OFlags::NOFOLLOW);
    let (ptmx, own) = match found {
        Ok(ptmx) => (ptmx, true),
        Err(_) => (around.root.open("/dev/ptmx", OFlags::PATH)?, false),
    };
    let stat = fstat(&ptmx)?;
    let is_ptmx = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
        && (major(stat.st_rdev), minor(stat.st_rdev)) == (5, 2);
    if !is_ptmx || (own && fstatfs(&ptmx)?.f_type as u64 != DEVPTS_MAGIC) {
        return Err(Errno::NODEV);
    }
    reopen(around.proc, &ptmx, OFlags::RDWR | OFlags::NOCTTY)
}

/// Opens what a descriptor stands for, by the host's procfs.
pub(crate) fn reopen(proc: BorrowedFd<'_>, fd: &OwnedFd, flags: OFlags) -> Result<OwnedFd, Errno> {
    openat(proc, format!("self/fd/{}", fd.as_raw_fd()), flags | OFlags::CLOEXEC, Mode::empty())
}

/// Mounts the slave over `/dev/console`, an empty file that is made for it, never over what a link leads to.
fn place_console(root: RootDir<'_>, slave: &OwnedFd) -> Result<(), Errno> {
    let dev = root.make_dir("/dev")?;
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NOCTTY;
    match openat(&dev, "console", flags | OFlags::EXCL, Mode::from_raw_mode(0o600)) {
        Ok(_) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno),
    }
    let target = openat(&dev, "console", OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    if FileType::from_raw_mode(fstat(&target)?.st_mode) == FileType::Symlink {
        return Err(Errno::LOOP);
    }
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    let mount = open_tree(slave.as_fd(), "", flags)?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount.as_fd(), "", target.as_fd(), "", flags)
}
