//! The documents of image archives: `manifest.json` of docker-archives, `index.json` of OCI layouts.

use std::collections::BTreeMap;

use berth_oci::Descriptor;
use serde::{Deserialize, Serialize};

use crate::Error;

pub(super) const MANIFEST_JSON: &str = "manifest.json";
pub(super) const REPOSITORIES: &str = "repositories";
pub(super) const INDEX_JSON: &str = "index.json";
pub(super) const OCI_LAYOUT: &str = "oci-layout";
pub(super) const BLOBS: &str = "blobs/sha256/";
/// The annotation that has the whole reference of an image.
pub(super) const IMAGE_NAME: &str = "io.containerd.image.name";
/// The annotation that has a reference, or often only a tag.
pub(super) const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The annotation that tells a manifest that an image came with from one that was made for an archive.
pub(super) const ORIGINAL: &str = "berth.manifest.original";

/// One image of `manifest.json`.
///
/// Source: moby, `image/spec/v1.2.md`, "Combined Image JSON + Filesystem Changeset Format".
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct ArchiveImage {
    #[serde(rename = "Config")]
    pub(super) config: String,
    #[serde(rename = "RepoTags")]
    pub(super) repo_tags: Option<Vec<String>>,
    #[serde(rename = "Layers")]
    pub(super) layers: Option<Vec<String>>,
    #[serde(rename = "Parent", skip_serializing_if = "String::is_empty")]
    pub(super) parent: String,
    #[serde(rename = "LayerSources", skip_serializing_if = "Option::is_none")]
    pub(super) layer_sources: Option<BTreeMap<String, Descriptor>>,
}

/// A path inside an archive in one spelling: no `.`, no empty component, `..` taken off against what is before it.
///
/// Errors: the path leaves the archive.
pub(super) fn clean(path: &str) -> Result<String, Error> {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                if parts.pop().is_none() {
                    return Err(Error::Invalid(format!("invalid path in archive: {path:?} leaves it")));
                }
            }
            part => parts.push(part),
        }
    }
    Ok(parts.join("/"))
}

/// What a link in an archive leads to.
pub(super) fn follow(path: &str, target: &str) -> Result<String, Error> {
    let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
    clean(&format!("{parent}/{target}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_inside() {
        assert_eq!(clean("./a//b/../c").unwrap(), "a/c");
        assert_eq!(clean("/a").unwrap(), "a");
        assert!(clean("../a").is_err());
        assert_eq!(follow("x/layer.tar", "../y/layer.tar").unwrap(), "y/layer.tar");
        assert!(follow("x/layer.tar", "../../y").is_err());
    }
}
