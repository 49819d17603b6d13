//! The root file system of a container: its mounts, `pivot_root`, and what is hidden afterwards.
//!
//! Every mount is made detached, gets its attributes, and is then attached to a descriptor that was resolved inside
//! the root ([`crate::path`]); nothing is ever mounted at a path by name. Sources of bind mounts are opened where
//! they can be seen: by the caller, when the container has a user namespace of its own or an id-mapped mount, else
//! by the container's process.
//!
//! Order: [`RootPlan::open_sources`] (caller or child), [`RootPlan::build`], hooks, [`enter`], [`RootPlan::finish`].

mod bind;
mod cgroup;
mod copy_up;
mod device;
mod enter;
mod filesystem;
mod idmap;
mod mask;
mod plan;

pub(crate) use enter::{Way, enter};
pub(crate) use plan::{RootPlan, Sources};

use std::os::fd::{AsFd, OwnedFd};

use berth_sys::mount::{Attributes, MOUNT_ATTR_RDONLY, mount_setattr};
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, fstatfs, open};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, MoveMountFlags, mount_change, move_mount};

use crate::Error;
use crate::cgroup::Hierarchies;
use crate::error::{init, text};
use crate::options::{Bind, MountOptions};
use crate::path::RootDir;
use filesystem::{FileSystem, Mounted};
use plan::{MountPlan, What};

/// The mount at `/proc/<pid>/root/…` in the mount namespace of that process, cloned with those below it and attached
/// nowhere; nothing for another path. The caller must have one thread.
pub fn clone_of_process(path: &std::path::Path) -> Option<std::io::Result<OwnedFd>> {
    bind::clone_of_process(path, Bind::Tree).map(|clone| Ok(clone?))
}

/// `PROC_SUPER_MAGIC`, `include/uapi/linux/magic.h`.
pub(crate) const PROC_MAGIC: u64 = 0x9fa0;
/// `PROC_ROOT_INO`, `include/linux/proc_fs.h`.
const PROC_ROOT_INODE: u64 = 1;

/// A root that is mounted but not entered yet.
#[derive(Debug)]
pub(crate) struct Built {
    /// The root directory of the container.
    pub(crate) root: OwnedFd,
    /// Mounts that become read-only once everything is in them.
    read_only: Vec<OwnedFd>,
    /// `/dev/null` of the host, as a mount to hide files with.
    null: Option<OwnedFd>,
}

/// What mounting needs to know of the container's cgroup.
pub(crate) trait CgroupMount {
    /// Joins the container's cgroup and makes its cgroup namespace, if that has not been done.
    fn join(&mut self) -> Result<(), Error>;
    /// The hierarchies of the host and the container's path in them.
    fn location(&self) -> Option<(&Hierarchies, &str)>;
}

impl RootPlan<'_> {
    /// Mounts everything, in the container's mount namespace.
    pub(crate) fn build(&self, sources: Sources, cgroup: &mut dyn CgroupMount) -> Result<Built, Error> {
        let Sources { root, mounts } = if self.sources_come_first() {
            let sources = if sources.is_open() { sources } else { self.open_sources()? };
            make_slave()?;
            sources
        } else {
            make_slave()?;
            if sources.is_open() { sources } else { self.open_sources()? }
        };
        let null = self.open_null()?;
        let root = self.attach_root(root)?;
        let mut built = Built { root, read_only: Vec::new(), null };
        for (plan, source) in self.rootfs.iter().skip(1).map(|plan| (plan, None)) {
            self.mount(plan, source, &mut built, cgroup).map_err(|error| plan.failed(&error))?;
        }
        for (plan, source) in self.mounts.iter().zip(mounts) {
            self.mount(plan, source, &mut built, cgroup).map_err(|error| plan.failed(&error))?;
        }
        self.make_devices(RootDir(built.root.as_fd()))?;
        Ok(built)
    }

    /// What is left to do inside: read-only mounts, hidden paths.
    pub(crate) fn finish(&self, built: &Built) -> Result<(), Error> {
        let read_only = Attributes { set: MOUNT_ATTR_RDONLY, ..Attributes::default() };
        for mount in &built.read_only {
            change(mount, false, read_only).map_err(|errno| init("make a mount read-only", errno))?;
        }
        if let Some(propagation) = self.propagation {
            let attributes = Attributes { propagation: propagation.flag, ..Attributes::default() };
            change(&built.root, propagation.recursive, attributes)
                .map_err(|errno| init("set the propagation of the root", errno))?;
        }
        if self.read_only {
            change(&built.root, false, read_only).map_err(|errno| init("make the root read-only", errno))?;
        }
        let root = RootDir(built.root.as_fd());
        mask::make_read_only(root, self.read_only_paths)?;
        mask::hide(root, self.masked_paths, built.null.as_ref())
    }

    /// Puts the root file system at `root.path`: the first of `rootfs`, or the directory itself.
    fn attach_root(&self, source: Option<OwnedFd>) -> Result<OwnedFd, Error> {
        let path = self.path.as_path();
        let failed = |errno: Errno| init(format!("error mounting rootfs {:?}", path.display()), errno);
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        if let Some(source) = source {
            // A child in a user namespace of its own may not be able to walk to `root.path`. Any directory serves
            // as a mount point, for nothing else will be seen of this tree.
            let target = open(path, flags, Mode::empty()).or_else(|_| open("/", flags, Mode::empty()));
            attach(&source, &target.map_err(failed)?).map_err(failed)?;
            if !bind::can_change_detached() {
                change(&source, true, SLAVE).map_err(failed)?;
            }
            return Ok(source);
        }
        let target = open(path, flags, Mode::empty()).map_err(failed)?;
        let Some(first) = self.rootfs.first() else {
            let source = bind::clone(CWD, path, Bind::Tree).map_err(failed)?;
            attach(&source, &target).map_err(failed)?;
            return Ok(source);
        };
        if let What::Bind(bind) = first.what {
            let source = bind::clone(CWD, first.source.as_ref(), bind).and_then(|source| {
                set_detached(&source, &first.options)?;
                attach(&source, &target)?;
                set_attached(&source, &first.options, false).map(|()| source)
            });
            return source.map_err(|errno| first.failed_with(errno));
        }
        match first.file_system(self.label).mount(&target).map_err(|error| first.failed_with(error))? {
            Mounted::Detached(mount) => {
                attach(&mount, &target).map_err(failed)?;
                Ok(mount)
            }
            Mounted::Attached => open(path, flags, Mode::empty()).map_err(failed),
        }
    }

    fn mount(
        &self,
        plan: &MountPlan<'_>,
        source: Option<OwnedFd>,
        built: &mut Built,
        cgroup: &mut dyn CgroupMount,
    ) -> Result<(), Failed> {
        let root = RootDir(built.root.as_fd());
        match plan.what {
            What::Remount => remount(root, plan),
            What::Cgroup => {
                cgroup.join()?;
                let base = cgroup::mount(root, plan, cgroup.location(), self.label)?;
                built.read_only.extend(base);
                Ok(())
            }
            What::Bind(_) => {
                let source = source.ok_or(Errno::INVAL)?;
                let is_dir = FileType::from_raw_mode(fstat(&source)?.st_mode) == FileType::Directory;
                let path = plan.mount.destination.as_str();
                let target = if is_dir { root.make_dir(path)? } else { root.make_file(path)? };
                if !is_dir && FileType::from_raw_mode(fstat(&target)?.st_mode) == FileType::Directory {
                    // The kernel would only call it invalid.
                    return Err(Errno::NOTDIR.into());
                }
                check_proc(root, plan, &target, Some(&source))?;
                attach(&source, &target)?;
                set_attached(&source, &plan.options, self.user_namespace && !self.sources_come_first())?;
                Ok(())
            }
            What::FileSystem => self.mount_file_system(plan, built),
        }
    }

    fn mount_file_system(&self, plan: &MountPlan<'_>, built: &mut Built) -> Result<(), Failed> {
        let root = RootDir(built.root.as_fd());
        let path = plan.mount.destination.as_str();
        let kind = plan.mount.kind.as_str();
        let target = root.make_dir(path)?;
        if kind == "proc" || kind == "sysfs" {
            check_plain(root, path, kind)?;
        } else {
            check_proc(root, plan, &target, None)?;
        }
        let mount = match plan.file_system(self.label).mount(&target)? {
            Mounted::Detached(mount) => {
                if plan.options.copy_up {
                    copy_up::copy(&target, &mount)?;
                }
                attach(&mount, &target)?;
                mount
            }
            Mounted::Attached => root.open(path, OFlags::PATH | OFlags::DIRECTORY)?,
        };
        set_recursive(&mount, &plan.options)?;
        share(&mount, &plan.options)?;
        if plan.late_read_only {
            built.read_only.push(mount);
        }
        Ok(())
    }
}

/// Nothing that is mounted or unmounted from here on reaches the host; what the host mounts still arrives.
fn make_slave() -> Result<(), Error> {
    let flags = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    mount_change("/", flags).map_err(|errno| init("make / a slave mount", errno))
}

/// Attaches a detached mount over what `target` is open on.
fn attach(mount: &OwnedFd, target: &OwnedFd) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount.as_fd(), "", target.as_fd(), "", flags)
}

/// Takes a mount out of the groups of the host.
const SLAVE: Attributes<'static> = Attributes { set: 0, clear: 0, propagation: libc::MS_SLAVE, userns: None };

/// Gives a bind mount that is not attached yet its attributes, so that it is never seen without them.
fn set_detached(mount: &OwnedFd, options: &MountOptions<'_>) -> Result<(), Errno> {
    if bind::can_change_detached() { set_attributes(mount, options) } else { Ok(()) }
}

/// What is left to do for a bind mount once it is attached: before Linux 5.12, all of it.
fn set_attached(mount: &OwnedFd, options: &MountOptions<'_>, slave: bool) -> Result<(), Errno> {
    if !bind::can_change_detached() {
        if slave {
            change(mount, true, SLAVE)?;
        }
        set_attributes(mount, options)?;
    }
    share(mount, options)
}

/// All attributes but those that only make sense in a tree.
fn set_attributes(mount: &OwnedFd, options: &MountOptions<'_>) -> Result<(), Errno> {
    let mut attributes =
        Attributes { set: options.attributes.set, clear: options.attributes.clear, ..Attributes::default() };
    // One call for the usual `rbind,rprivate`, two for `rbind,ro,rprivate`.
    for propagation in options.propagation.iter().filter(|propagation| propagation.flag != libc::MS_SHARED) {
        if propagation.recursive {
            let alone = Attributes { propagation: propagation.flag, ..Attributes::default() };
            change(mount, true, alone)?;
        } else {
            attributes.propagation = propagation.flag;
        }
    }
    if !attributes.is_empty() {
        change(mount, false, attributes)?;
    }
    set_recursive(mount, options)
}

fn set_recursive(mount: &OwnedFd, options: &MountOptions<'_>) -> Result<(), Errno> {
    if options.recursive.is_empty() {
        return Ok(());
    }
    let attributes =
        Attributes { set: options.recursive.set, clear: options.recursive.clear, ..Attributes::default() };
    change(mount, true, attributes)
}

/// Sets the propagation of an attached mount: `shared` for bind mounts, any type for file systems.
fn share(mount: &OwnedFd, options: &MountOptions<'_>) -> Result<(), Errno> {
    for propagation in &options.propagation {
        if options.bind.is_none() || propagation.flag == libc::MS_SHARED {
            let attributes = Attributes { propagation: propagation.flag, ..Attributes::default() };
            change(mount, propagation.recursive, attributes)?;
        }
    }
    Ok(())
}

/// `mount_setattr`, or the classic calls on kernels before 5.12 (which can do it on attached mounts only).
fn change(mount: &OwnedFd, recursive: bool, attributes: Attributes<'_>) -> Result<(), Errno> {
    match mount_setattr(mount, recursive, attributes) {
        Err(Errno::NOSYS) => bind::change_classic(mount, recursive, attributes),
        result => result,
    }
}

fn remount(root: RootDir<'_>, plan: &MountPlan<'_>) -> Result<(), Failed> {
    let mount = root.open(plan.mount.destination.as_str(), OFlags::PATH)?;
    if plan.options.bind.is_none() {
        bind::reconfigure(&mount, &plan.options)?;
    }
    set_attributes(&mount, &plan.options)?;
    share(&mount, &plan.options)?;
    Ok(())
}

/// proc and sysfs go on a directory, never through a link: an image could lead them, or what is bound over them,
/// elsewhere.
fn check_plain(root: RootDir<'_>, path: &str, kind: &str) -> Result<(), Failed> {
    let stat = fstat(root.open(path, OFlags::PATH | OFlags::NOFOLLOW)?)?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        return Ok(());
    }
    Err(Failed::Refused(format!("filesystem {kind:?} must be mounted on ordinary directory")))
}

/// Nothing is mounted inside a container's procfs but what programs such as lxcfs provide: everything else would
/// change what the runtime and the kernel's own checks read there.
fn check_proc(
    root: RootDir<'_>,
    plan: &MountPlan<'_>,
    target: &OwnedFd,
    source: Option<&OwnedFd>,
) -> Result<(), Failed> {
    const ALLOWED: [&str; 12] = [
        "/proc/cpuinfo",
        "/proc/diskstats",
        "/proc/loadavg",
        "/proc/meminfo",
        "/proc/net/dev",
        "/proc/slabinfo",
        "/proc/stat",
        "/proc/swaps",
        "/proc/sys/crypto/fips_enabled",
        "/proc/sys/kernel/ns_last_pid",
        "/proc/sys/net",
        "/proc/uptime",
    ];
    let path = plan.mount.destination.trim_end_matches('/');
    if !is_proc(target)? {
        if path == "/proc" && source.map_or(Ok(true), |source| is_proc(source).map(|proc| !proc))? {
            return Err(Failed::Refused(format!(
                "{path:?} cannot be mounted because it is not of type proc"
            )));
        }
        return Ok(());
    }
    if fstat(target)?.st_ino == PROC_ROOT_INODE {
        return match source.map(is_proc).transpose()? {
            Some(true) => Ok(()),
            _ => Err(Failed::Refused(format!("{path:?} cannot be mounted because it is not of type proc"))),
        };
    }
    // The names above mean what they say only if no link is on the way (`net` is one of procfs itself).
    let plain =
        root.open("/proc", OFlags::PATH | OFlags::NOFOLLOW).is_ok_and(|proc| is_proc(&proc) == Ok(true));
    if plain && ALLOWED.contains(&path) {
        return Ok(());
    }
    Err(Failed::Refused(format!("{path:?} cannot be mounted because it is inside /proc")))
}

fn is_proc(fd: &OwnedFd) -> Result<bool, Errno> {
    fstatfs(fd).map(|statfs| statfs.f_type as u64 == PROC_MAGIC)
}

/// Why a mount did not come about.
#[derive(Debug)]
pub(crate) enum Failed {
    System(Errno),
    Refused(String),
    Other(Error),
}

impl From<Errno> for Failed {
    fn from(errno: Errno) -> Self {
        Self::System(errno)
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::System(errno) => f.write_str(&text(*errno)),
            Self::Refused(reason) => f.write_str(reason),
            Self::Other(error) => error.fmt(f),
        }
    }
}
