//! Capability sets: Docker's default one, `--cap-add`, `--cap-drop`, `--privileged`.

use berth_oci::container::HostConfig;
use berth_oci::runtime::LinuxCapabilities;

use super::Machine;
use crate::error::{Error, Result};

/// The kernel's names in the order of its numbers. Source: `include/uapi/linux/capability.h`.
const NAMES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// What a container has when nothing is said.
const DEFAULT: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// A set of capabilities: the kernel's bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CapabilitySet(u64);

impl CapabilitySet {
    /// The bounding set of this process.
    ///
    /// # Errors
    /// When `/proc/self/status` cannot be read.
    pub fn bounding() -> Result<Self> {
        let path = "/proc/self/status";
        let status = std::fs::read_to_string(path).map_err(Error::io(format!("cannot read {path}")))?;
        let line = status.lines().find_map(|line| line.strip_prefix("CapBnd:"));
        let bits = line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
        Ok(Self::from_bits(bits.ok_or_else(|| Error::Internal(format!("no bounding set in {path}")))?))
    }

    /// A set by the kernel's bits; those without a name are left out.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits & ((1 << NAMES.len()) - 1))
    }

    /// Docker's default set.
    #[must_use]
    pub fn docker_default() -> Self {
        DEFAULT.iter().filter_map(|name| number(name)).fold(Self(0), Self::with)
    }

    /// Is this capability (`CAP_SYS_ADMIN`) in the set?
    #[must_use]
    pub fn contains(self, name: &str) -> bool {
        number(name).is_some_and(|number| self.0 >> number & 1 == 1)
    }

    /// The names, in the order of the kernel's numbers.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        NAMES.iter().enumerate().filter(move |(number, _)| self.0 >> number & 1 == 1).map(|(_, name)| *name)
    }

    /// As Docker writes it to a spec: bounding, effective and permitted; nothing inheritable or ambient.
    #[must_use]
    pub fn spec(self) -> LinuxCapabilities {
        let names: Vec<String> = self.names().map(str::to_owned).collect();
        LinuxCapabilities {
            bounding: names.clone(),
            effective: names.clone(),
            permitted: names,
            ..LinuxCapabilities::default()
        }
    }

    const fn with(self, number: usize) -> Self {
        Self(self.0 | 1 << number)
    }

    const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

/// The name as Docker keeps it: `net_admin` is `CAP_NET_ADMIN`, `all` is `ALL`. Whether there is such a capability
/// is not asked.
#[must_use]
pub fn normalize(name: &str) -> String {
    let upper = name.trim().to_uppercase();
    if upper == "ALL" || upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") }
}

pub(super) fn check(config: &HostConfig, machine: &Machine) -> Result<()> {
    of_container(config, machine).map(drop)
}

/// The capabilities of a container.
pub(super) fn of_container(config: &HostConfig, machine: &Machine) -> Result<CapabilitySet> {
    let available = machine.capabilities;
    let add = Selection::parse(config.cap_add.as_deref().unwrap_or_default(), available, "CapAdd")?;
    let drop = Selection::parse(config.cap_drop.as_deref().unwrap_or_default(), available, "CapDrop")?;
    Ok(tweak(config.privileged, add, drop, available))
}

/// Names given on the command line.
#[derive(Clone, Copy)]
struct Selection {
    all: bool,
    named: CapabilitySet,
}

impl Selection {
    fn parse(names: &[String], available: CapabilitySet, field: &str) -> Result<Self> {
        let mut selection = Self { all: false, named: CapabilitySet::default() };
        for name in names {
            let name = normalize(name);
            if name == "ALL" {
                selection.all = true;
                continue;
            }
            let Some(number) = number(&name) else {
                return Err(Error::invalid(format!("invalid {field}: unknown capability: \"{name}\"")));
            };
            if !available.contains(&name) {
                return Err(Error::invalid(format!(
                    "invalid {field}: capability not supported by your kernel or not available in the current \
                     environment: \"{name}\""
                )));
            }
            selection.named = selection.named.with(number);
        }
        Ok(selection)
    }
}

/// Docker's order: privileged beats all; `ALL` added beats `ALL` dropped.
fn tweak(privileged: bool, add: Selection, drop: Selection, available: CapabilitySet) -> CapabilitySet {
    let wanted = if privileged {
        available
    } else if add.all {
        available.without(drop.named)
    } else if drop.all {
        add.named
    } else {
        CapabilitySet(CapabilitySet::docker_default().without(drop.named).0 | add.named.0)
    };
    CapabilitySet(wanted.0 & available.0)
}

fn number(name: &str) -> Option<usize> {
    NAMES.iter().position(|known| *known == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(bits: u64) -> Machine {
        Machine {
            capabilities: CapabilitySet::from_bits(bits),
            kernel: super::super::KernelVersion { major: 6, minor: 1 },
            apparmor: false,
            selinux: false,
        }
    }

    fn check(privileged: bool, add: &[&str], drop: &[&str]) -> Result<u64, String> {
        let list = |names: &[&str]| Some(names.iter().map(|&name| name.to_owned()).collect());
        let config =
            HostConfig { privileged, cap_add: list(add), cap_drop: list(drop), ..HostConfig::default() };
        // As on a machine whose root lacks CAP_SYS_RESOURCE.
        of_container(&config, &machine(0x1ff_feff_ffff)).map(|set| set.0).map_err(|error| error.to_string())
    }

    #[test]
    fn sets_are_what_docker_gives() {
        assert_eq!(check(false, &[], &[]), Ok(0xa804_25fb));
        assert_eq!(check(true, &[], &[]), Ok(0x1ff_feff_ffff));
        assert_eq!(check(false, &["ALL"], &[]), Ok(0x1ff_feff_ffff));
        assert_eq!(check(false, &["all"], &["sys_admin"]), Ok(0x1ff_fedf_ffff));
        assert_eq!(check(false, &["ALL"], &["ALL"]), Ok(0x1ff_feff_ffff));
        assert_eq!(check(false, &[], &["ALL"]), Ok(0));
        assert_eq!(check(false, &["NET_ADMIN"], &["ALL"]), Ok(1 << 12));
        assert_eq!(check(false, &["cap_net_admin"], &["MKNOD"]), Ok(0xa004_35fb));
        assert_eq!(check(false, &["CHOWN"], &["CHOWN"]), Ok(0xa804_25fb));
        assert_eq!(check(true, &[], &["CHOWN"]), Ok(0x1ff_feff_ffff));
    }

    #[test]
    fn errors_are_dockers() {
        assert_eq!(
            check(false, &["foo"], &[]),
            Err("invalid CapAdd: unknown capability: \"CAP_FOO\"".to_owned())
        );
        assert_eq!(
            check(true, &[], &["foo"]),
            Err("invalid CapDrop: unknown capability: \"CAP_FOO\"".to_owned())
        );
        assert_eq!(
            check(false, &["SYS_RESOURCE"], &[]),
            Err("invalid CapAdd: capability not supported by your kernel or not available in the current \
                 environment: \"CAP_SYS_RESOURCE\""
                .to_owned())
        );
    }

    #[test]
    fn a_default_capability_that_the_host_lacks_is_left_out() {
        let set = of_container(&HostConfig::default(), &machine(0x1)).unwrap();
        assert_eq!(set.names().collect::<Vec<_>>(), ["CAP_CHOWN"]);
    }

    #[test]
    fn the_bounding_set_is_read() {
        assert!(CapabilitySet::bounding().is_ok());
    }
}
