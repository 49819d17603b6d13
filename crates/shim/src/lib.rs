//! The supervisor of one container: stdio, logs, attach, exec and exit status; outlives the engine.
//!
//! Two halves meet here:
//!
//! - [`server`] is what `berth shim` runs: one small single-threaded process a container, which creates the
//!   container with the linked runtime, owns its stdio, writes its log, reaps it and records how it ended.
//! - [`client`] is what the engine uses: it starts shims, talks to them, and finds them again after the engine
//!   itself was killed.
//!
//! [`init`] is the third face of the same binary: the `docker-init` of `--init`.
//!
//! ```text
//! engine ── client::Launcher ── exec ──► berth shim ── runtime ──► container init
//!    │                                      │  ▲                        │
//!    └── client::Shim ══ control socket ════╯  ╰── stdout, stderr, pty ─╯
//! ```
//!
//! What this crate never knows: images, restart policies, HTTP, the database.
#![forbid(unsafe_code)]

pub mod client;
mod frame;
pub mod init;
mod log;
mod protocol;
pub mod server;
mod time;
mod types;

/// How much of a log came before each of its files.
pub use log::start as log_start;
pub use types::{Exit, ExitStatus, LogFile, Runtime, State, StdinMode, Target, Timings};
