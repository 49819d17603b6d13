//! What a process changes about itself before it becomes another program.

#![allow(unsafe_code)]

use std::ffi::{CStr, CString, NulError, c_char};
use std::ptr;

use rustix::io::Errno;

use crate::clone::last_errno;

/// An argument vector or environment of `execve`: strings and the null-terminated list of pointers to them.
#[derive(Debug, Default)]
pub struct StringList {
    strings: Vec<CString>,
    pointers: Vec<*const c_char>,
}

impl StringList {
    /// A list of these strings.
    ///
    /// # Errors
    /// When one contains a NUL byte.
    pub fn new<I, S>(strings: I) -> Result<Self, NulError>
    where
        I: IntoIterator<Item = S>,
        S: Into<Vec<u8>>,
    {
        let strings = strings.into_iter().map(CString::new).collect::<Result<Vec<_>, _>>()?;
        let pointers = strings.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect();
        Ok(Self { strings, pointers })
    }

    /// The strings.
    #[must_use]
    pub fn strings(&self) -> &[CString] {
        &self.strings
    }
}

/// Replaces the calling process by a program; comes back only with an error.
#[must_use]
pub fn execve(path: &CStr, arguments: &StringList, environment: &StringList) -> Errno {
    // SAFETY: path and both lists are NUL-terminated and live as long as the call.
    unsafe { libc::execve(path.as_ptr(), arguments.pointers.as_ptr(), environment.pointers.as_ptr()) };
    last_errno()
}

/// Replaces the calling process by the program that `file` is open on; comes back only with an error.
#[must_use]
pub fn execveat(
    file: std::os::fd::BorrowedFd<'_>,
    arguments: &StringList,
    environment: &StringList,
) -> Errno {
    // SAFETY: the path is an empty C string, both lists are null-terminated and live as long as the call.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            std::os::fd::AsRawFd::as_raw_fd(&file),
            c"".as_ptr(),
            arguments.pointers.as_ptr(),
            environment.pointers.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    last_errno()
}

/// Makes descriptor `number` a copy of `fd` that survives `execve`; what `number` was before is closed.
///
/// For the last steps before `execve`: no value of the standard library may own `number`, or it would own the copy.
///
/// # Errors
/// `EBADF` for a number beyond the limit.
pub fn duplicate_to(fd: std::os::fd::BorrowedFd<'_>, number: i32) -> Result<(), Errno> {
    // SAFETY: dup2 takes two numbers; who owns the second one is the caller's affair, as documented.
    check(unsafe { libc::dup2(std::os::fd::AsRawFd::as_raw_fd(&fd), number) })
}

/// Takes over descriptors that the caller of this program left open, and marks them close-on-exec.
///
/// For the very start of a program: nothing of its own may be open in that range yet.
///
/// # Errors
/// The first descriptor that is not open.
pub fn take_inherited(first: i32, count: u32) -> Result<Vec<std::os::fd::OwnedFd>, (i32, Errno)> {
    let last = first.saturating_add(i32::try_from(count).unwrap_or(i32::MAX));
    for fd in first..last {
        // SAFETY: F_SETFD takes a number and tells whether the descriptor is open.
        check(unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) }).map_err(|errno| (fd, errno))?;
    }
    // SAFETY: each is open, as was just seen; nothing of this program owns any, as the caller has to see to.
    Ok((first..last).map(|fd| unsafe { std::os::fd::FromRawFd::from_raw_fd(fd) }).collect())
}

/// Marks every descriptor from `first` on as close-on-exec.
///
/// # Errors
/// Only where neither the call (Linux 5.11) nor `/proc/self/fd` can be used.
pub fn close_on_exec_from(first: u32) -> Result<(), Errno> {
    const CLOSE_RANGE_CLOEXEC: libc::c_uint = 4;
    // SAFETY: the call reads no memory and closes nothing.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, CLOSE_RANGE_CLOEXEC) };
    if result == 0 {
        return Ok(());
    }
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(1 << 20);
    for fd in i64::from(first)..i64::try_from(limit).unwrap_or(1 << 20) {
        // SAFETY: F_SETFD takes a number; EBADF for what is not open is of no interest.
        unsafe { libc::fcntl(fd as libc::c_int, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
    Ok(())
}

/// Unblocks all signals and gives `SIGPIPE`, which the standard library ignores, its default effect again.
pub fn restore_signals() {
    // SAFETY: the set is initialised by sigemptyset before it is read; SIG_DFL is no function of ours.
    unsafe {
        let mut set = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, set.as_ptr(), ptr::null_mut());
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
    }
}

/// Takes a capability out of the bounding set.
///
/// # Errors
/// `EINVAL` for a capability that the kernel does not know, `EPERM` without `CAP_SETPCAP`.
pub fn drop_from_bounding_set(capability: u32) -> Result<(), Errno> {
    prctl(libc::PR_CAPBSET_DROP, u64::from(capability), 0)
}

/// Puts a capability into the ambient set.
///
/// # Errors
/// `EPERM` when it is not permitted and inheritable, `EINVAL` for one that the kernel does not know.
pub fn raise_ambient(capability: u32) -> Result<(), Errno> {
    prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE as u64, u64::from(capability))
}

/// Sets the execution domain.
///
/// # Errors
/// The system's answer.
pub fn set_personality(persona: u64) -> Result<(), Errno> {
    // SAFETY: personality takes a number.
    check(unsafe { libc::personality(persona) })
}

/// Joins the session keyring of this name, or makes it.
///
/// # Errors
/// `ENOSYS` without key rings in the kernel, `EDQUOT` at the user's limit.
pub fn join_session_keyring(name: &CStr) -> Result<(), Errno> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_ulong = 1;
    // SAFETY: the name is NUL-terminated and lives past the call.
    let result = unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr()) };
    check_long(result)
}

/// Sets class and data of the calling process's I/O priority.
///
/// # Errors
/// `EPERM` for the real-time class without privilege, `EINVAL`.
pub fn set_io_priority(class: u32, data: u32) -> Result<(), Errno> {
    const IOPRIO_WHO_PROCESS: libc::c_int = 1;
    const IOPRIO_CLASS_SHIFT: u32 = 13;
    let value = (class << IOPRIO_CLASS_SHIFT) | data;
    // SAFETY: three numbers.
    check_long(unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, value) })
}

/// Attributes of `sched_setattr(2)`.
#[repr(C)]
#[derive(Debug, Default, Clone, Copy)]
pub struct SchedulerAttributes {
    size: u32,
    /// `SCHED_*`.
    pub policy: u32,
    /// `SCHED_FLAG_*`.
    pub flags: u64,
    /// Nice value.
    pub nice: i32,
    /// Static priority.
    pub priority: u32,
    /// Units: nanoseconds.
    pub runtime: u64,
    /// Units: nanoseconds.
    pub deadline: u64,
    /// Units: nanoseconds.
    pub period: u64,
    util_min: u32,
    util_max: u32,
}

/// Sets the scheduling of the calling thread.
///
/// # Errors
/// `EPERM`, `EINVAL`, `EBUSY` (deadlines that cannot be met).
pub fn set_scheduler(attributes: SchedulerAttributes) -> Result<(), Errno> {
    let mut attributes = attributes;
    attributes.size = std::mem::size_of::<SchedulerAttributes>() as u32;
    // SAFETY: the structure tells its own size and lives past the call.
    check_long(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw mut attributes, 0) })
}

/// The state of a process and when it began, of `/proc/<pid>/stat`: together with the pid that names it for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessStat {
    /// `R`, `S`, `D`, `Z`, …
    pub state: u8,
    /// Clock ticks after boot.
    pub start_time: u64,
}

/// Reads `/proc/<pid>/stat`.
///
/// # Errors
/// `ENOENT` or `ESRCH` when there is no such process.
pub fn process_stat(pid: i32) -> Result<ProcessStat, Errno> {
    let mut path = [0_u8; 32];
    let length = {
        use std::io::Write;
        let mut rest = &mut path[..];
        let before = rest.len();
        write!(rest, "/proc/{pid}/stat").map_err(|_| Errno::INVAL)?;
        before - rest.len()
    };
    let fd = rustix::fs::open(
        &path[..length],
        rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )?;
    let mut buffer = [0_u8; 1024];
    let count = rustix::io::read(&fd, &mut buffer)?;
    parse_stat(&buffer[..count]).ok_or(Errno::INVAL)
}

/// The name in parentheses may contain anything, so fields are counted from the last parenthesis.
fn parse_stat(text: &[u8]) -> Option<ProcessStat> {
    let after = text.iter().rposition(|&byte| byte == b')')? + 2;
    let mut fields = text.get(after..)?.split(|&byte| byte == b' ');
    let state = *fields.next()?.first()?;
    let start = fields.nth(18)?;
    Some(ProcessStat { state, start_time: std::str::from_utf8(start).ok()?.parse().ok()? })
}

fn prctl(operation: libc::c_int, first: u64, second: u64) -> Result<(), Errno> {
    // SAFETY: the operations used here take numbers only.
    check(unsafe { libc::prctl(operation, first, second, 0, 0) })
}

fn check(result: libc::c_int) -> Result<(), Errno> {
    if result < 0 { Err(last_errno()) } else { Ok(()) }
}

fn check_long(result: libc::c_long) -> Result<(), Errno> {
    if result < 0 { Err(last_errno()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_confuse() {
        let text = b"7 (a) b) (c) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4242 99 1";
        assert_eq!(parse_stat(text), Some(ProcessStat { state: b'S', start_time: 4242 }));
        assert_eq!(parse_stat(b"nonsense"), None);
    }

    #[test]
    fn this_process_runs() {
        let stat = process_stat(std::process::id() as i32).unwrap();
        assert!(stat.start_time > 0);
        assert_eq!(process_stat(-1), Err(Errno::NOENT));
    }

    #[test]
    fn a_string_list_refuses_nul() {
        assert!(StringList::new(["a\0b"]).is_err());
        assert_eq!(StringList::new(["a", "b"]).unwrap().strings().len(), 2);
    }
}
