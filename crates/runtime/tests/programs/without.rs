//! Runs a command on what looks like an older kernel: `without mount_setattr,fsopen COMMAND…`.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use berth_oci::runtime::{LinuxSeccomp, LinuxSeccompAction, LinuxSyscall};

/// `ENOSYS`.
const NO_SUCH_CALL: u32 = 38;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let names = arguments.next().unwrap_or_default().split(',').map(str::to_owned).collect();
    let profile = LinuxSeccomp {
        default_action: LinuxSeccompAction::Allow,
        syscalls: vec![LinuxSyscall {
            names,
            action: LinuxSeccompAction::Errno,
            errno_ret: Some(NO_SUCH_CALL),
            args: Vec::new(),
        }],
        ..LinuxSeccomp::default()
    };
    let loaded = berth_runtime::seccomp::compile(&profile).map(|program| program.load().is_ok());
    let Some(command) = arguments.next().filter(|_| loaded == Ok(true)) else { return ExitCode::FAILURE };
    eprintln!("{}", Command::new(command).args(arguments).exec());
    ExitCode::FAILURE
}
