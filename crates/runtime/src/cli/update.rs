//! `update`: other limits for a container that is there.

use std::io::Read;
use std::process::ExitCode;

use berth_oci::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxPids, LinuxResources, Status};
use serde_json::value::RawValue;

use super::arguments::{Flag, Parsed};
use super::container::Container;
use super::control::no_cgroup;
use super::{About, Failure, Global, Outcome};

pub(super) const FLAGS: &[Flag] = &[
    Flag::value("resources").or('r'),
    Flag::value("blkio-weight"),
    Flag::value("cpu-period"),
    Flag::value("cpu-quota"),
    Flag::value("cpu-burst"),
    Flag::value("cpu-share"),
    Flag::value("cpu-rt-period"),
    Flag::value("cpu-rt-runtime"),
    Flag::value("cpu-idle"),
    Flag::value("cpuset-cpus"),
    Flag::value("cpuset-mems"),
    Flag::value("kernel-memory"),
    Flag::value("kernel-memory-tcp"),
    Flag::value("memory").or('m'),
    Flag::value("memory-reservation"),
    Flag::value("memory-swap"),
    Flag::value("pids-limit"),
    Flag::value("l3-cache-schema"),
    Flag::value("mem-bw-schema"),
];

pub(super) fn update(global: &Global, arguments: &Parsed) -> Outcome {
    let container = Container::load(global, arguments.id()?)?;
    if container.status() == Status::Stopped {
        return Err(Failure::new("container not running"));
    }
    for flag in ["l3-cache-schema", "mem-bw-schema"] {
        if arguments.value(flag).is_some() {
            return Err(Failure::new(format!("--{flag}: Intel RDT is not supported")));
        }
    }
    for flag in ["kernel-memory", "kernel-memory-tcp"] {
        if arguments.value(flag).is_some() {
            global.log.warning("Kernel memory settings are ignored and will be removed");
        }
    }
    let change = match arguments.value("resources") {
        Some("-") => {
            let mut text = Vec::new();
            std::io::stdin().read_to_end(&mut text).about("read standard input")?;
            parse(&text)?
        }
        Some(path) => parse(&std::fs::read(path).about(format_args!("open {path}"))?)?,
        None => from_flags(arguments)?,
    };
    let cgroup = container.cgroup().ok_or_else(no_cgroup)?;
    cgroup.update(&change)?;
    remember(container, change)
}

fn parse(text: &[u8]) -> Result<LinuxResources, Failure> {
    serde_json::from_slice(text).map_err(|error| Failure::new(format!("resources: {error}")))
}

fn from_flags(arguments: &Parsed) -> Result<LinuxResources, Failure> {
    let text = |name: &str| arguments.value(name).unwrap_or_default().to_owned();
    let cpu = LinuxCpu {
        shares: arguments.number("cpu-share")?,
        quota: arguments.number("cpu-quota")?,
        burst: arguments.number("cpu-burst")?,
        period: arguments.number("cpu-period")?,
        realtime_runtime: arguments.number("cpu-rt-runtime")?,
        realtime_period: arguments.number("cpu-rt-period")?,
        idle: arguments.number("cpu-idle")?,
        cpus: text("cpuset-cpus"),
        mems: text("cpuset-mems"),
    };
    let memory = LinuxMemory {
        limit: size(arguments, "memory")?,
        reservation: size(arguments, "memory-reservation")?,
        swap: size(arguments, "memory-swap")?,
        ..LinuxMemory::default()
    };
    let block_io = LinuxBlockIo { weight: arguments.number("blkio-weight")?, ..LinuxBlockIo::default() };
    let pids = arguments.number("pids-limit")?.map(|limit| LinuxPids { limit });
    Ok(LinuxResources {
        cpu: (cpu != LinuxCpu::default()).then_some(cpu),
        memory: (memory != LinuxMemory::default()).then_some(memory),
        block_io: (block_io != LinuxBlockIo::default()).then_some(block_io),
        pids,
        ..LinuxResources::default()
    })
}

/// Bytes, or with a unit: `64m`, `1g`; -1 is unlimited.
fn size(arguments: &Parsed, name: &str) -> Result<Option<i64>, Failure> {
    let Some(text) = arguments.value(name) else { return Ok(None) };
    parse_size(text)
        .map(Some)
        .ok_or_else(|| Failure::new(format!("invalid value for {name}: invalid size: '{text}'")))
}

fn parse_size(text: &str) -> Option<i64> {
    if text == "-1" {
        return Some(-1);
    }
    let lower = text.to_ascii_lowercase();
    let bare = lower.strip_suffix("ib").or_else(|| lower.strip_suffix('b')).unwrap_or(&lower);
    let (digits, factor) = match bare.chars().last()? {
        'k' => (&bare[..bare.len() - 1], 1 << 10),
        'm' => (&bare[..bare.len() - 1], 1 << 20),
        'g' => (&bare[..bare.len() - 1], 1 << 30),
        't' => (&bare[..bare.len() - 1], 1_i64 << 40),
        _ => (bare, 1),
    };
    digits.trim().parse::<i64>().ok().filter(|number| *number >= 0)?.checked_mul(factor)
}

/// Keeps the limits in the container's configuration, for whoever asks later.
fn remember(mut container: Container, change: LinuxResources) -> Outcome {
    let mut spec = container.spec()?;
    let linux = spec.linux.get_or_insert_default();
    let kept = linux.resources.get_or_insert_default();
    merge(kept, change);
    let text = serde_json::to_string(&spec).map_err(|error| Failure::new(error.to_string()))?;
    container.record.config = RawValue::from_string(text).map_err(|error| Failure::new(error.to_string()))?;
    container.directory.write(&container.record)?;
    Ok(ExitCode::SUCCESS)
}

fn merge(kept: &mut LinuxResources, change: LinuxResources) {
    if !change.devices.is_empty() {
        kept.devices = change.devices;
    }
    if let Some(new) = change.memory {
        let old = kept.memory.get_or_insert_default();
        take(&mut old.limit, new.limit);
        take(&mut old.reservation, new.reservation);
        take(&mut old.swap, new.swap);
    }
    if let Some(new) = change.cpu {
        let old = kept.cpu.get_or_insert_default();
        take(&mut old.shares, new.shares);
        take(&mut old.quota, new.quota);
        take(&mut old.burst, new.burst);
        take(&mut old.period, new.period);
        take(&mut old.idle, new.idle);
        if !new.cpus.is_empty() {
            old.cpus = new.cpus;
        }
        if !new.mems.is_empty() {
            old.mems = new.mems;
        }
    }
    take(&mut kept.pids, change.pids);
    if let Some(new) = change.block_io {
        take(&mut kept.block_io.get_or_insert_default().weight, new.weight);
    }
    kept.unified.extend(change.unified);
}

fn take<T>(old: &mut Option<T>, new: Option<T>) {
    if new.is_some() {
        *old = new;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        for (text, expected) in
            [("-1", -1), ("1024", 1024), ("64m", 64 << 20), ("1GiB", 1 << 30), ("2kb", 2048)]
        {
            assert_eq!(parse_size(text), Some(expected), "{text}");
        }
        for bad in ["", "m", "-5", "1x", "99999999999t"] {
            assert_eq!(parse_size(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn what_is_not_changed_stays() {
        let mut kept = LinuxResources {
            memory: Some(LinuxMemory { limit: Some(1), reservation: Some(2), ..LinuxMemory::default() }),
            ..LinuxResources::default()
        };
        let memory = Some(LinuxMemory { limit: Some(5), ..LinuxMemory::default() });
        merge(&mut kept, LinuxResources { memory, ..LinuxResources::default() });
        let memory = kept.memory.unwrap();
        assert_eq!((memory.limit, memory.reservation), (Some(5), Some(2)));
    }
}
