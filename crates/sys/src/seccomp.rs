//! `seccomp(2)`: load a filter into the calling thread.
//!
//! Source: `seccomp(2)`, `include/uapi/linux/seccomp.h`.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// One classic BPF instruction, as the kernel reads it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Operation code.
    pub code: u16,
    /// Instructions to skip if the condition holds.
    pub jump_true: u8,
    /// Instructions to skip if it does not.
    pub jump_false: u8,
    /// Immediate operand.
    pub operand: u32,
}

/// `SECCOMP_FILTER_FLAG_TSYNC`: all threads of the process get the filter.
pub const FLAG_TSYNC: u32 = 1;
/// `SECCOMP_FILTER_FLAG_LOG`: actions other than allow are logged.
pub const FLAG_LOG: u32 = 1 << 1;
/// `SECCOMP_FILTER_FLAG_SPEC_ALLOW`: speculative store bypass stays allowed.
pub const FLAG_SPEC_ALLOW: u32 = 1 << 2;
/// `SECCOMP_FILTER_FLAG_NEW_LISTENER`: answer with a descriptor for `SECCOMP_RET_USER_NOTIF`.
pub const FLAG_NEW_LISTENER: u32 = 1 << 3;
/// `SECCOMP_FILTER_FLAG_TSYNC_ESRCH`: a failing `TSYNC` answers `ESRCH`, so that it can be had with a listener.
pub const FLAG_TSYNC_ESRCH: u32 = 1 << 4;
/// `SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV`: a received notification can only be cut short by a fatal signal.
pub const FLAG_WAIT_KILLABLE_RECV: u32 = 1 << 5;

const SECCOMP_SET_MODE_FILTER: libc::c_uint = 1;
const SECCOMP_GET_ACTION_AVAIL: libc::c_uint = 2;

#[repr(C)]
struct Program {
    length: u16,
    filter: *const Instruction,
}

/// Loads a filter; from here on, every system call of this thread and of its children passes it.
///
/// The thread needs `no_new_privs` or `CAP_SYS_ADMIN` in its user namespace. Async-signal-safe: neither allocates
/// nor locks, so it may be called between clone and exec. With [`FLAG_NEW_LISTENER`] the answer is the listener.
///
/// # Errors
/// What `seccomp(2)` answers: `EACCES` without the privilege, `EINVAL` for a malformed filter or an unknown flag,
/// `ENOMEM` when the filters of the thread get too long.
pub fn load_filter(program: &[Instruction], flags: u32) -> io::Result<Option<OwnedFd>> {
    let length = u16::try_from(program.len()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    let program = Program { length, filter: program.as_ptr() };
    // SAFETY: `program` and the instructions it points at live past the call; the kernel only reads them.
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &raw const program) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    if flags & FLAG_NEW_LISTENER == 0 {
        return Ok(None);
    }
    // SAFETY: with this flag the kernel returned a new descriptor (close-on-exec) that nobody else owns.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(result as libc::c_int) }))
}

/// Does the kernel know this `SECCOMP_RET_…` action?
#[must_use]
pub fn action_available(action: u32) -> bool {
    // SAFETY: the kernel reads one word.
    unsafe { libc::syscall(libc::SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &raw const action) == 0 }
}
