//! Further processes in running containers.

use crate::container::Attached;

/// A process to run in a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecConfig {
    /// `user[:group]`; empty: the container's.
    pub user: String,
    /// All capabilities and devices.
    pub privileged: bool,
    /// A terminal.
    pub tty: bool,
    /// Standard input will be attached.
    pub attach_stdin: bool,
    /// Standard output will be attached.
    pub attach_stdout: bool,
    /// Standard error will be attached.
    pub attach_stderr: bool,
    /// Height and width of the terminal.
    pub console_size: Option<(u32, u32)>,
    /// The keys that detach.
    pub detach_keys: Option<String>,
    /// Environment on top of the container's.
    pub env: Vec<String>,
    /// The working directory; empty: the container's.
    pub working_dir: String,
    /// The program and its arguments.
    pub command: Vec<String>,
}

/// How to start an exec instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExecStart {
    /// Do not attach to it.
    pub detach: bool,
    /// Height and width of the terminal.
    pub console_size: Option<(u32, u32)>,
}

/// An exec instance, as `inspect` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exec {
    /// Its id.
    pub id: String,
    /// Its container's id.
    pub container_id: String,
    /// What was asked for.
    pub config: ExecConfig,
    /// It runs.
    pub running: bool,
    /// What it ended with; `None` before that.
    pub exit_code: Option<i32>,
    /// Its process, as the host numbers it; 0 before it started.
    pub pid: u32,
    /// It may be removed.
    pub can_remove: bool,
}

/// A started exec instance: its streams, or `None` if detached.
pub type ExecStarted = Option<Attached>;
