//! Ending what a killed shim has left behind.

use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use berth_runtime::cgroup::{Cgroup, Hierarchies};
use rustix::process::{Pid, PidfdFlags};

use super::Error;
use crate::protocol::{LAST_WORDS, SOCKET, STATE};
use crate::types::State;

const ROUNDS: u32 = 1000;
const PAUSE: Duration = Duration::from_millis(5);

/// Ends what a killed shim left: kills the container's processes through its cgroup, removes the cgroup and the
/// shim's directory. Does nothing where nothing is left.
///
/// `cgroup` is the container's ([`Shim::cgroup_path`](super::Shim::cgroup_path), or where it was told to be); empty if
/// that is not known, then only what the shim itself may have left word of is ended.
///
/// # Errors
/// Processes are left that cannot be killed.
pub async fn clean_up(dir: &Path, cgroup: &str) -> Result<(), Error> {
    let (dir, cgroup) = (dir.to_owned(), cgroup.to_owned());
    blocking(move || {
        if let Some(state) = read_state(&dir) {
            end_shim(&state);
            kill(&state, state.pid, state.start_time);
            end_processes(&state.cgroup)?;
        }
        end_processes(&cgroup)?;
        for name in [SOCKET, STATE, "state.json.next", LAST_WORDS] {
            let _ = std::fs::remove_file(dir.join(name));
        }
        // If somebody else keeps something there, it stays.
        let _ = std::fs::remove_dir(&dir);
        Ok(())
    })
    .await
}

/// What a shim wrote about itself, if it did.
pub(super) fn read_state(dir: &Path) -> Option<State> {
    serde_json::from_slice(&std::fs::read(dir.join(STATE)).ok()?).ok()
}

/// The container's cgroup, opened again.
pub(super) fn reopen(path: &str) -> Result<Cgroup, Error> {
    static HIERARCHIES: OnceLock<Arc<Hierarchies>> = OnceLock::new();
    if path.is_empty() {
        return Err(Error::Cgroup("the container has no cgroup of its own".to_owned()));
    }
    let hierarchies = match HIERARCHIES.get() {
        Some(hierarchies) => hierarchies,
        None => {
            let found = Hierarchies::detect_all().map_err(cgroup)?;
            HIERARCHIES.get_or_init(|| Arc::new(found))
        }
    };
    Cgroup::reopen(hierarchies, path).map_err(cgroup)
}

#[expect(clippy::needless_pass_by_value, reason = "a function for map_err")]
pub(super) fn cgroup(error: berth_runtime::cgroup::Error) -> Error {
    let source = std::error::Error::source(&error).map(|source| format!(": {source}")).unwrap_or_default();
    Error::Cgroup(format!("{error}{source}"))
}

/// Runs what blocks elsewhere.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(Error::Io(io::Error::other(error))))
}

/// The id of this boot.
pub(super) fn boot_id() -> io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// A shim that still lives but cannot be spoken to would only be in the way.
fn end_shim(state: &State) {
    kill(state, state.shim_pid, state.shim_start_time);
}

fn end_processes(path: &str) -> Result<(), Error> {
    let Ok(cgroup) = reopen(path) else { return Ok(()) };
    for _ in 0..ROUNDS {
        // A cgroup that is gone has no processes.
        if cgroup.is_empty().unwrap_or(true) {
            return cgroup.remove().map_err(self::cgroup);
        }
        let _ = cgroup.kill_all();
        std::thread::sleep(PAUSE);
    }
    Err(Error::Cgroup(format!("processes in cgroup {path} cannot be killed")))
}

/// Kills a process by its pid, if that still is the same process.
fn kill(state: &State, pid: u32, start_time: u64) {
    if start_time == 0 || boot_id().ok().as_ref() != Some(&state.boot_id) {
        return;
    }
    let Some(pid) = Pid::from_raw(pid.cast_signed()) else { return };
    let Ok(pidfd) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) else { return };
    // The process of the descriptor cannot change any more; whether it is the right one is asked after that.
    let stat = berth_sys::process::process_stat(pid.as_raw_pid());
    if stat.is_ok_and(|stat| stat.start_time == start_time) {
        let _ = rustix::process::pidfd_send_signal(&pidfd, rustix::process::Signal::KILL);
    }
}
