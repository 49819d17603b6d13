//! The portable part of a container's configuration.

use serde::{Deserialize, Serialize};

use super::{Empty, Map, PortSet, is_empty_list, is_zero, string_or_list};

/// What a container runs and how, independent of the host.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Config {
    /// The host name inside; the short id of the container when empty.
    pub hostname: String,
    /// The domain name inside.
    pub domainname: String,
    /// The user: `name`, `uid`, `name:group`, `uid:gid`, …
    pub user: String,
    /// Attach to stdin: only remembered, for the client.
    pub attach_stdin: bool,
    /// Attach to stdout: only remembered, for the client.
    pub attach_stdout: bool,
    /// Attach to stderr: only remembered, for the client.
    pub attach_stderr: bool,
    /// Ports that the program listens on.
    #[serde(skip_serializing_if = "super::is_empty_map")]
    pub exposed_ports: Option<PortSet>,
    /// Give the program a terminal.
    pub tty: bool,
    /// Keep stdin open although nobody is attached.
    pub open_stdin: bool,
    /// Close stdin when the first attached client is gone.
    pub stdin_once: bool,
    /// The environment: `NAME=value`; a bare `NAME` removes the variable of the image.
    pub env: Option<Vec<String>>,
    /// The arguments of the entry point, or the command itself where there is none.
    #[serde(deserialize_with = "string_or_list")]
    pub cmd: Option<Vec<String>>,
    /// How to find out whether the program is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// Windows only: the command is escaped already.
    #[serde(skip_serializing_if = "is_zero")]
    pub args_escaped: bool,
    /// The image, as the user named it.
    pub image: String,
    /// Paths that are to be anonymous volumes.
    pub volumes: Option<Map<Empty>>,
    /// The working directory.
    pub working_dir: String,
    /// The program that is run with `cmd` as its arguments. `[""]` undoes the entry point of the image.
    #[serde(deserialize_with = "string_or_list")]
    pub entrypoint: Option<Vec<String>>,
    /// No network at all.
    #[serde(skip_serializing_if = "is_zero")]
    pub network_disabled: bool,
    /// Build steps for images made from this one.
    #[serde(skip_serializing_if = "is_empty_list")]
    pub on_build: Option<Vec<String>>,
    /// Labels.
    pub labels: Option<Map<String>>,
    /// The signal that asks the program to stop; SIGTERM when empty.
    #[serde(skip_serializing_if = "is_zero")]
    pub stop_signal: String,
    /// Seconds to wait after that signal before the program is killed; -1 is for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_timeout: Option<i32>,
    /// The shell of the shell forms in a Dockerfile.
    #[serde(skip_serializing_if = "is_empty_list", deserialize_with = "string_or_list")]
    pub shell: Option<Vec<String>>,
}

/// How to find out whether a program is well. Durations are nanoseconds; zero inherits the value of the image.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Healthcheck {
    /// Nothing: inherit; `NONE`; `CMD` and arguments; `CMD-SHELL` and a command line.
    #[serde(skip_serializing_if = "is_empty_list")]
    pub test: Option<Vec<String>>,
    /// Time between two checks.
    #[serde(skip_serializing_if = "is_zero")]
    pub interval: i64,
    /// Time after which a check counts as failed.
    #[serde(skip_serializing_if = "is_zero")]
    pub timeout: i64,
    /// Time at the start during which failures do not count.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_period: i64,
    /// Time between two checks during the start period.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_interval: i64,
    /// Failures in a row that make the container unhealthy.
    #[serde(skip_serializing_if = "is_zero")]
    pub retries: i32,
}
