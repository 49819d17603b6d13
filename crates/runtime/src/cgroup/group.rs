//! One control group: the same path in every hierarchy.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use berth_oci::runtime::LinuxResources;
use rustix::fs::{Access, AtFlags, accessat, unlinkat};
use rustix::io::Errno;
use rustix::process::Pid;

use super::error::{AttachError, Error};
use super::file::{self, Dir};
use super::hierarchy::{Controller, Hierarchies, Unified, Version, relative};
use super::{systemd, v1, v2};

/// A control group. Dropping the value leaves the group as it is.
#[derive(Debug)]
pub struct Cgroup {
    pub(super) hierarchies: Arc<Hierarchies>,
    /// Without a leading slash.
    pub(super) path: String,
    /// Its directory in the version 2 tree. On a hybrid host only if something there is needed.
    pub(super) unified: Option<OwnedFd>,
    /// Names that must be ready where nothing may be allocated.
    tasks: CString,
    procs: CString,
}

impl Cgroup {
    /// Makes a group, with its parents, and sets its limits. An empty group of that name is taken over as it is.
    ///
    /// On failure what was made is removed; parents stay.
    ///
    /// # Errors
    /// [`Error::NotEmpty`] when processes are in a group of that name; everything that [`Cgroup::apply`] refuses.
    pub fn create(
        hierarchies: &Arc<Hierarchies>,
        path: &str,
        resources: &LinuxResources,
    ) -> Result<Self, Error> {
        let mut group = Self::new(hierarchies, relative(path)?, None);
        let existed = match group.make(resources) {
            Ok(existed) => existed,
            Err(error) => {
                group.remove_new();
                return Err(error);
            }
        };
        if existed {
            let count = group.pids()?.len();
            if count > 0 {
                return Err(Error::NotEmpty { path: format!("/{}", group.path), count });
            }
        }
        let limited =
            group.set_devices(&resources.devices, !existed).and_then(|()| group.update_limits(resources));
        if let Err(error) = limited {
            let _ = group.remove();
            return Err(error);
        }
        Ok(group)
    }

    /// A group that somebody else has made for a process: the process enters it where it is not in it yet, and its
    /// limits are set. On failure it is left as it is.
    pub(super) fn adopt(
        hierarchies: &Arc<Hierarchies>,
        path: &str,
        pid: i32,
        resources: &LinuxResources,
    ) -> Result<Self, Error> {
        let mut group = Self::new(hierarchies, relative(path)?, None);
        group.make(resources)?;
        group.set_devices(&resources.devices, false)?;
        group.update_limits(resources)?;
        let entered = Pid::from_raw(pid).map_or(Ok(()), |pid| group.attach(pid));
        entered.map_err(|error| Error::io("enter cgroup", group.path(), error.errno))?;
        Ok(group)
    }

    /// A group that is there already: its path, or `slice:prefix:name` where systemd made it.
    ///
    /// # Errors
    /// [`Error::Io`] when it is not there.
    pub fn reopen(hierarchies: &Arc<Hierarchies>, path: &str) -> Result<Self, Error> {
        let unit = if path.starts_with('/') { None } else { systemd::Unit::parse(path, "").ok() };
        let path = relative(&unit.map_or_else(|| path.to_owned(), |unit| unit.path()))?;
        let failed = |errno| Error::io("open cgroup", format!("/{path}"), errno);
        if let Some(hierarchy) = hierarchies.v1.first() {
            accessat(&hierarchy.root, path.as_str(), Access::EXISTS, AtFlags::empty()).map_err(failed)?;
        }
        let open = |unified: &Unified| file::open_dir(unified.root.as_fd(), path.as_str());
        let unified = match hierarchies.unified.as_ref().map(open) {
            Some(Err(Errno::NOENT)) if !hierarchies.v1.is_empty() => None,
            found => found.transpose().map_err(failed)?,
        };
        Ok(Self::new(hierarchies, path, unified))
    }

    fn new(hierarchies: &Arc<Hierarchies>, path: String, unified: Option<OwnedFd>) -> Self {
        let name = |file: &str| CString::new(format!("{path}/{file}")).expect("relative() refuses noughts");
        let (tasks, procs) = (name("tasks"), name("cgroup.procs"));
        Self { hierarchies: Arc::clone(hierarchies), path, unified, tasks, procs }
    }

    /// Its path, from the root of the hierarchies, with a leading slash.
    #[must_use]
    pub fn path(&self) -> String {
        format!("/{}", self.path)
    }

    /// The layout it lives in.
    #[must_use]
    pub fn version(&self) -> Version {
        self.hierarchies.version()
    }

    /// Sets limits and device rules. What is absent from `resources` stays as it is; device rules are a whole: an
    /// empty list means those that every container has and nothing else.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a limit whose controller or file is not there, [`Error::Invalid`] for one that
    /// contradicts itself, [`Error::Io`] for one that the kernel refuses. Those before it remain set.
    pub fn apply(&self, resources: &LinuxResources) -> Result<(), Error> {
        self.set_devices(&resources.devices, false)?;
        self.update_limits(resources)
    }

    /// As [`Cgroup::apply`], but an empty list of device rules leaves the rules alone, as updates mean it.
    ///
    /// # Errors
    /// As [`Cgroup::apply`].
    pub fn update(&self, resources: &LinuxResources) -> Result<(), Error> {
        systemd::update(&self.path, self.version(), resources)?;
        if !resources.devices.is_empty() {
            self.set_devices(&resources.devices, false)?;
        }
        self.update_limits(resources)
    }

    fn update_limits(&self, resources: &LinuxResources) -> Result<(), Error> {
        match self.version() {
            Version::V2 => v2::apply(self, resources),
            Version::V1 | Version::Hybrid => v1::apply(self, resources),
        }
    }

    /// The descriptor for `clone3` with `CLONE_INTO_CGROUP`; `None` on version 1, where the child calls
    /// [`Cgroup::attach_self`].
    #[must_use]
    pub fn clone_fd(&self) -> Option<BorrowedFd<'_>> {
        if self.version() == Version::V2 { self.unified.as_ref().map(AsFd::as_fd) } else { None }
    }

    /// Moves the calling thread, which must be the only one of its process. For the child between clone and exec:
    /// neither allocates nor locks. On version 2 too, for kernels and callers without `CLONE_INTO_CGROUP`.
    ///
    /// # Errors
    /// What the kernel says: `ENODEV` or `ESRCH` when the group has been removed, `EBUSY` when version 2 does not
    /// want processes beside child groups, `EAGAIN` beyond the limit of processes is not checked here.
    pub fn attach_self(&self) -> Result<(), AttachError> {
        // Writing a nought to `tasks` moves the writing thread, and the kernel spares itself the lock that holds up
        // every fork of the system.
        self.attach_by(&self.tasks, b"0")
    }

    /// Moves a process with all its threads.
    ///
    /// # Errors
    /// What the kernel says, `ESRCH` when the process is gone.
    pub fn attach(&self, pid: Pid) -> Result<(), AttachError> {
        let text = rustix::path::DecInt::new(pid.as_raw_nonzero().get());
        self.attach_by(&self.procs, text.as_bytes())
    }

    fn attach_by(&self, v1_file: &CStr, pid: &[u8]) -> Result<(), AttachError> {
        for hierarchy in &self.hierarchies.v1 {
            file::write_at(hierarchy.root.as_fd(), v1_file, pid)
                .map_err(|errno| AttachError { hierarchy: hierarchy.name, errno })?;
        }
        if let Some(dir) = &self.unified {
            file::write_at(dir.as_fd(), c"cgroup.procs", pid)
                .map_err(|errno| AttachError { hierarchy: "unified", errno })?;
        }
        Ok(())
    }

    /// Removes the group and all groups below it, and the unit of systemd that it belongs to. The processes must have ended; those that are still on their way
    /// out are waited for, a fifth of a second at most. A group that is gone already counts as removed.
    ///
    /// # Errors
    /// [`Error::Io`] with `EBUSY` when processes are left. Every hierarchy is tried, the first error is told.
    pub fn remove(&self) -> Result<(), Error> {
        systemd::stop(&self.path);
        let mut first = Ok(());
        for root in self.roots() {
            if let Err(errno) = super::kill::remove_tree(root, &self.path) {
                let error = Error::io("remove cgroup", format!("/{}", self.path), errno);
                first = first.and(Err(error));
            }
        }
        first
    }

    /// Makes the directory everywhere; answers whether any was there already.
    fn make(&mut self, resources: &LinuxResources) -> Result<bool, Error> {
        let hierarchies = Arc::clone(&self.hierarchies);
        let mut existed = false;
        for hierarchy in &hierarchies.v1 {
            let failed =
                |errno| Error::io("create cgroup", format!("/{}/{}", hierarchy.name, self.path), errno);
            existed |= hierarchy.make(&self.path).map_err(failed)?;
            if hierarchy.controllers.contains(Controller::Cpuset) {
                v1::fill_cpuset_if_empty(&hierarchy.root, &self.path).map_err(failed)?;
            }
        }
        if let Some(unified) = &hierarchies.unified
            && (hierarchies.v1.is_empty() || v1::needs_unified(&hierarchies, resources))
        {
            existed |= unified.make(&self.path)?;
            let dir = file::open_dir(unified.root.as_fd(), self.path.as_str());
            self.unified =
                Some(dir.map_err(|errno| Error::io("open cgroup", format!("/{}", self.path), errno))?);
        }
        Ok(existed)
    }

    /// After a failure half-way: removes what [`Cgroup::make`] made, and what is empty anyway.
    fn remove_new(&self) {
        let roots = self.hierarchies.v1.iter().map(|hierarchy| &hierarchy.root);
        for root in roots.chain(self.hierarchies.unified.iter().map(|unified| &unified.root)) {
            let _ = unlinkat(root, self.path.as_str(), AtFlags::REMOVEDIR);
        }
    }

    fn roots(&self) -> impl Iterator<Item = &OwnedFd> {
        let v1 = self.hierarchies.v1.iter().map(|hierarchy| &hierarchy.root);
        v1.chain(self.unified.iter().filter_map(|_| self.hierarchies.unified.as_ref()).map(|tree| &tree.root))
    }

    /// The directory that has this controller: of version 1, else of version 2.
    pub(super) fn dir(&self, controller: Controller) -> Option<Dir<'_>> {
        if let Some(position) = self.hierarchies.position(controller) {
            return Some(Dir::new(&self.hierarchies.v1[position].root, &self.path));
        }
        let unified = self.hierarchies.unified.as_ref()?;
        unified.controllers().contains(controller).then(|| self.unified_dir())?
    }

    /// The directory in the version 2 tree, if the group is there.
    pub(super) fn unified_dir(&self) -> Option<Dir<'_>> {
        self.unified.as_ref().map(|dir| Dir::new(dir, ""))
    }

    /// The directory that tells best which processes are in the group.
    pub(super) fn process_dir(&self) -> Option<Dir<'_>> {
        if self.version() == Version::V2 {
            return self.unified_dir();
        }
        let preferred = [Controller::Pids, Controller::Freezer, Controller::Devices, Controller::Memory];
        let found = preferred.into_iter().find_map(|controller| self.hierarchies.position(controller));
        let hierarchy = self.hierarchies.v1.get(found.unwrap_or(0))?;
        Some(Dir::new(&hierarchy.root, &self.path))
    }

    /// Writes a setting; a file that is not there is a feature that the kernel does not have.
    pub(super) fn set(&self, dir: Dir<'_>, file: &str, value: impl AsRef<[u8]>) -> Result<(), Error> {
        let value = value.as_ref();
        dir.write(file, value).map_err(|errno| self.refused(file, value, errno))
    }

    /// The error for a setting that was not taken.
    pub(super) fn refused(&self, file: &str, value: &[u8], errno: Errno) -> Error {
        let value = String::from_utf8_lossy(value);
        match errno {
            Errno::NOENT => Error::unsupported(file, "the kernel does not have it"),
            errno => Error::io(format!("write {value:?} to {file} of"), format!("/{}", self.path), errno),
        }
    }
}
