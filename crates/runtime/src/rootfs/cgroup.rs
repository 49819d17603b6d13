//! `/sys/fs/cgroup` inside: the container's own groups of version 1, one bind mount each, or the version 2 tree.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags, mkdirat, symlinkat};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, move_mount};

use super::filesystem::{FileSystem, Mounted};
use super::plan::MountPlan;
use super::{Failed, attach, bind, change, share};
use crate::cgroup::{Hierarchies, Version};
use crate::options::{Bind, MountOptions};
use crate::path::RootDir;
use berth_sys::mount::{Attributes, MOUNT_ATTR_RDONLY};

/// Mounts what the container may see of its cgroups. The answer is the mount that is still to become read-only.
pub(super) fn mount(
    root: RootDir<'_>,
    plan: &MountPlan<'_>,
    location: Option<(&Hierarchies, &str)>,
    label: &str,
) -> Result<Option<OwnedFd>, Failed> {
    let target = root.make_dir(plan.mount.destination.as_str())?;
    let Some((hierarchies, path)) = location else {
        return Err(Failed::Refused("no cgroup file system is mounted on the host".to_owned()));
    };
    if hierarchies.version() == Version::V2 || plan.mount.kind == "cgroup2" {
        share(&mount_unified(plan, &target, hierarchies, path)?, &plan.options)?;
        return Ok(None);
    }
    let base = mount_base(root, plan, &target, label)?;
    let base = mount_v1(plan, base, hierarchies, path)?;
    share(&base, &plan.options)?;
    Ok((plan.options.attributes.set & MOUNT_ATTR_RDONLY != 0).then_some(base))
}

/// Version 2: the tree as the container's cgroup namespace shows it.
fn mount_unified(
    plan: &MountPlan<'_>,
    target: &OwnedFd,
    hierarchies: &Hierarchies,
    path: &str,
) -> Result<OwnedFd, Failed> {
    let options = MountOptions { data: Vec::new(), superblock: Vec::new(), ..plan.options.clone() };
    let system = FileSystem { kind: "cgroup2", source: "cgroup", options: &options, label: "" };
    match system.detached() {
        Ok(mount) => {
            attach(&mount, target)?;
            Ok(mount)
        }
        // In a user namespace without a cgroup namespace the kernel refuses: the container's own group, then.
        Err(_) => {
            let tree = if hierarchies.version() == Version::V2 { "" } else { "/unified" };
            let own = format!("/sys/fs/cgroup{tree}{path}");
            let mount = bind::clone(CWD, own.as_str(), Bind::One)?;
            set(&mount, plan, false)?;
            attach(&mount, target)?;
            Ok(mount)
        }
    }
}

/// Version 1: a tmpfs with a directory for each hierarchy and links for the controllers that share one.
fn mount_v1(
    plan: &MountPlan<'_>,
    base: OwnedFd,
    hierarchies: &Hierarchies,
    path: &str,
) -> Result<OwnedFd, Failed> {
    for (name, aliases) in hierarchies.v1_names() {
        mount_hierarchy(plan, &base, name, path)?;
        for alias in aliases {
            symlinkat(name, &base, alias)?;
        }
    }
    if hierarchies.version() == Version::Hybrid {
        match mount_hierarchy(plan, &base, "unified", path) {
            // A group of version 2 is only made where a limit needs it.
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    // All of it at once, where the kernel can. The directory itself stays open for further mount points until the
    // end, when the caller makes it read-only.
    set(&base, plan, bind::can_change_detached())?;
    if plan.options.attributes.set & MOUNT_ATTR_RDONLY != 0 {
        change(&base, false, Attributes { clear: MOUNT_ATTR_RDONLY, ..Attributes::default() })?;
    }
    Ok(base)
}

fn mount_base(
    root: RootDir<'_>,
    plan: &MountPlan<'_>,
    target: &OwnedFd,
    label: &str,
) -> Result<OwnedFd, Errno> {
    let text = ["mode=755".to_owned()];
    let options = MountOptions::parse("tmpfs", &text);
    let system = FileSystem { kind: "tmpfs", source: "cgroup", options: &options, label };
    match system.mount(target)? {
        Mounted::Detached(base) => attach(&base, target).map(|()| base),
        Mounted::Attached => root.open(plan.mount.destination.as_str(), OFlags::PATH | OFlags::DIRECTORY),
    }
}

/// The container's own group: seen from inside a cgroup namespace, the bind mount is the root of the hierarchy.
fn mount_hierarchy(plan: &MountPlan<'_>, base: &OwnedFd, name: &str, path: &str) -> Result<(), Errno> {
    let source = format!("/sys/fs/cgroup/{name}{path}");
    let mount = bind::clone(CWD, source.as_str(), Bind::One)?;
    mkdirat(base, name, Mode::from_raw_mode(0o755))?;
    move_mount(mount.as_fd(), "", base.as_fd(), name, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    if bind::can_change_detached() { Ok(()) } else { set(&mount, plan, false) }
}

fn set(mount: &OwnedFd, plan: &MountPlan<'_>, recursive: bool) -> Result<(), Errno> {
    let attributes = Attributes {
        set: plan.options.attributes.set | plan.options.recursive.set,
        clear: plan.options.attributes.clear | plan.options.recursive.clear,
        ..Attributes::default()
    };
    change(mount, recursive, attributes)
}
