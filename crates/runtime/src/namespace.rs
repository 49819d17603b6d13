//! The namespaces of a container: which are new, which are joined, which stay the caller's.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use berth_oci::runtime::{LinuxIdMapping, LinuxNamespaceType, Spec};
use berth_sys::clone::{
    CLONE_NEWCGROUP, CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWTIME, CLONE_NEWUSER,
    CLONE_NEWUTS,
};
use rustix::io::Errno;
use rustix::thread::{
    LinkNameSpaceType, ThreadNameSpaceType, UnshareFlags, move_into_link_name_space,
    move_into_thread_name_spaces,
};

use crate::Error;

/// What the configuration says about namespaces.
#[derive(Debug, Default)]
pub(crate) struct Namespaces {
    /// `CLONE_NEW*` of those to make.
    pub(crate) new: u64,
    /// Those to join, with the paths of them.
    pub(crate) joined: Vec<(LinuxNamespaceType, String)>,
}

impl Namespaces {
    /// # Errors
    /// `InvalidSpec` for a kind that is named twice, and for what needs a namespace that is not there.
    pub(crate) fn from_spec(spec: &Spec) -> Result<Self, Error> {
        let mut namespaces = Self::default();
        let Some(linux) = &spec.linux else { return Ok(namespaces) };
        for namespace in &linux.namespaces {
            if namespaces.has(namespace.kind) {
                let name = proc_name(namespace.kind);
                return Err(Error::InvalidSpec(format!("namespace {name} is given twice")));
            }
            if namespace.path.is_empty() {
                namespaces.new |= flag(namespace.kind);
            } else {
                namespaces.joined.push((namespace.kind, namespace.path.clone()));
            }
        }
        namespaces.check(spec)?;
        Ok(namespaces)
    }

    fn check(&self, spec: &Spec) -> Result<(), Error> {
        use LinuxNamespaceType::{Mount, Time, User, Uts};
        let Some(linux) = &spec.linux else { return Ok(()) };
        let invalid = |message: &str| Err(Error::InvalidSpec(message.to_owned()));
        if self.is_new(User) && (linux.uid_mappings.is_empty() || linux.gid_mappings.is_empty()) {
            return invalid("a new user namespace needs uidMappings and gidMappings");
        }
        if !self.has(User) && !(linux.uid_mappings.is_empty() && linux.gid_mappings.is_empty()) {
            return invalid("uidMappings and gidMappings need a user namespace");
        }
        if !self.has(Uts) && !(spec.hostname.is_empty() && spec.domainname.is_empty()) {
            return invalid("unable to set hostname without a private UTS namespace");
        }
        if !self.has(Mount) && !(linux.masked_paths.is_empty() && linux.readonly_paths.is_empty()) {
            return invalid("unable to restrict sys entries without a private MNT namespace");
        }
        if !self.has(Mount) && !spec.mounts.is_empty() {
            return invalid("mounts need a mount namespace");
        }
        if !self.is_new(Time) && !linux.time_offsets.is_empty() {
            return invalid("time offsets need a new time namespace");
        }
        Ok(())
    }

    /// Whether the container has one of its own, new or joined.
    pub(crate) fn has(&self, kind: LinuxNamespaceType) -> bool {
        self.is_new(kind) || self.joined.iter().any(|(joined, _)| *joined == kind)
    }

    /// Whether it is to be made.
    pub(crate) fn is_new(&self, kind: LinuxNamespaceType) -> bool {
        self.new & flag(kind) != 0
    }

    /// `CLONE_NEW*` of all that are not the caller's.
    pub(crate) fn all(&self) -> u64 {
        self.joined.iter().fold(self.new, |flags, (kind, _)| flags | flag(*kind))
    }

    /// Opens those to join: paths are the host's and mean nothing inside. The user namespace comes last.
    pub(crate) fn open_joined(&self) -> Result<Vec<(LinuxNamespaceType, OwnedFd)>, Error> {
        let mut opened = Vec::with_capacity(self.joined.len());
        for (kind, path) in &self.joined {
            let file = File::open(path).map_err(|error| {
                Error::system(format!("open {} namespace {path}", proc_name(*kind)), error)
            })?;
            opened.push((*kind, OwnedFd::from(file)));
        }
        opened.sort_by_key(|(kind, _)| *kind == LinuxNamespaceType::User);
        Ok(opened)
    }
}

/// `CLONE_NEW*` of a kind.
pub(crate) fn flag(kind: LinuxNamespaceType) -> u64 {
    match kind {
        LinuxNamespaceType::Pid => CLONE_NEWPID,
        LinuxNamespaceType::Network => CLONE_NEWNET,
        LinuxNamespaceType::Mount => CLONE_NEWNS,
        LinuxNamespaceType::Ipc => CLONE_NEWIPC,
        LinuxNamespaceType::Uts => CLONE_NEWUTS,
        LinuxNamespaceType::User => CLONE_NEWUSER,
        LinuxNamespaceType::Cgroup => CLONE_NEWCGROUP,
        LinuxNamespaceType::Time => CLONE_NEWTIME,
    }
}

/// The name below `/proc/<pid>/ns`.
pub(crate) fn proc_name(kind: LinuxNamespaceType) -> &'static str {
    match kind {
        LinuxNamespaceType::Pid => "pid",
        LinuxNamespaceType::Network => "net",
        LinuxNamespaceType::Mount => "mnt",
        LinuxNamespaceType::Ipc => "ipc",
        LinuxNamespaceType::Uts => "uts",
        LinuxNamespaceType::User => "user",
        LinuxNamespaceType::Cgroup => "cgroup",
        LinuxNamespaceType::Time => "time",
    }
}

/// Moves the calling thread into a namespace, which must be of this kind.
pub(crate) fn join<Fd: AsFd>(kind: LinuxNamespaceType, namespace: Fd) -> Result<(), Errno> {
    let link = match kind {
        LinuxNamespaceType::Pid => LinkNameSpaceType::ProcessID,
        LinuxNamespaceType::Network => LinkNameSpaceType::Network,
        LinuxNamespaceType::Mount => LinkNameSpaceType::Mount,
        LinuxNamespaceType::Ipc => LinkNameSpaceType::InterProcessCommunication,
        LinuxNamespaceType::Uts => LinkNameSpaceType::HostNameAndNISDomainName,
        LinuxNamespaceType::User => LinkNameSpaceType::User,
        LinuxNamespaceType::Cgroup => LinkNameSpaceType::ControlGroup,
        LinuxNamespaceType::Time => LinkNameSpaceType::Time,
    };
    move_into_link_name_space(namespace.as_fd(), Some(link))
}

/// New namespaces of these kinds for the calling thread (for pid and time: for its children).
pub(crate) fn unshare(flags: u64) -> Result<(), Errno> {
    let flags = UnshareFlags::from_bits_retain(flags as u32);
    // SAFETY: namespaces change neither memory nor the table of descriptors; CLONE_FILES is never among the flags.
    unsafe { rustix::thread::unshare_unsafe(flags) }
}

/// While it lives, children of the calling process are made in another PID or time namespace.
#[derive(Debug)]
pub(crate) struct Detour {
    back: Option<(LinuxNamespaceType, OwnedFd)>,
}

impl Detour {
    /// Into a namespace that is there.
    pub(crate) fn join<Fd: AsFd>(kind: LinuxNamespaceType, namespace: Fd) -> Result<Self, Error> {
        let back = own(kind)?;
        join(kind, namespace)
            .map_err(|errno| Error::system(format!("join {} namespace", proc_name(kind)), errno))?;
        Ok(Self { back: Some((kind, back)) })
    }

    /// Into that of a process.
    pub(crate) fn join_of(kind: LinuxNamespaceType, pidfd: BorrowedFd<'_>) -> Result<Self, Error> {
        let back = own(kind)?;
        let flags = ThreadNameSpaceType::from_bits_retain(flag(kind) as u32);
        move_into_thread_name_spaces(pidfd, flags).map_err(|errno| {
            Error::system(format!("join {} namespace of a process", proc_name(kind)), errno)
        })?;
        Ok(Self { back: Some((kind, back)) })
    }

    /// Into a new time namespace with these offsets; they can be set as long as no process is in it.
    pub(crate) fn new_time(spec: &Spec) -> Result<Self, Error> {
        use std::fmt::Write;
        let back = own(LinuxNamespaceType::Time)?;
        unshare(CLONE_NEWTIME).map_err(|errno| Error::system("make a time namespace", errno))?;
        let detour = Self { back: Some((LinuxNamespaceType::Time, back)) };
        let mut lines = String::new();
        for (clock, offset) in spec.linux.iter().flat_map(|linux| &linux.time_offsets) {
            let _ = writeln!(lines, "{clock} {} {}", offset.secs, offset.nanosecs);
        }
        if !lines.is_empty() {
            std::fs::write("/proc/self/timens_offsets", lines)
                .map_err(|error| Error::system("write /proc/self/timens_offsets", error))?;
        }
        Ok(detour)
    }
}

impl Drop for Detour {
    fn drop(&mut self) {
        if let Some((kind, namespace)) = self.back.take() {
            // The namespace is the caller's own: there is nothing that could refuse it.
            let _ = join(kind, namespace);
        }
    }
}

fn own(kind: LinuxNamespaceType) -> Result<OwnedFd, Error> {
    let path = format!("/proc/self/ns/{}", proc_name(kind));
    File::open(&path).map(OwnedFd::from).map_err(|error| Error::system(format!("open {path}"), error))
}

/// The text of `uid_map` and `gid_map`.
pub(crate) fn map_lines(mappings: &[LinuxIdMapping]) -> String {
    use std::fmt::Write;
    let mut lines = String::new();
    for mapping in mappings {
        let _ = writeln!(lines, "{} {} {}", mapping.container_id, mapping.host_id, mapping.size);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_oci::runtime::{Linux, LinuxNamespace};

    fn spec(kinds: &[(LinuxNamespaceType, &str)]) -> Spec {
        let namespaces =
            kinds.iter().map(|&(kind, path)| LinuxNamespace { kind, path: path.to_owned() }).collect();
        Spec { linux: Some(Linux { namespaces, ..Linux::default() }), ..Spec::default() }
    }

    #[test]
    fn new_and_joined() {
        use LinuxNamespaceType::{Mount, Network, Pid};
        let namespaces =
            Namespaces::from_spec(&spec(&[(Pid, ""), (Mount, ""), (Network, "/proc/1/ns/net")])).unwrap();
        assert_eq!(namespaces.new, CLONE_NEWPID | CLONE_NEWNS);
        assert!(namespaces.has(Network) && !namespaces.is_new(Network));
        assert_eq!(namespaces.all(), CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET);
    }

    #[test]
    fn contradictions_are_refused() {
        use LinuxNamespaceType::{Mount, Pid, User};
        assert!(Namespaces::from_spec(&spec(&[(Pid, ""), (Pid, "/x")])).is_err());
        assert!(Namespaces::from_spec(&spec(&[(User, "")])).is_err(), "no mappings");
        let mut hostname = spec(&[(Mount, "")]);
        hostname.hostname = "h".to_owned();
        assert!(Namespaces::from_spec(&hostname).is_err(), "no UTS namespace");
    }
}
