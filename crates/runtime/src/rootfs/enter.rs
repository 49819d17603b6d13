//! Into the new root: `pivot_root`, or a moved mount and `chroot` where the root of the machine cannot be pivoted.

use std::fs::read_to_string;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, UnmountFlags, move_mount, unmount};
use rustix::process::{chdir, chroot, fchdir, pivot_root};

use crate::Error;
use crate::error::init;

/// How the root becomes the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// The container has a mount namespace of its own.
    Pivot,
    /// It has, but the root of the machine is an initial RAM file system, which cannot be pivoted.
    Move,
    /// It shares the caller's.
    Chroot,
}

/// Makes `root` the root directory of the calling process, and goes there.
pub(crate) fn enter(root: &OwnedFd, way: Way) -> Result<(), Error> {
    match way {
        Way::Pivot => pivot(root).map_err(|errno| init("pivot_root", errno)),
        Way::Move => move_root(root).map_err(|errno| init("move the root", errno)),
        Way::Chroot => change_root(root).map_err(|errno| init("chroot", errno)),
    }
}

/// Source: `pivot_root(2)`, "pivot_root(".", ".")": the old root ends up on top of the new one and is taken off.
fn pivot(root: &OwnedFd) -> Result<(), Errno> {
    fchdir(root)?;
    pivot_root(".", ".")?;
    unmount(".", UnmountFlags::DETACH)?;
    chdir("/")
}

fn move_root(root: &OwnedFd) -> Result<(), Errno> {
    hide_kernel_file_systems();
    move_mount(root.as_fd(), "", CWD, "/", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    change_root(root)
}

fn change_root(root: &OwnedFd) -> Result<(), Errno> {
    fchdir(root)?;
    chroot(".")?;
    chdir("/")
}

/// The old tree stays below the new root: a whole procfs or sysfs in it would let the kernel believe that the
/// container may have another one without anything hidden.
fn hide_kernel_file_systems() {
    for line in read_to_string("/proc/self/mountinfo").unwrap_or_default().lines().rev() {
        let Some((place, kind)) = line.split_once(" - ") else { continue };
        let is_kernel = kind.starts_with("proc ") || kind.starts_with("sysfs ");
        if let Some(path) = place.split(' ').nth(4).filter(|_| is_kernel) {
            // Those of the container are below its root, which is moved as a whole and keeps them: only exact
            // places of the machine's own root are taken.
            if path == "/proc" || path == "/sys" {
                let _ = unmount(path, UnmountFlags::DETACH);
            }
        }
    }
}
