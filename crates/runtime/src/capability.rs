//! Capabilities by name, and the five sets as masks.

use berth_oci::runtime::LinuxCapabilities;

/// Names in the order of their numbers, without `CAP_`.
///
/// Source: `include/uapi/linux/capability.h`.
pub(crate) const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// The five sets, a bit a capability.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sets {
    pub(crate) bounding: u64,
    pub(crate) effective: u64,
    pub(crate) inheritable: u64,
    pub(crate) permitted: u64,
    pub(crate) ambient: u64,
}

impl Sets {
    /// Reads the sets of a configuration. A name that nobody knows is left out, as the specification asks: a newer
    /// engine may name what this kernel cannot have.
    pub(crate) fn from_spec(capabilities: Option<&LinuxCapabilities>) -> Self {
        let Some(capabilities) = capabilities else { return Self::default() };
        Self {
            bounding: mask(&capabilities.bounding),
            effective: mask(&capabilities.effective),
            inheritable: mask(&capabilities.inheritable),
            permitted: mask(&capabilities.permitted),
            ambient: mask(&capabilities.ambient),
        }
    }
}

/// The number of a capability, `CAP_KILL` or `KILL`, in any case.
pub(crate) fn number(name: &str) -> Option<u32> {
    let bare = match name.get(..4) {
        Some(prefix) if prefix.eq_ignore_ascii_case("CAP_") => &name[4..],
        _ => name,
    };
    NAMES.iter().position(|known| known.eq_ignore_ascii_case(bare)).map(|index| index as u32)
}

fn mask(names: &[String]) -> u64 {
    names.iter().filter_map(|name| number(name)).fold(0, |mask, number| mask | 1 << number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_kernel() {
        assert_eq!(number("CAP_CHOWN"), Some(0));
        assert_eq!(number("cap_sys_admin"), Some(21));
        assert_eq!(number("CHECKPOINT_RESTORE"), Some(40));
        assert_eq!(number("CAP_FLY"), None);
        assert_eq!(number("é"), None);
    }

    #[test]
    fn no_capabilities_are_no_capabilities() {
        assert_eq!(Sets::from_spec(None), Sets::default());
    }
}
