//! Where the master of a terminal goes: to `--console-socket`, or to the terminal that the command runs in.

use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;

use berth_oci::Spec;
use berth_oci::runtime::Process;

use super::{About, Failure};
use crate::channel::send_bytes;

/// Whether the flags fit what the configuration says about a terminal.
pub(super) fn check(spec: &Spec, detached: bool, socket: Option<&str>) -> Result<(), Failure> {
    match &spec.process {
        Some(process) => check_process(process, detached, socket),
        None => Ok(()),
    }
}

pub(super) fn check_process(process: &Process, detached: bool, socket: Option<&str>) -> Result<(), Failure> {
    if detached && process.terminal && socket.is_none() {
        return Err(Failure::new("cannot allocate tty if runc will detach without setting console socket"));
    }
    if socket.is_some() && !(detached && process.terminal) {
        return Err(Failure::new("cannot use console socket if runc will not detach or allocate tty"));
    }
    Ok(())
}

/// Sends a descriptor to whoever listens at a path.
pub(super) fn send(path: &str, descriptor: BorrowedFd<'_>, name: &[u8]) -> Result<(), Failure> {
    let socket = UnixStream::connect(path).about(format_args!("connect to {path}"))?;
    send_bytes(&socket, name, Some(descriptor)).about(format_args!("send a descriptor to {path}"))
}
