//! What the engine and a shim say to each other. The framing is in [`crate::frame`].
//!
//! WHEN CHANGING A MESSAGE: a newer engine meets shims that an older one left running. Fields may be added with
//! `#[serde(default)]`; nothing may be removed or renamed.

use std::net::SocketAddr;
use std::path::PathBuf;

use berth_oci::Mount;
use berth_oci::runtime::{Process, Spec};
use serde::{Deserialize, Serialize};

use crate::types::{ExitStatus, LogFile, Runtime, StdinMode, Target, Timings};

/// Name of the listening socket in a shim's directory.
pub(crate) const SOCKET: &str = "socket";
/// Name of the [`State`](crate::State) file in a shim's directory.
pub(crate) const STATE: &str = "state.json";
/// Name of the file in a shim's directory that says why the shim itself failed.
pub(crate) const LAST_WORDS: &str = "panic";

/// From the engine.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Keep the descriptors of this frame open. Has no answer.
    Hold,
    /// Relay what comes to the sockets of this frame. Before `Start` only; has no answer.
    Relay(Vec<RelayRequest>),
    /// Create and start the container; the first request but `Hold` and `Relay`. Answer: [`Answer::Started`].
    Start(Box<StartRequest>),
    /// The engine knows that the container runs. Has no answer. A connection that ends before it ends the container.
    Acknowledge,
    /// The first request of a connection to the listening socket. Answer: [`Answer::Started`], then the events that
    /// nobody was there to hear.
    Resume,
    /// A client; its socket is the one descriptor of the frame.
    Attach(AttachRequest),
    /// Another process. Answer: [`Answer::ExecStarted`].
    Exec(Box<ExecRequest>),
    /// The size of a terminal.
    Resize { target: Target, rows: u16, cols: u16 },
    /// A signal to one process.
    Signal { target: Target, signal: i32 },
    /// The exit is recorded: remove the directory and end.
    Shutdown,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct StartRequest {
    pub(crate) id: String,
    pub(crate) dir: PathBuf,
    pub(crate) bundle: PathBuf,
    pub(crate) spec: Spec,
    pub(crate) rootfs: Vec<Mount>,
    pub(crate) stdin: StdinMode,
    pub(crate) log: Option<LogFile>,
    pub(crate) exit_file: PathBuf,
    pub(crate) runtime: Runtime,
    /// The first descriptor of the frame is the network namespace to join.
    pub(crate) netns: bool,
    /// The following descriptors are the sockets of these.
    pub(crate) attach: Vec<AttachRequest>,
    pub(crate) boot_id: String,
    /// Monotonic clock, just before the shim was spawned.
    pub(crate) spawned_at_nanos: u64,
    /// To be given back to an engine that comes later.
    #[serde(default)]
    pub(crate) memo: String,
}

/// One port; its socket is in the same place among the descriptors of the frame.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RelayRequest {
    pub(crate) udp: bool,
    pub(crate) target: SocketAddr,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct AttachRequest {
    pub(crate) id: u64,
    pub(crate) stdin: bool,
    pub(crate) stdout: bool,
    pub(crate) stderr: bool,
    pub(crate) detach_keys: Vec<u8>,
    pub(crate) input: Vec<u8>,
}

/// The one descriptor of the frame, if there is one, is the socket of `attach`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ExecRequest {
    pub(crate) id: String,
    pub(crate) process: Process,
    pub(crate) attach: Option<AttachRequest>,
}

/// From the shim: answers, and events (sequence number 0).
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// Done.
    Done,
    /// The container runs (or did, before the events that follow).
    Started(StartedAnswer),
    /// The exec runs.
    ExecStarted { pid: u32 },
    /// It did not work, and nothing is left of it.
    Failed(Failure),
    /// Event: the container has ended.
    Exited(ExitStatus),
    /// Event: an exec has ended.
    ExecExited { id: String, status: ExitStatus },
    /// Event: the memory limit was reached.
    Oom,
    /// Event: a client has left by its detach keys.
    Detached { id: u64 },
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct StartedAnswer {
    pub(crate) pid: u32,
    pub(crate) start_time: u64,
    pub(crate) started_at_nanos: u64,
    pub(crate) timings: Timings,
    pub(crate) warnings: Vec<String>,
    pub(crate) cgroup: String,
    /// Execs that run.
    pub(crate) execs: Vec<(String, u32)>,
    pub(crate) shim_pid: u32,
    /// That of the order; in the answer to [`Request::Resume`] only.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) memo: String,
}

/// Says a shim whose engine is still connected, as a [`Failure::Other`].
pub(crate) const TAKEN: &str = "another engine is connected to the container";

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Failure {
    Runtime { code: u8, message: String },
    Log { message: String },
    NotRunning,
    NoSuchExec,
    NoTerminal,
    Other { message: String },
}
