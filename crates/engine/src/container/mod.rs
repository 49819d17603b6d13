//! Containers: what the engine knows of each, and what can be asked of them.
//!
//! ```text
//!  create ──► created ──start──► running ◄──pause/unpause──► paused
//!                │                │  ▲
//!                │               exit└──start, restart policy── exited ◄─ restarting
//!                │                ▼                               │
//!                └──remove──► removing ◄──────────────────────────┘ ──► gone, or dead if it cannot be removed
//! ```
//!
//! Invariant: each container has one task, which alone changes it; all else reads the [`Container`] it published last.

mod adapt;
mod copy_up;
mod create;
mod forward;
pub(crate) mod health;
mod lifecycle;
mod limits;
pub(crate) mod link;
mod list;
mod log_config;
pub(crate) mod logs;
pub(crate) mod merge;
pub(crate) mod mounts;
pub(crate) mod network;
pub(crate) mod registry;
mod remove;
pub(crate) mod restart;
mod sample;
pub(crate) mod signal;
mod start;
mod subpath;
pub(crate) mod task;
mod top;
mod update;

pub(crate) use adapt::OWN_RUNTIMES;
pub(crate) use create::create;
pub use lifecycle::parse_duration;
pub(crate) use lifecycle::parse_until;
pub(crate) use list::Patterns;
pub(crate) use log_config::{DRIVERS as LOG_DRIVERS, check_default as check_log_options};
pub(crate) use start::refused;

pub use link::Link;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use berth_oci::container::{Config, EndpointSettings, HostConfig, NetworkingConfig, PortMap, RestartPolicy};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::net::UnixStream;

use crate::filters::Filters;
use crate::time::Time;

/// What the engine knows of a container at one moment. Never changes: the next moment is another value.
#[derive(Clone, Debug)]
pub struct Container {
    /// What was asked for when it was created.
    pub record: Arc<Record>,
    /// How it fares.
    pub state: State,
    /// Ids of its exec instances that run or have not been forgotten yet.
    pub exec_ids: Vec<String>,
}

/// What does not change while a container runs: the part that is durable before `create` answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Its name, without a slash.
    pub name: String,
    /// When it was created.
    pub created: Time,
    /// Its image's id, `sha256:…`.
    pub image: String,
    /// `os/architecture` of its image.
    pub platform: String,
    /// The program: entrypoint or command, as it will be executed.
    pub path: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// The request's configuration with the image's merged in.
    pub config: Config,
    /// The request's host configuration with defaults filled in.
    pub host_config: HostConfig,
    /// The networks asked for, by name.
    pub endpoints: BTreeMap<String, EndpointSettings>,
    /// Its mounts, as `inspect` lists them.
    pub mounts: Vec<MountPoint>,
    /// The containers that it links to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<Link>,
    /// Where `hosts`, `hostname`, `resolv.conf` and the log are.
    pub directory: PathBuf,
}

/// A mount of a container, as `inspect` lists it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountPoint {
    /// `bind`, `volume`, `tmpfs`.
    pub kind: String,
    /// A volume's name.
    pub name: Option<String>,
    /// Where it comes from on the host.
    pub source: String,
    /// Where it is inside.
    pub destination: String,
    /// A volume's driver.
    pub driver: Option<String>,
    /// The mode as it was written (`z`, `ro`, …).
    pub mode: String,
    /// Whether it can be written.
    pub writable: bool,
    /// Its propagation, empty for volumes.
    pub propagation: String,
    /// A volume that nobody named: removed with `rm -v` and `--rm`.
    #[serde(default)]
    pub anonymous: bool,
    /// The image's content is copied into it when it is empty.
    #[serde(default)]
    pub copy_up: bool,
    /// Made on the host if it is missing (`-v`, not `--mount`).
    #[serde(default)]
    pub create_source: bool,
    /// Further mount options (a tmpfs's size and mode, `rbind` or `bind`, recursive read-only).
    #[serde(default)]
    pub options: Vec<String>,
    /// A part of the volume to mount, below its root.
    #[serde(default)]
    pub subpath: Option<String>,
    /// The options of the volume say what is mounted as it before it is used.
    #[serde(default)]
    pub needs_mount: bool,
}

/// The states of a container, by Docker's names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Never started.
    #[default]
    Created,
    /// Its first process lives.
    Running,
    /// It lives, but its processes are frozen.
    Paused,
    /// It ended and will be started again by its restart policy.
    Restarting,
    /// It is being removed.
    Removing,
    /// It ended.
    Exited,
    /// It could not be removed.
    Dead,
}

impl Status {
    /// The name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Restarting => "restarting",
            Status::Removing => "removing",
            Status::Exited => "exited",
            Status::Dead => "dead",
        }
    }

    /// Whether `State.Running` is true: Docker says so of paused and restarting ones, too.
    pub fn is_running(self) -> bool {
        matches!(self, Status::Running | Status::Paused | Status::Restarting)
    }

    /// Whether a process lives.
    pub fn has_process(self) -> bool {
        matches!(self, Status::Running | Status::Paused)
    }
}

/// How a container fares.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Its status.
    pub status: Status,
    /// The first process, as the host numbers it; 0 if there is none.
    pub pid: u32,
    /// What the last run ended with.
    pub exit_code: i32,
    /// Why the last start failed; empty if it did not.
    pub error: String,
    /// The kernel killed a process of the last run because memory ran out.
    pub oom_killed: bool,
    /// When the last run began.
    pub started_at: Time,
    /// When the last run ended.
    pub finished_at: Time,
    /// How often the restart policy started it again.
    pub restart_count: u32,
    /// The user stopped it: `unless-stopped` leaves it so.
    pub manually_stopped: bool,
    /// Its health, if it has a check.
    pub health: Option<Health>,
    /// Its place on the networks while it runs.
    pub network: NetworkState,
}

/// The health of a container with a check.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Health {
    /// `starting`, `healthy`, `unhealthy`.
    pub status: String,
    /// Checks that failed in a row.
    pub failing_streak: i64,
    /// The last five checks, oldest first.
    pub log: Vec<HealthResult>,
}

/// The outcome of one health check.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HealthResult {
    /// When it began.
    pub start: Time,
    /// When it ended.
    pub end: Time,
    /// 0 healthy, 1 unhealthy, -1 it could not be run.
    pub exit_code: i32,
    /// What it wrote, the first 4 KiB.
    pub output: String,
}

/// A container's place on the networks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NetworkState {
    /// The sandbox's id; empty while there is none.
    pub sandbox_id: String,
    /// A name for the sandbox's namespace.
    pub sandbox_key: String,
    /// Its endpoints by network name.
    pub endpoints: BTreeMap<String, EndpointSettings>,
    /// Published ports; exposed ones that are not published map to nothing.
    pub ports: PortMap,
    /// The place on the default bridge, as the network keeps it.
    #[serde(default)]
    pub endpoint: Option<berth_network::Endpoint>,
}

/// What to create.
#[derive(Clone, Debug, Default)]
pub struct CreateContainer {
    /// The name asked for, with or without a leading slash; `None`: one is made up.
    pub name: Option<String>,
    /// What runs inside.
    pub config: Config,
    /// What the host gives it.
    pub host_config: HostConfig,
    /// The networks asked for.
    pub networking: NetworkingConfig,
    /// `os[/architecture[/variant]]`; `None`: the host's.
    pub platform: Option<String>,
}

/// A container that was created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerCreated {
    /// Its id.
    pub id: String,
    /// What the user should know (limits that the kernel does not have, …).
    pub warnings: Vec<String>,
}

/// How to stop.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StopOptions {
    /// The signal, by name or number; `None`: the container's, else `SIGTERM`.
    pub signal: Option<String>,
    /// Seconds until it is killed, -1 for ever; `None`: the container's, else 10.
    pub timeout: Option<i64>,
}

/// How to remove.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RemoveOptions {
    /// Kill it first if it runs.
    pub force: bool,
    /// Its anonymous volumes, too.
    pub volumes: bool,
    /// Not the container but the link of this name.
    pub link: bool,
}

/// What to wait for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WaitCondition {
    /// Until it does not run; at once if it does not.
    #[default]
    NotRunning,
    /// Until the next time it ends.
    NextExit,
    /// Until it is gone.
    Removed,
}

/// What a wait ended with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WaitResult {
    /// The exit code.
    pub status_code: i64,
    /// Why the container could not be waited for or removed.
    pub error: Option<String>,
}

/// Which containers to list.
#[derive(Clone, Debug, Default)]
pub struct ListOptions {
    /// Those that do not run, too.
    pub all: bool,
    /// No more than so many, the newest (of all states); 0: no limit.
    pub limit: usize,
    /// `ancestor before expose exited health id is-task isolation label name network publish since status volume`.
    pub filters: Filters,
}

/// What a container takes on disk, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ContainerSize {
    /// What it wrote itself.
    pub writable: u64,
    /// The same with its image.
    pub root_fs: u64,
}

/// Which part of a log is wanted.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogsOptions {
    /// Standard output.
    pub stdout: bool,
    /// Standard error.
    pub stderr: bool,
    /// Go on while the container runs.
    pub follow: bool,
    /// Only from then on.
    pub since: Option<Time>,
    /// Only until then.
    pub until: Option<Time>,
    /// Each line with its time.
    pub timestamps: bool,
    /// Each line with the attributes that the log options ask for.
    pub details: bool,
    /// Only so many lines from the end; `None`: all.
    pub tail: Option<u64>,
}

/// A log being read: chunks in the framing of attached streams (see [`Attached::tty`]).
pub struct Logs {
    /// Whether the chunks are raw (a terminal's) or in frames with an eight-byte header.
    pub tty: bool,
    pub(crate) receiver: tokio::sync::mpsc::Receiver<crate::Result<Bytes>>,
}

impl futures_util::Stream for Logs {
    type Item = crate::Result<Bytes>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.receiver.poll_recv(context)
    }
}

/// What to attach to.
#[derive(Clone, Debug, Default)]
pub struct AttachOptions {
    /// The standard input.
    pub stdin: bool,
    /// The standard output.
    pub stdout: bool,
    /// The standard error.
    pub stderr: bool,
    /// What was written so far, first (from the log).
    pub logs: bool,
    /// What comes from now on.
    pub stream: bool,
    /// The keys that detach (the daemon watches for them; kept for `inspect` of exec instances and for events).
    pub detach_keys: Option<String>,
}

/// A stream to a container's or exec instance's standard streams.
pub struct Attached {
    /// The terminal's raw bytes if true; else output in frames: `[1 or 2, 0, 0, 0, length as big endian u32]`.
    /// Input is raw in both cases; shutting it down for writing is the end of the standard input.
    pub tty: bool,
    /// What was written before (`logs`); to be sent first.
    pub logs: Option<Logs>,
    /// The live stream (`stream`); it ends when the process and those that hold its streams end.
    pub stream: Option<UnixStream>,
}

/// The processes of a container, as `ps` lists them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Top {
    /// The columns' titles.
    pub titles: Vec<String>,
    /// A row a process.
    pub processes: Vec<Vec<String>>,
}

/// What was pruned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Ids of what was removed.
    pub deleted: Vec<String>,
    /// Bytes that this freed.
    pub space_reclaimed: u64,
}

/// Limits to change while a container lives; `None` leaves one as it is.
#[derive(Clone, Debug, Default)]
pub struct UpdateContainer {
    /// The host configuration: only its resources are looked at.
    pub resources: HostConfig,
    /// The restart policy.
    pub restart_policy: Option<RestartPolicy>,
}

/// The bytes of the keys that detach; none named: Docker's own.
pub(crate) fn detach_keys(keys: Option<&str>) -> crate::Result<Vec<u8>> {
    berth_oci::keys::parse(keys.unwrap_or_default())
        .map_err(|error| crate::Error::invalid(format!("Invalid detach keys provided: {error}")))
}
