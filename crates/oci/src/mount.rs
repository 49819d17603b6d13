//! [`Mount`]: what every layer of Berth hands to the next when something is to be mounted.
//!
//! The store emits the mounts of a root filesystem, the engine adds volumes, the runtime mounts them. The JSON form
//! is `mounts[]` of the OCI runtime specification.

use serde::{Deserialize, Serialize};

use crate::runtime::{LinuxIdMapping, nullable};

/// One mount of a container.
///
/// Source: runtime-spec, `config.md`, "Mounts" and "Linux mount options".
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mount {
    /// Where it appears, an absolute path inside the container (`/` for a root filesystem).
    pub destination: String,
    /// The file system (`overlay`, `tmpfs`, `proc`, …), or `bind`, or empty when `options` says `bind` or `rbind`.
    #[serde(
        rename = "type",
        default,
        skip_serializing_if = "String::is_empty",
        deserialize_with = "nullable"
    )]
    pub kind: String,
    /// A device name or, for a bind mount, a path of the host (relative ones are relative to the bundle).
    #[serde(default, skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    pub source: String,
    /// Options as in fstab: `ro`, `nosuid`, `rbind`, `rprivate`, `size=64m`, …
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    pub options: Vec<String>,
    /// User ids of an id-mapped mount.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    pub uid_mappings: Vec<LinuxIdMapping>,
    /// Group ids of an id-mapped mount.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    pub gid_mappings: Vec<LinuxIdMapping>,
}

impl Mount {
    /// A mount of a file system with options.
    #[must_use]
    pub fn new(kind: &str, source: &str, destination: &str, options: &[&str]) -> Self {
        Self {
            destination: destination.to_owned(),
            kind: kind.to_owned(),
            source: source.to_owned(),
            options: options.iter().map(|&option| option.to_owned()).collect(),
            ..Self::default()
        }
    }

    /// Whether it is a bind mount: by type, or by the options `bind` and `rbind` as runc takes them.
    #[must_use]
    pub fn is_bind(&self) -> bool {
        self.kind == "bind" || self.options.iter().any(|option| option == "bind" || option == "rbind")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bind_is_known_by_type_or_option() {
        assert!(Mount::new("bind", "/a", "/b", &[]).is_bind());
        assert!(Mount::new("none", "/a", "/b", &["rbind", "ro"]).is_bind());
        assert!(!Mount::new("tmpfs", "tmpfs", "/b", &["nosuid"]).is_bind());
    }

    #[test]
    fn null_options_are_no_options() {
        let mount: Mount =
            serde_json::from_str(r#"{"destination":"/x","type":"tmpfs","options":null}"#).unwrap();
        assert_eq!(mount, Mount::new("tmpfs", "", "/x", &[]));
        assert_eq!(serde_json::to_string(&mount).unwrap(), r#"{"destination":"/x","type":"tmpfs"}"#);
    }
}
