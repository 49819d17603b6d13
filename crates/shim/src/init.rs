//! `docker-init`: the first process of a container that was asked for with `--init`.
//!
//! It starts the real program, passes every signal on to it, reaps whatever orphans come to it, and ends as the
//! program ended. The engine bind-mounts our own binary at `/sbin/docker-init`; it is told by its name.
//!
//! ```text
//! docker-init [-s] [-g] [--] program [arguments …]
//! ```

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitCode};

use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus};

/// Whether the name that the binary was called by means this.
pub fn is_called_as(name: &OsStr) -> bool {
    Path::new(name).file_name().is_some_and(|name| name == "docker-init")
}

/// Runs the program and ends as it ends: with its code, or 128 + the signal that ended it; 127 or 126 if it cannot be
/// executed.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let Some(order) = parse(args) else {
        say("docker-init: no program is given");
        return ExitCode::FAILURE;
    };
    match run(&order) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            say(&format!("docker-init: {}: {error}", order.program.to_string_lossy()));
            ExitCode::from(if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 })
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Order {
    program: OsString,
    arguments: Vec<OsString>,
    /// Signals go to the program's whole process group.
    group: bool,
    /// Orphans come here although this is not process 1.
    subreaper: bool,
}

fn parse(args: impl IntoIterator<Item = OsString>) -> Option<Order> {
    let mut args = args.into_iter();
    let (mut group, mut subreaper) = (false, false);
    let program = loop {
        let arg = args.next()?;
        match arg.to_str() {
            Some("--") => break args.next()?,
            Some("-g") => group = true,
            Some("-s") => subreaper = true,
            _ => break arg,
        }
    };
    Some(Order { program, arguments: args.collect(), group, subreaper })
}

fn run(order: &Order) -> io::Result<u8> {
    if order.subreaper {
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    }
    let signals = berth_sys::supervisor::watch_signals(&forwarded())?;
    let child = start(order)?;
    let pid = Pid::from_child(&child);
    loop {
        if let Some(status) = reap(pid) {
            return Ok(code(status));
        }
        let _ = rustix::event::poll(&mut [PollFd::new(&signals, PollFlags::IN)], None);
        for signal in received(&signals) {
            if signal != Signal::CHILD.as_raw() {
                pass_on(signal, pid, order.group);
            }
        }
    }
}

/// The program is a process group of its own, and that of the terminal if there is one.
fn start(order: &Order) -> io::Result<Child> {
    let mut command = Command::new(&order.program);
    berth_sys::supervisor::unblock_signals_in(&mut command);
    let child = command.args(&order.arguments).process_group(0).spawn()?;
    let group = Pid::from_child(&child);
    // Where standard input is no terminal there is nothing to hand over. The signal that a background process gets for
    // this is blocked. If the program was faster, the terminal has stopped it.
    if rustix::termios::tcsetpgrp(io::stdin().as_fd(), group).is_ok() {
        let _ = rustix::process::kill_process_group(group, Signal::CONT);
    }
    Ok(child)
}

/// Everything but what the kernel or the terminal has for ourselves.
fn forwarded() -> Vec<i32> {
    let own =
        [Signal::TTIN, Signal::TTOU, Signal::SEGV, Signal::BUS, Signal::ILL, Signal::FPE, Signal::ABORT];
    let own = own.map(Signal::as_raw);
    (1..=64).filter(|signal| !own.contains(signal)).collect()
}

/// The numbers of the signals that have come.
fn received(signals: &OwnedFd) -> Vec<i32> {
    // Each is told by a `signalfd_siginfo` of 128 bytes, which begins with its number.
    let mut buffer = [0u8; 128 * 16];
    let read = rustix::io::read(signals, &mut buffer[..]).unwrap_or(0);
    buffer[..read]
        .chunks_exact(128)
        .filter_map(|info| info.first_chunk::<4>())
        .map(|number| i32::from_ne_bytes(*number))
        .collect()
}

fn pass_on(signal: i32, pid: Pid, group: bool) {
    let sent = if group {
        berth_sys::supervisor::send_signal_to_group(pid, signal)
    } else {
        rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())
            .map_err(io::Error::from)
            .and_then(|pidfd| berth_sys::supervisor::send_signal(pidfd.as_fd(), signal))
    };
    // The program has ended in between.
    let _ = sent;
}

/// Reaps all that have ended; gives the program's end.
fn reap(program: Pid) -> Option<WaitStatus> {
    let mut ended = None;
    while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
        if pid == program {
            ended = Some(status);
        }
    }
    ended
}

fn code(status: WaitStatus) -> u8 {
    let code = match status.terminating_signal() {
        Some(signal) => 128 + signal,
        None => status.exit_status().unwrap_or(255),
    };
    u8::try_from(code).unwrap_or(255)
}

/// A container's init has nobody to return an error to but whoever reads its output.
fn say(message: &str) {
    let _ = rustix::io::write(io::stderr().as_fd(), format!("{message}\n").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(args: &[&str], expect: Option<(&str, &[&str], bool, bool)>) {
        let expect = expect.map(|(program, arguments, group, subreaper)| Order {
            program: program.into(),
            arguments: arguments.iter().map(Into::into).collect(),
            group,
            subreaper,
        });
        assert_eq!(parse(args.iter().map(Into::into)), expect, "{args:?}");
    }

    #[test]
    fn options_end_where_the_program_begins() {
        check(&["--", "sh", "-c", "x"], Some(("sh", &["-c", "x"], false, false)));
        check(&["sh", "--", "-g"], Some(("sh", &["--", "-g"], false, false)));
        check(&["-g", "-s", "sh"], Some(("sh", &[], true, true)));
        check(&["-s", "--", "-g"], Some(("-g", &[], false, true)));
        check(&[], None);
        check(&["--"], None);
    }

    #[test]
    fn the_name_tells() {
        assert!(is_called_as(OsStr::new("/sbin/docker-init")));
        assert!(is_called_as(OsStr::new("docker-init")));
        assert!(!is_called_as(OsStr::new("/usr/bin/docker")));
    }
}
