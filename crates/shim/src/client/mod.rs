//! The engine's half: start shims, talk to them, take them up again.
//!
//! A [`Launcher`] is made once an engine. [`Launcher::start`] gives a [`Shim`], a handle that is cheap to clone, and
//! [`Started`], which holds the events. After a restart of the engine [`reconnect`] gives the same for a shim that
//! still runs. When the container has ended and its end is recorded, [`Shim::shutdown`] lets the shim go.

mod cleanup;
mod connection;
mod launch;
mod shim;

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use berth_oci::Mount;
use berth_oci::runtime::{Process, Spec};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};

pub use crate::types::*;
pub use berth_runtime::cgroup::Stats;
pub use cleanup::clean_up;
pub use launch::Launcher;
pub use shim::{Found, Shim, reconnect, supervised};

/// Everything a shim needs to create and start one container.
#[derive(Debug)]
pub struct Start {
    /// The container's id.
    pub id: String,
    /// The shim's own directory, `<exec-root>/shim/<id>`. Its parent must exist; it is made (0700) when it is needed,
    /// which is when the engine is gone.
    pub dir: PathBuf,
    /// The bundle directory handed to hooks, and to another runtime as its bundle. May be the same as `dir`.
    pub bundle: PathBuf,
    /// What to run. `process.terminal` decides between pipes and a pty.
    pub spec: Spec,
    /// Mounts of the root file system itself, made at `spec.root.path` inside the new mount namespace.
    pub rootfs: Vec<Mount>,
    /// What standard input is.
    pub stdin: StdinMode,
    /// The log; none with the log driver `none`.
    pub log: Option<LogFile>,
    /// Where the exit status is recorded, in the data root. A file left from an earlier run is removed first.
    pub exit_file: PathBuf,
    /// A network namespace to join; the shim keeps it alive. Takes the place of the spec's network path.
    pub netns: Option<OwnedFd>,
    /// Clients attached before the start, which miss nothing.
    pub attach: Vec<Attach>,
    /// Descriptors the shim only keeps open until the container has ended (bound sockets of published ports).
    pub hold: Vec<OwnedFd>,
    /// Published ports that the shim relays until the container has ended.
    pub relays: Vec<Relay>,
    /// Which runtime.
    pub runtime: Runtime,
    /// Whatever another engine should know that takes the container up ([`Started::memo`]), should this one be killed
    /// before it has written that down itself.
    pub memo: String,
}

/// A published port whose connections the shim relays to the container.
#[derive(Debug)]
pub struct Relay {
    /// An IPv6 socket of the host, non-blocking: it listens, or is bound for datagrams.
    pub socket: OwnedFd,
    /// Datagrams, not connections.
    pub is_udp: bool,
    /// Where they go.
    pub target: SocketAddr,
}

/// The streams a client wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Streams {
    /// The client's bytes go to standard input.
    pub stdin: bool,
    /// The client gets standard output.
    pub stdout: bool,
    /// The client gets standard error.
    pub stderr: bool,
    /// With a terminal: the bytes in the input that end the attachment (`ctrl-p,ctrl-q` is `[16, 17]`); empty: none
    /// is looked for.
    pub detach_keys: Vec<u8>,
}

/// One client's connection to the streams of a container or an exec.
///
/// The shim reads and writes the socket directly: output in Docker's stdcopy frames (raw with a terminal), input raw,
/// a half-close is the end of input. The socket may be one end of a pair ([`Attach::pair`]) or the client's own
/// connection, handed over after the HTTP answer: then no byte passes through the engine, and the attachment outlives
/// it.
#[derive(Debug)]
pub struct Attach {
    /// A connected stream socket. Not changed to or from non-blocking mode by the shim.
    pub socket: OwnedFd,
    /// Which streams.
    pub streams: Streams,
    /// Input that was read from the client already.
    pub input: Vec<u8>,
    /// Named in [`Event::Detached`]; 0 is nobody.
    pub id: u64,
}

impl Attach {
    /// An attachment and the engine's end of it.
    pub fn pair(streams: Streams) -> std::io::Result<(Attach, UnixStream)> {
        let (ours, theirs) = UnixStream::pair()?;
        let socket = OwnedFd::from(theirs.into_std()?);
        Ok((Attach { socket, streams, input: Vec::new(), id: 0 }, ours))
    }
}

/// Another process in the container.
#[derive(Debug)]
pub struct ExecStart {
    /// The exec's id.
    pub id: String,
    /// What to run. `terminal` decides between pipes and a pty.
    pub process: Process,
    /// The one client; without it (detached) the standard streams are `/dev/null`. Standard input is a pipe only if
    /// the client has `streams.stdin`, and it is closed at the end of that.
    pub attach: Option<Attach>,
}

/// A container runs.
#[derive(Debug)]
pub struct Started {
    /// The container's first process, in the host's numbers.
    pub pid: u32,
    /// Its start time (`/proc/<pid>/stat`, field 22).
    pub start_time: u64,
    /// When its program began: nanoseconds since the epoch.
    pub started_at_nanos: u64,
    /// The shim's own process.
    pub shim_pid: u32,
    /// Execs that run, and their processes (after a reconnection).
    pub execs: Vec<(String, u32)>,
    /// Everything that happens from now on, in order. Has one reader.
    pub events: mpsc::UnboundedReceiver<Event>,
    /// Where the time went (zero after a reconnection).
    pub timings: Timings,
    /// What the runtime could not do but went on without (as `docker create` prints them).
    pub warnings: Vec<String>,
    /// [`Start::memo`] (after a reconnection).
    pub memo: String,
}

/// An exec runs.
#[derive(Debug)]
pub struct ExecStarted {
    /// Its process, in the host's numbers.
    pub pid: u32,
    /// How it ends; the same as [`Event::ExecExited`]. Closed without a value if the shim is gone.
    pub exit: oneshot::Receiver<ExitStatus>,
}

/// What a shim tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The container has ended, all its output is written and its cgroup is gone. The shim waits for
    /// [`Shim::shutdown`].
    Exited(ExitStatus),
    /// An exec has ended and all its output is written.
    ExecExited {
        /// Which.
        id: String,
        /// How.
        status: ExitStatus,
    },
    /// The kernel killed a process of the container because the memory limit was reached.
    Oom,
    /// A client has left by its detach keys.
    Detached {
        /// [`Attach::id`].
        id: u64,
    },
    /// The shim is gone without having told an exit: nothing follows. See [`clean_up`].
    Gone,
}

/// Why a container or an exec did not start. Nothing is left of it.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The runtime refused. The message is Docker's, without the daemon's own prefix
    /// (`OCI runtime create failed: …`).
    #[error("{message}")]
    Runtime {
        /// Docker's exit code for it: 127 not found, 126 not executable, 128 otherwise (125 at the command line).
        code: u8,
        /// What to show.
        message: String,
    },
    /// The log could not be opened.
    #[error("failed to initialize logging driver: {message}")]
    Log {
        /// What to show.
        message: String,
    },
    /// An exec was asked of a container that has ended.
    #[error("container is not running")]
    NotRunning,
    /// The shim could not be started or spoken to.
    #[error("cannot start the supervisor of the container")]
    Spawn(#[source] std::io::Error),
    /// The shim ended in the middle. The detail is its last words, if it had any.
    #[error("the supervisor of the container ended unexpectedly{detail}")]
    Died {
        /// `: …` or nothing.
        detail: String,
    },
}

/// Why a request to a running shim failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The container has ended.
    #[error("container is not running")]
    NotRunning,
    /// No such exec runs.
    #[error("no such exec: {id}")]
    NoSuchExec {
        /// Which.
        id: String,
    },
    /// Resize of something without a terminal.
    #[error("cannot resize: there is no terminal")]
    NoTerminal,
    /// The shim is gone.
    #[error("the supervisor of the container is gone")]
    Gone,
    /// The shim or the kernel refused.
    #[error("{message}")]
    Refused {
        /// What to show.
        message: String,
    },
    /// A cgroup operation failed.
    #[error("{0}")]
    Cgroup(String),
    /// The connection failed.
    #[error("cannot talk to the supervisor of the container")]
    Io(#[from] std::io::Error),
}
