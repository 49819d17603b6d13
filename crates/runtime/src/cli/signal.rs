//! `kill`, and signals by name.

use std::os::fd::AsFd;
use std::process::ExitCode;

use berth_oci::runtime::{LinuxNamespaceType, Status};
use berth_sys::supervisor::send_signal;
use rustix::process::{PidfdFlags, pidfd_open};

use super::arguments::{Flag, Parsed};
use super::container::Container;
use super::{About, Failure, Global, Outcome};

pub(super) const FLAGS: &[Flag] = &[Flag::switch("all").or('a')];

/// Names without `SIG`, by number.
///
/// Source: `signal(7)`, numbers of x86 and ARM.
const NAMES: [(&str, i32); 35] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("IOT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("POLL", 29),
    ("PWR", 30),
    ("SYS", 31),
    ("UNUSED", 31),
];

const REAL_TIME_MIN: i32 = 34;
const REAL_TIME_MAX: i32 = 64;

pub(super) fn kill(global: &Global, arguments: &Parsed) -> Outcome {
    let (id, name) = match arguments.positional.as_slice() {
        [id] => (id, "SIGTERM"),
        [id, name] => (id, name.as_str()),
        _ => return Err(Failure::new("kill needs the id of a container, and takes a signal")),
    };
    let number = number(name).ok_or_else(|| Failure::new(format!("unknown signal {name:?}")))?;
    let container = Container::load(global, id)?;
    let spec = container.spec()?;
    let own_pids = spec.linux.as_ref().is_some_and(|linux| {
        linux.namespaces.iter().any(|namespace| namespace.kind == LinuxNamespaceType::Pid)
    });
    // Where the first process does not take the others along when it dies, they are killed with it.
    if arguments.has("all") || (number == 9 && !own_pids) {
        return kill_all(&container, number);
    }
    let Some(process) = container.process() else { return Err(Failure::new("container not running")) };
    match send_signal(process.as_fd(), number) {
        Err(error) if is_gone(&error) => return Err(Failure::new("container not running")),
        result => result.about(format_args!("kill {id}"))?,
    }
    if number == 9
        && let Some(cgroup) = container.cgroup()
        && cgroup.frozen().unwrap_or(false)
    {
        // The dead do not leave a frozen group of version 1.
        let _ = cgroup.thaw();
    }
    Ok(ExitCode::SUCCESS)
}

fn kill_all(container: &Container, number: i32) -> Outcome {
    let Some(cgroup) = container.cgroup() else {
        return if container.status() == Status::Stopped {
            Err(Failure::new("container not running"))
        } else {
            Err(Failure::new("the container has no cgroup"))
        };
    };
    if number == 9 {
        cgroup.kill_all()?;
        return Ok(ExitCode::SUCCESS);
    }
    for pid in cgroup.pids()? {
        let sent = pidfd_open(pid, PidfdFlags::empty())
            .map_err(std::io::Error::from)
            .and_then(|process| send_signal(process.as_fd(), number));
        match sent {
            Err(error) if is_gone(&error) => {}
            result => result.about(format_args!("kill {}", pid.as_raw_nonzero()))?,
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn is_gone(error: &std::io::Error) -> bool {
    error.raw_os_error() == Some(libc::ESRCH)
}

/// The number of a signal: `KILL`, `SIGKILL`, `9`, `RTMIN+3`, `RTMAX-1`.
pub(super) fn number(name: &str) -> Option<i32> {
    if let Ok(number) = name.parse::<i32>() {
        // Nought only asks whether there is a process.
        return (0..=REAL_TIME_MAX).contains(&number).then_some(number);
    }
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
    let real_time = |rest: &str, base: i32, sign: char, factor: i32| {
        let offset = if rest.is_empty() { 0 } else { rest.strip_prefix(sign)?.parse::<i32>().ok()? };
        let number = base + factor * offset;
        (REAL_TIME_MIN..=REAL_TIME_MAX).contains(&number).then_some(number)
    };
    if let Some(rest) = bare.strip_prefix("RTMIN") {
        return real_time(rest, REAL_TIME_MIN, '+', 1);
    }
    if let Some(rest) = bare.strip_prefix("RTMAX") {
        return real_time(rest, REAL_TIME_MAX, '-', -1);
    }
    NAMES.iter().find(|(known, _)| *known == bare).map(|(_, number)| *number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_by_name_and_number() {
        for (name, expected) in [
            // A question whether the process is there.
            ("0", 0),
            ("9", 9),
            ("KILL", 9),
            ("SIGKILL", 9),
            ("sigterm", 15),
            ("RTMIN", 34),
            ("SIGRTMIN+3", 37),
            ("RTMAX-1", 63),
        ] {
            assert_eq!(number(name), Some(expected), "{name}");
        }
        for name in ["", "65", "-1", "SIGNOPE", "RTMIN+31", "RTMAX+1"] {
            assert_eq!(number(name), None, "{name}");
        }
    }
}
