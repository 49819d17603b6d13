//! Limits in cgroup version 1, one function a controller.
//!
//! Source: `Documentation/admin-guide/cgroup-v1/`.

use std::os::fd::OwnedFd;

use berth_oci::runtime::{
    LinuxBlockIo, LinuxCpu, LinuxHugepageLimit, LinuxMemory, LinuxNetwork, LinuxPids, LinuxResources,
    LinuxThrottleDevice,
};
use rustix::io::Errno;

use super::error::Error;
use super::file::Dir;
use super::group::Cgroup;
use super::hierarchy::{Controller, Hierarchies};

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
        set_blkio(group, block_io)?;
    }
    if let Some(network) = &resources.network {
        set_network(group, network)?;
    }
    set_hugetlb(group, &resources.hugepage_limits)?;
    super::v2::set_rdma(group, &resources.rdma)?;
    super::v2::set_unified(group, &resources.unified)
}

/// On a hybrid host: does anything of this have to be set in the version 2 tree?
pub(super) fn needs_unified(hierarchies: &Hierarchies, resources: &LinuxResources) -> bool {
    let only_there = |controller| hierarchies.position(controller).is_none();
    !resources.unified.is_empty()
        || (!resources.hugepage_limits.is_empty() && only_there(Controller::Hugetlb))
        || (!resources.rdma.is_empty() && only_there(Controller::Rdma))
}

/// The directory of a controller that a setting cannot do without.
pub(super) fn need<'a>(group: &'a Cgroup, controller: Controller, setting: &str) -> Result<Dir<'a>, Error> {
    group.dir(controller).ok_or_else(|| {
        Error::unsupported(setting, format!("the {} cgroup controller is not mounted", controller.name()))
    })
}

fn set_memory(group: &Cgroup, memory: &LinuxMemory) -> Result<(), Error> {
    let LinuxMemory { limit, swap, reservation, kernel_tcp, swappiness, disable_oom_killer, .. } = memory;
    // Docker writes `disableOOMKiller: false` always: nothing to do then, so no controller to miss.
    let disable_oom = disable_oom_killer.unwrap_or(false);
    let given = [limit, swap, reservation, kernel_tcp].into_iter().flatten().any(|value| *value != 0);
    if !given && swappiness.is_none() && !disable_oom {
        return Ok(());
    }
    let dir = need(group, Controller::Memory, "memory limits")?;
    if memory.check_before_update == Some(true) {
        check_memory_before(dir, memory)?;
    }
    set_memory_and_swap(group, dir, limit.unwrap_or(0), swap.unwrap_or(0))?;
    if let Some(value) = reservation.filter(|value| *value != 0) {
        group.set(dir, "memory.soft_limit_in_bytes", value.to_string())?;
    }
    if let Some(value) = kernel_tcp.filter(|value| *value != 0) {
        group.set(dir, "memory.kmem.tcp.limit_in_bytes", value.to_string())?;
    }
    if disable_oom {
        group.set(dir, "memory.oom_control", "1")?;
    }
    match swappiness {
        Some(value) if *value > 100 => {
            Err(Error::Invalid { setting: "memory swappiness", reason: format!("{value} is not 0-100") })
        }
        Some(value) => group.set(dir, "memory.swappiness", value.to_string()),
        None => Ok(()),
    }
}

/// Sets the limit and the limit of memory and swap together, which must never be the smaller one: when growing, the
/// latter goes first; when shrinking, last. Which it is the kernel knows: it refuses the wrong order.
fn set_memory_and_swap(group: &Cgroup, dir: Dir<'_>, limit: i64, swap: i64) -> Result<(), Error> {
    const LIMIT: &str = "memory.limit_in_bytes";
    const SWAP: &str = "memory.memsw.limit_in_bytes";
    if limit > 0 && swap > 0 && swap < limit {
        let reason = format!("memory and swap together ({swap}) are less than memory ({limit})");
        return Err(Error::Invalid { setting: "memory swap limit", reason });
    }
    // No limit of memory leaves none of both.
    let swap = if limit == -1 && swap == 0 && dir.has(SWAP) { -1 } else { swap };
    let write_limit = || {
        let value = limit.to_string();
        dir.write(LIMIT, value.as_bytes()).map_err(|errno| match errno {
            Errno::BUSY => memory_in_use(dir, limit),
            errno => group.refused(LIMIT, value.as_bytes(), errno),
        })
    };
    if limit == 0 {
        return if swap == 0 { Ok(()) } else { group.set(dir, SWAP, swap.to_string()) };
    }
    if swap == 0 {
        return write_limit();
    }
    match write_limit() {
        Err(error) if error.is_invalid_argument() => {
            group.set(dir, SWAP, swap.to_string())?;
            write_limit()
        }
        Ok(()) => group.set(dir, SWAP, swap.to_string()),
        Err(error) => Err(error),
    }
}

fn memory_in_use(dir: Dir<'_>, limit: i64) -> Error {
    Error::MemoryInUse {
        limit,
        usage: dir.read_number("memory.usage_in_bytes").unwrap_or(0),
        peak: dir.read_number("memory.max_usage_in_bytes").unwrap_or(0),
    }
}

fn check_memory_before(dir: Dir<'_>, memory: &LinuxMemory) -> Result<(), Error> {
    let usage = |file| dir.read_number(file).unwrap_or(0);
    for (limit, file) in
        [(memory.limit, "memory.usage_in_bytes"), (memory.swap, "memory.memsw.usage_in_bytes")]
    {
        if let Some(limit) = limit.filter(|limit| u64::try_from(*limit).is_ok_and(|limit| limit != 0))
            && usage(file) > limit.unsigned_abs()
        {
            return Err(memory_in_use(dir, limit));
        }
    }
    Ok(())
}

fn set_cpu(group: &Cgroup, cpu: &LinuxCpu) -> Result<(), Error> {
    let shares = cpu.shares.filter(|value| *value != 0);
    let period = cpu.period.filter(|value| *value != 0);
    let quota = cpu.quota.filter(|value| *value != 0);
    let realtime_period = cpu.realtime_period.filter(|value| *value != 0);
    let realtime_runtime = cpu.realtime_runtime.filter(|value| *value != 0);
    let given = [shares, period, cpu.burst, realtime_period].iter().any(Option::is_some)
        || [quota, cpu.idle, realtime_runtime].iter().any(Option::is_some);
    if !given {
        return Ok(());
    }
    let dir = need(group, Controller::Cpu, "cpu limits")?;
    if let Some(value) = shares {
        group.set(dir, "cpu.shares", value.to_string())?;
    }
    if let Some(value) = realtime_period {
        group.set(dir, "cpu.rt_period_us", value.to_string())?;
    }
    if let Some(value) = realtime_runtime {
        group.set(dir, "cpu.rt_runtime_us", value.to_string())?;
    }
    set_quota(group, dir, period, quota, cpu.burst)?;
    cpu.idle.map_or(Ok(()), |value| group.set(dir, "cpu.idle", value.to_string()))
}

/// Period, quota and burst bound each other (the quota by the parent's share of the period, the burst by the quota),
/// so one that is refused at first is tried again when its neighbour is set.
fn set_quota(
    group: &Cgroup,
    dir: Dir<'_>,
    period: Option<u64>,
    quota: Option<i64>,
    burst: Option<u64>,
) -> Result<(), Error> {
    let set_period = || period.map_or(Ok(()), |v| group.set(dir, "cpu.cfs_period_us", v.to_string()));
    let set_burst = || burst.map_or(Ok(()), |v| group.set(dir, "cpu.cfs_burst_us", v.to_string()));
    let (mut again_period, mut again_burst) = (false, false);
    if let Err(error) = set_burst() {
        again_burst = quota.is_some() && error.is_invalid_argument();
        if !again_burst {
            return Err(error);
        }
    }
    if let Err(error) = set_period() {
        again_period = quota.is_some() && error.is_invalid_argument();
        if !again_period {
            return Err(error);
        }
    }
    if let Some(quota) = quota {
        group.set(dir, "cpu.cfs_quota_us", quota.to_string())?;
    }
    if again_period {
        set_period()?;
    }
    if again_burst { set_burst() } else { Ok(()) }
}

fn set_cpuset(group: &Cgroup, cpu: &LinuxCpu) -> Result<(), Error> {
    if cpu.cpus.is_empty() && cpu.mems.is_empty() {
        return Ok(());
    }
    let dir = need(group, Controller::Cpuset, "cpuset")?;
    for (file, list) in [("cpuset.cpus", &cpu.cpus), ("cpuset.mems", &cpu.mems)] {
        if !list.is_empty() {
            group.set(dir, file, list)?;
        }
    }
    Ok(())
}

/// Gives a group without processors or memory nodes those of its parent, from the top down.
pub(super) fn fill_cpuset(root: &OwnedFd, path: &str) -> Result<(), Errno> {
    let mut parent = Dir::new(root, "");
    let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
    for end in ends {
        let child = Dir::new(root, &path[..end]);
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if child.read(file)?.trim().is_empty() {
                child.write(file, parent.read(file)?.trim().as_bytes())?;
            }
        }
        parent = child;
    }
    Ok(())
}

/// The same for a new group. One look is enough where the parent hands its values down (`cgroup.clone_children`).
pub(super) fn fill_cpuset_if_empty(root: &OwnedFd, path: &str) -> Result<(), Errno> {
    let filled = !Dir::new(root, path).read("cpuset.mems")?.trim().is_empty();
    if filled { Ok(()) } else { fill_cpuset(root, path) }
}

fn set_pids(group: &Cgroup, pids: LinuxPids) -> Result<(), Error> {
    let dir = match need(group, Controller::Pids, "pids limit") {
        // No limit where there is none anyway.
        Err(_) if pids.limit <= 0 => return Ok(()),
        dir => dir?,
    };
    let value = if pids.limit > 0 { pids.limit.to_string() } else { "max".to_owned() };
    group.set(dir, "pids.max", value)
}

fn set_blkio(group: &Cgroup, block_io: &LinuxBlockIo) -> Result<(), Error> {
    let throttled = [
        ("blkio.throttle.read_bps_device", &block_io.throttle_read_bps_device),
        ("blkio.throttle.write_bps_device", &block_io.throttle_write_bps_device),
        ("blkio.throttle.read_iops_device", &block_io.throttle_read_iops_device),
        ("blkio.throttle.write_iops_device", &block_io.throttle_write_iops_device),
    ];
    let weights = [("weight", block_io.weight), ("leaf_weight", block_io.leaf_weight)];
    for (name, weight) in weights {
        if let Some(weight) = weight.filter(|weight| *weight != 0) {
            set_blkio_weight(group, name, &weight.to_string())?;
        }
    }
    for device in &block_io.weight_device {
        let weights = [("weight_device", device.weight), ("leaf_weight_device", device.leaf_weight)];
        for (name, weight) in weights {
            if let Some(weight) = weight {
                let value = format!("{}:{} {weight}", device.major, device.minor);
                set_blkio_weight(group, name, &value)?;
            }
        }
    }
    for (file, devices) in throttled {
        for LinuxThrottleDevice { major, minor, rate } in devices {
            let dir = need(group, Controller::Blkio, "block I/O limits")?;
            group.set(dir, file, format!("{major}:{minor} {rate}"))?;
        }
    }
    Ok(())
}

/// Weights belong to the I/O scheduler: `blkio.weight` was CFQ's, `blkio.bfq.weight` is BFQ's.
fn set_blkio_weight(group: &Cgroup, name: &str, value: &str) -> Result<(), Error> {
    let dir = need(group, Controller::Blkio, "block I/O weight")?;
    match group.set(dir, &format!("blkio.{name}"), value) {
        Err(Error::Unsupported { .. }) => group.set(dir, &format!("blkio.bfq.{name}"), value),
        done => done,
    }
}

fn set_network(group: &Cgroup, network: &LinuxNetwork) -> Result<(), Error> {
    if let Some(class) = network.class_id.filter(|class| *class != 0) {
        let dir = need(group, Controller::NetCls, "network class")?;
        group.set(dir, "net_cls.classid", class.to_string())?;
    }
    for priority in &network.priorities {
        let dir = need(group, Controller::NetPrio, "network priorities")?;
        group.set(dir, "net_prio.ifpriomap", format!("{} {}", priority.name, priority.priority))?;
    }
    Ok(())
}

fn set_hugetlb(group: &Cgroup, limits: &[LinuxHugepageLimit]) -> Result<(), Error> {
    if !limits.is_empty() && group.hierarchies.position(Controller::Hugetlb).is_none() {
        return super::v2::set_hugetlb(group, limits);
    }
    for LinuxHugepageLimit { page_size, limit } in limits {
        let dir = need(group, Controller::Hugetlb, "huge page limits")?;
        super::v2::check_page_size(page_size)?;
        group.set(dir, &format!("hugetlb.{page_size}.limit_in_bytes"), limit.to_string())?;
        // Reservations count apart since Linux 5.7; before, this file was not there.
        match group.set(dir, &format!("hugetlb.{page_size}.rsvd.limit_in_bytes"), limit.to_string()) {
            Err(Error::Unsupported { .. }) => {}
            done => done?,
        }
    }
    Ok(())
}
