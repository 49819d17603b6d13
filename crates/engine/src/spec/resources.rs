//! `linux.resources`: the limits of a `HostConfig` in the words of the runtime.

use berth_oci::container::{HostConfig, ThrottleDevice};
use berth_oci::runtime::{
    LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxPids, LinuxResources, LinuxThrottleDevice, LinuxWeightDevice,
};

use crate::error::{Error, Result};

/// The period of `--cpus`, in microseconds.
const CPUS_PERIOD: u64 = 100_000;

/// All limits but those of block devices and the rules for devices.
pub(crate) fn limits(host: &HostConfig) -> LinuxResources {
    let resources = &host.resources;
    let positive = |value: i64| (value > 0).then_some(value);
    let memory = LinuxMemory {
        limit: positive(resources.memory),
        reservation: positive(resources.memory_reservation),
        swap: positive(resources.memory_swap),
        swappiness: resources.memory_swappiness.and_then(|value| u64::try_from(value).ok()),
        disable_oom_killer: resources.oom_kill_disable.filter(|disable| *disable),
        ..LinuxMemory::default()
    };
    let unsigned = |value: i64| u64::try_from(value).ok().filter(|value| *value > 0);
    let mut cpu = LinuxCpu {
        shares: unsigned(resources.cpu_shares),
        quota: (resources.cpu_quota != 0).then_some(resources.cpu_quota),
        period: unsigned(resources.cpu_period),
        realtime_runtime: positive(resources.cpu_realtime_runtime),
        realtime_period: unsigned(resources.cpu_realtime_period),
        cpus: resources.cpuset_cpus.clone(),
        mems: resources.cpuset_mems.clone(),
        ..LinuxCpu::default()
    };
    if resources.nano_cpus > 0 {
        cpu.period = Some(CPUS_PERIOD);
        cpu.quota = Some(resources.nano_cpus * CPUS_PERIOD as i64 / 1_000_000_000);
    }
    let weight = Some(resources.blkio_weight).filter(|weight| *weight > 0);
    let block_io = LinuxBlockIo { weight, ..LinuxBlockIo::default() };
    LinuxResources {
        memory: Some(memory).filter(|memory| *memory != LinuxMemory::default()),
        cpu: Some(cpu).filter(|cpu| *cpu != LinuxCpu::default()),
        // None asked for is none made; nothing and -1 are "no limit".
        pids: resources.pids_limit.map(|limit| LinuxPids { limit: if limit > 0 { limit } else { -1 } }),
        block_io: Some(block_io).filter(|block_io| *block_io != LinuxBlockIo::default()),
        ..LinuxResources::default()
    }
}

/// Adds the limits of block devices. Looks at the device nodes.
///
/// Errors: a node is not there.
pub(crate) fn add_block_devices(host: &HostConfig, limits: &mut LinuxResources) -> Result<()> {
    let resources = &host.resources;
    let weights = resources.blkio_weight_device.as_deref().unwrap_or_default();
    let tables = [
        &resources.blkio_device_read_bps,
        &resources.blkio_device_write_bps,
        &resources.blkio_device_read_iops,
        &resources.blkio_device_write_iops,
    ];
    if weights.is_empty() && tables.iter().all(|table| table.as_ref().is_none_or(Vec::is_empty)) {
        return Ok(());
    }
    let block_io = limits.block_io.get_or_insert_default();
    for device in weights {
        let (major, minor) = numbers(&device.path)?;
        block_io.weight_device.push(LinuxWeightDevice {
            major,
            minor,
            weight: Some(device.weight),
            leaf_weight: None,
        });
    }
    block_io.throttle_read_bps_device = throttles(tables[0].as_deref())?;
    block_io.throttle_write_bps_device = throttles(tables[1].as_deref())?;
    block_io.throttle_read_iops_device = throttles(tables[2].as_deref())?;
    block_io.throttle_write_iops_device = throttles(tables[3].as_deref())?;
    Ok(())
}

fn throttles(devices: Option<&[ThrottleDevice]>) -> Result<Vec<LinuxThrottleDevice>> {
    let throttle = |device: &ThrottleDevice| {
        let (major, minor) = numbers(&device.path)?;
        Ok(LinuxThrottleDevice { major, minor, rate: device.rate })
    };
    devices.unwrap_or_default().iter().map(throttle).collect()
}

fn numbers(path: &str) -> Result<(i64, i64)> {
    let stat = rustix::fs::stat(path)
        .map_err(|error| Error::Io { what: format!("stat {path}"), source: error.into() })?;
    let device = stat.st_rdev;
    Ok((i64::from(rustix::fs::major(device)), i64::from(rustix::fs::minor(device))))
}
