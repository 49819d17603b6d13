//! Docker's default seccomp profile, as rules of our own: who may make which system call.
//!
//! Everything that is not listed fails with `EPERM`. What a capability unlocks is listed by capability. The conditions
//! of rules are such that any OCI runtime reads them alike: one condition a rule.

use berth_oci::runtime::{
    LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArch, LinuxSeccompArg, LinuxSeccompOperator, LinuxSyscall,
};

use super::CapabilitySet;
use super::profile::NATIVE;

/// Calls that every container may make. Names that an architecture does not have are ignored there.
const ALWAYS: &str = "\
    accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir chmod chown chown32 \
    clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64 \
    clock_nanosleep clock_nanosleep_time64 close close_range connect copy_file_range creat dup dup2 dup3 \
    epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait \
    epoll_wait_old eventfd eventfd2 execve execveat exit exit_group faccessat faccessat2 fadvise64 \
    fadvise64_64 fallocate fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl \
    fcntl64 fdatasync fgetxattr flistxattr flock fork fremovexattr fsetxattr fstat fstat64 fstatat64 \
    fstatfs fstatfs64 fsync ftruncate ftruncate64 futex futex_requeue futex_time64 futex_wait \
    futex_waitv futex_wake futimesat get_robust_list get_thread_area getcpu getcwd getdents getdents64 \
    getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getitimer getpeername \
    getpgid getpgrp getpid getppid getpriority getrandom getresgid getresgid32 getresuid getresuid32 \
    getrlimit getrusage getsid getsockname getsockopt gettid gettimeofday getuid getuid32 getxattr \
    getxattrat inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel io_destroy \
    io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit ioctl ioprio_get ioprio_set ipc \
    kill landlock_add_rule landlock_create_ruleset landlock_restrict_self lchown lchown32 lgetxattr link \
    linkat listen listmount listxattr listxattrat llistxattr _llseek lremovexattr lseek lsetxattr lstat \
    lstat64 madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mkdir mkdirat mknod \
    mknodat mlock mlock2 mlockall mmap mmap2 mprotect mq_getsetattr mq_notify mq_open mq_timedreceive \
    mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink mremap mseal msgctl msgget msgrcv \
    msgsnd msync munlock munlockall munmap name_to_handle_at nanosleep newfstatat _newselect open openat \
    openat2 pause pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll \
    ppoll_time64 prctl pread64 preadv preadv2 prlimit64 process_mrelease process_vm_readv \
    process_vm_writev pselect6 pselect6_time64 ptrace pwrite64 pwritev pwritev2 read readahead readlink \
    readlinkat readv recv recvfrom recvmmsg recvmmsg_time64 recvmsg remap_file_pages removexattr \
    removexattrat rename renameat renameat2 restart_syscall rmdir rseq rt_sigaction rt_sigpending \
    rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 \
    rt_tgsigqueueinfo sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr \
    sched_getparam sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64 \
    sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield seccomp select semctl \
    semget semop semtimedop semtimedop_time64 send sendfile sendfile64 sendmmsg sendmsg sendto \
    set_robust_list set_thread_area set_tid_address setfsgid setfsgid32 setfsuid setfsuid32 setgid \
    setgid32 setgroups setgroups32 setitimer setpgid setpriority setregid setregid32 setresgid \
    setresgid32 setresuid setresuid32 setreuid setreuid32 setrlimit setsid setsockopt setuid setuid32 \
    setxattr setxattrat shmat shmctl shmdt shmget shutdown sigaltstack signalfd signalfd4 sigprocmask \
    sigreturn socketcall socketpair splice stat stat64 statfs statfs64 statmount statx symlink symlinkat \
    sync sync_file_range syncfs sysinfo tee tgkill time timer_create timer_delete timer_getoverrun \
    timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create timerfd_gettime \
    timerfd_gettime64 timerfd_settime timerfd_settime64 times tkill truncate truncate64 ugetrlimit umask \
    uname unlink unlinkat uretprobe utime utimensat utimensat_time64 utimes vfork vmsplice wait4 waitid \
    waitpid write writev";

/// Calls of one architecture and its 32-bit sibling.
const X86: &str = "arch_prctl modify_ldt";
const ARM: &str = "arm_fadvise64_64 arm_sync_file_range breakpoint cacheflush set_tls sync_file_range2";

/// Calls that need a capability.
const BY_CAPABILITY: [(&str, &str); 14] = [
    ("CAP_DAC_READ_SEARCH", "open_by_handle_at"),
    (
        "CAP_SYS_ADMIN",
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr \
         lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount open_tree perf_event_open quotactl \
         quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare",
    ),
    ("CAP_SYS_BOOT", "reboot"),
    ("CAP_SYS_CHROOT", "chroot"),
    ("CAP_SYS_MODULE", "delete_module finit_module init_module"),
    ("CAP_SYS_PACCT", "acct"),
    ("CAP_SYS_PTRACE", "kcmp pidfd_getfd process_madvise"),
    ("CAP_SYS_RAWIO", "ioperm iopl"),
    ("CAP_SYS_TIME", "clock_settime clock_settime64 settimeofday stime"),
    ("CAP_SYS_TTY_CONFIG", "vhangup"),
    ("CAP_SYS_NICE", "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"),
    ("CAP_SYSLOG", "syslog"),
    ("CAP_BPF", "bpf"),
    ("CAP_PERFMON", "perf_event_open"),
];

/// Execution domains: `PER_LINUX`, `PER_LINUX32`, each also with `UNAME26`, and the question which it is.
const PERSONALITIES: [u64; 5] = [0x0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// Address families from here on are allowed one by one. Left out are those that nobody uses or that have been a way
/// out of containers: `AF_DECnet`, `AF_NETBEUI`, `AF_SECURITY`, … `AF_ALG`, `AF_VSOCK`. An allow list also holds when
/// the upper half of the argument, which the kernel ignores and a filter sees, is set.
const FAMILIES_BELOW: u64 = 12;
const FAMILIES: [u64; 25] =
    [13, 14, 15, 16, 17, 18, 21, 22, 24, 26, 27, 28, 29, 30, 31, 32, 33, 35, 36, 39, 41, 42, 43, 44, 45];

/// Flags of `clone` that make a namespace: `CLONE_NEWNS` and its siblings.
const CLONE_NAMESPACES: u64 = 0x7e02_0000;

const EPERM: u32 = 1;
const ENOSYS: u32 = 38;

/// The profile for a container with these capabilities.
pub(super) fn seccomp(capabilities: CapabilitySet) -> LinuxSeccomp {
    let mut names = String::with_capacity(ALWAYS.len() + 1024);
    names.push_str(ALWAYS);
    let mut add = |more: &str| {
        names.push(' ');
        names.push_str(more);
    };
    add(if cfg!(target_arch = "x86_64") { X86 } else { ARM });
    for (capability, more) in BY_CAPABILITY {
        if capabilities.contains(capability) {
            add(more);
        }
    }
    let mut syscalls = vec![allow(&names)];
    let compare = |op, value| LinuxSeccompArg { index: 0, value, value_two: 0, op };
    syscalls.push(allow_if("socket", compare(LinuxSeccompOperator::Lt, FAMILIES_BELOW)));
    let equal = |name, value| allow_if(name, compare(LinuxSeccompOperator::Eq, value));
    syscalls.extend(FAMILIES.map(|family| equal("socket", family)));
    syscalls.extend(PERSONALITIES.map(|persona| equal("personality", persona)));
    if !capabilities.contains("CAP_SYS_ADMIN") {
        syscalls.push(allow_if("clone", compare(LinuxSeccompOperator::MaskedEq, CLONE_NAMESPACES)));
        // A filter cannot see the flags of clone3, so programs are told to use clone.
        syscalls.push(LinuxSyscall {
            names: vec!["clone3".to_owned()],
            action: LinuxSeccompAction::Errno,
            errno_ret: Some(ENOSYS),
            args: Vec::new(),
        });
    }
    LinuxSeccomp {
        default_action: LinuxSeccompAction::Errno,
        default_errno_ret: Some(EPERM),
        architectures: architectures(),
        syscalls,
        ..LinuxSeccomp::default()
    }
}

fn architectures() -> Vec<LinuxSeccompArch> {
    match NATIVE {
        Some(LinuxSeccompArch::X86_64) => {
            vec![LinuxSeccompArch::X86_64, LinuxSeccompArch::X86, LinuxSeccompArch::X32]
        }
        Some(LinuxSeccompArch::Aarch64) => vec![LinuxSeccompArch::Aarch64, LinuxSeccompArch::Arm],
        _ => Vec::new(),
    }
}

fn allow(names: &str) -> LinuxSyscall {
    LinuxSyscall {
        names: names.split_ascii_whitespace().map(str::to_owned).collect(),
        action: LinuxSeccompAction::Allow,
        ..LinuxSyscall::default()
    }
}

fn allow_if(name: &str, condition: LinuxSeccompArg) -> LinuxSyscall {
    LinuxSyscall { args: vec![condition], ..allow(name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unconditional(capabilities: CapabilitySet) -> Vec<String> {
        let rules = seccomp(capabilities).syscalls;
        let allowed = rules.iter().filter(|rule| rule.args.is_empty());
        allowed
            .filter(|rule| rule.action == LinuxSeccompAction::Allow)
            .flat_map(|rule| rule.names.clone())
            .collect()
    }

    #[test]
    fn what_leads_out_is_not_in_the_default() {
        let names = unconditional(CapabilitySet::docker_default());
        for dangerous in [
            "mount",
            "umount2",
            "unshare",
            "setns",
            "clone",
            "clone3",
            "bpf",
            "perf_event_open",
            "kexec_load",
            "keyctl",
            "add_key",
            "request_key",
            "io_uring_setup",
            "userfaultfd",
            "init_module",
            "open_by_handle_at",
            "reboot",
            "swapon",
            "pivot_root",
            "socket",
            "personality",
            "move_pages",
            "acct",
            "iopl",
        ] {
            assert!(!names.iter().any(|name| name == dangerous), "{dangerous}");
        }
        for needed in ["execve", "openat2", "chroot", "ptrace", "futex_waitv", "statmount", "rseq"] {
            assert!(names.iter().any(|name| name == needed), "{needed}");
        }
    }

    #[test]
    fn a_capability_unlocks_its_calls() {
        let admin = unconditional(CapabilitySet::from_bits(1 << 21));
        for name in ["mount", "clone", "clone3", "bpf"] {
            assert!(admin.iter().any(|known| known == name), "{name}");
        }
        assert!(!admin.iter().any(|name| name == "chroot"));
        assert!(
            seccomp(CapabilitySet::from_bits(1 << 21)).syscalls.iter().all(|rule| rule.errno_ret.is_none())
        );
    }

    #[test]
    fn no_call_is_listed_twice() {
        let mut names = unconditional(CapabilitySet::docker_default());
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
