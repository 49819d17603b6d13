//! Values both halves speak of.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

/// How a container's process (or an exec's) ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitStatus {
    /// Docker's exit code: the process's own, or 128 + the signal that ended it.
    pub code: i32,
    /// The signal that ended it, if one did.
    pub signal: Option<i32>,
    /// Whether the kernel killed a process of the container because its memory limit was reached.
    pub oom_killed: bool,
    /// When the shim reaped it: nanoseconds since the epoch.
    pub finished_at_nanos: u64,
}

impl ExitStatus {
    /// When the shim reaped the process.
    pub fn finished_at(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_nanos(self.finished_at_nanos)
    }
}

/// The end of a container, as far as it can be known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The shim saw the container end.
    Status(ExitStatus),
    /// The shim itself is gone (killed); what the container's processes do now nobody watches.
    /// [`client::clean_up`](crate::client::clean_up) ends them.
    Gone,
}

/// What happens to the container's standard input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum StdinMode {
    /// `/dev/null` (no `-i`).
    #[default]
    Null,
    /// A pipe that stays open however many clients come and go (`OpenStdin`).
    Open,
    /// A pipe that is closed at the end of the first attached client's input (`OpenStdin` + `StdinOnce`).
    Once,
}

/// A `json-file` log.
///
/// On disk: `path`, and when it was rotated `path.1` (the newest) … `path.<max_files - 1>`, with `.gz` when
/// compressed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogFile {
    /// The current file. Its directory must exist.
    pub path: PathBuf,
    /// Rotate when the current file has reached this many bytes; 0 is never.
    pub max_size_bytes: u64,
    /// How many files are kept, the current one included; 0 counts as 1.
    pub max_files: u32,
    /// Compress rotated files (in a process of its own, at the lowest priority).
    pub compress: bool,
    /// A JSON object as text, added to every line as `attrs` (log-opts `labels`, `env`, `tag`); empty is none.
    #[serde(default)]
    pub attrs: String,
}

/// Which OCI runtime makes the container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Runtime {
    /// The one that is linked into the shim.
    #[default]
    Linked,
    /// Another one, by its command line (`--runtime`).
    Command {
        /// The program.
        path: PathBuf,
        /// Arguments before the verb (`runtimeArgs`).
        args: Vec<String>,
        /// Its `--root`: a directory for its own state, not shared between runtimes.
        root: PathBuf,
    },
}

/// Whose terminal or process a request is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// The container's first process.
    Container,
    /// An exec, by the id it was started under.
    Exec(String),
}

/// Where the time of a start went. Units: microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timings {
    /// From the engine's spawn to the first instruction of the shim's own code.
    pub spawn_us: u32,
    /// Receiving and parsing the request.
    pub parse_us: u32,
    /// Log and pipes.
    pub prepare_us: u32,
    /// The runtime: namespaces, cgroup, root file system, until `execve` has succeeded.
    pub run_us: u32,
}

/// What the shim writes to `state.json` in its directory when it has lost its engine, so that the container can be found
/// and ended even if the shim is killed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The container's id.
    pub id: String,
    /// The container's first process, in the host's numbers.
    pub pid: u32,
    /// Its start time (`/proc/<pid>/stat`, field 22): with the pid it names one process for ever.
    pub start_time: u64,
    /// The shim's own pid.
    pub shim_pid: u32,
    /// The shim's own start time.
    pub shim_start_time: u64,
    /// The boot these numbers belong to (`/proc/sys/kernel/random/boot_id`).
    pub boot_id: String,
    /// The container's cgroup, as `runtime::cgroup::Cgroup::reopen` takes it; empty if it has none of its own.
    pub cgroup: String,
    /// Where the exit status will be.
    pub exit_file: PathBuf,
    /// When the container's program began: nanoseconds since the epoch.
    pub started_at_nanos: u64,
}
