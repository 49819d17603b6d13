//! The OCI runtime specification 1.2, Linux: `config.json` and the state that hooks and `state` receive.
//!
//! Every field of the specification that concerns Linux is here under its own name (`type` is `kind`), public, with
//! `Default`. Reading is lenient as Go's decoder is: unknown fields are ignored, `null` is an empty list; writing
//! leaves out what is empty. Values are not checked here: the runtime does that where it uses them.

mod linux;
mod process;
mod resources;
mod seccomp;
mod state;

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

pub use crate::mount::Mount;
pub use linux::{
    Linux, LinuxDevice, LinuxIdMapping, LinuxIntelRdt, LinuxNamespace, LinuxNamespaceType, LinuxPersonality,
    LinuxTimeOffset,
};
pub use process::{
    ConsoleSize, ExecCpuAffinity, LinuxCapabilities, LinuxIoPriority, PosixRlimit, Process, Scheduler, User,
};
pub use resources::{
    LinuxBlockIo, LinuxCpu, LinuxDeviceCgroup, LinuxHugepageLimit, LinuxInterfacePriority, LinuxMemory,
    LinuxNetwork, LinuxPids, LinuxRdma, LinuxResources, LinuxThrottleDevice, LinuxWeightDevice,
};
pub use seccomp::{
    LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArch, LinuxSeccompArg, LinuxSeccompOperator, LinuxSyscall,
};
pub use state::{ContainerProcessState, State, Status};

/// The version of the specification that Berth writes and implements.
pub const VERSION: &str = "1.2.1";

/// A whole `config.json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    /// Version of the specification that the configuration follows.
    #[serde(default, rename = "ociVersion", deserialize_with = "nullable")]
    pub oci_version: String,
    /// The process to start; needed from `start` on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<Process>,
    /// The root filesystem.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<Root>,
    /// Host name, set in the container's UTS namespace.
    #[serde(default, skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    pub hostname: String,
    /// NIS domain name, set in the container's UTS namespace.
    #[serde(default, skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    pub domainname: String,
    /// Mounts, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    pub mounts: Vec<Mount>,
    /// Hooks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hooks: Option<Hooks>,
    /// Annotations, for whoever reads them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "nullable")]
    pub annotations: BTreeMap<String, String>,
    /// What is particular to Linux.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub linux: Option<Linux>,
}

/// The root filesystem of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    /// Its path, absolute or relative to the bundle.
    #[serde(default)]
    pub path: String,
    /// Whether the container sees it read-only.
    #[serde(default, skip_serializing_if = "is_false", deserialize_with = "nullable")]
    pub readonly: bool,
}

/// The hooks of a container, by the moment they run.
///
/// Source: runtime-spec, `config.md`, "POSIX-platform Hooks".
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hooks {
    /// Deprecated by the specification, still used: in the runtime namespace, with `createRuntime`, before it.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    pub prestart: Vec<Hook>,
    /// In the runtime namespace, after the namespaces are made and before `pivot_root`.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    pub create_runtime: Vec<Hook>,
    /// In the container namespace, before `pivot_root`.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    pub create_container: Vec<Hook>,
    /// In the container namespace, before the process is executed.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    pub start_container: Vec<Hook>,
    /// In the runtime namespace, after the process was executed.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    pub poststart: Vec<Hook>,
    /// In the runtime namespace, after the container was deleted.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    pub poststop: Vec<Hook>,
}

/// One program that is run at a moment of a container's life, with its state on standard input.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// Absolute path of the program.
    pub path: String,
    /// Its arguments, the name first.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    pub args: Vec<String>,
    /// Its environment, `NAME=value`.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    pub env: Vec<String>,
    /// Seconds after which it is killed and counts as failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<i64>,
}

/// Reads `null` as the default value, as Go does.
pub(crate) fn nullable<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
pub(crate) fn is_false(value: &bool) -> bool {
    !value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
pub(crate) fn is_zero(value: &u32) -> bool {
    *value == 0
}

#[cfg(test)]
mod tests;
