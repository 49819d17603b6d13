//! Networks: what `/networks/…` answers.

use berth_oci::container::Map;
use berth_oci::json::Node;
use serde::{Deserialize, Serialize};

use crate::version::{Change, each};

/// A network.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Network {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: String,
    /// RFC 3339.
    pub created: String,
    /// `local` or `swarm`.
    pub scope: String,
    /// `bridge`, `host`, `null`, …
    pub driver: String,
    /// It has IPv4 addresses.
    #[serde(rename = "EnableIPv4")]
    pub enable_ipv4: bool,
    /// It has IPv6 addresses.
    #[serde(rename = "EnableIPv6")]
    pub enable_ipv6: bool,
    /// Its addresses.
    #[serde(rename = "IPAM")]
    pub ipam: Ipam,
    /// It has no way out.
    pub internal: bool,
    /// Swarm only.
    pub attachable: bool,
    /// Swarm only.
    pub ingress: bool,
    /// The network that this one takes its configuration from.
    pub config_from: ConfigReference,
    /// It is a configuration only.
    pub config_only: bool,
    /// Its containers, by id; only in `inspect`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub containers: Option<Map<Endpoint>>,
    /// Options of the driver.
    pub options: Map<String>,
    /// Its labels.
    pub labels: Map<String>,
    /// Address statistics; only in `inspect`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
}

/// Differences of `GET /networks/{id}`.
pub const INSPECT_CHANGES: &[Change] = &[
    Change { before: 52, apply: |network| network.remove("Status") },
    Change { before: 48, apply: |network| network.remove("EnableIPv4") },
];

/// Differences of `GET /networks`.
pub const LIST_CHANGES: &[Change] = &[
    Change { before: 52, apply: |list| each(list, add_containers) },
    Change { before: 48, apply: |list| each(list, |network| network.remove("EnableIPv4")) },
];

/// Lists had the containers of networks, always empty.
fn add_containers(network: &mut Node) {
    network.insert_before("Options", "Containers", Node::Object(Vec::new()));
}

/// The addresses of a network.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Ipam {
    /// The driver.
    pub driver: String,
    /// Its options.
    pub options: Option<Map<String>>,
    /// The subnets.
    pub config: Option<Vec<IpamConfig>>,
}

/// A subnet.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct IpamConfig {
    /// The subnet.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub subnet: String,
    /// The part that containers get addresses from.
    #[serde(rename = "IPRange", skip_serializing_if = "String::is_empty")]
    pub ip_range: String,
    /// The gateway.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub gateway: String,
    /// Addresses that are taken.
    #[serde(rename = "AuxiliaryAddresses", skip_serializing_if = "Map::is_empty")]
    pub auxiliary_addresses: Map<String>,
}

/// The network that another one takes its configuration from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ConfigReference {
    /// Its name.
    pub network: String,
}

/// A container's end of a network, as the network shows it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Endpoint {
    /// The container's name.
    pub name: String,
    /// The end's id.
    #[serde(rename = "EndpointID")]
    pub endpoint_id: String,
    /// The hardware address.
    pub mac_address: String,
    /// The address with its prefix length.
    #[serde(rename = "IPv4Address")]
    pub ipv4_address: String,
    /// The IPv6 address with its prefix length.
    #[serde(rename = "IPv6Address")]
    pub ipv6_address: String,
}

/// Statistics of a network.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Status {
    /// Of its addresses.
    #[serde(rename = "IPAM")]
    pub ipam: IpamStatus,
}

/// Statistics of addresses.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct IpamStatus {
    /// By subnet.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub subnets: Map<SubnetStatus>,
}

/// Statistics of a subnet.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct SubnetStatus {
    /// Addresses in use, or kept.
    #[serde(rename = "IPsInUse")]
    pub ips_in_use: u64,
    /// Addresses that can be given out by themselves.
    #[serde(rename = "DynamicIPsAvailable")]
    pub dynamic_ips_available: u64,
}

/// The answer of `POST /networks/prune`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct PruneResponse {
    /// Names.
    pub networks_deleted: Option<Vec<String>>,
}
