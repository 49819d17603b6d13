//! Image documents: descriptor, manifest, index and image configuration.
//!
//! These types read the documents; they never replace them: a document is kept as the bytes it came as, because
//! its digest is its name. Unknown members are kept in `other`, so that writing a changed document loses nothing.
//!
//! Source: OCI image-spec 1.1 and Docker's `image/spec`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::digest::Digest;
use crate::platform::Platform;

/// Media types, as the documents spell them.
pub mod media_type {
    /// OCI image index.
    pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
    /// OCI image manifest.
    pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    /// OCI image configuration.
    pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    /// OCI layer, a plain tar.
    pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
    /// OCI layer, gzip.
    pub const LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
    /// OCI layer, zstd.
    pub const LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
    /// Docker manifest list.
    pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    /// Docker manifest, schema 2.
    pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    /// Docker manifest, schema 1.
    pub const DOCKER_SCHEMA1: &str = "application/vnd.docker.distribution.manifest.v1+json";
    /// Docker manifest, schema 1, signed.
    pub const DOCKER_SCHEMA1_SIGNED: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";
    /// Docker image configuration.
    pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
    /// Docker layer, a plain tar.
    pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";
    /// Docker layer, gzip.
    pub const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

    /// Whether this is an index or a manifest list.
    pub fn is_index(media_type: &str) -> bool {
        matches!(media_type, INDEX | DOCKER_LIST)
    }

    /// Whether this is an image manifest that we read.
    pub fn is_manifest(media_type: &str) -> bool {
        matches!(media_type, MANIFEST | DOCKER_MANIFEST)
    }
}

/// A pointer to content: what it is, its digest and its length.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Descriptor {
    /// What the content is.
    #[serde(rename = "mediaType", default)]
    pub media_type: String,
    /// The digest of the content.
    pub digest: Digest,
    /// The length of the content in bytes.
    pub size: u64,
    /// Where else the content may be had.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    /// Free annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// The platform, in an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// All other members.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl Descriptor {
    /// Whether this is a layer that a registry need not have: it is to be had from its `urls`.
    pub fn is_foreign(&self) -> bool {
        let kind = &self.media_type;
        !self.urls.is_empty() && (kind.contains(".foreign.") || kind.contains(".nondistributable."))
    }
}

/// An image manifest, OCI's or Docker's schema 2.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Always 2.
    #[serde(rename = "schemaVersion")]
    pub schema_version: u32,
    /// The media type of this document; OCI allows it to be absent.
    #[serde(rename = "mediaType", default, skip_serializing_if = "String::is_empty")]
    pub media_type: String,
    /// The image configuration.
    pub config: Descriptor,
    /// The layers, base first.
    pub layers: Vec<Descriptor>,
    /// Free annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// All other members.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// An image index, OCI's, or Docker's manifest list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    /// Always 2.
    #[serde(rename = "schemaVersion")]
    pub schema_version: u32,
    /// The media type of this document; OCI allows it to be absent.
    #[serde(rename = "mediaType", default, skip_serializing_if = "String::is_empty")]
    pub media_type: String,
    /// The manifests, one a platform.
    pub manifests: Vec<Descriptor>,
    /// Free annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// All other members.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// A manifest or an index, told apart by what it holds and checked against what it says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Document {
    /// An image manifest.
    Manifest(Box<Manifest>),
    /// An image index.
    Index(Index),
}

/// Why bytes are no manifest, index or image configuration.
#[derive(Debug, thiserror::Error)]
pub enum InvalidDocument {
    /// Not JSON, or not of the right shape.
    #[error("{0} is malformed")]
    Json(&'static str, #[source] serde_json::Error),
    /// Both `manifests` and `layers` (or `config`): which of them is meant is in the eye of the reader.
    #[error("manifest has both manifests and layers")]
    Confused,
    /// Neither of them.
    #[error("manifest has neither manifests nor layers")]
    Empty,
    /// Docker's schema 1.
    #[error("manifest of schema version 1 is not supported: push the image again with a current tool")]
    Schema1,
    /// Another schema version.
    #[error("manifest has schema version {0}")]
    SchemaVersion(u64),
    /// The document is not what its media type says.
    #[error("manifest says it is {0} but is not")]
    MediaType(String),
    /// The configuration is not usable.
    #[error("image configuration is invalid: {0}")]
    Config(&'static str),
    /// Larger than any honest document.
    #[error("{0} is larger than {1} bytes")]
    TooLarge(&'static str, usize),
}

/// The largest manifest, index or configuration that is read; registries draw the same line.
pub const DOCUMENT_BYTES_MAX: usize = 4 << 20;

impl Document {
    /// Reads a manifest or index.
    ///
    /// Errors: [`InvalidDocument`]; a document with both `manifests` and `layers` is refused.
    pub fn parse(bytes: &[u8]) -> Result<Self, InvalidDocument> {
        if bytes.len() > DOCUMENT_BYTES_MAX {
            return Err(InvalidDocument::TooLarge("manifest", DOCUMENT_BYTES_MAX));
        }
        let probe: Probe = serde_json::from_slice(bytes).map_err(|e| InvalidDocument::Json("manifest", e))?;
        match probe.schema_version {
            2 => {}
            1 => return Err(InvalidDocument::Schema1),
            other => return Err(InvalidDocument::SchemaVersion(other)),
        }
        if probe.fs_layers {
            return Err(InvalidDocument::Schema1);
        }
        let (is_index, is_manifest) = (probe.manifests, probe.layers || probe.config);
        let media_type = probe.media_type.unwrap_or_default();
        match (is_index, is_manifest) {
            (true, true) => Err(InvalidDocument::Confused),
            (false, false) => Err(InvalidDocument::Empty),
            (true, false) if media_type.is_empty() || media_type::is_index(&media_type) => {
                parse(bytes).map(Self::Index)
            }
            (false, true) if media_type.is_empty() || media_type::is_manifest(&media_type) => {
                parse(bytes).map(|manifest| Self::Manifest(Box::new(manifest)))
            }
            _ => Err(InvalidDocument::MediaType(media_type)),
        }
    }
}

fn parse<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, InvalidDocument> {
    serde_json::from_slice(bytes).map_err(|e| InvalidDocument::Json("manifest", e))
}

/// The members that tell documents apart. A member counts as present whatever its value is.
#[derive(Default)]
struct Probe {
    schema_version: u64,
    media_type: Option<String>,
    manifests: bool,
    layers: bool,
    config: bool,
    fs_layers: bool,
}

impl<'de> Deserialize<'de> for Probe {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ProbeVisitor)
    }
}

struct ProbeVisitor;

impl<'de> serde::de::Visitor<'de> for ProbeVisitor {
    type Value = Probe;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Probe, A::Error> {
        use serde::de::{Error, IgnoredAny};
        const KNOWN: [&str; 6] = ["schemaVersion", "mediaType", "manifests", "layers", "config", "fsLayers"];
        let mut probe = Probe::default();
        let mut seen = [false; KNOWN.len()];
        while let Some(key) = map.next_key::<String>()? {
            // Readers in Go do not mind the case of a key and take the last of several: such a document is two.
            let Some(index) = KNOWN.iter().position(|known| known.eq_ignore_ascii_case(&key)) else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            if key != KNOWN[index] || std::mem::replace(&mut seen[index], true) {
                return Err(A::Error::custom(format_args!("ambiguous member {key:?}")));
            }
            match index {
                0 => probe.schema_version = map.next_value()?,
                1 => probe.media_type = map.next_value()?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    let member = match index {
                        2 => &mut probe.manifests,
                        3 => &mut probe.layers,
                        4 => &mut probe.config,
                        _ => &mut probe.fs_layers,
                    };
                    *member = true;
                }
            }
        }
        Ok(probe)
    }
}

/// An image configuration: what an image is made of and how a container of it runs. Its digest is the image ID.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// The processor.
    #[serde(default)]
    pub architecture: String,
    /// The operating system.
    #[serde(default)]
    pub os: String,
    /// The variant of the processor.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
    /// The version of the operating system.
    #[serde(rename = "os.version", default, skip_serializing_if = "String::is_empty")]
    pub os_version: String,
    /// Needed features of the operating system.
    #[serde(rename = "os.features", default, skip_serializing_if = "Option::is_none")]
    pub os_features: Option<Vec<String>>,
    /// When the image was made, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Who made it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// A word about how it was made.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// The container that it was committed from.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub container: String,
    /// The version of the engine that made it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub docker_version: String,
    /// The ID of the image that this one was made from, in old archives.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub parent: String,
    /// How a container of this image runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<RunConfig>,
    /// The layers.
    #[serde(default)]
    pub rootfs: RootFs,
    /// How each layer came about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history: Option<Vec<History>>,
    /// All other members.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl ImageConfig {
    /// Reads an image configuration.
    ///
    /// Errors: [`InvalidDocument`]; the number of layers in the history must be that of the root filesystem.
    pub fn parse(bytes: &[u8]) -> Result<Self, InvalidDocument> {
        if bytes.len() > DOCUMENT_BYTES_MAX {
            return Err(InvalidDocument::TooLarge("image configuration", DOCUMENT_BYTES_MAX));
        }
        let config: Self =
            serde_json::from_slice(bytes).map_err(|e| InvalidDocument::Json("image configuration", e))?;
        if !config.rootfs.kind.is_empty() && config.rootfs.kind != "layers" {
            return Err(InvalidDocument::Config("rootfs type is not layers"));
        }
        Ok(config)
    }

    /// The platform of the image.
    pub fn platform(&self) -> Platform {
        Platform {
            architecture: self.architecture.clone(),
            os: self.os.clone(),
            os_version: self.os_version.clone(),
            os_features: self.os_features.clone().unwrap_or_default(),
            variant: self.variant.clone(),
        }
    }
}

/// The layers of an image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// The digests of the uncompressed layers, base first.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub diff_ids: Vec<Digest>,
}

/// One step of the making of an image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// When, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// The command.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub created_by: String,
    /// Who.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// A word about it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// Whether the step made no layer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub empty_layer: bool,
    /// All other members.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// How a container of an image runs; Docker's members, absent and null kept apart from empty.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunConfig {
    /// The host name.
    #[serde(rename = "Hostname", skip_serializing_if = "String::is_empty")]
    pub hostname: String,
    /// The domain name.
    #[serde(rename = "Domainname", skip_serializing_if = "String::is_empty")]
    pub domainname: String,
    /// User and group.
    #[serde(rename = "User", skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// Ports that the image listens on: `80/tcp`.
    #[serde(rename = "ExposedPorts", skip_serializing_if = "Option::is_none")]
    pub exposed_ports: Option<BTreeMap<String, Value>>,
    /// Environment variables, `NAME=value`.
    #[serde(rename = "Env", skip_serializing_if = "Option::is_none")]
    pub env: Option<Vec<String>>,
    /// The command, or the arguments of the entry point.
    #[serde(
        rename = "Cmd",
        deserialize_with = "crate::container::string_or_list",
        skip_serializing_if = "Option::is_none"
    )]
    pub cmd: Option<Vec<String>>,
    /// How health is checked.
    #[serde(rename = "Healthcheck", skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// Windows only: the command is already escaped.
    #[serde(rename = "ArgsEscaped", skip_serializing_if = "std::ops::Not::not")]
    pub args_escaped: bool,
    /// The image that it was made from.
    #[serde(rename = "Image", skip_serializing_if = "String::is_empty")]
    pub image: String,
    /// Paths that are volumes.
    #[serde(rename = "Volumes", skip_serializing_if = "Option::is_none")]
    pub volumes: Option<BTreeMap<String, Value>>,
    /// The directory that the command starts in.
    #[serde(rename = "WorkingDir", skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    /// The entry point.
    #[serde(
        rename = "Entrypoint",
        deserialize_with = "crate::container::string_or_list",
        skip_serializing_if = "Option::is_none"
    )]
    pub entrypoint: Option<Vec<String>>,
    /// Triggers of builds on top of this image.
    #[serde(rename = "OnBuild", skip_serializing_if = "Option::is_none")]
    pub on_build: Option<Vec<String>>,
    /// Labels.
    #[serde(rename = "Labels", skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
    /// The signal that stops it.
    #[serde(rename = "StopSignal", skip_serializing_if = "String::is_empty")]
    pub stop_signal: String,
    /// Seconds to wait before it is killed.
    #[serde(rename = "StopTimeout", skip_serializing_if = "Option::is_none")]
    pub stop_timeout: Option<i64>,
    /// The shell of shell-form commands.
    #[serde(
        rename = "Shell",
        deserialize_with = "crate::container::string_or_list",
        skip_serializing_if = "Option::is_none"
    )]
    pub shell: Option<Vec<String>>,
    /// All other members.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// How the health of a container is checked. Durations are nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Healthcheck {
    /// `NONE`, `CMD` and arguments, or `CMD-SHELL` and a command; empty inherits.
    #[serde(rename = "Test", skip_serializing_if = "Option::is_none")]
    pub test: Option<Vec<String>>,
    /// The time between two checks.
    #[serde(rename = "Interval", skip_serializing_if = "is_zero")]
    pub interval: i64,
    /// The time after which a check has failed.
    #[serde(rename = "Timeout", skip_serializing_if = "is_zero")]
    pub timeout: i64,
    /// The time in which failures do not count.
    #[serde(rename = "StartPeriod", skip_serializing_if = "is_zero")]
    pub start_period: i64,
    /// The time between two checks in the start period.
    #[serde(rename = "StartInterval", skip_serializing_if = "is_zero")]
    pub start_interval: i64,
    /// The number of failures after which the container is unhealthy.
    #[serde(rename = "Retries", skip_serializing_if = "is_zero")]
    pub retries: i64,
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

fn null_is_empty<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<Digest>, D::Error> {
    Ok(Option::<Vec<Digest>>::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn descriptor() -> String {
        format!(r#"{{"mediaType":"x","digest":"sha256:{HEX}","size":1}}"#)
    }

    /// What a document is, or why it is none.
    fn check(document: &str, expect: &str) {
        let document = document.replace('D', &descriptor());
        let got = match Document::parse(document.as_bytes()) {
            Ok(Document::Manifest(_)) => "manifest".to_owned(),
            Ok(Document::Index(_)) => "index".to_owned(),
            Err(error) => error.to_string(),
        };
        assert_eq!(got, expect, "{document}");
    }

    #[test]
    fn documents_are_told_apart() {
        check(r#"{"schemaVersion":2,"config":D,"layers":[D,D]}"#, "manifest");
        check(r#"{"schemaVersion":2,"manifests":[D]}"#, "index");
        check(r#"{"schemaVersion":2,"manifests":[],"layers":[]}"#, "manifest has both manifests and layers");
        check(
            r#"{"schemaVersion":2,"manifests":[],"layers":null}"#,
            "manifest has both manifests and layers",
        );
        check(r#"{"schemaVersion":2,"manifests":[],"config":D}"#, "manifest has both manifests and layers");
        check(r#"{"schemaVersion":2}"#, "manifest has neither manifests nor layers");
        check(r#"{"manifests":[]}"#, "manifest has schema version 0");
        check(
            r#"{"schemaVersion":1,"fsLayers":[]}"#,
            "manifest of schema version 1 is not supported: push the image again with a current tool",
        );
        check(
            r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","config":D,"layers":[]}"#,
            "manifest says it is application/vnd.oci.image.index.v1+json but is not",
        );
        check("[]", "manifest is malformed");
        check(r#"{"schemaVersion":2,"config":{},"layers":[]}"#, "manifest is malformed");
        check(r#"{"schemaVersion":2,"schemaVersion":1,"manifests":[]}"#, "manifest is malformed");
        check(r#"{"schemaVersion":2,"manifests":[],"manifests":[]}"#, "manifest is malformed");
        check(r#"{"schemaVersion":2,"Manifests":[],"config":D,"layers":[]}"#, "manifest is malformed");
        check(r#"{"schemaVersion":2,"manifests":[],"LAYERS":[]}"#, "manifest is malformed");
    }

    #[test]
    fn unknown_members_survive() {
        let text = concat!(
            r#"{"architecture":"amd64","os":"linux","config":{"Cmd":null,"Env":[],"New":{"a":[1,null]}},"#,
            r#""rootfs":{"type":"layers","diff_ids":null},"#,
            r#""history":[{"created_by":"x","later":true}],"moby.buildkit.cache.v0":"abc"}"#
        );
        let config = ImageConfig::parse(text.as_bytes()).unwrap();
        assert_eq!(config.other["moby.buildkit.cache.v0"], "abc");
        let again = serde_json::to_value(&config).unwrap();
        assert_eq!(again["config"]["New"]["a"], serde_json::json!([1, null]));
        assert_eq!(again["history"][0]["later"], true);
        assert_eq!(again["config"]["Env"], serde_json::json!([]));
    }

    #[test]
    fn configurations_that_are_none_are_refused() {
        for text in
            ["", "[]", "null", r#"{"rootfs":{"type":"other"}}"#, r#"{"rootfs":{"diff_ids":["sha256:x"]}}"#]
        {
            assert!(ImageConfig::parse(text.as_bytes()).is_err(), "{text}");
        }
        let large = format!(r#"{{"author":"{}"}}"#, "a".repeat(DOCUMENT_BYTES_MAX));
        let error = ImageConfig::parse(large.as_bytes()).unwrap_err().to_string();
        assert_eq!(error, "image configuration is larger than 4194304 bytes");
    }
}
