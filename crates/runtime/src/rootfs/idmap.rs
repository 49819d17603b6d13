//! Id-mapped mounts: the mappings of a mount are those of a user namespace that exists only to carry them.

use std::os::fd::{AsFd, OwnedFd};

use berth_oci::runtime::LinuxIdMapping;
use berth_sys::clone::{CLONE_NEWUSER, Clone3, Cloned, clone3, exit_now};
use berth_sys::mount::{Attributes, mount_setattr};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};

use super::Failed;
use crate::namespace::map_lines;
use crate::options::Bind;

/// A user namespace with these mappings.
pub(crate) fn user_namespace(uids: &[LinuxIdMapping], gids: &[LinuxIdMapping]) -> Result<OwnedFd, Failed> {
    // SAFETY: the callers of create and exec are single-threaded (they check it); the child only waits for its end.
    let cloned = unsafe { clone3(Clone3 { namespaces: CLONE_NEWUSER, ..Clone3::default() }) }?;
    let (pid, pidfd) = match cloned {
        Cloned::Parent { pid, pidfd } => (pid, pidfd),
        Cloned::Child => loop {
            // A parent that died would leave this process waiting for ever.
            if rustix::process::getppid().is_none_or(|parent| parent.as_raw_nonzero().get() == 1) {
                exit_now(1);
            }
            let _ = rustix::thread::nanosleep(&rustix::thread::Timespec { tv_sec: 1, tv_nsec: 0 });
        },
    };
    let namespace = write_maps(pid, uids, gids).and_then(|()| {
        Ok(open(format!("/proc/{pid}/ns/user"), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
    });
    let _ = pidfd_send_signal(&pidfd, Signal::KILL);
    let _ = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED);
    namespace
}

fn write_maps(pid: i32, uids: &[LinuxIdMapping], gids: &[LinuxIdMapping]) -> Result<(), Failed> {
    for (file, mappings) in [("uid_map", uids), ("gid_map", gids)] {
        std::fs::write(format!("/proc/{pid}/{file}"), map_lines(mappings))
            .map_err(|error| Failed::Refused(format!("write {file} of an id-mapped mount: {error}")))?;
    }
    Ok(())
}

/// Maps the ids of a detached mount.
pub(crate) fn map(mount: &OwnedFd, reach: Bind, namespace: &OwnedFd) -> Result<(), Failed> {
    let attributes = Attributes { userns: Some(namespace.as_fd()), ..Attributes::default() };
    mount_setattr(mount, reach == Bind::Tree, attributes).map_err(|errno| match errno {
        Errno::NOSYS => Failed::Refused("id-mapped mounts need Linux 5.12".to_owned()),
        Errno::INVAL => Failed::Refused("the file system cannot be id-mapped".to_owned()),
        errno => Failed::System(errno),
    })
}
