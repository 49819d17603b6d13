//! Images: what `/images/…` takes and answers.

use berth_oci::Platform;
use berth_oci::container::{Empty, Healthcheck, Map};
use berth_oci::json::Node;
use serde::{Deserialize, Serialize};

use crate::container::GraphDriver;
use crate::version::{Change, each};

/// An image in `GET /images/json`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Summary {
    /// Containers that use it; -1: not counted.
    pub containers: i64,
    /// When it was made, in seconds since 1970.
    pub created: i64,
    /// The id.
    pub id: String,
    /// Its labels.
    pub labels: Option<Map<String>>,
    /// What it consists of, from engines that keep images of several platforms under one name, if asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub manifests: Vec<ManifestSummary>,
    /// The id of the image it was made from.
    pub parent_id: String,
    /// `name@sha256:…`.
    pub repo_digests: Vec<String>,
    /// `name:tag`.
    pub repo_tags: Vec<String>,
    /// Bytes that it shares with others; -1: not worked out.
    pub shared_size: i64,
    /// Bytes.
    pub size: i64,
}

/// One of the manifests of an image in `GET /images/json?manifests=1`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ManifestSummary {
    /// Its digest.
    #[serde(rename = "ID")]
    pub id: String,
    /// Whether all of it is there.
    pub available: bool,
    /// How much it takes.
    pub size: ManifestSize,
    /// `image`, `attestation` or `unknown`.
    pub kind: String,
    /// What there is to say of an image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_data: Option<ManifestImage>,
}

/// How much a manifest takes, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ManifestSize {
    /// All, unpacked layers too.
    pub total: i64,
    /// Documents and layers as registries have them.
    pub content: i64,
}

/// A manifest's image.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ManifestImage {
    /// For what it is.
    pub platform: Platform,
    /// Containers that use it.
    pub containers: Option<Vec<String>>,
}

/// Differences of `GET /images/json`.
pub const LIST_CHANGES: &[Change] = &[
    Change {
        before: 51,
        apply: |list| each(list, |image| image.set("Containers", Node::Number((-1).into()))),
    },
    Change { before: 44, apply: |list| each(list, add_virtual_size) },
    Change { before: 43, apply: |list| each(list, name_the_nameless) },
];

/// The size under its old name, too.
fn add_virtual_size(image: &mut Node) {
    if let Some(size) = image.get("Size").cloned() {
        match image.get("GraphDriver") {
            Some(_) => image.insert_before("GraphDriver", "VirtualSize", size),
            None => image.set("VirtualSize", size),
        }
    }
}

/// An image without names is called `<none>:<none>`; one with tags alone has no digests at all.
fn name_the_nameless(image: &mut Node) {
    let is_empty = |image: &Node, name| matches!(image.get(name), Some(Node::Array(list)) if list.is_empty());
    match (is_empty(image, "RepoTags"), is_empty(image, "RepoDigests")) {
        (true, true) => {
            image.set("RepoTags", Node::Array(vec![Node::string("<none>:<none>")]));
            image.set("RepoDigests", Node::Array(vec![Node::string("<none>@<none>")]));
        }
        (true, false) => image.set("RepoTags", Node::Null),
        (false, true) => image.set("RepoDigests", Node::Null),
        (false, false) => {}
    }
}

/// The answer of `GET /images/{name}/json`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Inspect {
    /// The id.
    pub id: String,
    /// `name:tag`.
    pub repo_tags: Vec<String>,
    /// `name@sha256:…`.
    pub repo_digests: Vec<String>,
    /// The id of the image it was made from.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub parent: String,
    /// What its maker said of it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// When it was made, RFC 3339; absent if unknown.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub created: String,
    /// The version of Docker that made it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub docker_version: String,
    /// Who made it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// What containers made from it inherit.
    pub config: Config,
    /// The architecture.
    pub architecture: String,
    /// The variant of the architecture.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub variant: String,
    /// The operating system.
    pub os: String,
    /// Its version.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub os_version: String,
    /// Bytes.
    pub size: i64,
    /// Where its layers are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub graph_driver: Option<GraphDriver>,
    /// Its layers.
    #[serde(rename = "RootFS")]
    pub root_fs: RootFs,
    /// What only this engine knows of it.
    pub metadata: Metadata,
    /// What only clients of API 1.49 and older are told: for no others.
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    pub of_a_container: Option<OfAContainer>,
    /// What only clients of API 1.44 and older are told: for no others.
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    pub made_by: Option<MadeBy>,
}

/// The configuration of an image as that of a container, which it was.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct OfAContainer {
    /// The configuration; none where the image has none.
    pub config: Option<crate::container::Config>,
    /// The container-wide hardware address, which newer configurations lack.
    pub mac_address: String,
}

/// The container that an image was made from.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct MadeBy {
    /// Its id.
    pub container: String,
    /// Its configuration.
    pub config: OfAContainer,
}

/// What containers made from an image inherit: the configuration of the OCI image specification and of Docker.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename = "DockerOCIImageConfig", rename_all = "PascalCase", default)]
pub struct Config {
    /// The user.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// Ports that the program listens on.
    #[serde(skip_serializing_if = "is_empty_map")]
    pub exposed_ports: Option<Map<Empty>>,
    /// The environment.
    #[serde(skip_serializing_if = "is_empty_list")]
    pub env: Option<Vec<String>>,
    /// The program.
    #[serde(skip_serializing_if = "is_empty_list")]
    pub entrypoint: Option<Vec<String>>,
    /// Its default arguments.
    #[serde(skip_serializing_if = "is_empty_list")]
    pub cmd: Option<Vec<String>>,
    /// Paths that are volumes.
    #[serde(skip_serializing_if = "is_empty_map")]
    pub volumes: Option<Map<Empty>>,
    /// The working directory.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    /// Labels.
    #[serde(skip_serializing_if = "is_empty_map")]
    pub labels: Option<Map<String>>,
    /// The signal that asks the program to stop.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub stop_signal: String,
    /// Windows only.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub args_escaped: bool,
    /// How to find out whether the program is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// Build steps for images made from this one.
    #[serde(skip_serializing_if = "is_empty_list")]
    pub on_build: Option<Vec<String>>,
    /// The shell of the shell forms in a Dockerfile.
    #[serde(skip_serializing_if = "is_empty_list")]
    pub shell: Option<Vec<String>>,
}

fn is_empty_list(list: &Option<Vec<String>>) -> bool {
    list.as_ref().is_none_or(Vec::is_empty)
}

fn is_empty_map<V>(map: &Option<Map<V>>) -> bool {
    map.as_ref().is_none_or(Map::is_empty)
}

/// Differences of `GET /images/{name}/json`.
pub const INSPECT_CHANGES: &[Change] = &[
    Change { before: 52, apply: inspect_before_1_52 },
    Change { before: 50, apply: inspect_before_1_50 },
    Change { before: 45, apply: inspect_before_1_45 },
    Change { before: 44, apply: inspect_before_1_44 },
];

/// Fields of the configuration as API 1.51 orders them, each with its zero; `None` stands where it is left out.
const CONFIG_1_51: &[(&str, Option<Node>)] = &[
    ("User", Some(Node::String(String::new()))),
    ("ExposedPorts", None),
    ("Env", Some(Node::Null)),
    ("Cmd", Some(Node::Null)),
    ("Healthcheck", None),
    ("ArgsEscaped", None),
    ("Volumes", Some(Node::Null)),
    ("WorkingDir", Some(Node::String(String::new()))),
    ("Entrypoint", Some(Node::Null)),
    ("OnBuild", Some(Node::Null)),
    ("Labels", Some(Node::Null)),
    ("StopSignal", None),
    ("Shell", None),
];

/// Empty fields are there.
fn inspect_before_1_52(image: &mut Node) {
    let empty = || Node::string("");
    for (name, next) in [("Author", "Config"), ("DockerVersion", "Author"), ("Created", "DockerVersion")] {
        if name != "Created" && image.get(name).is_none() {
            image.insert_before(next, name, empty());
        }
    }
    let after = if image.get("Created").is_some() { "Created" } else { "DockerVersion" };
    for (name, next) in [("Comment", after), ("Parent", "Comment")] {
        if image.get(name).is_none() {
            image.insert_before(next, name, empty());
        }
    }
    let Some(config) = image.get_mut("Config") else { return };
    let fields = CONFIG_1_51.iter().filter_map(|(name, zero)| {
        let value = config.get(name).cloned().or_else(|| zero.clone())?;
        Some(((*name).to_owned(), value))
    });
    *config = Node::Object(fields.collect());
}

/// The configuration is that of a container, with all it has.
fn inspect_before_1_50(image: &mut Node) {
    let Some(mut own) = image.take("OfAContainer") else { return };
    if let Some(config) = image.get_mut("Config") {
        *config = container_config(&mut own);
    }
}

/// A container's configuration as it was shown before API 1.50.
fn container_config(of_a_container: &mut Node) -> Node {
    let mac_address = of_a_container.take("MacAddress");
    let Some(mut config) = of_a_container.take("Config") else { return Node::Null };
    if config == Node::Null {
        return config;
    }
    config.insert_before("Labels", "OnBuild", Node::Null);
    if let Some(address) = mac_address.filter(|address| *address != Node::string("")) {
        config.insert_before("OnBuild", "MacAddress", address);
    }
    config
}

/// The container that made the image, and its configuration.
fn inspect_before_1_45(image: &mut Node) {
    let Some(mut made_by) = image.take("MadeBy") else { return };
    let mut own = made_by.take("Config").unwrap_or(Node::Null);
    if let Some(id) = made_by.take("Container").filter(|id| *id != Node::string("")) {
        image.insert_before("DockerVersion", "Container", id);
    }
    image.insert_before("DockerVersion", "ContainerConfig", container_config(&mut own));
}

/// The size under its old name, too, and the year 1 for an unknown date.
fn inspect_before_1_44(image: &mut Node) {
    add_virtual_size(image);
    if image.get("Created").is_none() {
        let next = if image.get("Container").is_some() { "Container" } else { "ContainerConfig" };
        image.insert_before(next, "Created", Node::string("0001-01-01T00:00:00Z"));
    }
}

/// The layers of an image.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RootFs {
    /// `layers`.
    #[serde(rename = "Type")]
    pub kind: String,
    /// Digests of the unpacked layers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<String>,
}

/// What only this engine knows of an image.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Metadata {
    /// RFC 3339.
    pub last_tag_time: String,
}

/// A step in `GET /images/{name}/history`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct HistoryItem {
    /// What was said of it.
    pub comment: String,
    /// Seconds since 1970.
    pub created: i64,
    /// The command.
    pub created_by: String,
    /// The image's id, or `<missing>`.
    pub id: String,
    /// Bytes of its layer.
    pub size: i64,
    /// The image's names.
    pub tags: Option<Vec<String>>,
}

/// A step of `DELETE /images/{name}`: one of the two.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DeleteItem {
    /// The id of something that is gone.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub deleted: String,
    /// A name that is gone.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub untagged: String,
}

/// The answer of `POST /images/prune`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct PruneResponse {
    /// What is gone.
    pub images_deleted: Option<Vec<DeleteItem>>,
    /// Bytes.
    pub space_reclaimed: u64,
}
