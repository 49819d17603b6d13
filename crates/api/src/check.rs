//! `POST /berth/fsck`: what a check of the store tells, one line after the other. Berth's own; Docker has no such call.

use serde::{Deserialize, Serialize};

/// One line; one member of it is set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Line {
    /// The layer or blob that is read now.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reading: String,
    /// Something that is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<Found>,
    /// The end of the check.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<Summary>,
    /// Why the check could not go on.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub error: String,
}

/// Something that is wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Found {
    /// What, in a line.
    pub what: String,
    /// How it was mended; empty if it was not.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mended: String,
    /// Why it could not be mended; empty if that was not tried.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub failed: String,
}

/// The end of a check.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Summary {
    /// The images.
    pub images: u64,
    /// The layers.
    pub layers: u64,
    /// The blobs.
    pub blobs: u64,
    /// The bytes that were read.
    pub bytes: u64,
    /// What is wrong and stays wrong.
    pub faults: u64,
}
