//! What the configuration says about the root file system, checked before anything is made.

use std::borrow::Cow;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use berth_oci::runtime::{LinuxDevice, LinuxIdMapping, LinuxNamespaceType, Mount, Spec};
use berth_sys::mount::MOUNT_ATTR_RDONLY;
use rustix::fs::CWD;
use rustix::io::Errno;

use super::filesystem::{FileSystem, Refused};
use super::{Failed, SLAVE, bind, change, idmap, set_detached};
use crate::Error;
use crate::error::text;
use crate::namespace::Namespaces;
use crate::options::{Bind, MountOptions, Propagation, propagation};

/// The root file system of a container.
#[derive(Debug)]
pub(crate) struct RootPlan<'a> {
    /// `root.path`, absolute.
    pub(crate) path: PathBuf,
    /// Mounts that make the root; empty when `path` is it.
    pub(crate) rootfs: Vec<MountPlan<'a>>,
    /// Mounts in it.
    pub(crate) mounts: Vec<MountPlan<'a>>,
    pub(crate) read_only: bool,
    pub(crate) propagation: Option<Propagation>,
    pub(crate) label: &'a str,
    pub(crate) devices: &'a [LinuxDevice],
    pub(crate) masked_paths: &'a [String],
    pub(crate) read_only_paths: &'a [String],
    /// The container has a user namespace of its own.
    pub(crate) user_namespace: bool,
    /// Its mappings, for id-mapped mounts that say no others.
    mappings: (&'a [LinuxIdMapping], &'a [LinuxIdMapping]),
}

/// One mount.
#[derive(Debug)]
pub(crate) struct MountPlan<'a> {
    pub(crate) mount: &'a Mount,
    pub(crate) options: MountOptions<'a>,
    pub(crate) what: What,
    /// The source; of a bind mount, an absolute path.
    pub(crate) source: Cow<'a, str>,
    /// Read-only, but not before everything is in it.
    pub(crate) late_read_only: bool,
}

/// What kind of a mount it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    Bind(Bind),
    Cgroup,
    FileSystem,
    Remount,
}

/// The mounts that were made ahead, detached.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    pub(crate) root: Option<OwnedFd>,
    /// One for each mount; `None` for those that are no bind mounts.
    pub(crate) mounts: Vec<Option<OwnedFd>>,
}

impl Sources {
    pub(super) fn is_open(&self) -> bool {
        self.root.is_some() || !self.mounts.is_empty()
    }
}

impl<'a> RootPlan<'a> {
    /// # Errors
    /// `InvalidSpec` for what contradicts itself.
    pub(crate) fn new(
        spec: &'a Spec,
        bundle: &Path,
        rootfs: &'a [Mount],
        namespaces: &Namespaces,
    ) -> Result<Self, Error> {
        let root = spec.root.as_ref().ok_or_else(|| Error::InvalidSpec("root is missing".to_owned()))?;
        if root.path.is_empty() {
            return Err(Error::InvalidSpec("root.path is empty".to_owned()));
        }
        let linux = spec.linux.as_ref();
        let propagation =
            match linux.map_or("", |linux| linux.rootfs_propagation.as_str()) {
                "" => None,
                name => Some(propagation(name).ok_or_else(|| {
                    Error::InvalidSpec(format!("rootfsPropagation={name} is not supported"))
                })?),
            };
        let plan = |mount| MountPlan::new(mount, bundle);
        Ok(Self {
            path: bundle.join(&root.path),
            rootfs: rootfs.iter().map(plan).collect::<Result<_, _>>()?,
            mounts: spec.mounts.iter().map(plan).collect::<Result<_, _>>()?,
            read_only: root.readonly,
            propagation,
            label: linux.map_or("", |linux| linux.mount_label.as_str()),
            devices: linux.map_or(&[], |linux| &linux.devices),
            masked_paths: linux.map_or(&[], |linux| &linux.masked_paths),
            read_only_paths: linux.map_or(&[], |linux| &linux.readonly_paths),
            user_namespace: namespaces.has(LinuxNamespaceType::User),
            mappings: linux.map_or((&[], &[]), |linux| (&linux.uid_mappings, &linux.gid_mappings)),
        })
    }

    /// Whether the caller has to open the sources: the container's own process would not be allowed to.
    pub(crate) fn needs_caller(&self) -> bool {
        self.user_namespace || self.mounts.iter().any(|plan| plan.options.idmap.is_some())
    }

    /// Whether sources are opened before `/` becomes a slave, so that they stay peers of the host's mounts.
    pub(super) fn sources_come_first(&self) -> bool {
        self.is_shared()
    }

    fn is_shared(&self) -> bool {
        self.propagation.is_some_and(|propagation| propagation.flag == libc::MS_SHARED)
    }

    /// Opens the sources of all bind mounts; where the caller has to do it, the root as well.
    pub(crate) fn open_sources(&self) -> Result<Sources, Error> {
        let mut sources = Sources { root: None, mounts: Vec::with_capacity(self.mounts.len()) };
        if self.user_namespace {
            sources.root = Some(self.open_root()?);
        }
        for plan in &self.mounts {
            let source = match plan.what {
                What::Bind(bind) => Some(self.open_source(plan, bind).map_err(|error| plan.failed(&error))?),
                _ => None,
            };
            sources.mounts.push(source);
        }
        Ok(sources)
    }

    fn open_root(&self) -> Result<OwnedFd, Error> {
        let slave = |mount: OwnedFd| self.make_slave(&mount).map(|()| mount);
        let Some(first) = self.rootfs.first() else {
            return bind::clone(CWD, &self.path, Bind::Tree).and_then(slave).map_err(|errno| {
                crate::error::init(format!("error opening rootfs {:?}", self.path.display()), errno)
            });
        };
        if let What::Bind(bind) = first.what {
            let mount = bind::clone(CWD, first.source.as_ref(), bind).and_then(slave);
            let mount = mount.map_err(|errno| first.failed_with(errno))?;
            set_detached(&mount, &first.options).map_err(|errno| first.failed_with(errno))?;
            return Ok(mount);
        }
        first.file_system(self.label).detached().map_err(|refused| match refused {
            Refused::BySystem(errno) => first.failed_with(errno),
            Refused::ByCall => first.failed_with(Errno::NOSYS),
        })
    }

    fn open_source(&self, plan: &MountPlan<'_>, bind: Bind) -> Result<OwnedFd, Failed> {
        // The kernel copies only mounts of the namespace that it is asked from.
        let mount = bind::clone_of_process(Path::new(plan.source.as_ref()), bind)
            .unwrap_or_else(|| bind::clone(CWD, plan.source.as_ref(), bind))?;
        if self.user_namespace && !self.is_shared() {
            self.make_slave(&mount)?;
        }
        if let Some(reach) = plan.options.idmap {
            let (uids, gids) = plan.mappings(self.mappings);
            if uids.is_empty() || gids.is_empty() {
                return Err(Failed::Refused("an id-mapped mount needs mappings".to_owned()));
            }
            let userns = idmap::user_namespace(uids, gids)?;
            idmap::map(&mount, reach, &userns)?;
        }
        set_detached(&mount, &plan.options)?;
        Ok(mount)
    }

    /// The child makes all that it sees slaves; a mount that the caller has opened it does not see.
    #[expect(clippy::unused_self, reason = "it is a step of this plan")]
    fn make_slave(&self, mount: &OwnedFd) -> Result<(), Errno> {
        if bind::can_change_detached() { change(mount, true, SLAVE) } else { Ok(()) }
    }
}

impl<'a> MountPlan<'a> {
    fn new(mount: &'a Mount, bundle: &Path) -> Result<Self, Error> {
        if !mount.destination.starts_with('/') {
            let message = format!("mount destination {:?} is not an absolute path", mount.destination);
            return Err(Error::InvalidSpec(message));
        }
        let mut options = MountOptions::parse(&mount.kind, &mount.options);
        let what = match options.bind {
            _ if options.remount => What::Remount,
            Some(bind) => What::Bind(bind),
            None if mount.kind == "cgroup" || mount.kind == "cgroup2" => What::Cgroup,
            None => What::FileSystem,
        };
        if options.idmap.is_none() && !(mount.uid_mappings.is_empty() && mount.gid_mappings.is_empty()) {
            options.idmap = Some(Bind::One);
        }
        if options.idmap.is_some() && !matches!(what, What::Bind(_)) {
            let message = format!("mount {:?}: only bind mounts can be id-mapped", mount.destination);
            return Err(Error::InvalidSpec(message));
        }
        // Mount points are still to be made in a tmpfs, and devices in /dev.
        let read_only = options.attributes.set & MOUNT_ATTR_RDONLY != 0;
        let late = what == What::FileSystem && read_only;
        let late_read_only =
            late && (mount.kind == "tmpfs" || mount.destination.trim_end_matches('/') == "/dev");
        if late_read_only {
            options.attributes.set &= !MOUNT_ATTR_RDONLY;
            options.superblock.retain(|flag| *flag != "ro");
        }
        let source = match what {
            What::Bind(_) if !mount.source.starts_with('/') => {
                Cow::Owned(bundle.join(&mount.source).to_string_lossy().into_owned())
            }
            _ => Cow::Borrowed(mount.source.as_str()),
        };
        Ok(Self { mount, options, what, source, late_read_only })
    }

    /// As a file system to mount.
    pub(super) fn file_system<'s>(&'s self, label: &'s str) -> FileSystem<'s> {
        // These have one instance with labels of its own.
        let label = if matches!(self.mount.kind.as_str(), "proc" | "sysfs" | "mqueue") { "" } else { label };
        FileSystem { kind: &self.mount.kind, source: &self.source, options: &self.options, label }
    }

    fn mappings<'m>(
        &'m self,
        container: (&'m [LinuxIdMapping], &'m [LinuxIdMapping]),
    ) -> (&'m [LinuxIdMapping], &'m [LinuxIdMapping]) {
        if self.mount.uid_mappings.is_empty() && self.mount.gid_mappings.is_empty() {
            container
        } else {
            (&self.mount.uid_mappings, &self.mount.gid_mappings)
        }
    }

    /// The error of this mount, in runc's words.
    pub(super) fn failed(&self, failed: &Failed) -> Error {
        let (reason, errno) = match failed {
            Failed::System(errno) => (text(*errno), Some(*errno)),
            other => (other.to_string(), None),
        };
        let source = if self.source.is_empty() { &self.mount.kind } else { self.source.as_ref() };
        let Mount { destination, .. } = self.mount;
        let message =
            format!("error mounting {source:?} to rootfs at {destination:?}: mount {source}: {reason}");
        Error::Init { message, errno }
    }

    pub(super) fn failed_with(&self, errno: Errno) -> Error {
        self.failed(&Failed::System(errno))
    }
}
