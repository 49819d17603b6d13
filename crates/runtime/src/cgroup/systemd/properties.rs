//! Limits, device rules and annotations of a container as properties of its unit.

use std::collections::BTreeMap;

use berth_oci::runtime::{LinuxDeviceCgroup, LinuxMemory, LinuxResources};

use super::super::device::{Access, Devices, Rules};
use super::super::error::Error;
use super::super::hierarchy::Version;
use super::super::v2::{swap_alone, weight_of_shares};
use super::message::{Property, Value};

/// Annotations that are properties of the unit.
const ANNOTATION: &str = "org.systemd.property.";

/// What systemd takes for no limit.
const INFINITY: u64 = u64::MAX;

/// The limits that systemd knows.
pub(super) fn of(resources: &LinuxResources, version: Version) -> Result<Vec<Property>, Error> {
    let mut found = Vec::new();
    let mut add = |name: &str, value: u64| found.push((name.to_owned(), Value::Number(value)));
    let limit = |value: i64| u64::try_from(value).unwrap_or(INFINITY);
    let v2 = version == Version::V2;
    let memory = resources.memory.clone().unwrap_or_default();
    match memory.limit.filter(|value| *value != 0) {
        Some(value) if v2 => add("MemoryMax", limit(value)),
        Some(value) => add("MemoryLimit", limit(value)),
        None => {}
    }
    if v2 {
        memory_v2(&memory, &mut add)?;
    }
    let cpu = resources.cpu.clone().unwrap_or_default();
    if let Some(shares) = cpu.shares.filter(|value| *value != 0) {
        if v2 { add("CPUWeight", weight_of_shares(shares)) } else { add("CPUShares", shares) }
    }
    let period = cpu.period.filter(|value| *value != 0);
    if let Some(period) = period {
        add("CPUQuotaPeriodUSec", period);
    }
    match cpu.quota.filter(|value| *value != 0) {
        Some(quota) if quota > 0 => add("CPUQuotaPerSecUSec", per_second(quota, period.unwrap_or(100_000))),
        Some(_) => add("CPUQuotaPerSecUSec", INFINITY),
        None => {}
    }
    if let Some(pids) = resources.pids.filter(|pids| pids.limit != 0) {
        add("TasksMax", limit(pids.limit));
    }
    if let Some(weight) = resources.block_io.as_ref().and_then(|io| io.weight).filter(|weight| *weight != 0) {
        let weight = u64::from(weight);
        if v2 {
            add("IOWeight", 1 + (weight.max(10) - 10) * 9999 / 990);
        } else {
            add("BlockIOWeight", weight);
        }
    }
    if v2 {
        for (name, list) in [("AllowedCPUs", &cpu.cpus), ("AllowedMemoryNodes", &cpu.mems)] {
            if !list.is_empty() {
                found.push((name.to_owned(), Value::Bytes(mask(list)?)));
            }
        }
    }
    Ok(found)
}

fn memory_v2(memory: &LinuxMemory, add: &mut impl FnMut(&str, u64)) -> Result<(), Error> {
    if let Some(low) = memory.reservation.filter(|value| *value != 0) {
        add("MemoryLow", u64::try_from(low).unwrap_or(INFINITY));
    }
    if let Some(swap) = swap_alone(memory.limit.unwrap_or(0), memory.swap.unwrap_or(0))? {
        add("MemorySwapMax", swap.parse().unwrap_or(INFINITY));
    }
    Ok(())
}

/// systemd keeps the quota as whole percents of a second: rounded up, as runc does, never less than was asked for.
fn per_second(quota: i64, period: u64) -> u64 {
    const PERCENT: u64 = 10_000;
    let value = u128::from(quota.unsigned_abs()) * 1_000_000 / u128::from(period.max(1));
    u64::try_from(value).unwrap_or(INFINITY - PERCENT).next_multiple_of(PERCENT)
}

/// `0-2,7` as bits, lowest first.
fn mask(list: &str) -> Result<Vec<u8>, Error> {
    const MOST: usize = 8192;
    let invalid = || Error::Invalid { setting: "cpuset", reason: format!("{list:?} is no list of numbers") };
    let mut bits = Vec::new();
    for range in list.split(',').map(str::trim).filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let first: usize = first.parse().map_err(|_| invalid())?;
        let last: usize = last.parse().map_err(|_| invalid())?;
        if first > last || last >= MOST {
            return Err(invalid());
        }
        for bit in first..=last {
            if bits.len() <= bit / 8 {
                bits.resize(bit / 8 + 1, 0);
            }
            bits[bit / 8] |= 1 << (bit % 8);
        }
    }
    Ok(bits)
}

/// Device rules: all but a list is refused, or nothing is.
pub(super) fn of_devices(list: &[LinuxDeviceCgroup]) -> Result<Vec<Property>, Error> {
    let rules = Rules::new(list)?;
    let policy = |policy: &str| ("DevicePolicy".to_owned(), Value::Text(policy.to_owned()));
    // systemd cannot name exceptions from everything; the group's own rules say them.
    if rules.allow {
        return Ok(vec![policy("auto"), ("DeviceAllow".to_owned(), Value::Pairs(Vec::new()))]);
    }
    let known = std::fs::read_to_string("/proc/devices").unwrap_or_default();
    let mut allowed = Vec::new();
    for exception in &rules.exceptions {
        let access = Access::text(exception.access);
        allowed
            .extend(device_names(exception.devices, &known).into_iter().map(|name| (name, access.clone())));
    }
    Ok(vec![policy("strict"), ("DeviceAllow".to_owned(), Value::Pairs(allowed))])
}

/// What systemd calls them: a node by its numbers, or a driver by its name.
fn device_names(devices: Devices, known: &str) -> Vec<String> {
    let kind = if devices.block { "block" } else { "char" };
    match (devices.major, devices.minor) {
        (None, None) => vec![format!("{kind}-*")],
        (Some(major), Some(minor)) => vec![format!("/dev/{kind}/{major}:{minor}")],
        // A major number of which the kernel has no driver has no devices either.
        (Some(major), None) => {
            driver(known, devices.block, major).map(|name| format!("{kind}-{name}")).into_iter().collect()
        }
        (None, Some(_)) => Vec::new(),
    }
}

/// The name in `/proc/devices`, whose second half is for block devices.
fn driver(known: &str, block: bool, major: u32) -> Option<&str> {
    let (characters, blocks) = known.split_once("Block devices:").unwrap_or((known, ""));
    let lines = if block { blocks } else { characters }.lines();
    lines
        .filter_map(|line| line.trim().split_once(' '))
        .find_map(|(number, name)| (number.parse() == Ok(major)).then(|| name.trim()))
}

/// Annotations that name a property, their values in the text format of GVariant as far as units have them.
pub(super) fn of_annotations(annotations: &BTreeMap<String, String>) -> Result<Vec<Property>, Error> {
    let mut found = Vec::new();
    for (key, text) in annotations {
        let Some(name) = key.strip_prefix(ANNOTATION) else { continue };
        let invalid = |reason: &str| Error::Invalid {
            setting: "annotation",
            reason: format!("{key}={text}: {reason}"),
        };
        if name.len() < 3 || !name.bytes().all(|letter| letter.is_ascii_alphabetic()) {
            return Err(invalid("no name of a property"));
        }
        let value = parse_value(text).ok_or_else(|| invalid("no value that is understood"))?;
        found.push(match (name.strip_suffix("Sec"), value) {
            (Some(base), Value::Number(seconds)) => {
                (format!("{base}USec"), Value::Number(seconds.saturating_mul(1_000_000)))
            }
            (_, value) => (name.to_owned(), value),
        });
    }
    Ok(found)
}

/// `true`, `'text'`, `uint64 5`, `['a', 'b']`.
fn parse_value(text: &str) -> Option<Value> {
    let text = text.trim();
    if let Some(list) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        return list.split(',').map(|item| quoted(item.trim())).collect::<Option<_>>().map(Value::Texts);
    }
    match text {
        "true" => Some(Value::Flag(true)),
        "false" => Some(Value::Flag(false)),
        _ => quoted(text).map(Value::Text).or_else(|| {
            let number = text.strip_prefix("uint64 ").unwrap_or(text);
            number.trim().parse().ok().map(Value::Number)
        }),
    }
}

fn quoted(text: &str) -> Option<String> {
    ['\'', '"'].into_iter().find_map(|mark| {
        let inner = text.strip_prefix(mark)?.strip_suffix(mark)?;
        (!inner.contains([mark, '\\'])).then(|| inner.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use berth_oci::runtime::{LinuxCpu, LinuxPids};

    use super::*;

    fn number(name: &str, value: u64) -> Property {
        (name.to_owned(), Value::Number(value))
    }

    #[test]
    fn limits_are_properties() {
        let resources = LinuxResources {
            memory: Some(LinuxMemory {
                limit: Some(64 << 20),
                swap: Some(96 << 20),
                reservation: Some(1 << 20),
                ..LinuxMemory::default()
            }),
            cpu: Some(LinuxCpu {
                shares: Some(512),
                quota: Some(25_000),
                period: Some(50_000),
                cpus: "0-1,9".to_owned(),
                ..LinuxCpu::default()
            }),
            pids: Some(LinuxPids { limit: -1 }),
            ..LinuxResources::default()
        };
        assert_eq!(
            of(&resources, Version::V2).unwrap(),
            [
                number("MemoryMax", 64 << 20),
                number("MemoryLow", 1 << 20),
                number("MemorySwapMax", 32 << 20),
                number("CPUWeight", 59),
                number("CPUQuotaPeriodUSec", 50_000),
                number("CPUQuotaPerSecUSec", 500_000),
                number("TasksMax", u64::MAX),
                ("AllowedCPUs".to_owned(), Value::Bytes(vec![0b11, 0b10])),
            ]
        );
        let v1: Vec<_> = of(&resources, Version::V1).unwrap().into_iter().map(|(name, _)| name).collect();
        assert_eq!(v1, ["MemoryLimit", "CPUShares", "CPUQuotaPeriodUSec", "CPUQuotaPerSecUSec", "TasksMax"]);
        assert_eq!(of(&LinuxResources::default(), Version::V2).unwrap(), []);
        assert!(mask("3-1").is_err() && mask("x").is_err() && mask("0-99999999").is_err());
    }

    #[test]
    fn devices_are_named_as_systemd_names_them() {
        let known = "Character devices:\n  1 mem\n136 pts\n\nBlock devices:\n  1 ramdisk\n  8 sd\n";
        let names = |block, major, minor| device_names(Devices { block, major, minor }, known);
        assert_eq!(names(false, Some(1), Some(3)), ["/dev/char/1:3"]);
        assert_eq!(names(false, Some(136), None), ["char-pts"]);
        assert_eq!(names(true, Some(1), None), ["block-ramdisk"]);
        assert_eq!(names(true, None, None), ["block-*"]);
        assert_eq!(names(false, Some(99), None), [""; 0]);
    }

    #[test]
    fn annotations_are_properties() {
        let of = |key: &str, value: &str| {
            of_annotations(&BTreeMap::from([(key.to_owned(), value.to_owned())]))
                .map_err(|error| error.to_string())
        };
        assert_eq!(
            of("org.systemd.property.TimeoutStopSec", "uint64 5"),
            Ok(vec![number("TimeoutStopUSec", 5_000_000)])
        );
        assert_eq!(
            of("org.systemd.property.CollectMode", "'inactive-or-failed'"),
            Ok(vec![("CollectMode".to_owned(), Value::Text("inactive-or-failed".to_owned()))])
        );
        assert_eq!(
            of("org.systemd.property.After", "['a.service','b.service']"),
            Ok(vec![(
                "After".to_owned(),
                Value::Texts(vec!["a.service".to_owned(), "b.service".to_owned()])
            )])
        );
        assert_eq!(of("org.other", "x"), Ok(Vec::new()));
        assert!(of("org.systemd.property.Bad", "{").unwrap_err().contains("org.systemd.property.Bad={"));
    }
}
