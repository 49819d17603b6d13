//! Containers: what `/containers/…` takes and answers.

use std::collections::BTreeMap;

use berth_oci::json::Node;
use serde::{Deserialize, Deserializer, Serialize};

pub use berth_oci::container::*;

use crate::version::{Change, each};

/// What a container is to be: the body of `POST /containers/create`.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreateRequest {
    /// What runs inside; its fields stand at the top of the JSON.
    #[serde(flatten)]
    pub config: Config,
    /// What the host gives it.
    pub host_config: HostConfig,
    /// The networks asked for.
    pub networking_config: NetworkingConfig,
}

/// What errors call the whole of a creation's body.
const WRAPPER: &str = "ContainerConfigWrapper";

impl<'de> Deserialize<'de> for CreateRequest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;

        /// The fields that stand beside those of the configuration.
        #[derive(Default, Deserialize)]
        #[serde(rename = "ContainerConfigWrapper", rename_all = "PascalCase", default)]
        struct Beside {
            host_config: HostConfig,
            networking_config: NetworkingConfig,
        }
        let node = Node::deserialize(deserializer)?;
        let beside = Beside::deserialize(&node).map_err(D::Error::custom)?;
        let config = Config::deserialize(&node);
        Ok(Self {
            config: config.map_err(|error| D::Error::custom(error.embedded("Config", WRAPPER)))?,
            host_config: beside.host_config,
            networking_config: beside.networking_config,
        })
    }
}

/// The answer of `POST /containers/create`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CreateResponse {
    /// The container's id.
    pub id: String,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// A container in `GET /containers/json`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Summary {
    /// The id.
    pub id: String,
    /// The name, with a slash before it, then the names that links give it.
    pub names: Vec<String>,
    /// The image as the user named it, or its id if that name is another image's by now.
    pub image: String,
    /// The image's id.
    #[serde(rename = "ImageID")]
    pub image_id: String,
    /// The command as one line.
    pub command: String,
    /// When it was created, in seconds since 1970.
    pub created: i64,
    /// Its ports.
    pub ports: Vec<PortSummary>,
    /// Bytes that it wrote, if asked for.
    #[serde(skip_serializing_if = "is_none_or_zero")]
    pub size_rw: Option<i64>,
    /// The same with its image, if asked for.
    #[serde(skip_serializing_if = "is_none_or_zero")]
    pub size_root_fs: Option<i64>,
    /// Its labels.
    pub labels: Map<String>,
    /// `created`, `running`, `paused`, `restarting`, `removing`, `exited`, `dead`.
    pub state: String,
    /// The state for people: `Up 2 seconds (healthy)`.
    pub status: String,
    /// The part of the host configuration that lists show.
    pub host_config: HostConfigSummary,
    /// Its networks.
    pub network_settings: NetworkSettingsSummary,
    /// Its mounts.
    pub mounts: Vec<MountPoint>,
    /// Its health.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthSummary>,
}

/// Differences of `GET /containers/json`.
pub const LIST_CHANGES: &[Change] = &[
    Change { before: 52, apply: |list| each(list, |container| container.remove("Health")) },
    Change { before: 48, apply: |list| each(list, without_gateway_priority) },
    Change {
        before: 46,
        apply: |list| {
            each(list, |container| {
                if let Some(host) = container.get_mut("HostConfig") {
                    host.remove("Annotations");
                }
            });
        },
    },
];

#[allow(clippy::ref_option, reason = "serde passes a reference to the field")]
fn is_none_or_zero(value: &Option<i64>) -> bool {
    value.is_none_or(|value| value == 0)
}

/// A port in a list.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct PortSummary {
    /// The host's address.
    #[serde(rename = "IP", skip_serializing_if = "String::is_empty")]
    pub ip: String,
    /// The port inside.
    pub private_port: u16,
    /// The port of the host; zero if it is not published.
    #[serde(skip_serializing_if = "is_zero")]
    pub public_port: u16,
    /// `tcp`, `udp`, `sctp`.
    #[serde(rename = "Type")]
    pub kind: String,
}

fn is_zero(port: &u16) -> bool {
    *port == 0
}

/// The part of the host configuration that lists show.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct HostConfigSummary {
    /// The network mode.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub network_mode: String,
    /// Annotations.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: Map<String>,
}

/// The networks of a container in a list.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NetworkSettingsSummary {
    /// By name.
    pub networks: Map<EndpointSettings>,
}

/// The health of a container in a list.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct HealthSummary {
    /// `none`, `starting`, `healthy`, `unhealthy`.
    pub status: String,
    /// Checks that failed in a row.
    pub failing_streak: i64,
}

/// A mount that a container has.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct MountPoint {
    /// `bind`, `volume`, `tmpfs`, …
    #[serde(rename = "Type", skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// The volume's name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The path on the host.
    pub source: String,
    /// The path inside.
    pub destination: String,
    /// The volume's driver.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub driver: String,
    /// The options as the user wrote them.
    pub mode: String,
    /// It can be written to.
    #[serde(rename = "RW")]
    pub rw: bool,
    /// How mounts spread between host and container.
    pub propagation: String,
}

/// The answer of `GET /containers/{id}/json`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Inspect {
    /// The id.
    pub id: String,
    /// When it was created, RFC 3339 with nanoseconds.
    pub created: String,
    /// The program.
    pub path: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// How it fares.
    pub state: State,
    /// The image's id.
    pub image: String,
    /// The file that is `/etc/resolv.conf` inside.
    pub resolv_conf_path: String,
    /// The file that is `/etc/hostname` inside.
    pub hostname_path: String,
    /// The file that is `/etc/hosts` inside.
    pub hosts_path: String,
    /// The log file.
    pub log_path: String,
    /// The name, with a slash before it.
    pub name: String,
    /// How often the restart policy started it.
    pub restart_count: i32,
    /// The storage driver.
    pub driver: String,
    /// The operating system of the image.
    pub platform: String,
    /// The SELinux label of its files.
    pub mount_label: String,
    /// The SELinux label of its processes.
    pub process_label: String,
    /// The AppArmor profile.
    pub app_armor_profile: String,
    /// Ids of its exec instances.
    #[serde(rename = "ExecIDs")]
    pub exec_ids: Option<Vec<String>>,
    /// What the host gives it.
    pub host_config: HostConfig,
    /// Where its layers are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub graph_driver: Option<GraphDriver>,
    /// Bytes that it wrote, if asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_rw: Option<i64>,
    /// The same with its image, if asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_root_fs: Option<i64>,
    /// Its mounts.
    pub mounts: Vec<MountPoint>,
    /// What runs inside.
    pub config: Config,
    /// Its networks.
    pub network_settings: NetworkSettings,
}

/// Differences of `GET /containers/{id}/json`.
pub const INSPECT_CHANGES: &[Change] = &[
    Change { before: 52, apply: inspect_before_1_52 },
    Change { before: 48, apply: without_gateway_priority },
    Change { before: 45, apply: inspect_before_1_45 },
];

/// The default network's values stand beside the networks; `OnBuild` is `null` instead of absent.
fn inspect_before_1_52(inspect: &mut Node) {
    if let Some(config) = inspect.get_mut("Config") {
        config.insert_before("Labels", "OnBuild", Node::Null);
    }
    let Some(settings) = inspect.get_mut("NetworkSettings") else { return };
    let bridge = settings.get("Networks").and_then(|networks| networks.get("bridge")).cloned();
    settings.insert_first("Bridge", Node::string(""));
    let zeros = [
        ("HairpinMode", Node::Bool(false)),
        ("LinkLocalIPv6Address", Node::string("")),
        ("LinkLocalIPv6PrefixLen", Node::Number(0.into())),
        ("SecondaryIPAddresses", Node::Null),
        ("SecondaryIPv6Addresses", Node::Null),
    ];
    for (name, zero) in zeros {
        settings.insert_before("Networks", name, zero);
    }
    let texts =
        ["EndpointID", "Gateway", "GlobalIPv6Address", "GlobalIPv6PrefixLen", "IPAddress", "IPPrefixLen"];
    for name in texts.into_iter().chain(["IPv6Gateway", "MacAddress"]) {
        let zero = if name.ends_with("Len") { Node::Number(0.into()) } else { Node::string("") };
        let value = bridge.as_ref().and_then(|bridge| bridge.get(name)).cloned().unwrap_or(zero);
        settings.insert_before("Networks", name, value);
    }
}

/// Networks have no priority.
fn without_gateway_priority(container: &mut Node) {
    let networks = container.get_mut("NetworkSettings").and_then(|settings| settings.get_mut("Networks"));
    if let Some(Node::Object(networks)) = networks {
        networks.iter_mut().for_each(|(_, endpoint)| endpoint.remove("GwPriority"));
    }
}

/// The short id of the container is one of the aliases in user-defined networks.
fn inspect_before_1_45(inspect: &mut Node) {
    let Some(Node::String(id)) = inspect.get("Id").cloned() else { return };
    let Some(Node::Object(networks)) =
        inspect.get_mut("NetworkSettings").and_then(|it| it.get_mut("Networks"))
    else {
        return;
    };
    let short: String = id.chars().take(12).collect();
    for (name, endpoint) in networks {
        if matches!(name.as_str(), "bridge" | "host" | "none") {
            continue;
        }
        match endpoint.get_mut("Aliases") {
            Some(Node::Array(aliases)) => aliases.push(Node::String(short.clone())),
            Some(aliases) => *aliases = Node::Array(vec![Node::String(short.clone())]),
            None => {}
        }
    }
}

/// How a container fares.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct State {
    /// `created`, `running`, `paused`, `restarting`, `removing`, `exited`, `dead`.
    pub status: String,
    /// It runs (also while it is paused or about to be started again).
    pub running: bool,
    /// It is paused.
    pub paused: bool,
    /// It will be started again.
    pub restarting: bool,
    /// The kernel killed it for lack of memory.
    #[serde(rename = "OOMKilled")]
    pub oom_killed: bool,
    /// It could not be removed.
    pub dead: bool,
    /// The process as the host numbers it.
    pub pid: i64,
    /// The exit code of the last run.
    pub exit_code: i32,
    /// Why the last start failed.
    pub error: String,
    /// RFC 3339; the year 1 if never.
    pub started_at: String,
    /// RFC 3339; the year 1 if never.
    pub finished_at: String,
    /// The outcome of health checks, if there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
}

/// The outcome of health checks.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Health {
    /// `none`, `starting`, `healthy`, `unhealthy`.
    pub status: String,
    /// Checks that failed in a row.
    pub failing_streak: i64,
    /// The last checks, oldest first.
    pub log: Option<Vec<HealthcheckResult>>,
}

/// One health check.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct HealthcheckResult {
    /// RFC 3339.
    pub start: String,
    /// RFC 3339.
    pub end: String,
    /// 0: healthy; 1: unhealthy; -1: it could not be run.
    pub exit_code: i32,
    /// What it wrote.
    pub output: String,
}

/// Where layers are.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct GraphDriver {
    /// Paths.
    pub data: Option<Map<String>>,
    /// The driver's name.
    pub name: String,
}

/// The networks of a container.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NetworkSettings {
    /// The id of its network namespace.
    #[serde(rename = "SandboxID")]
    pub sandbox_id: String,
    /// A path to its network namespace.
    pub sandbox_key: String,
    /// Where its ports are published.
    pub ports: PortMap,
    /// By name.
    pub networks: Map<EndpointSettings>,
}

/// The answer of `POST /containers/{id}/wait`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct WaitResponse {
    /// The exit code.
    pub status_code: i64,
    /// Why waiting failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<WaitError>,
}

/// Why waiting failed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct WaitError {
    /// The text.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// The answer of `GET /containers/{id}/top`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct TopResponse {
    /// A row a process.
    pub processes: Vec<Vec<String>>,
    /// The titles of the columns.
    pub titles: Vec<String>,
}

/// The body of `POST /containers/{id}/update`.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct UpdateRequest {
    /// The new limits; their fields stand at the top of the JSON.
    #[serde(flatten)]
    pub resources: Resources,
    /// The new policy; empty: no change.
    pub restart_policy: RestartPolicy,
}

impl<'de> Deserialize<'de> for UpdateRequest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;

        /// The field that stands beside the limits.
        #[derive(Default, Deserialize)]
        #[serde(rename = "UpdateConfig", rename_all = "PascalCase", default)]
        struct Beside {
            restart_policy: RestartPolicy,
        }
        let node = Node::deserialize(deserializer)?;
        Ok(Self {
            resources: Resources::deserialize(&node).map_err(|error: berth_oci::json::Error| {
                D::Error::custom(error.embedded("Resources", "UpdateConfig"))
            })?,
            restart_policy: Beside::deserialize(&node).map_err(D::Error::custom)?.restart_policy,
        })
    }
}

/// The answer of `POST /containers/{id}/update`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct UpdateResponse {
    /// What the user should know.
    pub warnings: Option<Vec<String>>,
}

/// The answer of `POST /commit`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct IdResponse {
    /// The id of what was made.
    pub id: String,
}

/// The answer of `POST /containers/prune`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct PruneResponse {
    /// Ids.
    pub containers_deleted: Option<Vec<String>>,
    /// Bytes.
    pub space_reclaimed: u64,
}

/// A path in `GET /containers/{id}/changes`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct FilesystemChange {
    /// The path.
    pub path: String,
    /// 0: changed; 1: added; 2: deleted.
    pub kind: u8,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_fields_of_a_creation_are_told_as_docker_tells_them() {
        let check = |text: &str, expect: &str| {
            let error =
                berth_oci::json::from_slice::<CreateRequest>(text.as_bytes()).unwrap_err().to_string();
            assert_eq!(error, format!("json: cannot unmarshal {expect}"), "{text}");
        };
        let field = "into Go struct field";
        check(
            r#"{"Image":5}"#,
            &format!("number {field} ContainerConfigWrapper.Config.Image of type string"),
        );
        check(
            r#"{"Env":"a"}"#,
            &format!("string {field} ContainerConfigWrapper.Config.Env of type []string"),
        );
        check(
            r#"{"HostConfig":{"CpuShares":1.5}}"#,
            &format!("number 1.5 {field} HostConfig.HostConfig.Resources.CpuShares of type int64"),
        );
        check(
            r#"{"HostConfig":{"Ulimits":[{"Name":3}]}}"#,
            &format!("number {field} Ulimit.HostConfig.Resources.Ulimits.Name of type string"),
        );
        check(
            r#"{"NetworkingConfig":{"EndpointsConfig":{"a":{"IPPrefixLen":"x"}}}}"#,
            &format!(
                "string {field} EndpointSettings.NetworkingConfig.EndpointsConfig.IPPrefixLen of type int"
            ),
        );
        check(
            r#"{"StopTimeout":"a"}"#,
            &format!("string {field} ContainerConfigWrapper.Config.StopTimeout of type int"),
        );
    }
}
