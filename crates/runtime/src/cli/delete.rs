//! `delete`.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use berth_oci::runtime::Status;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, pidfd_send_signal};

use super::arguments::{Flag, Parsed};
use super::container::{Container, Directory};
use super::{Failure, Global, Outcome};
use crate::cgroup::{Cgroup, systemd};
use crate::hooks;

pub(super) const FLAGS: &[Flag] = &[Flag::switch("force").or('f')];

/// How long a killed process may take to end.
const END_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) fn delete(global: &Global, arguments: &Parsed) -> Outcome {
    let id = arguments.id()?;
    let force = arguments.has("force");
    let container = match Container::load(global, id) {
        Ok(container) => container,
        Err(failure) if failure.message == "container does not exist" => {
            // A create that was cut short leaves a directory without a state.
            Directory::of(global, id)?.remove()?;
            return if force { Ok(ExitCode::SUCCESS) } else { Err(failure) };
        }
        Err(failure) => return Err(failure),
    };
    let spec = container.spec()?;
    match container.status() {
        Status::Stopped => {}
        // runc kills one that was only created, and so do we.
        Status::Created => end(&container)?,
        _ if force => end(&container)?,
        status => {
            let status = serde_json::to_value(status).unwrap_or_default();
            let status = status.as_str().unwrap_or_default();
            return Err(Failure::new(format!("cannot delete container {id} that is not stopped: {status}")));
        }
    }
    let state = container.state(Status::Stopped, &spec);
    let cgroup = container.cgroup();
    if cgroup.is_none() {
        // systemd has taken the group away with its last process; what failed it remembers.
        systemd::stop(&container.record.cgroup);
    }
    clean_up(cgroup.as_ref(), &container.directory)?;
    if let Some(found) = &spec.hooks {
        hooks::run("poststop", &found.poststop, &state)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Removes what is left of a container whose process has ended: processes that it left behind, cgroup, state.
pub(super) fn clean_up(cgroup: Option<&Cgroup>, directory: &Directory) -> Result<(), Failure> {
    if let Some(cgroup) = cgroup
        && cgroup.remove().is_err()
    {
        // Without a PID namespace of its own, what it started lives on.
        cgroup.kill_all()?;
        cgroup.remove()?;
    }
    directory.remove()
}

/// Kills the process and waits for its end.
fn end(container: &Container) -> Result<(), Failure> {
    let Some(process) = container.process() else { return Ok(()) };
    let _ = pidfd_send_signal(&process, Signal::KILL);
    if let Some(cgroup) = container.cgroup() {
        // A frozen process dies when it is thawed; what is beside it dies as well.
        let _ = cgroup.kill_all();
    }
    let deadline = Instant::now() + END_TIMEOUT;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
        match poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&timeout)) {
            Ok(0) => return Err(Failure::new("container init still running")),
            Err(rustix::io::Errno::INTR) => {}
            _ => return Ok(()),
        }
    }
}
