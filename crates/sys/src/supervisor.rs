//! What a small process that watches over others needs of itself: signals as a descriptor, memory given back,
//! descriptors closed.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Blocks every signal for the calling thread, and gives a non-blocking descriptor that reports `watched`.
///
/// A child made later inherits the blocked signals and has to unblock them before `execve`
/// (`std::process::Command` does).
///
/// # Errors
/// The system's answer.
pub fn watch_signals(watched: &[i32]) -> io::Result<OwnedFd> {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: `set` is valid for writing; sigfillset and sigemptyset initialise it whole before it is read;
    // sigaddset checks its number. The old mask is not asked for.
    let fd = unsafe {
        libc::sigfillset(set.as_mut_ptr());
        let blocked = libc::pthread_sigmask(libc::SIG_SETMASK, set.as_ptr(), std::ptr::null_mut());
        if blocked != 0 {
            return Err(io::Error::from_raw_os_error(blocked));
        }
        libc::sigemptyset(set.as_mut_ptr());
        for &signal in watched {
            libc::sigaddset(set.as_mut_ptr(), signal);
        }
        libc::signalfd(-1, set.as_ptr(), libc::SFD_CLOEXEC | libc::SFD_NONBLOCK)
    };
    owned(fd)
}

/// Gives every signal its default effect, but those by which the standard library notices a stack overflow.
///
/// What is ignored stays so in whatever is executed later: what our own starter ignored (`nohup`), and what `posix_spawn`
/// leaves ignored, the two signals that the C library keeps for itself and refuses to change.
pub fn reset_signals() {
    for signal in (1..=64).filter(|&signal| signal != libc::SIGSEGV && signal != libc::SIGBUS) {
        // The kernel's own structure: handler, flags, restorer, mask. All nought is the default effect.
        let action = [0_u64; 4];
        let old = std::ptr::null_mut::<u64>();
        // SAFETY: the kernel reads four words and writes nothing; it refuses SIGKILL and SIGSTOP, no harm done.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, action.as_ptr(), old, 8) };
    }
}

/// Closes every descriptor but 0, 1 and 2.
///
/// For the very start of `main` only: the standard library owns none but those three there, so no value exists whose
/// descriptor would be closed under it.
///
/// # Errors
/// The system's answer; kernels before 5.9 have no such call.
pub fn close_inherited() -> io::Result<()> {
    // SAFETY: the call reads no memory; nothing owns the descriptors (see above).
    match unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Sends any signal, real-time ones too, to the process of a pidfd.
///
/// # Errors
/// `ESRCH` when it has ended, `EINVAL` for a number that is no signal.
pub fn send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    let info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: the descriptor is open; without a siginfo the kernel makes one.
    match unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, info, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Sends any signal, real-time ones too, to all processes of a group, whose leader must be a child of the caller that is
/// not reaped yet.
///
/// # Errors
/// `ESRCH` when there is no such group, `EINVAL` for a number that is no signal.
pub fn send_signal_to_group(leader: rustix::process::Pid, signal: i32) -> io::Result<()> {
    // SAFETY: the call takes two numbers.
    match unsafe { libc::kill(-leader.as_raw_pid(), signal) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Makes a command start its program with no signal blocked and `SIGPIPE` in its default effect.
pub fn unblock_signals_in(command: &mut std::process::Command) {
    use std::os::unix::process::CommandExt;
    // SAFETY: between fork and exec only system calls are made, which are async-signal-safe.
    unsafe {
        command.pre_exec(|| {
            crate::process::restore_signals();
            Ok(())
        });
    }
}

/// Moves the calling process, which must have one thread, into a mount namespace of its own.
///
/// # Errors
/// `EPERM` without `CAP_SYS_ADMIN`, `ENOSPC` at the limit of namespaces.
pub fn unshare_mounts() -> io::Result<()> {
    // SAFETY: CLONE_NEWNS changes neither memory nor the table of descriptors.
    match unsafe { libc::unshare(libc::CLONE_NEWNS) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Makes the allocator give large blocks back to the system as soon as they are freed. Called once, early.
pub fn return_large_blocks() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt takes two numbers; the values are in its range.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 32 * 1024);
    }
}

/// Makes all threads share this many heaps. Called once, before there are threads.
///
/// By default every thread gets one of its own, up to eight for each processor, and each keeps what was free in it.
pub fn share_heaps(count: u8) {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt takes two numbers; the value is in its range.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, i32::from(count));
    }
    #[cfg(not(target_env = "gnu"))]
    let _ = count;
}

/// Gives the free memory of the heap back to the system.
pub fn trim_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim locks the allocator itself and touches free memory only.
    unsafe {
        libc::malloc_trim(0);
    }
}

fn owned(fd: RawFd) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just made, nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
