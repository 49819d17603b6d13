//! Limits in cgroup version 2, one function a controller.
//!
//! Source: `Documentation/admin-guide/cgroup-v2.rst`.

use std::collections::BTreeMap;

use berth_oci::runtime::{
    LinuxBlockIo, LinuxCpu, LinuxHugepageLimit, LinuxMemory, LinuxPids, LinuxRdma, LinuxResources,
};
use rustix::io::Errno;

use super::error::Error;
use super::file::Dir;
use super::group::Cgroup;
use super::hierarchy::Controller;
use super::v1::need;

/// Sets every limit that `resources` has.
pub(super) fn apply(group: &Cgroup, resources: &LinuxResources) -> Result<(), Error> {
    if let Some(memory) = &resources.memory {
        set_memory(group, memory)?;
    }
    if let Some(cpu) = &resources.cpu {
        set_cpu(group, cpu)?;
        set_cpuset(group, cpu)?;
    }
    if let Some(pids) = &resources.pids {
        set_pids(group, *pids)?;
    }
    if let Some(block_io) = &resources.block_io {
        set_io(group, block_io)?;
    }
    // `network` has no controller here: classes and priorities are eBPF's affair, and runc passes them over too.
    set_hugetlb(group, &resources.hugepage_limits)?;
    set_rdma(group, &resources.rdma)?;
    set_unified(group, &resources.unified)
}

/// `max` for no limit.
fn or_max(value: i64) -> String {
    if value < 0 { "max".to_owned() } else { value.to_string() }
}

fn set_memory(group: &Cgroup, memory: &LinuxMemory) -> Result<(), Error> {
    let limit = memory.limit.unwrap_or(0);
    let reservation = memory.reservation.unwrap_or(0);
    let swap = swap_alone(limit, memory.swap.unwrap_or(0))?;
    // Neither swappiness nor the OOM switch nor kernel memory exist here; as runc, pass them over.
    if limit == 0 && reservation == 0 && swap.is_none() {
        return Ok(());
    }
    let dir = need(group, Controller::Memory, "memory limits")?;
    if memory.check_before_update == Some(true) && limit > 0 {
        let usage = dir.read_number("memory.current").unwrap_or(0);
        if usage > limit.unsigned_abs() {
            let peak = dir.read_number("memory.peak").unwrap_or(0);
            return Err(Error::MemoryInUse { limit, usage, peak });
        }
    }
    // Unlike in version 1 the two are apart and the order does not matter.
    if let Some(swap) = swap {
        match group.set(dir, "memory.swap.max", &swap) {
            // A kernel without swap has no such file, and without swap every limit of it holds.
            Err(Error::Unsupported { .. }) if swap == "max" || swap == "0" => {}
            done => done?,
        }
    }
    if limit != 0 {
        group.set(dir, "memory.max", or_max(limit))?;
    }
    if reservation != 0 { group.set(dir, "memory.low", or_max(reservation)) } else { Ok(()) }
}

/// The limit of swap alone, from the limits of memory and of memory and swap together.
pub(super) fn swap_alone(limit: i64, both: i64) -> Result<Option<String>, Error> {
    let invalid = |reason: String| Err(Error::Invalid { setting: "memory swap limit", reason });
    match (limit, both) {
        // No limit of memory means none of both, as version 1 has it.
        (-1, 0) | (_, -1) => Ok(Some("max".to_owned())),
        (_, 0) => Ok(None),
        (..=0, _) => invalid("there is no limit of memory".to_owned()),
        (limit, both) if both < limit => {
            invalid(format!("memory and swap together ({both}) are less than memory ({limit})"))
        }
        (limit, both) => Ok(Some((both - limit).to_string())),
    }
}

fn set_cpu(group: &Cgroup, cpu: &LinuxCpu) -> Result<(), Error> {
    let shares = cpu.shares.filter(|value| *value != 0);
    let quota = cpu.quota.filter(|value| *value != 0);
    let period = cpu.period.filter(|value| *value != 0);
    if shares.is_none() && quota.is_none() && period.is_none() && cpu.burst.is_none() && cpu.idle.is_none() {
        return Ok(());
    }
    let dir = need(group, Controller::Cpu, "cpu limits")?;
    if let Some(idle) = cpu.idle {
        group.set(dir, "cpu.idle", idle.to_string())?;
    }
    // A group that only runs when nobody else wants to has no weight.
    if let Some(shares) = shares.filter(|_| cpu.idle != Some(1)) {
        group.set(dir, "cpu.weight", weight_of_shares(shares).to_string())?;
    }
    let set_burst = || cpu.burst.map_or(Ok(()), |burst| group.set(dir, "cpu.max.burst", burst.to_string()));
    if quota.is_none() && period.is_none() {
        return set_burst();
    }
    let mut value = quota.map_or_else(|| "max".to_owned(), or_max);
    if quota.is_none() {
        // Only the period changes: the quota stays what it is.
        let now = dir.read("cpu.max").unwrap_or_default();
        now.split_ascii_whitespace().next().unwrap_or("max").clone_into(&mut value);
    }
    if let Some(period) = period {
        value = format!("{value} {period}");
    }
    let set_quota = || group.set(dir, "cpu.max", &value);
    match set_quota() {
        // The burst may not exceed the quota: when both shrink, it goes first.
        Err(error) if cpu.burst.is_some() && error.is_invalid_argument() => {
            set_burst()?;
            set_quota()
        }
        Err(error) => Err(error),
        Ok(()) => set_burst(),
    }
}

/// Shares of 2 to 262144 as a weight of 1 to 10000, so that the defaults meet: 1024 becomes 100.
///
/// Both scales are logarithmic in use; this is the parabola through (2, 1), (1024, 100) and (262144, 10000) on them.
pub(super) fn weight_of_shares(shares: u64) -> u64 {
    match shares {
        ..=2 => 1,
        262_144.. => 10_000,
        _ => {
            #[expect(clippy::cast_precision_loss, reason = "below 2^18")]
            let log = (shares as f64).log2();
            let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "between 1 and 10000"
            )]
            let weight = 10_f64.powf(exponent).ceil() as u64;
            weight.clamp(1, 10_000)
        }
    }
}

fn set_cpuset(group: &Cgroup, cpu: &LinuxCpu) -> Result<(), Error> {
    for (file, list) in [("cpuset.cpus", &cpu.cpus), ("cpuset.mems", &cpu.mems)] {
        if !list.is_empty() {
            group.set(need(group, Controller::Cpuset, "cpuset")?, file, list)?;
        }
    }
    Ok(())
}

fn set_pids(group: &Cgroup, pids: LinuxPids) -> Result<(), Error> {
    let dir = match need(group, Controller::Pids, "pids limit") {
        // No limit where there is none anyway.
        Err(_) if pids.limit <= 0 => return Ok(()),
        dir => dir?,
    };
    group.set(dir, "pids.max", if pids.limit > 0 { pids.limit.to_string() } else { "max".to_owned() })
}

fn set_io(group: &Cgroup, block_io: &LinuxBlockIo) -> Result<(), Error> {
    let dir = || need(group, Controller::Blkio, "block I/O limits");
    if let Some(weight) = block_io.weight.filter(|weight| *weight != 0) {
        set_io_weight(group, dir()?, "default", weight)?;
    }
    for device in &block_io.weight_device {
        if let Some(weight) = device.weight {
            set_io_weight(group, dir()?, &format!("{}:{}", device.major, device.minor), weight)?;
        }
    }
    let rates = [
        ("rbps", &block_io.throttle_read_bps_device),
        ("wbps", &block_io.throttle_write_bps_device),
        ("riops", &block_io.throttle_read_iops_device),
        ("wiops", &block_io.throttle_write_iops_device),
    ];
    for (key, devices) in rates {
        for device in devices {
            // Nought lifts the limit, as it does in version 1.
            let rate = if device.rate == 0 { "max".to_owned() } else { device.rate.to_string() };
            group.set(dir()?, "io.max", format!("{}:{} {key}={rate}", device.major, device.minor))?;
        }
    }
    Ok(())
}

/// BFQ takes weights of version 1 as they are, the io controller those of version 2: 10-1000 becomes 1-10000.
fn set_io_weight(group: &Cgroup, dir: Dir<'_>, key: &str, weight: u16) -> Result<(), Error> {
    match group.set(dir, "io.bfq.weight", format!("{key} {weight}")) {
        Err(Error::Unsupported { .. }) => {}
        done => return done,
    }
    let weight = u64::from(weight.max(10));
    group.set(dir, "io.weight", format!("{key} {}", 1 + (weight - 10) * 9999 / 990))
}

pub(super) fn set_hugetlb(group: &Cgroup, limits: &[LinuxHugepageLimit]) -> Result<(), Error> {
    for LinuxHugepageLimit { page_size, limit } in limits {
        check_page_size(page_size)?;
        let dir = need(group, Controller::Hugetlb, "huge page limits")?;
        group.set(dir, &format!("hugetlb.{page_size}.max"), limit.to_string())?;
        // Reservations count apart since Linux 5.7; before, this file was not there.
        match group.set(dir, &format!("hugetlb.{page_size}.rsvd.max"), limit.to_string()) {
            Err(Error::Unsupported { .. }) => {}
            done => done?,
        }
    }
    Ok(())
}

/// A page size becomes part of a file name.
pub(super) fn check_page_size(size: &str) -> Result<(), Error> {
    let digits = size.trim_end_matches(|letter: char| letter.is_ascii_uppercase());
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(());
    }
    Err(Error::Invalid { setting: "huge page limits", reason: format!("{size:?} is no page size") })
}

pub(super) fn set_rdma(group: &Cgroup, limits: &BTreeMap<String, LinuxRdma>) -> Result<(), Error> {
    for (device, limit) in limits {
        let dir = need(group, Controller::Rdma, "RDMA limits")?;
        let mut line = device.clone();
        for (key, value) in [("hca_handle", limit.hca_handles), ("hca_object", limit.hca_objects)] {
            if let Some(value) = value {
                line.push_str(&format!(" {key}={value}"));
            }
        }
        group.set(dir, "rdma.max", line)?;
    }
    Ok(())
}

/// Files that the specification's `unified` names, written line by line.
pub(super) fn set_unified(group: &Cgroup, files: &BTreeMap<String, String>) -> Result<(), Error> {
    for (name, value) in files {
        let dir = group.unified_dir().ok_or_else(|| {
            Error::unsupported(name.as_str(), "cgroup v2 is not mounted, and unified settings are of v2 only")
        })?;
        if name.contains('/') || name.starts_with('.') {
            return Err(Error::Invalid { setting: "unified", reason: format!("{name:?} is no file name") });
        }
        for line in value.lines() {
            match dir.write(name, line.as_bytes()) {
                Ok(()) => {}
                Err(Errno::NOENT | Errno::ACCESS | Errno::PERM) => {
                    let controller = name.split('.').next().unwrap_or_default();
                    let reason =
                        format!("the file is not there: controller {controller:?} may not be available");
                    return Err(Error::unsupported(name.as_str(), reason));
                }
                Err(errno) => return Err(group.refused(name, line.as_bytes(), errno)),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swap_is_what_is_left_of_both() {
        let swap = |limit, both| swap_alone(limit, both).map_err(|error| error.to_string());
        assert_eq!(swap(100, 150), Ok(Some("50".to_owned())));
        assert_eq!(swap(100, 100), Ok(Some("0".to_owned())));
        assert_eq!(swap(100, -1), Ok(Some("max".to_owned())));
        assert_eq!(swap(-1, 0), Ok(Some("max".to_owned())));
        assert_eq!(swap(100, 0), Ok(None));
        assert_eq!(swap(0, 0), Ok(None));
        assert!(swap(100, 99).is_err());
        assert!(swap(0, 100).is_err());
        assert!(swap(-1, 100).is_err());
    }

    #[test]
    fn shares_become_weights() {
        for (shares, weight) in [(1, 1), (2, 1), (1024, 100), (262_144, 10_000), (u64::MAX, 10_000)] {
            assert_eq!(weight_of_shares(shares), weight, "{shares}");
        }
        assert!((2..1024).all(|shares| weight_of_shares(shares) <= weight_of_shares(shares + 1)));
    }

    #[test]
    fn a_page_size_is_no_path() {
        for size in ["2MB", "1GB", "64KB"] {
            assert!(check_page_size(size).is_ok());
        }
        for size in ["", "MB", "../2MB", "2MB/..", "2mb"] {
            assert!(check_page_size(size).is_err(), "{size}");
        }
    }
}
