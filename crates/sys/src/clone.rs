//! `clone3(2)` as a fork with new namespaces, and whether a process has one thread only.
//!
//! Source: `clone(2)`, `include/uapi/linux/sched.h`.

#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;

/// New mount namespace.
pub const CLONE_NEWNS: u64 = 0x0002_0000;
/// New cgroup namespace.
pub const CLONE_NEWCGROUP: u64 = 0x0200_0000;
/// New UTS namespace.
pub const CLONE_NEWUTS: u64 = 0x0400_0000;
/// New IPC namespace.
pub const CLONE_NEWIPC: u64 = 0x0800_0000;
/// New user namespace.
pub const CLONE_NEWUSER: u64 = 0x1000_0000;
/// New PID namespace.
pub const CLONE_NEWPID: u64 = 0x2000_0000;
/// New network namespace.
pub const CLONE_NEWNET: u64 = 0x4000_0000;
/// New time namespace (for `unshare` and `setns`; the bit is an exit signal in old `clone`).
pub const CLONE_NEWTIME: u64 = 0x80;

/// The child gets the caller's parent as its own.
const CLONE_PARENT: u64 = 0x0000_8000;
/// The parent gets a descriptor of the child.
const CLONE_PIDFD: u64 = 0x0000_1000;
/// The child is put into a cgroup v2 from the start. `libc::CLONE_INTO_CGROUP` overflows to 0.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// What [`clone3`] shall make.
#[derive(Debug, Default, Clone, Copy)]
pub struct Clone3<'a> {
    /// New namespaces, of `CLONE_NEW*`.
    pub namespaces: u64,
    /// Directory of a cgroup v2 that the child starts in.
    pub cgroup: Option<BorrowedFd<'a>>,
    /// Whether the child becomes the caller's sibling.
    pub sibling: bool,
}

/// On which side of a clone the caller is.
#[derive(Debug)]
pub enum Cloned {
    /// In the old process.
    Parent {
        /// The child, in the caller's PID namespace.
        pid: i32,
        /// The child.
        pidfd: OwnedFd,
    },
    /// In the new process.
    Child,
}

#[repr(C)]
#[derive(Default)]
struct Arguments {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Copies the calling process into new namespaces, as `fork` does: memory is copied on write.
///
/// # Errors
/// What `clone3` answers: `EPERM`, `ENOSPC` (too many namespaces), `EBUSY` and `EOPNOTSUPP` of the cgroup,
/// `EAGAIN` (too many processes).
///
/// # Safety
/// The process must have one thread only: locks that another thread holds (the allocator's, for one) stay locked for
/// ever in the child. See [`is_single_threaded`]. The C library does not take part: no `atfork` handlers run.
pub unsafe fn clone3(request: Clone3<'_>) -> Result<Cloned, Errno> {
    let mut pidfd: libc::c_int = -1;
    let mut flags = request.namespaces | CLONE_PIDFD;
    if request.sibling {
        flags |= CLONE_PARENT;
    }
    let mut arguments = Arguments {
        pidfd: (&raw mut pidfd) as u64,
        // A sibling inherits its exit signal; giving one as well is an error.
        exit_signal: if request.sibling { 0 } else { libc::SIGCHLD as u64 },
        ..Arguments::default()
    };
    if let Some(cgroup) = request.cgroup {
        flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = cgroup.as_raw_fd() as u64;
    }
    arguments.flags = flags;
    // SAFETY: the arguments live past the call; without a stack of its own the child goes on with a copy of this one.
    let result =
        unsafe { libc::syscall(libc::SYS_clone3, &raw mut arguments, std::mem::size_of::<Arguments>()) };
    match result {
        -1 => Err(last_errno()),
        0 => Ok(Cloned::Child),
        pid => {
            // SAFETY: CLONE_PIDFD made the kernel store a new descriptor that nobody else owns.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Cloned::Parent { pid: pid as i32, pidfd })
        }
    }
}

/// Whether the calling process has one thread only. When `/proc` cannot tell, it is believed to.
///
/// Source: `proc_task_getattr` of the kernel adds the number of threads to the links of `/proc/self/task`.
#[must_use]
pub fn is_single_threaded() -> bool {
    rustix::fs::stat("/proc/self/task").map_or(true, |stat| stat.st_nlink <= 3)
}

/// Ends the calling process at once: nothing is flushed, no destructor runs. For the child of [`clone3`].
pub fn exit_now(status: i32) -> ! {
    // SAFETY: _exit takes a number and does not come back.
    unsafe { libc::_exit(status) }
}

pub(crate) fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_threads_are_seen() {
        // The test harness itself runs tests on threads of their own.
        let handle = std::thread::spawn(is_single_threaded);
        assert!(!handle.join().unwrap());
    }
}
