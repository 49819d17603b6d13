//! Limits as they arrive in the files of the kernel, on whichever version this host has. The guest of
//! `cargo xtask test --cgroup2` runs the same on version 2.

#![allow(clippy::unwrap_used)]

mod cgroup_support;

use std::collections::BTreeMap;

use berth_oci::runtime::{
    LinuxBlockIo, LinuxCpu, LinuxHugepageLimit, LinuxMemory, LinuxPids, LinuxResources, LinuxThrottleDevice,
};
use berth_runtime::cgroup::{Cgroup, Error, Version};
use cgroup_support::{Group, hierarchies, path, wait_until};

const MIB: i64 = 1 << 20;

fn memory(memory: LinuxMemory) -> LinuxResources {
    LinuxResources { memory: Some(memory), ..LinuxResources::default() }
}

fn limit_and_swap(limit: i64, swap: i64) -> LinuxResources {
    memory(LinuxMemory { limit: Some(limit), swap: Some(swap), ..LinuxMemory::default() })
}

fn cpu(cpu: LinuxCpu) -> LinuxResources {
    LinuxResources { cpu: Some(cpu), ..LinuxResources::default() }
}

/// Memory, and memory and swap together, in MiB, as far as there are limits.
fn limits(group: &Group) -> (Option<u64>, Option<u64>) {
    let number = |v1, v2| {
        let text = std::fs::read_to_string(group.file(v1, v2)).ok()?;
        Some(text.trim().parse::<u64>().ok()? >> 20)
    };
    let limit = number("memory/memory.limit_in_bytes", "memory.max");
    let swap = number("memory/memory.memsw.limit_in_bytes", "memory.swap.max");
    (limit, if group.is_v2() { swap.zip(limit).map(|(swap, limit)| swap + limit) } else { swap })
}

#[test]
fn memory_grows_and_shrinks_with_its_swap() {
    let group = Group::new(&limit_and_swap(64 * MIB, 128 * MIB));
    // Each pair forces the other order of writing than the one before.
    for (limit, both) in [(64, 128), (256, 512), (32, 40), (32, 32), (512, 512), (16, 600), (300, 600)] {
        group.0.update(&limit_and_swap(limit * MIB, both * MIB)).unwrap();
        let (found, found_both) = limits(&group);
        assert_eq!(found, Some(limit as u64));
        if let Some(found_both) = found_both {
            assert_eq!(found_both, both as u64);
        }
    }
    group.0.update(&limit_and_swap(-1, -1)).unwrap();
    let unlimited = group.read("memory/memory.limit_in_bytes", "memory.max");
    assert!(unlimited == "max" || unlimited.parse::<u64>().unwrap() > 1 << 60, "{unlimited}");
}

#[test]
fn memory_that_contradicts_itself_is_refused() {
    let group = Group::new(&LinuxResources::default());
    let error = group.0.update(&limit_and_swap(64 * MIB, 32 * MIB)).unwrap_err();
    assert!(matches!(error, Error::Invalid { .. }), "{error}");
}

#[test]
fn memory_options_arrive() {
    let resources = memory(LinuxMemory {
        limit: Some(64 * MIB),
        reservation: Some(32 * MIB),
        swappiness: Some(7),
        disable_oom_killer: Some(true),
        ..LinuxMemory::default()
    });
    let group = Group::new(&resources);
    assert_eq!(group.read("memory/memory.soft_limit_in_bytes", "memory.low"), (32 * MIB).to_string());
    if !group.is_v2() {
        assert_eq!(group.read("memory/memory.swappiness", ""), "7");
        assert!(group.read("memory/memory.oom_control", "").starts_with("oom_kill_disable 1"));
    }
}

#[test]
fn less_memory_than_is_in_use_is_told() {
    let group = Group::new(&memory(LinuxMemory { limit: Some(128 * MIB), ..LinuxMemory::default() }));
    // Memory that nobody can take away as long as the file is there.
    let file = tempfile::NamedTempFile::new_in("/dev/shm").unwrap();
    let path = file.path().display();
    assert!(group.shell(&format!("exec dd if=/dev/zero of={path} bs=1M count=20")).wait().success());
    let lower = LinuxMemory { limit: Some(MIB), check_before_update: Some(true), ..LinuxMemory::default() };
    let error = group.0.update(&memory(lower)).unwrap_err();
    assert!(matches!(error, Error::MemoryInUse { limit: MIB, usage, .. } if usage > 20_000_000), "{error}");
    assert_eq!(limits(&group).0, Some(128));
}

#[test]
fn cpu_limits_arrive() {
    let group = Group::new(&cpu(LinuxCpu {
        shares: Some(512),
        quota: Some(50_000),
        period: Some(100_000),
        burst: Some(10_000),
        cpus: "0".to_owned(),
        mems: "0".to_owned(),
        ..LinuxCpu::default()
    }));
    if group.is_v2() {
        assert_eq!(group.read("", "cpu.weight"), "59");
        assert_eq!(group.read("", "cpu.max"), "50000 100000");
        assert_eq!(group.read("", "cpu.max.burst"), "10000");
    } else {
        assert_eq!(group.read("cpu/cpu.shares", ""), "512");
        assert_eq!(group.read("cpu/cpu.cfs_quota_us", ""), "50000");
        assert_eq!(group.read("cpu/cpu.cfs_period_us", ""), "100000");
        assert_eq!(group.read("cpu/cpu.cfs_burst_us", ""), "10000");
    }
    assert_eq!(group.read("cpuset/cpuset.cpus", "cpuset.cpus"), "0");
    assert_eq!(group.read("cpuset/cpuset.mems", "cpuset.mems"), "0");
    // Less and more in orders that the kernel refuses when taken literally.
    for (quota, period, burst) in [(5_000, 10_000, 5_000), (900_000, 1_000_000, 900_000), (1_000, 1_000, 0)] {
        let limits =
            LinuxCpu { quota: Some(quota), period: Some(period), burst: Some(burst), ..LinuxCpu::default() };
        group.0.update(&cpu(limits)).unwrap();
        let expected = if group.is_v2() { format!("{quota} {period}") } else { quota.to_string() };
        assert_eq!(group.read("cpu/cpu.cfs_quota_us", "cpu.max"), expected);
    }
    group.0.update(&cpu(LinuxCpu { quota: Some(-1), ..LinuxCpu::default() })).unwrap();
    let quota = group.read("cpu/cpu.cfs_quota_us", "cpu.max");
    assert!(quota == "-1" || quota == "max 1000", "{quota}");
    group
        .0
        .update(&cpu(LinuxCpu { idle: Some(1), shares: Some(100), ..LinuxCpu::default() }))
        .unwrap_or_else(
            // Version 1 refuses shares of an idle group; version 2 is spared the attempt.
            |error| assert!(!group.is_v2(), "{error}"),
        );
}

#[test]
fn only_the_period_leaves_the_quota_alone() {
    let group =
        Group::new(&cpu(LinuxCpu { quota: Some(20_000), period: Some(50_000), ..LinuxCpu::default() }));
    group.0.update(&cpu(LinuxCpu { period: Some(100_000), ..LinuxCpu::default() })).unwrap();
    let expected = if group.is_v2() { "20000 100000" } else { "20000" };
    assert_eq!(group.read("cpu/cpu.cfs_quota_us", "cpu.max"), expected);
}

#[test]
fn a_quota_holds_back() {
    let group =
        Group::new(&cpu(LinuxCpu { quota: Some(5_000), period: Some(100_000), ..LinuxCpu::default() }));
    let _spinner = group.shell("while :; do :; done");
    wait_until(|| group.0.stats().unwrap().cpu.throttling.throttled_periods > 2);
    let throttling = group.0.stats().unwrap().cpu.throttling;
    assert!(throttling.periods >= throttling.throttled_periods && throttling.throttled_time > 0);
}

#[test]
fn processors_that_are_not_there_are_refused_and_nothing_is_left() {
    let path = path();
    let wanted = cpu(LinuxCpu { cpus: "4000".to_owned(), ..LinuxCpu::default() });
    assert!(Cgroup::create(&hierarchies(), &path, &wanted).is_err());
    assert!(Cgroup::reopen(&hierarchies(), &path).is_err());
    hierarchies().prune("/berth-test");
}

#[test]
fn the_number_of_processes_is_limited() {
    let group =
        Group::new(&LinuxResources { pids: Some(LinuxPids { limit: 4 }), ..LinuxResources::default() });
    assert_eq!(group.read("pids/pids.max", "pids.max"), "4");
    assert_eq!(group.0.stats().unwrap().pids.limit, 4);
    let mut shell = group.shell("sleep 60 & sleep 60 & sleep 60 & sleep 60 & sleep 60 & wait");
    // A shell that cannot fork says so and fails.
    assert!(!shell.wait().success());
    for limit in [0, -1] {
        let resources = LinuxResources { pids: Some(LinuxPids { limit }), ..LinuxResources::default() };
        group.0.update(&resources).unwrap();
        assert_eq!(group.read("pids/pids.max", "pids.max"), "max");
    }
}

/// Some block device of this host.
fn block_device() -> Option<(i64, i64)> {
    let text = std::fs::read_to_string("/proc/partitions").ok()?;
    text.lines().skip(2).find_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let (major, minor) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let name = words.nth(1)?;
        // Limits are for whole disks.
        std::path::Path::new(&format!("/sys/block/{name}")).exists().then_some((major, minor))
    })
}

#[test]
fn block_devices_are_throttled() {
    let (major, minor) = block_device().expect("this host has a disk");
    let rate = |rate| vec![LinuxThrottleDevice { major, minor, rate }];
    let block_io = LinuxBlockIo {
        throttle_read_bps_device: rate(1 << 20),
        throttle_write_bps_device: rate(2 << 20),
        throttle_read_iops_device: rate(100),
        throttle_write_iops_device: rate(200),
        ..LinuxBlockIo::default()
    };
    let group = Group::new(&LinuxResources { block_io: Some(block_io), ..LinuxResources::default() });
    let device = format!("{major}:{minor}");
    if group.is_v2() {
        let expected = format!("{device} rbps=1048576 wbps=2097152 riops=100 wiops=200");
        assert_eq!(group.read("", "io.max"), expected);
    } else {
        assert_eq!(group.read("blkio/blkio.throttle.read_bps_device", ""), format!("{device} 1048576"));
        assert_eq!(group.read("blkio/blkio.throttle.write_bps_device", ""), format!("{device} 2097152"));
        assert_eq!(group.read("blkio/blkio.throttle.read_iops_device", ""), format!("{device} 100"));
        assert_eq!(group.read("blkio/blkio.throttle.write_iops_device", ""), format!("{device} 200"));
    }
    let lifted = LinuxBlockIo {
        throttle_read_bps_device: rate(0),
        throttle_write_bps_device: rate(0),
        throttle_read_iops_device: rate(0),
        throttle_write_iops_device: rate(0),
        ..LinuxBlockIo::default()
    };
    group.0.update(&LinuxResources { block_io: Some(lifted), ..LinuxResources::default() }).unwrap();
    assert_eq!(group.read("blkio/blkio.throttle.read_bps_device", "io.max"), "");
}

#[test]
fn huge_pages_are_limited_wherever_the_controller_is() {
    let limits = vec![LinuxHugepageLimit { page_size: "2MB".to_owned(), limit: 4 << 20 }];
    let group = Group::new(&LinuxResources { hugepage_limits: limits, ..LinuxResources::default() });
    // On the hybrid of some hosts that is the version 2 tree.
    let path = match group.0.version() {
        Version::Hybrid => format!("/sys/fs/cgroup/unified{}/hugetlb.2MB.max", group.0.path()),
        Version::V1 => format!("/sys/fs/cgroup/hugetlb{}/hugetlb.2MB.limit_in_bytes", group.0.path()),
        Version::V2 => format!("/sys/fs/cgroup{}/hugetlb.2MB.max", group.0.path()),
    };
    assert_eq!(std::fs::read_to_string(path).unwrap().trim(), (4 << 20).to_string());
    let shell = group.shell("exec sleep 60");
    let membership =
        std::fs::read_to_string(format!("/proc/{}/cgroup", shell.pid().as_raw_nonzero())).unwrap();
    assert!(membership.contains(&format!("0::{}", group.0.path())), "{membership}");
    assert_eq!(group.0.full_stats().unwrap().hugetlb["2MB"].usage, 0);
}

#[test]
fn unified_settings_are_for_version_2() {
    let unified = BTreeMap::from([("cgroup.max.depth".to_owned(), "3".to_owned())]);
    let resources = LinuxResources { unified, ..LinuxResources::default() };
    if hierarchies().version() == Version::V1 {
        assert!(matches!(
            Cgroup::create(&hierarchies(), &path(), &resources),
            Err(Error::Unsupported { .. })
        ));
        return;
    }
    let group = Group::new(&resources);
    let tree = if group.is_v2() { "" } else { "/unified" };
    let depth = format!("/sys/fs/cgroup{tree}{}/cgroup.max.depth", group.0.path());
    assert_eq!(std::fs::read_to_string(depth).unwrap().trim(), "3");
    for (name, value) in [("no.such", "1"), ("../cgroup.max.depth", "1"), ("cgroup.max.depth", "many")] {
        let unified = BTreeMap::from([(name.to_owned(), value.to_owned())]);
        assert!(group.0.update(&LinuxResources { unified, ..LinuxResources::default() }).is_err(), "{name}");
    }
}
