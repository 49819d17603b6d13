//! `events`: statistics at intervals, and a word when a process is killed for want of memory.

use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use serde_json::{Value, json};

use super::arguments::{Flag, Parsed};
use super::container::Container;
use super::control::no_cgroup;
use super::{About, Failure, Global, Outcome, print};
use crate::cgroup::{Blkio, BlkioEntry, Cgroup, Cpu, Memory, MemoryCounter, OomWatch, Stats};

pub(super) const FLAGS: &[Flag] = &[Flag::value("interval"), Flag::switch("stats")];

pub(super) fn events(global: &Global, arguments: &Parsed) -> Outcome {
    let id = arguments.id()?;
    let interval = parse_interval(arguments.value("interval").unwrap_or("5s"))?;
    let container = Container::load(global, id)?;
    let Some(process) = container.process() else {
        return Err(Failure::new(format!("container with id {id} is not running")));
    };
    let cgroup = container.cgroup().ok_or_else(no_cgroup)?;
    if arguments.has("stats") {
        return show(id, "stats", &stats_json(&cgroup)?);
    }
    let watch = cgroup.watch_oom()?;
    follow(id, &cgroup, &process, watch.as_ref(), interval)
}

/// Until the container ends.
fn follow(
    id: &str,
    cgroup: &Cgroup,
    process: &OwnedFd,
    watch: Option<&OomWatch>,
    interval: Duration,
) -> Outcome {
    let mut next = Instant::now() + interval;
    let mut killed = watch.and_then(|watch| watch.count().ok()).unwrap_or(0);
    loop {
        let left = next.saturating_duration_since(Instant::now());
        let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
        let mut polled = vec![PollFd::new(process, PollFlags::IN)];
        if let Some(watch) = watch {
            polled.push(PollFd::from_borrowed_fd(watch.as_fd(), PollFlags::IN | PollFlags::PRI));
        }
        match poll(&mut polled, Some(&timeout)) {
            Err(Errno::INTR) => continue,
            result => result.about("poll")?,
        };
        if !polled[0].revents().is_empty() {
            return Ok(ExitCode::SUCCESS);
        }
        if let Some(count) = watch.and_then(|watch| watch.count().ok()).filter(|count| *count > killed) {
            killed = count;
            show(id, "oom", &Value::Null)?;
        }
        if Instant::now() >= next {
            next += interval;
            show(id, "stats", &stats_json(cgroup)?)?;
        }
    }
}

fn show(id: &str, kind: &str, data: &Value) -> Outcome {
    let event = if data.is_null() {
        json!({"type": kind, "id": id})
    } else {
        json!({"type": kind, "id": id, "data": data})
    };
    print(&format!("{event}\n"))
}

/// `5s`, `500ms`, `1m30s`, as Go writes durations.
fn parse_interval(text: &str) -> Result<Duration, Failure> {
    let invalid = || Failure::new(format!("invalid duration {text:?}"));
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits =
            rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.').ok_or_else(invalid)?;
        let number: f64 = rest[..digits].parse().map_err(|_| invalid())?;
        let unit_end =
            rest[digits..].find(|letter: char| letter.is_ascii_digit()).map_or(rest.len(), |at| digits + at);
        let unit = match &rest[digits..unit_end] {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(invalid()),
        };
        total += Duration::try_from_secs_f64(number * unit).map_err(|_| invalid())?;
        rest = &rest[unit_end..];
    }
    if total.is_zero() { Err(Failure::new("duration interval must be greater than 0")) } else { Ok(total) }
}

/// The document of runc's `events`.
fn stats_json(cgroup: &Cgroup) -> Result<Value, Failure> {
    let mut value = counters_json(&cgroup.full_stats()?);
    value["cpuset"] = cpuset_json(cgroup);
    // Nobody has told about any.
    value["network_interfaces"] = Value::Null;
    Ok(value)
}

/// Of version 1: a file of version 2 has another meaning, and runc tells noughts.
fn cpuset_json(cgroup: &Cgroup) -> Value {
    let number = |name: &str| -> i64 { cgroup.cpuset(name).trim().parse().unwrap_or_default() };
    let mut value = json!({"cpus": Value::Null, "mems": Value::Null});
    for name in ["cpus", "mems"] {
        let list = list_of(&cgroup.cpuset(name));
        if !list.is_empty() {
            value[name] = list.into();
        }
    }
    for name in [
        "cpu_exclusive",
        "mem_hardwall",
        "mem_exclusive",
        "memory_migrate",
        "memory_spread_page",
        "memory_spread_slab",
        "memory_pressure",
        "sched_load_balance",
        "sched_relax_domain_level",
    ] {
        value[name] = number(name).into();
    }
    value
}

/// `0-2,7` as numbers.
fn list_of(text: &str) -> Vec<u32> {
    let range = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(first.parse::<u32>().ok()?..=last.parse::<u32>().ok()?)
    };
    text.trim().split(',').filter_map(range).flatten().collect()
}

fn counters_json(stats: &Stats) -> Value {
    let hugetlb: serde_json::Map<String, Value> = stats
        .hugetlb
        .iter()
        .map(|(size, used)| {
            (size.clone(), json!({"usage": used.usage, "max": used.max, "failcnt": used.failures}))
        })
        .collect();
    let mut pids = json!({"current": stats.pids.current});
    if stats.pids.limit != u64::MAX {
        pids["limit"] = stats.pids.limit.into();
    }
    json!({
        "cpu": cpu_json(&stats.cpu),
        "memory": memory_json(&stats.memory),
        "pids": pids,
        "blkio": blkio_json(&stats.blkio),
        "hugetlb": hugetlb,
        "intel_rdt": {},
    })
}

fn cpu_json(cpu: &Cpu) -> Value {
    json!({
        "usage": {
            "total": cpu.total,
            "percpu": cpu.per_cpu,
            "percpu_kernel": cpu.per_cpu_system,
            "percpu_user": cpu.per_cpu_user,
            "kernel": cpu.system,
            "user": cpu.user,
        },
        "throttling": {
            "periods": cpu.throttling.periods,
            "throttledPeriods": cpu.throttling.throttled_periods,
            "throttledTime": cpu.throttling.throttled_time,
        },
    })
}

fn memory_json(memory: &Memory) -> Value {
    let counter = |counter: &MemoryCounter| {
        json!({
            "limit": counter.limit, "usage": counter.usage, "max": counter.max, "failcnt": counter.failures,
        })
    };
    json!({
        "cache": memory.stat.get("cache").or_else(|| memory.stat.get("file")).copied().unwrap_or(0),
        "usage": counter(&memory.usage),
        "swap": counter(&memory.swap),
        "kernel": counter(&memory.kernel),
        "kernelTCP": counter(&memory.kernel_tcp),
        "raw": memory.stat,
    })
}

fn blkio_json(blkio: &Blkio) -> Value {
    let entries = |entries: &[BlkioEntry]| -> Vec<Value> {
        entries
            .iter()
            .map(|entry| json!({"major": entry.major, "minor": entry.minor, "op": entry.op, "value": entry.value}))
            .collect()
    };
    json!({
        "ioServiceBytesRecursive": entries(&blkio.service_bytes),
        "ioServicedRecursive": entries(&blkio.serviced),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_gos_durations() {
        assert_eq!(parse_interval("5s").unwrap(), Duration::from_secs(5));
        assert_eq!(parse_interval("1m30s").unwrap(), Duration::from_secs(90));
        assert_eq!(parse_interval("1.5ms").unwrap(), Duration::from_micros(1500));
        for bad in ["", "5", "s", "-1s", "1y", "0s"] {
            assert!(parse_interval(bad).is_err(), "{bad:?}");
        }
    }
}
