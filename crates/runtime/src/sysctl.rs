//! Kernel parameters: which ones belong to a container, and where they are written.

use std::os::fd::BorrowedFd;

use berth_oci::runtime::{LinuxNamespaceType, Spec};
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};

use crate::Error;
use crate::error::text;
use crate::namespace::Namespaces;

/// Refuses every parameter that is not the container's own: it would change the host.
///
/// # Errors
/// `InvalidSpec`, in runc's words.
pub(crate) fn check(spec: &Spec, namespaces: &Namespaces) -> Result<(), Error> {
    let Some(linux) = &spec.linux else { return Ok(()) };
    for key in linux.sysctl.keys() {
        let name = key.replace('/', ".");
        let needs = |kind, what: &str| {
            if namespaces.has(kind) {
                Ok(())
            } else {
                let message = format!("sysctl {key:?} is not allowed in the hosts {what} namespace");
                Err(Error::InvalidSpec(message))
            }
        };
        if is_ipc(&name) {
            needs(LinuxNamespaceType::Ipc, "ipc")?;
        } else if name.starts_with("net.") {
            needs(LinuxNamespaceType::Network, "network")?;
        } else if name.starts_with("user.") {
            needs(LinuxNamespaceType::User, "user")?;
        } else if name == "kernel.domainname" {
            needs(LinuxNamespaceType::Uts, "uts")?;
        } else if name == "kernel.hostname" {
            needs(LinuxNamespaceType::Uts, "uts")?;
            if !spec.hostname.is_empty() {
                let message = format!("sysctl {key:?} conflicts with hostname");
                return Err(Error::InvalidSpec(message));
            }
        } else {
            let message = format!("sysctl {key:?} is not in a separate kernel namespace");
            return Err(Error::InvalidSpec(message));
        }
    }
    Ok(())
}

fn is_ipc(name: &str) -> bool {
    const EXACT: [&str; 9] = [
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
        "kernel.shm_next_id",
    ];
    EXACT.contains(&name) || name.starts_with("fs.mqueue.")
}

/// The file of a parameter below `/proc/sys`. In a name with dots, a slash stands for a dot of an interface's name,
/// and the other way round in a name with slashes: whichever comes first is the separator.
fn file_of(key: &str) -> String {
    let separator = key.find(['.', '/']).map(|at| key.as_bytes()[at]);
    if separator == Some(b'/') {
        return key.to_owned();
    }
    key.chars()
        .map(|letter| match letter {
            '.' => '/',
            '/' => '.',
            other => other,
        })
        .collect()
}

/// Writes one parameter through a descriptor that is known to be procfs: nothing inside the container can lead the
/// write elsewhere.
pub(crate) fn write(proc: BorrowedFd<'_>, key: &str, value: &str) -> Result<(), Error> {
    let path = format!("sys/{}", file_of(key));
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let failed = |errno: rustix::io::Errno| Error::Init {
        message: format!("open /proc/{path}: {}", text(errno)),
        errno: Some(errno),
    };
    let file = openat2(proc, path.as_str(), OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty(), resolve)
        .map_err(failed)?;
    match rustix::io::write(&file, value.as_bytes()) {
        Ok(_) => Ok(()),
        Err(errno) => Err(Error::Init {
            message: format!("write sysctl key {key}: write /proc/{path}: {}", text(errno)),
            errno: Some(errno),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_oci::runtime::{Linux, LinuxNamespace};

    fn check_key(key: &str, kinds: &[LinuxNamespaceType]) -> bool {
        let namespaces = kinds.iter().map(|&kind| LinuxNamespace { kind, path: String::new() }).collect();
        let linux =
            Linux { sysctl: [(key.to_owned(), "1".to_owned())].into(), namespaces, ..Linux::default() };
        let hostname = if kinds.contains(&LinuxNamespaceType::Uts) { "h" } else { "" }.to_owned();
        let spec = Spec { hostname, linux: Some(linux), ..Spec::default() };
        let namespaces = Namespaces::from_spec(&spec).unwrap();
        check(&spec, &namespaces).is_ok()
    }

    #[test]
    fn only_what_is_the_containers_own() {
        use LinuxNamespaceType::{Ipc, Network, Uts};
        assert!(check_key("kernel.shmmax", &[Ipc]));
        assert!(!check_key("kernel.shmmax", &[]));
        assert!(check_key("net.ipv4.ip_forward", &[Network]));
        assert!(check_key("net/ipv4/ip_forward", &[Network]));
        assert!(!check_key("net.ipv4.ip_forward", &[Ipc]));
        assert!(check_key("kernel.domainname", &[Uts]));
        assert!(!check_key("kernel.hostname", &[Uts]), "conflicts with hostname");
        assert!(!check_key("kernel.core_pattern", &[Ipc, Network, Uts]));
        assert!(!check_key("vm.overcommit_memory", &[Ipc, Network, Uts]));
    }

    #[test]
    fn dots_and_slashes() {
        assert_eq!(file_of("net.ipv4.conf.eth0/100.forwarding"), "net/ipv4/conf/eth0.100/forwarding");
        assert_eq!(file_of("net/ipv4/conf/eth0.100/forwarding"), "net/ipv4/conf/eth0.100/forwarding");
    }
}
