//! Mounts in the long form (`--mount`).

use serde::{Deserialize, Serialize};

use super::{Map, is_empty_list, is_empty_map, is_zero};

/// A mount that the user asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Mount {
    /// What is mounted; see [`Mount::kind`].
    #[serde(rename = "Type", skip_serializing_if = "is_zero")]
    pub kind: String,
    /// The path of the host, the volume's name or the image.
    #[serde(skip_serializing_if = "is_zero")]
    pub source: String,
    /// The path inside.
    #[serde(skip_serializing_if = "is_zero")]
    pub target: String,
    /// Not writable; recursively where the kernel can.
    #[serde(skip_serializing_if = "is_zero")]
    pub read_only: bool,
    /// Ignored on Linux.
    #[serde(skip_serializing_if = "is_zero")]
    pub consistency: String,
    /// For `bind`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bind_options: Option<BindOptions>,
    /// For `volume`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume_options: Option<VolumeOptions>,
    /// For `image`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_options: Option<ImageOptions>,
    /// For `tmpfs`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tmpfs_options: Option<TmpfsOptions>,
    /// For `cluster`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_options: Option<super::Empty>,
}

/// What can be mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MountKind {
    /// A file or directory of the host.
    Bind,
    /// A volume.
    Volume,
    /// A file system in memory.
    Tmpfs,
    /// The content of an image.
    Image,
    /// A named pipe (Windows).
    Npipe,
    /// A cluster volume.
    Cluster,
}

impl Mount {
    /// The checked kind; `None` for a word that Docker does not know.
    pub fn kind(&self) -> Option<MountKind> {
        Some(match self.kind.as_str() {
            "bind" => MountKind::Bind,
            "volume" => MountKind::Volume,
            "tmpfs" => MountKind::Tmpfs,
            "image" => MountKind::Image,
            "npipe" => MountKind::Npipe,
            "cluster" => MountKind::Cluster,
            _ => return None,
        })
    }
}

/// Options of a bind mount.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct BindOptions {
    /// `private`, `rprivate`, `shared`, `rshared`, `slave`, `rslave`.
    #[serde(skip_serializing_if = "is_zero")]
    pub propagation: String,
    /// Leave out the mounts below.
    #[serde(skip_serializing_if = "is_zero")]
    pub non_recursive: bool,
    /// Make the source if it does not exist.
    #[serde(skip_serializing_if = "is_zero")]
    pub create_mountpoint: bool,
    /// Read-only, but not the mounts below.
    #[serde(skip_serializing_if = "is_zero")]
    pub read_only_non_recursive: bool,
    /// Fail where the mounts below cannot be made read-only.
    #[serde(skip_serializing_if = "is_zero")]
    pub read_only_force_recursive: bool,
}

/// Options of a volume.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct VolumeOptions {
    /// Do not fill an empty volume from the image.
    #[serde(skip_serializing_if = "is_zero")]
    pub no_copy: bool,
    /// Labels of a volume that is made.
    #[serde(skip_serializing_if = "is_empty_map")]
    pub labels: Option<Map<String>>,
    /// A path in the volume that is mounted instead of its root.
    #[serde(skip_serializing_if = "is_zero")]
    pub subpath: String,
    /// The driver of a volume that is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver_config: Option<VolumeDriver>,
}

/// The driver of a volume.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct VolumeDriver {
    /// The driver's name.
    #[serde(skip_serializing_if = "is_zero")]
    pub name: String,
    /// Its options.
    #[serde(skip_serializing_if = "is_empty_map")]
    pub options: Option<Map<String>>,
}

/// Options of an image mount.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImageOptions {
    /// A path in the image that is mounted instead of its root.
    #[serde(skip_serializing_if = "is_zero")]
    pub subpath: String,
}

/// Options of a file system in memory.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct TmpfsOptions {
    /// Size in bytes; zero: no limit.
    #[serde(skip_serializing_if = "is_zero")]
    pub size_bytes: i64,
    /// Mode of its root.
    #[serde(skip_serializing_if = "is_zero")]
    pub mode: u32,
    /// Mount options: `["noexec"]` or `["uid", "1000"]`.
    #[serde(skip_serializing_if = "is_empty_list")]
    pub options: Option<Vec<Vec<String>>>,
}
