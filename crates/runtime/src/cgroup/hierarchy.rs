//! The cgroup file systems of the host, found once and kept open.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::OnceLock;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, fstat, fstatfs, mkdirat, openat, unlinkat};
use rustix::io::Errno;

use super::error::Error;
use super::file::Dir;

/// Where cgroup file systems are mounted.
const ROOT: &str = "/sys/fs/cgroup";

/// `CGROUP_SUPER_MAGIC` and `CGROUP2_SUPER_MAGIC`, `include/uapi/linux/magic.h`.
const CGROUP_MAGIC: u64 = 0x0027_e0eb;
const CGROUP2_MAGIC: u64 = 0x6367_7270;

/// Which layout the host has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// Controllers of version 1 only.
    V1,
    /// Controllers of version 1, and a version 2 tree beside them.
    Hybrid,
    /// Version 2 alone.
    V2,
}

/// A kernel controller (or, with `Systemd`, the hierarchy without one that systemd keeps).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the names are the kernel's
pub enum Controller {
    Cpu,
    Cpuacct,
    Cpuset,
    Memory,
    Devices,
    Freezer,
    Blkio,
    Pids,
    Hugetlb,
    NetCls,
    NetPrio,
    PerfEvent,
    Rdma,
    Misc,
    Systemd,
}

impl Controller {
    /// All of them with the names of their version 1 directories.
    const V1: [(Self, &'static str); 15] = [
        (Self::Pids, "pids"),
        (Self::Cpu, "cpu"),
        (Self::Cpuacct, "cpuacct"),
        (Self::Cpuset, "cpuset"),
        (Self::Memory, "memory"),
        (Self::Devices, "devices"),
        (Self::Freezer, "freezer"),
        (Self::Blkio, "blkio"),
        (Self::Hugetlb, "hugetlb"),
        (Self::NetCls, "net_cls"),
        (Self::NetPrio, "net_prio"),
        (Self::PerfEvent, "perf_event"),
        (Self::Rdma, "rdma"),
        (Self::Misc, "misc"),
        (Self::Systemd, "systemd"),
    ];

    /// The name in `cgroup.controllers` of version 2, for those that are there.
    const V2: [(Self, &'static str); 8] = [
        (Self::Cpu, "cpu"),
        (Self::Cpuset, "cpuset"),
        (Self::Memory, "memory"),
        (Self::Blkio, "io"),
        (Self::Pids, "pids"),
        (Self::Hugetlb, "hugetlb"),
        (Self::Rdma, "rdma"),
        (Self::Misc, "misc"),
    ];

    /// The name of its version 1 directory.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::V1.iter().find(|(controller, _)| *controller == self).map_or("", |(_, name)| name)
    }

    const fn bit(self) -> u16 {
        1 << self as u16
    }
}

/// A set of controllers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Controllers(u16);

impl Controllers {
    pub(super) fn insert(&mut self, controller: Controller) {
        self.0 |= controller.bit();
    }

    pub(super) fn contains(self, controller: Controller) -> bool {
        self.0 & controller.bit() != 0
    }

    fn minus(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Reads `cgroup.controllers` or `cgroup.subtree_control`.
    fn parse(text: &str) -> Self {
        let mut set = Self::default();
        for word in text.split_ascii_whitespace() {
            if let Some((controller, _)) = Controller::V2.iter().find(|(_, name)| *name == word) {
                set.insert(*controller);
            }
        }
        set
    }

    /// The line that enables all of the set: `+cpu +memory`.
    fn enable_line(self) -> String {
        let names = Controller::V2.iter().filter(|(controller, _)| self.contains(*controller));
        names.map(|(_, name)| format!("+{name}")).collect::<Vec<_>>().join(" ")
    }
}

/// One hierarchy of version 1.
#[derive(Debug)]
pub(super) struct Hierarchy {
    pub(super) root: OwnedFd,
    /// The directory below `/sys/fs/cgroup`, for messages.
    pub(super) name: &'static str,
    pub(super) controllers: Controllers,
}

/// The tree of version 2.
#[derive(Debug)]
pub(super) struct Unified {
    pub(super) root: OwnedFd,
    controllers: OnceLock<Controllers>,
}

/// The cgroup file systems of the host.
#[derive(Debug)]
pub struct Hierarchies {
    pub(super) v1: Vec<Hierarchy>,
    pub(super) unified: Option<Unified>,
}

impl Hierarchies {
    /// Looks at `/sys/fs/cgroup`.
    ///
    /// # Errors
    /// [`Error::NotMounted`] when there is none.
    pub fn detect() -> Result<Self, Error> {
        Self::find(Path::new(ROOT), super::systemd::is_running())
    }

    /// As [`Hierarchies::detect`], with the hierarchy that systemd keeps even where there is no systemd: other
    /// runtimes make their groups there all the same.
    ///
    /// # Errors
    /// [`Error::NotMounted`] when there is none.
    pub fn detect_all() -> Result<Self, Error> {
        Self::find(Path::new(ROOT), true)
    }

    /// Looks at another place where cgroup file systems are mounted as they are below `/sys/fs/cgroup`.
    ///
    /// # Errors
    /// [`Error::NotMounted`] when there is none.
    pub fn at(root: &Path) -> Result<Self, Error> {
        Self::find(root, super::systemd::is_running())
    }

    fn find(root: &Path, systemd: bool) -> Result<Self, Error> {
        let missing = || Error::NotMounted { path: root.display().to_string() };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let base = openat(CWD, root, flags, Mode::empty()).map_err(|_| missing())?;
        let found = if is_type(&base, CGROUP2_MAGIC) {
            Self { v1: Vec::new(), unified: Some(Unified::new(base)) }
        } else {
            let names = names(&base);
            let has = |name: &&str| names.iter().any(|known| known == name);
            let unified = Some("unified").filter(has).and_then(|name| follow(&base, name, CGROUP2_MAGIC));
            Self { v1: find_v1(&base, &has, systemd), unified: unified.map(Unified::new) }
        };
        if found.v1.is_empty() && found.unified.is_none() { Err(missing()) } else { Ok(found) }
    }

    /// Which layout this is.
    #[must_use]
    pub fn version(&self) -> Version {
        match (self.v1.is_empty(), self.unified.is_some()) {
            (true, _) => Version::V2,
            (false, true) => Version::Hybrid,
            (false, false) => Version::V1,
        }
    }

    /// Is this controller to be had, in either version?
    #[must_use]
    pub fn has(&self, controller: Controller) -> bool {
        self.position(controller).is_some()
            || self.unified.as_ref().is_some_and(|unified| unified.controllers().contains(controller))
    }

    /// Removes a group that nothing is in, and its parents, as far as they are empty: what an engine does with its
    /// `--cgroup-parent` when it ends. What is still in use stays, silently.
    pub fn prune(&self, path: &str) {
        let Ok(path) = relative(path) else { return };
        let roots = self.v1.iter().map(|hierarchy| &hierarchy.root);
        for root in roots.chain(self.unified.iter().map(|unified| &unified.root)) {
            let mut rest = Some(path.as_str());
            while let Some(path) = rest.filter(|path| unlinkat(root, *path, AtFlags::REMOVEDIR).is_ok()) {
                rest = path.rsplit_once('/').map(|(parent, _)| parent);
            }
        }
    }

    /// The hierarchies of version 1 by their directories, each with the other controllers that are on it.
    pub(crate) fn v1_names(
        &self,
    ) -> impl Iterator<Item = (&'static str, impl Iterator<Item = &'static str>)> {
        self.v1.iter().map(|hierarchy| {
            let others = Controller::V1.iter().filter(move |(controller, name)| {
                hierarchy.controllers.contains(*controller) && *name != hierarchy.name
            });
            (hierarchy.name, others.map(|(_, name)| *name))
        })
    }

    /// The index into `v1` of the hierarchy that has this controller.
    pub(super) fn position(&self, controller: Controller) -> Option<usize> {
        self.v1.iter().position(|hierarchy| hierarchy.controllers.contains(controller))
    }
}

impl Hierarchy {
    /// Makes the directory of a group and those above it; answers whether it was there already.
    pub(super) fn make(&self, path: &str) -> Result<bool, Errno> {
        make_with_parents(&self.root, path, &|parent| self.make_parent(parent))
    }

    /// A new `cpuset` group has neither processors nor memory nodes and takes no process: it gets those of its
    /// parent, and is told to hand them down to the groups that are made in it.
    fn make_parent(&self, path: &str) -> Result<(), Errno> {
        match mkdirat(&self.root, path, MODE) {
            Ok(()) => {}
            Err(Errno::EXIST) => return Ok(()),
            Err(errno) => return Err(errno),
        }
        if self.controllers.contains(Controller::Cpuset) {
            super::v1::fill_cpuset(&self.root, path)?;
            Dir::new(&self.root, path).write("cgroup.clone_children", b"1")?;
        }
        Ok(())
    }
}

impl Unified {
    fn new(root: OwnedFd) -> Self {
        Self { root, controllers: OnceLock::new() }
    }

    /// What it can do: read when first asked, for on a hybrid host hardly anybody does.
    pub(super) fn controllers(&self) -> Controllers {
        let read = || Dir::new(&self.root, "").read("cgroup.controllers").unwrap_or_default();
        *self.controllers.get_or_init(|| Controllers::parse(&read()))
    }

    /// Makes the directory of a group and those above it, each with every controller enabled for what is below;
    /// answers whether it was there already.
    pub(super) fn make(&self, path: &str) -> Result<bool, Error> {
        let existed =
            make_with_parents(&self.root, path, &|parent| match mkdirat(&self.root, parent, MODE) {
                Ok(()) | Err(Errno::EXIST) => Ok(()),
                Err(errno) => Err(errno),
            });
        let existed = existed.map_err(|errno| Error::io("create cgroup", format!("/{path}"), errno))?;
        self.enable(path)?;
        Ok(existed)
    }

    /// Sees to it that the group at `path` has every controller that the root has.
    fn enable(&self, path: &str) -> Result<(), Error> {
        let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        if self.missing_below(parent)?.is_empty() {
            return Ok(());
        }
        for level in std::iter::once("").chain(parents(path)) {
            let missing = self.missing_below(level)?;
            if missing.is_empty() {
                continue;
            }
            let dir = Dir::new(&self.root, level);
            let line = missing.enable_line();
            if dir.write(SUBTREE_CONTROL, line.as_bytes()).is_ok() {
                continue;
            }
            // One of them may be refused for a reason of its own (cpu, while a real-time process is outside the
            // root group; memory, in a group with processes): the others still count, and whoever sets a limit of
            // the one that is missing is told then.
            for word in line.split(' ') {
                let _ = dir.write(SUBTREE_CONTROL, word.as_bytes());
            }
        }
        Ok(())
    }

    fn missing_below(&self, level: &str) -> Result<Controllers, Error> {
        let text = Dir::new(&self.root, level).read(SUBTREE_CONTROL);
        let text = text
            .map_err(|errno| Error::io(format!("read {SUBTREE_CONTROL} of"), format!("/{level}"), errno))?;
        Ok(self.controllers().minus(Controllers::parse(&text)))
    }
}

const SUBTREE_CONTROL: &str = "cgroup.subtree_control";

const MODE: Mode = Mode::from_raw_mode(0o755);

/// The path of a group as it is used below: without the leading slash, and free of everything that could lead out.
pub(super) fn relative(path: &str) -> Result<String, Error> {
    let refuse = |reason| Err(Error::Path { path: path.to_owned(), reason });
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => return refuse("it must not contain '..'"),
            _ => parts.push(part),
        }
    }
    if parts.is_empty() {
        return refuse("it names the root");
    }
    if path.contains(['\0', '\n']) {
        return refuse("it contains a control character");
    }
    Ok(parts.join("/"))
}

/// Makes a directory, and those above it with `make_parent` if they are missing; answers whether it was there already.
fn make_with_parents(
    root: &OwnedFd,
    path: &str,
    make_parent: &dyn Fn(&str) -> Result<(), Errno>,
) -> Result<bool, Errno> {
    // Somebody else may remove an empty parent in between.
    const ATTEMPTS: u32 = 8;
    for attempt in 1.. {
        match mkdirat(root, path, MODE) {
            Ok(()) => return Ok(false),
            Err(Errno::EXIST) => return Ok(true),
            Err(Errno::NOENT | Errno::NODEV) if attempt < ATTEMPTS => {}
            Err(errno) => return Err(errno),
        }
        match parents(path).try_for_each(make_parent) {
            Ok(()) => {}
            Err(Errno::NOENT | Errno::NODEV) if attempt < ATTEMPTS => {}
            Err(errno) => return Err(errno),
        }
    }
    Err(Errno::NOENT)
}

/// `a/b/c` has the parents `a` and `a/b`.
fn parents(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(at, _)| &path[..at])
}

/// Each hierarchy once: several controllers on one mount are links to it.
fn find_v1(base: &OwnedFd, has: &dyn Fn(&&str) -> bool, systemd: bool) -> Vec<Hierarchy> {
    let mut found: Vec<(u64, Hierarchy)> = Vec::new();
    for (controller, name) in Controller::V1 {
        // Without a systemd that sorts processes by it, its hierarchy says nothing.
        if !has(&name) || (controller == Controller::Systemd && !systemd) {
            continue;
        }
        let Some(root) = follow(base, name, CGROUP_MAGIC) else { continue };
        let Ok(device) = fstat(&root).map(|stat| stat.st_dev) else { continue };
        if let Some((_, hierarchy)) = found.iter_mut().find(|(known, _)| *known == device) {
            hierarchy.controllers.insert(controller);
            continue;
        }
        let mut controllers = Controllers::default();
        controllers.insert(controller);
        found.push((device, Hierarchy { root, name, controllers }));
    }
    found.into_iter().map(|(_, hierarchy)| hierarchy).collect()
}

/// What is in the directory. Asking for names that are not there would cost more.
fn names(base: &OwnedFd) -> Vec<String> {
    let entries = rustix::fs::Dir::read_from(base).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// The root of a hierarchy, which may be reached by a link (`cpu` for `cpu,cpuacct`).
fn follow(base: &OwnedFd, name: &str, magic: u64) -> Option<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(base, name, flags, Mode::empty()).ok().filter(|fd| is_type(fd, magic))
}

fn is_type(fd: &OwnedFd, magic: u64) -> bool {
    fstatfs(fd).is_ok_and(|found| found.f_type as u64 == magic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_never_leads_out() {
        assert_eq!(relative("/berth/abc").unwrap(), "berth/abc");
        assert_eq!(relative("berth//./abc/").unwrap(), "berth/abc");
        for path in ["", "/", "//.", "/a/../../b", "..", "a\0b", "a\nb"] {
            assert!(relative(path).is_err(), "{path:?}");
        }
        assert!(relative("/a/..b").is_ok());
    }

    #[test]
    fn parents_come_from_the_top() {
        assert_eq!(parents("a/b/c").collect::<Vec<_>>(), ["a", "a/b"]);
        assert_eq!(parents("a").count(), 0);
    }

    #[test]
    fn controllers_are_read_and_enabled_by_name() {
        let all = Controllers::parse("cpuset cpu io memory hugetlb pids rdma misc\n");
        let some = Controllers::parse("cpu memory");
        assert!(all.contains(Controller::Blkio) && !some.contains(Controller::Blkio));
        assert_eq!(all.minus(some).enable_line(), "+cpuset +io +pids +hugetlb +rdma +misc");
        assert!(some.minus(all).is_empty());
        assert_eq!(Controllers::parse("new_one"), Controllers::default());
    }

    #[test]
    fn a_directory_without_cgroups_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(Hierarchies::at(dir.path()), Err(Error::NotMounted { .. })));
        assert!(matches!(Hierarchies::at(&dir.path().join("none")), Err(Error::NotMounted { .. })));
    }
}
