//! Further processes in containers: what `/containers/{id}/exec` and `/exec/…` take and answer.

use serde::{Deserialize, Serialize};

/// The body of `POST /containers/{id}/exec`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename = "ExecConfig", rename_all = "PascalCase", default)]
pub struct CreateRequest {
    /// The user; the container's when empty.
    pub user: String,
    /// All capabilities.
    pub privileged: bool,
    /// Give it a terminal.
    pub tty: bool,
    /// Size of the terminal: height, width.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub console_size: Option<[u32; 2]>,
    /// Attach its stdin.
    pub attach_stdin: bool,
    /// Attach its stderr.
    pub attach_stderr: bool,
    /// Attach its stdout.
    pub attach_stdout: bool,
    /// The keys that detach.
    pub detach_keys: String,
    /// Variables on top of the container's.
    pub env: Option<Vec<String>>,
    /// The working directory; the container's when empty.
    pub working_dir: String,
    /// The program and its arguments.
    pub cmd: Option<Vec<String>>,
}

/// The answer of `POST /containers/{id}/exec`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CreateResponse {
    /// The exec instance's id.
    pub id: String,
}

/// The body of `POST /exec/{id}/start`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename = "ExecStartRequest", rename_all = "PascalCase", default)]
pub struct StartRequest {
    /// Do not attach.
    pub detach: bool,
    /// Whether the exec instance has a terminal.
    pub tty: bool,
    /// Size of the terminal: height, width.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub console_size: Option<[u32; 2]>,
}

/// The answer of `GET /exec/{id}/json`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Inspect {
    /// The id.
    #[serde(rename = "ID")]
    pub id: String,
    /// It runs.
    pub running: bool,
    /// What it ended with.
    pub exit_code: Option<i32>,
    /// What was asked for.
    pub process_config: ProcessConfig,
    /// Its stdin is attached.
    pub open_stdin: bool,
    /// Its stderr is attached.
    pub open_stderr: bool,
    /// Its stdout is attached.
    pub open_stdout: bool,
    /// It may be forgotten.
    pub can_remove: bool,
    /// The container's id.
    #[serde(rename = "ContainerID")]
    pub container_id: String,
    /// The keys that detach.
    pub detach_keys: String,
    /// The process as the host numbers it.
    pub pid: u32,
}

/// What an exec instance runs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ProcessConfig {
    /// It has a terminal.
    pub tty: bool,
    /// The program.
    pub entrypoint: String,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// All capabilities.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub privileged: Option<bool>,
    /// The user.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user: String,
}
