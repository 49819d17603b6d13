//! `linux`: namespaces, mappings, devices and the paths that are hidden.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{LinuxResources, LinuxSeccomp, is_zero, nullable};

/// What is particular to Linux in a container.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Linux {
    /// User ids of a new user namespace.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    pub uid_mappings: Vec<LinuxIdMapping>,
    /// Group ids of a new user namespace.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    pub gid_mappings: Vec<LinuxIdMapping>,
    /// Kernel parameters, by their dotted names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "nullable")]
    pub sysctl: BTreeMap<String, String>,
    /// Limits and device rules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<LinuxResources>,
    /// The cgroup: a path, or `slice:prefix:name` for systemd.
    #[serde(default, skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    pub cgroups_path: String,
    /// Namespaces that are new or joined; all others are shared with the caller.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    pub namespaces: Vec<LinuxNamespace>,
    /// Devices beyond the default ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    pub devices: Vec<LinuxDevice>,
    /// System call filter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seccomp: Option<LinuxSeccomp>,
    /// `shared`, `slave`, `private` or `unbindable`, with `r` in front for the recursive kind.
    #[serde(default, skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    pub rootfs_propagation: String,
    /// Paths that show nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    pub masked_paths: Vec<String>,
    /// Paths that cannot be written.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    pub readonly_paths: Vec<String>,
    /// `SELinux` label of the mounts.
    #[serde(default, skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    pub mount_label: String,
    /// Cache and memory bandwidth allocation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intel_rdt: Option<LinuxIntelRdt>,
    /// Execution domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub personality: Option<LinuxPersonality>,
    /// Offsets of the clocks of a new time namespace, by clock (`monotonic`, `boottime`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "nullable")]
    pub time_offsets: BTreeMap<String, LinuxTimeOffset>,
}

/// One namespace of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinuxNamespace {
    /// Its kind.
    #[serde(rename = "type")]
    pub kind: LinuxNamespaceType,
    /// The namespace to join; empty for a new one.
    #[serde(default, skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    pub path: String,
}

/// Kinds of namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LinuxNamespaceType {
    /// Process ids.
    Pid,
    /// Network.
    Network,
    /// Mounts.
    Mount,
    /// System V IPC and POSIX message queues.
    Ipc,
    /// Host and domain name.
    Uts,
    /// User and group ids, capabilities.
    User,
    /// Cgroup root.
    Cgroup,
    /// Monotonic and boot clocks.
    Time,
}

/// A range of ids and where it lies on the host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinuxIdMapping {
    /// First id inside.
    #[serde(rename = "containerID")]
    pub container_id: u32,
    /// First id outside.
    #[serde(rename = "hostID")]
    pub host_id: u32,
    /// How many.
    pub size: u32,
}

/// A device node to make.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LinuxDevice {
    /// Path inside the container.
    pub path: String,
    /// `c`, `u` (both character), `b` (block) or `p` (FIFO).
    #[serde(rename = "type")]
    pub kind: String,
    /// Major number.
    #[serde(default)]
    pub major: i64,
    /// Minor number.
    #[serde(default)]
    pub minor: i64,
    /// Permissions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_mode: Option<u32>,
    /// Owner inside the container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Group inside the container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gid: Option<u32>,
}

/// Cache and memory bandwidth allocation through resctrl.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LinuxIntelRdt {
    /// Class of service, a directory of resctrl.
    #[serde(
        default,
        rename = "closID",
        skip_serializing_if = "String::is_empty",
        deserialize_with = "nullable"
    )]
    pub clos_id: String,
    /// Schema of the L3 cache.
    #[serde(default, skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    pub l3_cache_schema: String,
    /// Schema of the memory bandwidth.
    #[serde(default, skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    pub mem_bw_schema: String,
    /// Whether cache monitoring is on.
    #[serde(
        default,
        rename = "enableCMT",
        skip_serializing_if = "super::is_false",
        deserialize_with = "nullable"
    )]
    pub enable_cmt: bool,
    /// Whether bandwidth monitoring is on.
    #[serde(
        default,
        rename = "enableMBM",
        skip_serializing_if = "super::is_false",
        deserialize_with = "nullable"
    )]
    pub enable_mbm: bool,
}

/// Execution domain of `personality(2)`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinuxPersonality {
    /// `LINUX` or `LINUX32`.
    pub domain: String,
    /// Further flags; the specification defines none.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    pub flags: Vec<String>,
}

/// Offset of a clock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinuxTimeOffset {
    /// Seconds.
    #[serde(default)]
    pub secs: i64,
    /// Nanoseconds.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub nanosecs: u32,
}
