//! `pause` and `resume`.

use std::process::ExitCode;

use berth_oci::runtime::Status;

use super::arguments::Parsed;
use super::container::Container;
use super::{Failure, Global, Outcome};

pub(super) fn pause(global: &Global, arguments: &Parsed) -> Outcome {
    let container = Container::load(global, arguments.id()?)?;
    match container.status() {
        Status::Running | Status::Created => {}
        _ => return Err(Failure::new("container not running")),
    }
    let cgroup = container.cgroup().ok_or_else(no_cgroup)?;
    cgroup.freeze()?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn resume(global: &Global, arguments: &Parsed) -> Outcome {
    let container = Container::load(global, arguments.id()?)?;
    if container.status() != Status::Paused {
        return Err(Failure::new("container not paused"));
    }
    let cgroup = container.cgroup().ok_or_else(no_cgroup)?;
    cgroup.thaw()?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn no_cgroup() -> Failure {
    Failure::new("the container has no cgroup")
}
