//! Bind mounts as detached clones, and what older kernels need instead of `mount_setattr`.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Component, Path};
use std::sync::atomic::{AtomicU8, Ordering};

use berth_sys::mount::{
    Attributes, MOUNT_ATTR_ATIME, MOUNT_ATTR_NOATIME, MOUNT_ATTR_NODEV, MOUNT_ATTR_NODIRATIME,
    MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY, MOUNT_ATTR_STRICTATIME, mount_setattr,
};
use rustix::fs::{Mode, OFlags, ResolveFlags, StatVfsMountFlags, fstatvfs, open, openat2};
use rustix::io::Errno;
use rustix::mount::{
    FsPickFlags, MountFlags, MountPropagationFlags, OpenTreeFlags, fsconfig_reconfigure, fsconfig_set_flag,
    fsconfig_set_string, fspick, mount_change, mount_remount, open_tree,
};
use rustix::path::Arg;
use rustix::process::{chroot, fchdir};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::options::{Bind, MountOptions};

/// A copy of the mount that a path lies on, rooted at that path; `Tree` copies the mounts below as well.
pub(crate) fn clone<Fd: AsFd, P: Arg>(dir: Fd, path: P, reach: Bind) -> Result<OwnedFd, Errno> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if reach == Bind::Tree {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    open_tree(dir, path, flags)
}

/// The same of what a descriptor is open on.
pub(crate) fn clone_fd<Fd: AsFd>(fd: Fd, reach: Bind) -> Result<OwnedFd, Errno> {
    let mut flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    if reach == Bind::Tree {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    open_tree(fd, "", flags)
}

/// The same of `/proc/<pid>/root/…`: a mount of another container, cloned from where it is. A file system in memory
/// that two containers share, as `/dev/shm` with their IPC namespace, is mounted nowhere else.
///
/// No links are followed: they would be of the container's making.
pub(crate) fn clone_of_process(path: &Path, reach: Bind) -> Option<Result<OwnedFd, Errno>> {
    let mut parts = path.strip_prefix("/proc").ok()?.components();
    let (Some(Component::Normal(pid)), Some(Component::Normal(root))) = (parts.next(), parts.next()) else {
        return None;
    };
    let is_process = root == "root" && pid.as_encoded_bytes().iter().all(u8::is_ascii_digit);
    is_process.then(|| clone_inside(Path::new(pid), parts.as_path(), reach))
}

fn clone_inside(pid: &Path, inside: &Path, reach: Bind) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let namespace = open(Path::new("/proc").join(pid).join("ns/mnt"), flags, Mode::empty())?;
    let abroad = Abroad::enter(&namespace)?;
    let place = OFlags::PATH | OFlags::CLOEXEC;
    let found = open("/", place, Mode::empty()).and_then(|root| {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let name = if inside.as_os_str().is_empty() { Path::new(".") } else { inside };
        openat2(root, name, place, Mode::empty(), resolve)
    });
    let mount = found.and_then(|place| clone_fd(place, reach));
    abroad.leave().and(mount)
}

/// A stay in another mount namespace.
struct Abroad {
    home: OwnedFd,
    root: OwnedFd,
    directory: OwnedFd,
}

impl Abroad {
    fn enter(namespace: &OwnedFd) -> Result<Self, Errno> {
        let (file, place) = (OFlags::RDONLY | OFlags::CLOEXEC, OFlags::PATH | OFlags::CLOEXEC);
        let stay = Self {
            home: open("/proc/self/ns/mnt", file, Mode::empty())?,
            root: open("/", place, Mode::empty())?,
            directory: open(".", place, Mode::empty())?,
        };
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Mount))?;
        Ok(stay)
    }

    /// Back, to the root and the directory that were left: the namespace alone would not remember them.
    fn leave(self) -> Result<(), Errno> {
        move_into_link_name_space(self.home.as_fd(), Some(LinkNameSpaceType::Mount))?;
        fchdir(&self.root)?;
        chroot(".")?;
        fchdir(&self.directory)
    }
}

/// Whether the kernel has `mount_setattr` (Linux 5.12), which changes mounts that are attached nowhere. It is asked
/// once: the call with nothing to change does nothing.
pub(crate) fn can_change_detached() -> bool {
    const UNKNOWN: u8 = 0;
    const YES: u8 = 1;
    const NO: u8 = 2;
    static ANSWER: AtomicU8 = AtomicU8::new(UNKNOWN);
    if ANSWER.load(Ordering::Relaxed) == UNKNOWN {
        let missing =
            mount_setattr(rustix::stdio::stdin(), false, Attributes::default()) == Err(Errno::NOSYS);
        ANSWER.store(if missing { NO } else { YES }, Ordering::Relaxed);
    }
    ANSWER.load(Ordering::Relaxed) == YES
}

/// Before Linux 5.12: one mount at a time, by the magic link of its descriptor.
pub(crate) fn change_classic(
    mount: &OwnedFd,
    recursive: bool,
    attributes: Attributes<'_>,
) -> Result<(), Errno> {
    if attributes.userns.is_some() {
        return Err(Errno::NOSYS);
    }
    let path = format!("/proc/self/fd/{}", mount.as_raw_fd());
    if attributes.propagation != 0 {
        let mut flags = MountPropagationFlags::from_bits_retain(attributes.propagation as u32);
        if recursive {
            flags |= MountPropagationFlags::REC;
        }
        mount_change(path.as_str(), flags)?;
    }
    if attributes.set == 0 && attributes.clear == 0 {
        return Ok(());
    }
    if recursive {
        // A tree can only be changed as one by the newer call: half of it would be a promise not kept.
        return Err(Errno::NOSYS);
    }
    let flags = (current(mount)? & !to_flags(attributes.clear)) | to_flags(attributes.set);
    mount_remount(path.as_str(), flags | MountFlags::BIND, c"")
}

const TABLE: [(u64, MountFlags, StatVfsMountFlags); 7] = [
    (MOUNT_ATTR_RDONLY, MountFlags::RDONLY, StatVfsMountFlags::RDONLY),
    (MOUNT_ATTR_NOSUID, MountFlags::NOSUID, StatVfsMountFlags::NOSUID),
    (MOUNT_ATTR_NODEV, MountFlags::NODEV, StatVfsMountFlags::NODEV),
    (MOUNT_ATTR_NOEXEC, MountFlags::NOEXEC, StatVfsMountFlags::NOEXEC),
    (MOUNT_ATTR_NOATIME, MountFlags::NOATIME, StatVfsMountFlags::NOATIME),
    (MOUNT_ATTR_NODIRATIME, MountFlags::NODIRATIME, StatVfsMountFlags::NODIRATIME),
    (0, MountFlags::RELATIME, StatVfsMountFlags::RELATIME),
];

fn to_flags(attributes: u64) -> MountFlags {
    let mut flags = MountFlags::empty();
    if attributes & MOUNT_ATTR_ATIME == MOUNT_ATTR_ATIME {
        flags |= MountFlags::NOATIME | MountFlags::RELATIME | MountFlags::STRICTATIME;
    } else if attributes & MOUNT_ATTR_STRICTATIME != 0 {
        flags |= MountFlags::STRICTATIME;
    }
    TABLE
        .iter()
        .filter(|(attribute, ..)| attributes & attribute != 0)
        .fold(flags, |flags, (_, flag, _)| flags | *flag)
}

/// A remount says all flags anew: those that are to stay have to be known.
fn current(mount: &OwnedFd) -> Result<MountFlags, Errno> {
    let now = fstatvfs(mount)?.f_flag;
    Ok(TABLE
        .iter()
        .filter(|(_, _, flag)| now.contains(*flag))
        .fold(MountFlags::empty(), |flags, (_, flag, _)| flags | *flag))
}

/// Changes the options of a mounted file system.
pub(crate) fn reconfigure(mount: &OwnedFd, options: &MountOptions<'_>) -> Result<(), Errno> {
    let context = fspick(mount.as_fd(), "", FsPickFlags::FSPICK_CLOEXEC | FsPickFlags::FSPICK_EMPTY_PATH)?;
    for flag in &options.superblock {
        fsconfig_set_flag(context.as_fd(), *flag)?;
    }
    for option in &options.data {
        match option.split_once('=') {
            Some((key, value)) => fsconfig_set_string(context.as_fd(), key, value)?,
            None => fsconfig_set_flag(context.as_fd(), *option)?,
        }
    }
    fsconfig_reconfigure(context.as_fd())
}
