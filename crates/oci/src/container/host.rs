//! The part of a container's configuration that depends on the host.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Map, Mount, PortMap, Resources, is_empty_list, is_empty_map, is_zero, string_or_list};
use crate::json::Node;

/// How a container is tied to its host.
///
/// In JSON the fields of [`Resources`] stand among the others, as they do in Docker's struct.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default, remote = "Self")]
pub struct HostConfig {
    /// Bind mounts and volumes: `source:target[:options]`.
    pub binds: Option<Vec<String>>,
    /// Where the client wrote the container's id.
    #[serde(rename = "ContainerIDFile")]
    pub container_id_file: String,
    /// Where the output goes.
    pub log_config: LogConfig,
    /// `default`, `bridge`, `host`, `none`, `container:<id>` or the name of a network.
    pub network_mode: String,
    /// Published ports.
    pub port_bindings: Option<PortMap>,
    /// When to start again by itself.
    pub restart_policy: RestartPolicy,
    /// Remove the container when it ends.
    pub auto_remove: bool,
    /// The driver of the volumes named in `binds`.
    pub volume_driver: String,
    /// Containers whose volumes are taken over: `<container>[:ro|rw]`.
    pub volumes_from: Option<Vec<String>>,
    /// Size of the terminal at the start: height, width.
    pub console_size: [u32; 2],
    /// Metadata that is passed to the runtime.
    #[serde(skip_serializing_if = "is_empty_map")]
    pub annotations: Option<Map<String>>,
    /// Capabilities to add.
    #[serde(deserialize_with = "string_or_list")]
    pub cap_add: Option<Vec<String>>,
    /// Capabilities to drop.
    #[serde(deserialize_with = "string_or_list")]
    pub cap_drop: Option<Vec<String>>,
    /// `private`, `host` or empty (the daemon's default).
    pub cgroupns_mode: String,
    /// Name servers.
    pub dns: Option<Vec<String>>,
    /// Resolver options.
    pub dns_options: Option<Vec<String>>,
    /// Search domains.
    pub dns_search: Option<Vec<String>>,
    /// More lines of `/etc/hosts`: `name:address`.
    pub extra_hosts: Option<Vec<String>>,
    /// More groups of the process.
    pub group_add: Option<Vec<String>>,
    /// `none`, `private`, `shareable`, `host`, `container:<id>` or empty (the daemon's default).
    pub ipc_mode: String,
    /// Kept for old clients; empty.
    pub cgroup: String,
    /// Links to other containers: `name:alias`.
    pub links: Option<Vec<String>>,
    /// Weight in the choice of a victim when memory runs out.
    pub oom_score_adj: i32,
    /// `host`, `container:<id>` or empty (one of its own).
    pub pid_mode: String,
    /// All capabilities and devices.
    pub privileged: bool,
    /// Publish all exposed ports to free ports of the host.
    pub publish_all_ports: bool,
    /// Mount the root file system read-only.
    pub readonly_rootfs: bool,
    /// `seccomp=…`, `apparmor=…`, `label=…`, `no-new-privileges`, `systempaths=unconfined`.
    pub security_opt: Option<Vec<String>>,
    /// Options of the storage driver.
    #[serde(skip_serializing_if = "is_empty_map")]
    pub storage_opt: Option<Map<String>>,
    /// Temporary file systems: path to mount options.
    #[serde(skip_serializing_if = "is_empty_map")]
    pub tmpfs: Option<Map<String>>,
    /// `host` or empty (one of its own).
    #[serde(rename = "UTSMode")]
    pub uts_mode: String,
    /// `host` or empty (the daemon's default).
    pub userns_mode: String,
    /// Size of `/dev/shm` in bytes; 64 MiB when zero.
    pub shm_size: i64,
    /// Kernel parameters of the container's namespaces.
    #[serde(skip_serializing_if = "is_empty_map")]
    pub sysctls: Option<Map<String>>,
    /// The OCI runtime; the daemon's default when empty.
    #[serde(skip_serializing_if = "is_zero")]
    pub runtime: String,
    /// Windows only.
    pub isolation: String,
    /// Limits of the container's cgroup, and its devices.
    #[serde(flatten, skip_deserializing)]
    pub resources: Resources,
    /// Mounts in the long form.
    #[serde(skip_serializing_if = "is_empty_list")]
    pub mounts: Option<Vec<Mount>>,
    /// Paths that are hidden inside; not set: the default list.
    pub masked_paths: Option<Vec<String>>,
    /// Paths that cannot be written to inside; not set: the default list.
    pub readonly_paths: Option<Vec<String>>,
    /// Run a small init as process 1; not set: the daemon's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<bool>,
}

impl HostConfig {
    /// The network mode, told apart.
    pub fn network(&self) -> NetworkMode<'_> {
        NetworkMode::parse(&self.network_mode)
    }
}

impl Serialize for HostConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for HostConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        // Read twice, as the limits and the rest share one object: serde's own flattening would lose the names of the
        // fields, and with them the reading without case.
        let node = Node::deserialize(deserializer)?;
        let mut host = Self::deserialize(&node).map_err(D::Error::custom)?;
        let resources = Resources::deserialize(&node);
        host.resources =
            resources.map_err(|error| D::Error::custom(error.embedded("Resources", "HostConfig")))?;
        Ok(host)
    }
}

/// The meaning of `HostConfig.NetworkMode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetworkMode<'a> {
    /// The default network: empty, `default` or `bridge`.
    Default,
    /// The host's own network.
    Host,
    /// Only loopback.
    None,
    /// The network of another container.
    Container(&'a str),
    /// A network by its name or id.
    Named(&'a str),
}

impl<'a> NetworkMode<'a> {
    /// Tells the modes apart; every text has a meaning.
    pub fn parse(mode: &'a str) -> Self {
        match mode {
            "" | "default" | "bridge" => Self::Default,
            "host" => Self::Host,
            "none" => Self::None,
            other => other.strip_prefix("container:").map_or(Self::Named(other), Self::Container),
        }
    }

    /// The name of the network that the container is put in; `None` for the network of another container.
    pub fn name(self) -> Option<&'a str> {
        match self {
            Self::Default => Some("bridge"),
            Self::Host => Some("host"),
            Self::None => Some("none"),
            Self::Named(name) => Some(name),
            Self::Container(_) => None,
        }
    }
}

/// Where the output of a container goes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct LogConfig {
    /// The driver; the daemon's default when empty.
    #[serde(rename = "Type")]
    pub kind: String,
    /// Its options.
    pub config: Option<Map<String>>,
}

/// When a container starts again by itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RestartPolicy {
    /// The name as it was given; see [`RestartPolicy::parse`].
    pub name: String,
    /// How often `on-failure` tries; zero is for ever.
    pub maximum_retry_count: i32,
}

/// The names of restart policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestartPolicyName {
    /// Never: `no` or empty.
    No,
    /// Whenever it ends, and when the engine starts.
    Always,
    /// When it ends with another code than zero.
    OnFailure,
    /// As `Always`, but not when the user had stopped it.
    UnlessStopped,
}

impl RestartPolicy {
    /// The checked name.
    ///
    /// Errors: Docker's text for a name that does not exist or a retry count that the name does not allow.
    pub fn parse(&self) -> Result<RestartPolicyName, String> {
        let name = match self.name.as_str() {
            "" | "no" => RestartPolicyName::No,
            "always" => RestartPolicyName::Always,
            "on-failure" => RestartPolicyName::OnFailure,
            "unless-stopped" => RestartPolicyName::UnlessStopped,
            other => {
                return Err(format!(
                    "invalid restart policy: unknown policy '{other}'; use one of 'no', 'always', 'on-failure', or \
                     'unless-stopped'"
                ));
            }
        };
        match (name, self.maximum_retry_count) {
            (RestartPolicyName::OnFailure, count) if count < 0 => {
                Err("invalid restart policy: maximum retry count cannot be negative".to_owned())
            }
            (RestartPolicyName::OnFailure, _) | (_, 0) => Ok(name),
            (_, count) if count < 0 => {
                Err("invalid restart policy: maximum retry count can only be used with \
                                            'on-failure' and cannot be negative"
                    .to_owned())
            }
            _ => {
                Err("invalid restart policy: maximum retry count can only be used with 'on-failure'"
                    .to_owned())
            }
        }
    }
}

impl fmt::Display for RestartPolicyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::No => "no",
            Self::Always => "always",
            Self::OnFailure => "on-failure",
            Self::UnlessStopped => "unless-stopped",
        })
    }
}
