//! Compiled filters in the kernel: loaded by a child, which then makes calls.

#![allow(clippy::unwrap_used, unsafe_code)]

use berth_oci::runtime::{
    LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArch, LinuxSeccompArg, LinuxSeccompOperator, LinuxSyscall,
};
use berth_runtime::seccomp::{Program, compile};

fn rule(name: &str, action: LinuxSeccompAction, args: &[LinuxSeccompArg]) -> LinuxSyscall {
    LinuxSyscall { names: vec![name.to_owned()], action, errno_ret: None, args: args.to_vec() }
}

fn allow_but(rules: Vec<LinuxSyscall>) -> LinuxSeccomp {
    LinuxSeccomp {
        default_action: LinuxSeccompAction::Allow,
        architectures: vec![LinuxSeccompArch::X86_64, LinuxSeccompArch::X86, LinuxSeccompArch::X32],
        syscalls: rules,
        ..LinuxSeccomp::default()
    }
}

/// How the child ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Exit(i32),
    Signal(i32),
}

/// Loads the filter in a child and runs `body` there, which may do nothing but system calls.
fn under(profile: &LinuxSeccomp, body: impl FnOnce(&Program) -> i32) -> End {
    let program = compile(profile).unwrap();
    // SAFETY: the child does nothing but system calls on memory that is there already.
    unsafe {
        let pid = libc::fork();
        assert!(pid >= 0);
        if pid == 0 {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
            libc::_exit(body(&program));
        }
        let mut status = 0;
        assert_eq!(libc::waitpid(pid, &raw mut status, 0), pid);
        if libc::WIFSIGNALED(status) {
            return End::Signal(libc::WTERMSIG(status));
        }
        End::Exit(libc::WEXITSTATUS(status))
    }
}

/// Loads, then makes a call; the error of the call, nought for success.
fn call_under(profile: &LinuxSeccomp, number: libc::c_long, first: u64) -> End {
    under(profile, |program| {
        if program.load().is_err() {
            return 250;
        }
        errno_of(number, first)
    })
}

fn errno_of(number: libc::c_long, first: u64) -> i32 {
    // SAFETY: the calls used here take numbers only.
    unsafe {
        if libc::syscall(number, first, 0, 0, 0, 0, 0) >= 0 {
            return 0;
        }
        *libc::__errno_location()
    }
}

#[test]
fn actions_do_what_they_are_called() {
    let with = |action| allow_but(vec![rule("getppid", action, &[])]);
    let end = |action| call_under(&with(action), libc::SYS_getppid, 0);
    assert_eq!(end(LinuxSeccompAction::Errno), End::Exit(libc::EPERM));
    assert_eq!(end(LinuxSeccompAction::KillProcess), End::Signal(libc::SIGSYS));
    assert_eq!(end(LinuxSeccompAction::KillThread), End::Signal(libc::SIGSYS));
    assert_eq!(end(LinuxSeccompAction::Trap), End::Signal(libc::SIGSYS));
    assert_eq!(end(LinuxSeccompAction::Allow), End::Exit(0));
    assert_eq!(end(LinuxSeccompAction::Log), End::Exit(0));
    // Without a tracer the call is not there.
    assert_eq!(end(LinuxSeccompAction::Trace), End::Exit(libc::ENOSYS));
    let mut own = rule("getppid", LinuxSeccompAction::Errno, &[]);
    own.errno_ret = Some(117);
    assert_eq!(call_under(&allow_but(vec![own]), libc::SYS_getppid, 0), End::Exit(117));
}

#[test]
fn arguments_are_compared_in_full() {
    let condition = |op, value, value_two| LinuxSeccompArg { index: 0, value, value_two, op };
    let end = |condition, first| {
        let profile = allow_but(vec![rule("getsid", LinuxSeccompAction::Errno, &[condition])]);
        call_under(&profile, libc::SYS_getsid, first)
    };
    let (hit, missed) = (End::Exit(libc::EPERM), End::Exit(0));
    let equal = condition(LinuxSeccompOperator::Eq, 0, 0);
    assert_eq!(end(equal, 0), hit);
    // The kernel looks at the lower half only, the filter at all.
    assert_eq!(end(equal, 1 << 32), missed);
    let masked = condition(LinuxSeccompOperator::MaskedEq, 0xff << 32, 1 << 32);
    assert_eq!((end(masked, 1 << 32), end(masked, 2 << 32), end(masked, 0)), (hit, missed, End::Exit(0)));
}

#[test]
fn calls_newer_than_the_profile_are_not_there() {
    let profile = LinuxSeccomp {
        default_action: LinuxSeccompAction::Errno,
        syscalls: ["exit", "exit_group", "getppid", "openat2"]
            .map(|name| rule(name, LinuxSeccompAction::Allow, &[]))
            .to_vec(),
        ..LinuxSeccomp::default()
    };
    assert_eq!(call_under(&profile, libc::SYS_getppid, 0), End::Exit(0));
    assert_eq!(call_under(&profile, libc::SYS_getuid, 0), End::Exit(libc::EPERM));
    assert_eq!(call_under(&profile, 460, 0), End::Exit(libc::ENOSYS));
}

#[cfg(target_arch = "x86_64")]
#[test]
fn calls_of_32_bits_pass_the_same_filter() {
    /// `getppid` by the door of i386, which every process of x86-64 can use.
    fn old_getppid() -> i64 {
        let result: i64;
        // SAFETY: number 64 is getppid there; it takes nothing and touches no memory.
        unsafe {
            std::arch::asm!("int 0x80", inout("rax") 64_i64 => result, out("r8") _, out("r9") _, out("r10") _,
                out("r11") _);
        }
        result
    }
    let end = |profile: &LinuxSeccomp| {
        under(profile, |program| {
            if program.load().is_err() {
                return 250;
            }
            let result = old_getppid() as i32;
            if result < 0 { -result } else { 0 }
        })
    };
    let mut profile = allow_but(vec![rule("getppid", LinuxSeccompAction::Errno, &[])]);
    assert_eq!(end(&profile), End::Exit(libc::EPERM));
    profile.syscalls.clear();
    // Where the kernel has no such door (`CONFIG_IA32_EMULATION`), it answers with a signal of another kind.
    let open = end(&profile);
    assert!(open == End::Exit(0) || open == End::Signal(libc::SIGSEGV), "{open:?}");
    profile.architectures = vec![LinuxSeccompArch::X86_64];
    let closed = end(&profile);
    assert!(closed == End::Signal(libc::SIGSYS) || closed == open, "{closed:?}");
}

#[test]
fn a_listener_is_handed_out() {
    let profile = allow_but(vec![rule("getppid", LinuxSeccompAction::Notify, &[])]);
    let end = under(&profile, |program| match program.load() {
        Ok(Some(listener)) => {
            drop(listener);
            // With nobody listening the call is not there.
            errno_of(libc::SYS_getppid, 0)
        }
        _ => 250,
    });
    assert_eq!(end, End::Exit(libc::ENOSYS));
}

#[test]
fn flags_are_the_kernels() {
    for flag in ["SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"] {
        let mut profile = allow_but(vec![rule("getppid", LinuxSeccompAction::Errno, &[])]);
        profile.flags = Some(vec![flag.to_owned()]);
        assert_eq!(call_under(&profile, libc::SYS_getppid, 0), End::Exit(libc::EPERM), "{flag}");
    }
}
