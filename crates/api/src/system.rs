//! The engine and its machine: what `/version`, `/info` and `/system/df` answer.

use berth_oci::container::{Empty, Map};
use berth_oci::json::Node;
use serde::{Deserialize, Serialize};

use crate::version::Change;
use crate::{container, image, volume};

/// The answer of `GET /version`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct VersionResponse {
    /// The product.
    pub platform: Platform,
    /// The parts.
    pub components: Vec<Component>,
    /// The version.
    pub version: String,
    /// The newest API version.
    pub api_version: String,
    /// The oldest API version.
    #[serde(rename = "MinAPIVersion")]
    pub min_api_version: String,
    /// The commit.
    pub git_commit: String,
    /// The version of the compiler, under Docker's name for it.
    pub go_version: String,
    /// The operating system.
    pub os: String,
    /// The architecture, in Go's words.
    pub arch: String,
    /// The kernel's release.
    pub kernel_version: String,
    /// Experimental features are on.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub experimental: bool,
    /// RFC 3339.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub build_time: String,
}

/// A product.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Platform {
    /// Its name.
    pub name: String,
}

/// A part of the engine.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Component {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Particulars.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub details: Map<String>,
}

/// The answer of `GET /info`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Info {
    /// The engine's id.
    #[serde(rename = "ID")]
    pub id: String,
    /// All containers.
    pub containers: i64,
    /// Those that run.
    pub containers_running: i64,
    /// Those that are paused.
    pub containers_paused: i64,
    /// Those that do not run.
    pub containers_stopped: i64,
    /// Images.
    pub images: i64,
    /// The storage driver.
    pub driver: String,
    /// What it says of itself.
    pub driver_status: Vec<[String; 2]>,
    /// Drivers.
    pub plugins: Plugins,
    /// Memory can be limited.
    pub memory_limit: bool,
    /// Swap can be limited.
    pub swap_limit: bool,
    /// The CPU quota's period can be set.
    pub cpu_cfs_period: bool,
    /// CPU time can be limited.
    pub cpu_cfs_quota: bool,
    /// CPU time can be weighed.
    #[serde(rename = "CPUShares")]
    pub cpu_shares: bool,
    /// CPUs can be chosen.
    #[serde(rename = "CPUSet")]
    pub cpu_set: bool,
    /// The number of processes can be limited.
    pub pids_limit: bool,
    /// The host forwards.
    #[serde(rename = "IPv4Forwarding")]
    pub ipv4_forwarding: bool,
    /// More is logged.
    pub debug: bool,
    /// Open descriptors.
    #[serde(rename = "NFd")]
    pub n_fd: i64,
    /// The kernel's killing can be switched off.
    pub oom_kill_disable: bool,
    /// Tasks, under Docker's name for them.
    #[serde(rename = "NGoroutines")]
    pub n_goroutines: i64,
    /// RFC 3339.
    pub system_time: String,
    /// The default log driver.
    pub logging_driver: String,
    /// `cgroupfs` or `systemd`.
    pub cgroup_driver: String,
    /// `1` or `2`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cgroup_version: String,
    /// Who listens to events.
    #[serde(rename = "NEventsListener")]
    pub n_events_listener: i64,
    /// The kernel's release.
    pub kernel_version: String,
    /// The distribution.
    pub operating_system: String,
    /// Its version.
    #[serde(rename = "OSVersion")]
    pub os_version: String,
    /// `linux`.
    #[serde(rename = "OSType")]
    pub os_type: String,
    /// `x86_64`, …
    pub architecture: String,
    /// The default registry.
    pub index_server_address: String,
    /// Registries.
    pub registry_config: RegistryConfig,
    /// Processors.
    #[serde(rename = "NCPU")]
    pub ncpu: i64,
    /// Bytes.
    pub mem_total: i64,
    /// Swarm only.
    pub generic_resources: Option<Vec<Empty>>,
    /// Where the engine keeps its data.
    pub docker_root_dir: String,
    /// A proxy.
    pub http_proxy: String,
    /// A proxy.
    pub https_proxy: String,
    /// Hosts without proxy.
    pub no_proxy: String,
    /// The host's name.
    pub name: String,
    /// The engine's labels.
    pub labels: Vec<String>,
    /// Experimental features are on.
    pub experimental_build: bool,
    /// The engine's version.
    pub server_version: String,
    /// Runtimes by name.
    pub runtimes: Map<Runtime>,
    /// The default runtime.
    pub default_runtime: String,
    /// The cluster: none.
    pub swarm: Swarm,
    /// Containers outlive the engine.
    pub live_restore_enabled: bool,
    /// Windows only.
    pub isolation: String,
    /// The init program.
    pub init_binary: String,
    /// The commit of containerd; empty here.
    pub containerd_commit: Commit,
    /// The commit of the runtime.
    pub runc_commit: Commit,
    /// The commit of the init program.
    pub init_commit: Commit,
    /// `name=seccomp,profile=builtin`, …
    pub security_options: Vec<String>,
    /// The pools of subnets, if they were set.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub default_address_pools: Vec<AddressPool>,
    /// How the firewall is spoken to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub firewall_backend: Option<FirewallInfo>,
    /// Where device specifications are looked for.
    #[serde(rename = "CDISpecDirs")]
    pub cdi_spec_dirs: Vec<String>,
    /// Devices that were found.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub discovered_devices: Vec<Empty>,
    /// What the user should know of the machine.
    pub warnings: Option<Vec<String>>,
}

/// Differences of `GET /info`.
pub const INFO_CHANGES: &[Change] = &[
    Change { before: 50, apply: info_before_1_50 },
    Change { before: 49, apply: info_before_1_49 },
    Change { before: 46, apply: info_before_1_46 },
    Change { before: 44, apply: info_before_1_44 },
    Change { before: 42, apply: info_before_1_42 },
    Change { before: 25, apply: info_before_1_25 },
];

/// Bridged packets and the firewall.
fn info_before_1_50(info: &mut Node) {
    info.insert_before("Debug", "BridgeNfIptables", Node::Bool(false));
    info.insert_before("Debug", "BridgeNfIp6tables", Node::Bool(false));
}

/// Expected commits, foreign layers, and no firewall.
fn info_before_1_49(info: &mut Node) {
    for name in ["ContainerdCommit", "RuncCommit", "InitCommit"] {
        if let Some(commit) = info.get_mut(name) {
            let id = commit.get("ID").cloned().unwrap_or(Node::Null);
            commit.set("Expected", id);
        }
    }
    if let Some(registries) = info.get_mut("RegistryConfig") {
        registries.insert_first("AllowNondistributableArtifactsHostnames", Node::Null);
        registries.insert_first("AllowNondistributableArtifactsCIDRs", Node::Null);
    }
    info.remove("FirewallBackend");
}

/// Whether TCP's memory in the kernel is limited: it never is.
fn info_before_1_46(info: &mut Node) {
    info.insert_before("CpuCfsPeriod", "KernelMemoryTCP", Node::Bool(false));
}

/// Whether the kernel's memory is limited: it never is.
fn info_before_1_42(info: &mut Node) {
    info.insert_before("KernelMemoryTCP", "KernelMemory", Node::Bool(false));
}

/// Security options by their names only, and what ran containers before there were runtimes.
fn info_before_1_25(info: &mut Node) {
    if let Some(Node::Array(options)) = info.get_mut("SecurityOptions") {
        for option in options {
            if let Node::String(text) = option {
                let name = text.split(',').find_map(|pair| pair.strip_prefix("name="));
                *option = Node::string(name.unwrap_or(text.as_str()));
            }
        }
    }
    info.set("ExecutionDriver", Node::string("<not supported>"));
}

/// No features of runtimes.
fn info_before_1_44(info: &mut Node) {
    if let Some(Node::Object(runtimes)) = info.get_mut("Runtimes") {
        runtimes.iter_mut().for_each(|(_, runtime)| runtime.remove("status"));
    }
}

/// Drivers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Plugins {
    /// Of volumes.
    pub volume: Vec<String>,
    /// Of networks.
    pub network: Vec<String>,
    /// Of authorisation.
    pub authorization: Option<Vec<String>>,
    /// Of logs.
    pub log: Vec<String>,
}

/// Registries.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RegistryConfig {
    /// Networks whose registries need no TLS.
    #[serde(rename = "InsecureRegistryCIDRs")]
    pub insecure_registry_cidrs: Vec<String>,
    /// Registries by name.
    pub index_configs: Map<IndexConfig>,
    /// Mirrors of the default registry.
    pub mirrors: Option<Vec<String>>,
}

/// A registry.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct IndexConfig {
    /// Its name.
    pub name: String,
    /// Its mirrors.
    pub mirrors: Vec<String>,
    /// It is spoken to with TLS.
    pub secure: bool,
    /// It is the default registry.
    pub official: bool,
}

/// A runtime.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Runtime {
    /// The program.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// Arguments that come before the command.
    #[serde(rename = "runtimeArgs", skip_serializing_if = "Vec::is_empty")]
    pub runtime_args: Vec<String>,
    /// What it can do: its features under the key of the runtime specification.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub status: Map<String>,
}

/// The cluster: none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Swarm {
    /// Empty.
    #[serde(rename = "NodeID")]
    pub node_id: String,
    /// Empty.
    pub node_addr: String,
    /// `inactive`.
    pub local_node_state: String,
    /// No.
    pub control_available: bool,
    /// Empty.
    pub error: String,
    /// `null`.
    pub remote_managers: Option<Vec<Empty>>,
}

impl Default for Swarm {
    fn default() -> Self {
        Self {
            node_id: String::new(),
            node_addr: String::new(),
            local_node_state: "inactive".to_owned(),
            control_available: false,
            error: String::new(),
            remote_managers: None,
        }
    }
}

/// A commit.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Commit {
    /// Its hash, or a version.
    #[serde(rename = "ID")]
    pub id: String,
}

/// A pool of subnets.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AddressPool {
    /// The network.
    pub base: String,
    /// The prefix length of the subnets.
    pub size: i64,
}

/// How the firewall is spoken to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct FirewallInfo {
    /// `nftables`.
    pub driver: String,
    /// Particulars.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub info: Vec<[String; 2]>,
}

/// The answer of `GET /system/df`. API 1.52 has the figures twice, in the new form and in that of older versions.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DiskUsage {
    /// Images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_usage: Option<Usage<image::Summary>>,
    /// Containers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_usage: Option<Usage<container::Summary>>,
    /// Volumes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume_usage: Option<Usage<volume::Volume>>,
    /// The build cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub build_cache_usage: Option<Usage<Empty>>,
    /// Bytes of all layers together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layers_size: Option<i64>,
    /// Images, in the old form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub images: Option<Vec<image::Summary>>,
    /// Containers, in the old form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub containers: Option<Vec<container::Summary>>,
    /// Volumes, in the old form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volumes: Option<Vec<volume::Volume>>,
    /// The build cache, in the old form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub build_cache: Option<Vec<Empty>>,
}

/// Differences of `GET /system/df`.
pub const DISK_USAGE_CHANGES: &[Change] = &[
    Change { before: 52, apply: usage_before_1_52 },
    Change { before: 44, apply: |usage| change_list(usage, "Images", image::LIST_CHANGES, 44) },
];

/// Only the old form, with `null` for what was not asked for.
fn usage_before_1_52(usage: &mut Node) {
    let nothing = |name: &str| if name == "LayersSize" { Node::Number(0.into()) } else { Node::Null };
    let fields = ["LayersSize", "Images", "Containers", "Volumes", "BuildCache"].map(|name| {
        let value = usage.get(name).cloned().unwrap_or_else(|| nothing(name));
        (name.to_owned(), value)
    });
    *usage = Node::Object(fields.into());
    change_list(usage, "Containers", container::LIST_CHANGES, 52);
}

/// Applies the changes of a list to the list in here.
fn change_list(usage: &mut Node, name: &str, changes: &[Change], before: u16) {
    if let Some(list) = usage.get_mut(name) {
        changes.iter().filter(|change| change.before == before).for_each(|change| (change.apply)(list));
    }
}

/// The answer of `POST /build/prune`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CachePruneResponse {
    /// Ids.
    pub caches_deleted: Option<Vec<String>>,
    /// Bytes.
    pub space_reclaimed: u64,
}

/// What things of one kind take on disk.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Usage<T> {
    /// Those in use.
    pub active_count: i64,
    /// The things themselves, if asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub items: Option<Vec<T>>,
    /// Bytes that a prune would free.
    pub reclaimable: i64,
    /// All of them.
    pub total_count: i64,
    /// Bytes.
    pub total_size: i64,
}
