//! The state of a container, as hooks and the `state` command tell it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::nullable;

/// Where a container is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Being made.
    Creating,
    /// Made; its process has not been executed.
    Created,
    /// Its process has been executed and has not ended.
    Running,
    /// Frozen (not of the specification, but of every runtime).
    Paused,
    /// Its process has ended.
    Stopped,
}

/// The state of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// Version of the specification.
    pub oci_version: String,
    /// Id of the container.
    pub id: String,
    /// Where it is in its life.
    pub status: Status,
    /// Its process, as the host sees it; 0 when there is none.
    #[serde(default)]
    pub pid: i32,
    /// Absolute path of its bundle.
    pub bundle: String,
    /// Its annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "nullable")]
    pub annotations: BTreeMap<String, String>,
}

/// What a seccomp listener is sent, with the descriptors in the order of `fds`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerProcessState {
    /// Version of the specification.
    pub oci_version: String,
    /// Names of the descriptors (`seccompFd`).
    pub fds: Vec<String>,
    /// The process that the filter is for.
    pub pid: i32,
    /// The listener's own text.
    #[serde(default, skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    pub metadata: String,
    /// The container.
    pub state: State,
}
