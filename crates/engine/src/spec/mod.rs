//! The runtime specification of a container, from its record. Pure: what has to be looked up on the host comes in
//! [`Input`], so that each field of a `HostConfig` can be tested by what it does to the spec.

pub(crate) mod mounts;
pub(crate) mod process;
pub(crate) mod resources;

use std::collections::BTreeMap;

use berth_oci::container::NetworkMode;
use berth_oci::runtime::{
    Linux, LinuxNamespace, LinuxNamespaceType, LinuxResources, Mount, Root, Spec, VERSION,
};

use crate::container::Record;
use crate::error::{Error, Result};
use crate::security::Security;

pub(crate) use process::Identity;

/// What a spec is made from.
pub(crate) struct Input<'a> {
    /// The container.
    pub(crate) record: &'a Record,
    /// What it may do.
    pub(crate) security: Security,
    /// As whom it runs.
    pub(crate) identity: Identity,
    /// Its limits.
    pub(crate) resources: LinuxResources,
    /// Directory that its root is mounted at, in its own mount namespace.
    pub(crate) root_path: &'a str,
    /// Its cgroup.
    pub(crate) cgroups_path: String,
    /// Parts of volumes that are mounted in their stead: destination, path on the host.
    pub(crate) subpaths: BTreeMap<&'a str, String>,
    /// The files under `/etc` that are its own: path inside, path on the host.
    pub(crate) etc_files: Vec<(&'static str, String)>,
    /// First processes of the containers whose namespaces it joins.
    pub(crate) joins: Joins,
    /// Variables of the containers that are linked.
    pub(crate) link_env: Vec<String>,
    /// The init program that runs as process 1.
    pub(crate) init: Option<&'a str>,
    /// Whether mounts can be made read-only recursively (Linux 5.12).
    pub(crate) recursive_readonly: bool,
    /// Whether `--read-only` and friends of `net.*` exist: paths below `/proc/sys` that are there.
    pub(crate) has_sysctl: &'a dyn Fn(&str) -> bool,
    /// Limits of processes for containers that name none.
    pub(crate) default_ulimits: &'a [berth_oci::container::Ulimit],
}

/// First processes, as the host numbers them, of the containers whose namespaces are joined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Joins {
    /// `--pid container:…`
    pub(crate) pid: Option<u32>,
    /// `--ipc container:…`
    pub(crate) ipc: Option<u32>,
}

/// Makes the spec.
///
/// Errors: `InvalidParameter` or `Internal` with Docker's text.
pub(crate) fn generate(input: &Input<'_>) -> Result<Spec> {
    let record = input.record;
    let host = &record.host_config;
    let mut mounts = mounts::Mounts::of_container(input)?;
    let mut resources = input.resources.clone();
    resources.devices.clone_from(&input.security.device_rules);
    let linux = Linux {
        sysctl: sysctls(input),
        resources: Some(resources),
        cgroups_path: input.cgroups_path.clone(),
        namespaces: namespaces(record, input.joins)?,
        devices: input.security.devices.clone(),
        seccomp: input.security.seccomp.clone(),
        rootfs_propagation: mounts.propagation.clone(),
        masked_paths: input.security.masked_paths.clone(),
        readonly_paths: input.security.readonly_paths.clone(),
        ..Linux::default()
    };
    if let Some(init) = input.init {
        let options = ["rbind", "ro", "rprivate"];
        mounts.list.push(Mount::new("bind", init, process::INIT_PATH, &options));
    }
    let uts_host = host.uts_mode == "host";
    Ok(Spec {
        oci_version: VERSION.to_owned(),
        process: Some(process::of_container(input)?),
        root: Some(Root { path: input.root_path.to_owned(), readonly: host.readonly_rootfs }),
        hostname: if uts_host { String::new() } else { record.config.hostname.clone() },
        domainname: if uts_host { String::new() } else { record.config.domainname.clone() },
        mounts: mounts.list,
        hooks: None,
        annotations: host.annotations.clone().unwrap_or_default(),
        linux: Some(linux),
    })
}

fn namespaces(record: &Record, joins: Joins) -> Result<Vec<LinuxNamespace>> {
    use LinuxNamespaceType as Type;
    let host = &record.host_config;
    let new = |kind| Some(LinuxNamespace { kind, path: String::new() });
    let join = |kind, name: &str, pid: Option<u32>, what: &str| match pid {
        Some(pid) => Ok(Some(LinuxNamespace { kind, path: format!("/proc/{pid}/ns/{name}") })),
        None => Err(Error::Internal(format!("no process to join the {what} namespace of"))),
    };
    let network = match host.network() {
        NetworkMode::Host => None,
        // Its path is given to the shim as a descriptor.
        _ => new(Type::Network),
    };
    let ipc = match host.ipc_mode.as_str() {
        "host" => None,
        mode if mode.starts_with("container:") => join(Type::Ipc, "ipc", joins.ipc, "IPC")?,
        _ => new(Type::Ipc),
    };
    let pid = match host.pid_mode.as_str() {
        "host" => None,
        mode if mode.starts_with("container:") => join(Type::Pid, "pid", joins.pid, "PID")?,
        _ => new(Type::Pid),
    };
    let uts = if host.uts_mode == "host" { None } else { new(Type::Uts) };
    let cgroup = if host.cgroupns_mode == "private" { new(Type::Cgroup) } else { None };
    Ok([new(Type::Mount), network, uts, pid, ipc, cgroup].into_iter().flatten().collect())
}

/// The container's own, and before them those that let it ping and bind low ports without privileges.
fn sysctls(input: &Input<'_>) -> std::collections::BTreeMap<String, String> {
    let host = &input.record.host_config;
    let mut sysctls = std::collections::BTreeMap::new();
    if !matches!(host.network(), NetworkMode::Host | NetworkMode::Container(_)) {
        for (name, value) in
            [("net.ipv4.ping_group_range", "0 2147483647"), ("net.ipv4.ip_unprivileged_port_start", "0")]
        {
            if (input.has_sysctl)(name) {
                sysctls.insert(name.to_owned(), value.to_owned());
            }
        }
    }
    sysctls.extend(host.sysctls.iter().flatten().map(|(name, value)| (name.clone(), value.clone())));
    sysctls
}

#[cfg(test)]
mod tests;
