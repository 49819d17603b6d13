//! Resource limits, I/O priority, scheduling and execution domain of a process: names turned into numbers.

use berth_oci::runtime::{LinuxIoPriority, LinuxPersonality, PosixRlimit, Process, Scheduler};
use berth_sys::process::SchedulerAttributes;
use rustix::process::Resource;

use crate::Error;

/// What `process` says about priorities and limits, checked.
#[derive(Debug, Default)]
pub(crate) struct Limits {
    pub(crate) rlimits: Vec<Limit>,
    pub(crate) io_priority: Option<(u32, u32)>,
    pub(crate) scheduler: Option<SchedulerAttributes>,
}

/// One resource limit.
#[derive(Debug)]
pub(crate) struct Limit {
    pub(crate) resource: Resource,
    pub(crate) soft: u64,
    pub(crate) hard: u64,
}

impl Limits {
    /// # Errors
    /// `InvalidSpec` for a name or value that means nothing, or for one limit given twice.
    pub(crate) fn from_spec(process: &Process) -> Result<Self, Error> {
        let mut rlimits: Vec<Limit> = Vec::with_capacity(process.rlimits.len());
        for (index, rlimit) in process.rlimits.iter().enumerate() {
            if process.rlimits[..index].iter().any(|other| other.kind == rlimit.kind) {
                return Err(Error::InvalidSpec(format!("rlimit {} is given twice", rlimit.kind)));
            }
            rlimits.push(limit(rlimit)?);
        }
        Ok(Self {
            rlimits,
            io_priority: process.io_priority.as_ref().map(io_priority).transpose()?,
            scheduler: process.scheduler.as_ref().map(scheduler).transpose()?,
        })
    }
}

fn limit(rlimit: &PosixRlimit) -> Result<Limit, Error> {
    let resource = match rlimit.kind.as_str() {
        "RLIMIT_CPU" => Resource::Cpu,
        "RLIMIT_FSIZE" => Resource::Fsize,
        "RLIMIT_DATA" => Resource::Data,
        "RLIMIT_STACK" => Resource::Stack,
        "RLIMIT_CORE" => Resource::Core,
        "RLIMIT_RSS" => Resource::Rss,
        "RLIMIT_NPROC" => Resource::Nproc,
        "RLIMIT_NOFILE" => Resource::Nofile,
        "RLIMIT_MEMLOCK" => Resource::Memlock,
        "RLIMIT_AS" => Resource::As,
        "RLIMIT_LOCKS" => Resource::Locks,
        "RLIMIT_SIGPENDING" => Resource::Sigpending,
        "RLIMIT_MSGQUEUE" => Resource::Msgqueue,
        "RLIMIT_NICE" => Resource::Nice,
        "RLIMIT_RTPRIO" => Resource::Rtprio,
        "RLIMIT_RTTIME" => Resource::Rttime,
        other => return Err(Error::InvalidSpec(format!("unknown rlimit {other:?}"))),
    };
    if rlimit.soft > rlimit.hard {
        let message =
            format!("{}: soft limit {} is above hard limit {}", rlimit.kind, rlimit.soft, rlimit.hard);
        return Err(Error::InvalidSpec(message));
    }
    Ok(Limit { resource, soft: rlimit.soft, hard: rlimit.hard })
}

/// Source: `ioprio_set(2)`.
fn io_priority(priority: &LinuxIoPriority) -> Result<(u32, u32), Error> {
    let class = match priority.class.as_str() {
        "IOPRIO_CLASS_RT" => 1,
        "IOPRIO_CLASS_BE" => 2,
        "IOPRIO_CLASS_IDLE" => 3,
        other => return Err(Error::InvalidSpec(format!("unknown I/O priority class {other:?}"))),
    };
    match u32::try_from(priority.priority) {
        Ok(data) if data < 8 => Ok((class, data)),
        _ => Err(Error::InvalidSpec(format!("I/O priority {} is not in 0-7", priority.priority))),
    }
}

/// Source: `sched_setattr(2)`, `include/uapi/linux/sched.h`.
fn scheduler(scheduler: &Scheduler) -> Result<SchedulerAttributes, Error> {
    let policy = match scheduler.policy.as_str() {
        "SCHED_OTHER" => 0,
        "SCHED_FIFO" => 1,
        "SCHED_RR" => 2,
        "SCHED_BATCH" => 3,
        "SCHED_ISO" => 4,
        "SCHED_IDLE" => 5,
        "SCHED_DEADLINE" => 6,
        other => return Err(Error::InvalidSpec(format!("unknown scheduler policy {other:?}"))),
    };
    let mut flags = 0;
    for flag in &scheduler.flags {
        flags |= match flag.as_str() {
            "SCHED_FLAG_RESET_ON_FORK" => 0x01,
            "SCHED_FLAG_RECLAIM" => 0x02,
            "SCHED_FLAG_DL_OVERRUN" => 0x04,
            "SCHED_FLAG_KEEP_POLICY" => 0x08,
            "SCHED_FLAG_KEEP_PARAMS" => 0x10,
            "SCHED_FLAG_UTIL_CLAMP_MIN" => 0x20,
            "SCHED_FLAG_UTIL_CLAMP_MAX" => 0x40,
            other => return Err(Error::InvalidSpec(format!("unknown scheduler flag {other:?}"))),
        };
    }
    let priority = u32::try_from(scheduler.priority.unwrap_or(0))
        .map_err(|_| Error::InvalidSpec("scheduler.priority is negative".to_owned()))?;
    let mut attributes = SchedulerAttributes::default();
    attributes.policy = policy;
    attributes.flags = flags;
    attributes.nice = scheduler.nice.unwrap_or(0);
    attributes.priority = priority;
    attributes.runtime = scheduler.runtime.unwrap_or(0);
    attributes.deadline = scheduler.deadline.unwrap_or(0);
    attributes.period = scheduler.period.unwrap_or(0);
    Ok(attributes)
}

/// The argument of `personality(2)`.
///
/// # Errors
/// `InvalidSpec` for a domain that the specification does not have, or for any flag: it has none.
pub(crate) fn personality(personality: &LinuxPersonality) -> Result<u64, Error> {
    if let Some(flag) = personality.flags.first() {
        return Err(Error::InvalidSpec(format!("unknown personality flag {flag:?}")));
    }
    match personality.domain.as_str() {
        "LINUX" => Ok(0),
        "LINUX32" => Ok(8),
        other => Err(Error::InvalidSpec(format!("unknown personality domain {other:?}"))),
    }
}

/// CPUs of a list such as `0-3,7`.
///
/// # Errors
/// `InvalidSpec` for what is no such list.
pub(crate) fn cpu_list(list: &str) -> Result<Vec<usize>, Error> {
    let invalid = || Error::InvalidSpec(format!("invalid CPU list {list:?}"));
    let mut cpus = Vec::new();
    for part in list.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let first: usize = first.parse().map_err(|_| invalid())?;
        let last: usize = last.parse().map_err(|_| invalid())?;
        if first > last || last >= rustix::thread::CpuSet::MAX_CPU {
            return Err(invalid());
        }
        cpus.extend(first..=last);
    }
    if cpus.is_empty() { Err(invalid()) } else { Ok(cpus) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rlimit(kind: &str, soft: u64, hard: u64) -> PosixRlimit {
        PosixRlimit { kind: kind.to_owned(), hard, soft }
    }

    #[test]
    fn limits_are_checked() {
        let check = |rlimits: Vec<PosixRlimit>| Limits::from_spec(&Process { rlimits, ..Process::default() });
        assert!(check(vec![rlimit("RLIMIT_NOFILE", 1, 2), rlimit("RLIMIT_CORE", 0, 0)]).is_ok());
        assert!(check(vec![rlimit("RLIMIT_NOFILE", 3, 2)]).is_err());
        assert!(check(vec![rlimit("RLIMIT_NOFILE", 1, 2), rlimit("RLIMIT_NOFILE", 1, 2)]).is_err());
        assert!(check(vec![rlimit("nofile", 1, 2)]).is_err());
    }

    #[test]
    fn cpu_lists() {
        assert_eq!(cpu_list("0-2,5").unwrap(), [0, 1, 2, 5]);
        for bad in ["", "a", "3-1", "1-", "99999999"] {
            assert!(cpu_list(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn priorities_are_checked() {
        let priority = |class: &str, priority| LinuxIoPriority { class: class.to_owned(), priority };
        assert_eq!(io_priority(&priority("IOPRIO_CLASS_BE", 7)).unwrap(), (2, 7));
        assert!(io_priority(&priority("IOPRIO_CLASS_BE", 8)).is_err());
        assert!(io_priority(&priority("best effort", 1)).is_err());
    }
}
