//! Limits of resources: what Docker refuses, what it discards with a warning. Pure.

use berth_oci::container::{Resources, ThrottleDevice};

use crate::error::{Error, Result};
use crate::host::{Host, parse_list};

/// The least memory that a container can be limited to, in bytes.
const LEAST_MEMORY: i64 = 6 << 20;

/// Checks limits and takes away those that the kernel does not have, adding a warning for each.
///
/// Errors: `InvalidParameter` with Docker's text.
pub(crate) fn check(
    resources: &mut Resources,
    host: &Host,
    update: bool,
    warnings: &mut Vec<String>,
) -> Result<()> {
    memory(resources, host, update, warnings)?;
    swappiness(resources, host, warnings)?;
    reservation(resources, host, warnings)?;
    oom_and_pids(resources, host, warnings);
    cpu(resources, host, warnings)?;
    cpuset(resources, host, warnings)?;
    block_io(resources, host, warnings)
}

fn refuse(message: impl Into<String>) -> Result<()> {
    Err(Error::invalid(message))
}

fn lacks(warnings: &mut Vec<String>, what: &str, consequence: &str) {
    warnings.push(format!("Your kernel does not support {what} or the cgroup is not mounted. {consequence}"));
}

fn memory(resources: &mut Resources, host: &Host, update: bool, warnings: &mut Vec<String>) -> Result<()> {
    if resources.memory != 0 && resources.memory < LEAST_MEMORY {
        return refuse("Minimum memory limit allowed is 6MB");
    }
    if resources.memory > 0 && !host.limits.memory {
        lacks(warnings, "memory limit capabilities", "Limitation discarded.");
        resources.memory = 0;
        resources.memory_swap = -1;
    }
    if resources.memory > 0 && resources.memory_swap != -1 && !host.limits.swap {
        lacks(warnings, "swap limit capabilities", "Memory limited without swap.");
        resources.memory_swap = -1;
    }
    if resources.memory > 0 && resources.memory_swap > 0 && resources.memory_swap < resources.memory {
        return refuse("Minimum memoryswap limit should be larger than memory limit, see usage");
    }
    if resources.memory == 0 && resources.memory_swap > 0 && !update {
        return refuse("You should always set the Memory limit when using Memoryswap limit, see usage");
    }
    Ok(())
}

fn swappiness(resources: &mut Resources, host: &Host, warnings: &mut Vec<String>) -> Result<()> {
    // -1 is what old clients send for "unset".
    if resources.memory_swappiness == Some(-1) {
        resources.memory_swappiness = None;
    }
    if resources.memory_swappiness.is_some() && !host.memory_swappiness {
        lacks(warnings, "memory swappiness capabilities", "Memory swappiness discarded.");
        resources.memory_swappiness = None;
    }
    match resources.memory_swappiness {
        Some(value) if !(0..=100).contains(&value) => {
            refuse(format!("Invalid value: {value}, valid memory swappiness range is 0-100"))
        }
        _ => Ok(()),
    }
}

fn reservation(resources: &mut Resources, host: &Host, warnings: &mut Vec<String>) -> Result<()> {
    if resources.memory_reservation > 0 && !host.memory_reservation {
        lacks(warnings, "memory soft limit capabilities", "Limitation discarded.");
        resources.memory_reservation = 0;
    }
    if resources.memory_reservation > 0 && resources.memory_reservation < LEAST_MEMORY {
        return refuse("Minimum memory reservation allowed is 6MB");
    }
    if resources.memory > 0 && resources.memory < resources.memory_reservation {
        return refuse("Minimum memory limit can not be less than memory reservation limit, see usage");
    }
    Ok(())
}

fn oom_and_pids(resources: &mut Resources, host: &Host, warnings: &mut Vec<String>) {
    if resources.oom_kill_disable.is_some() && !host.limits.oom_kill_disable {
        if resources.oom_kill_disable == Some(true) {
            warnings
                .push("Your kernel does not support OomKillDisable. OomKillDisable discarded.".to_owned());
        }
        resources.oom_kill_disable = None;
    }
    if resources.oom_kill_disable == Some(true) && resources.memory == 0 {
        let warning = "OOM killer is disabled for the container, but no memory limit is set, this can result in the \
                       system running out of resources.";
        warnings.push(warning.to_owned());
    }
    if resources.pids_limit.is_some() && !host.limits.pids {
        if resources.pids_limit > Some(0) {
            lacks(warnings, "PIDs limit capabilities", "PIDs limit discarded.");
        }
        resources.pids_limit = None;
    }
}

fn cpu(resources: &mut Resources, host: &Host, warnings: &mut Vec<String>) -> Result<()> {
    let (period, runtime) = (resources.cpu_realtime_period, resources.cpu_realtime_runtime);
    if period != 0 && runtime != 0 && runtime > period {
        return refuse("cpu real-time runtime cannot be higher than cpu real-time period");
    }
    if resources.nano_cpus > 0 && resources.cpu_period > 0 {
        return refuse("Conflicting options: Nano CPUs and CPU Period cannot both be set");
    }
    if resources.nano_cpus > 0 && resources.cpu_quota > 0 {
        return refuse("Conflicting options: Nano CPUs and CPU Quota cannot both be set");
    }
    let cfs = host.limits.cpu_cfs_period && host.limits.cpu_cfs_quota;
    if resources.nano_cpus > 0 && !cfs {
        return refuse(
            "NanoCPUs can not be set, as your kernel does not support CPU CFS scheduler or the cgroup is not mounted",
        );
    }
    let cpus = host.cpus as i64;
    if resources.nano_cpus < 0 || resources.nano_cpus > cpus * 1_000_000_000 {
        let text = "Range of CPUs is from 0.01 to";
        return refuse(format!("{text} {cpus}.00, as there are only {cpus} CPUs available"));
    }
    if resources.cpu_shares > 0 && !host.limits.cpu_shares {
        lacks(warnings, "CPU shares", "Shares discarded.");
        resources.cpu_shares = 0;
    }
    if (resources.cpu_period != 0 || resources.cpu_quota != 0) && !cfs {
        lacks(warnings, "CPU CFS scheduler", "CPU period/quota discarded.");
        (resources.cpu_period, resources.cpu_quota) = (0, 0);
    }
    if resources.cpu_period != 0 && !(1000..=1_000_000).contains(&resources.cpu_period) {
        return refuse(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
        );
    }
    if resources.cpu_quota > 0 && resources.cpu_quota < 1000 {
        return refuse("CPU cfs quota can not be less than 1ms (i.e. 1000)");
    }
    if resources.cpu_percent > 0 {
        warnings.push("linux does not support CPU percent. Percent discarded.".to_owned());
        resources.cpu_percent = 0;
    }
    Ok(())
}

fn cpuset(resources: &mut Resources, host: &Host, warnings: &mut Vec<String>) -> Result<()> {
    if (!resources.cpuset_cpus.is_empty() || !resources.cpuset_mems.is_empty()) && !host.limits.cpuset {
        lacks(warnings, "cpuset", "Cpuset discarded.");
        resources.cpuset_cpus.clear();
        resources.cpuset_mems.clear();
    }
    available(&resources.cpuset_cpus, &host.cpu_list, "cpus", "CPUs")?;
    available(&resources.cpuset_mems, &host.memory_node_list, "mems", "memory nodes")
}

fn available(wanted: &str, have: &str, short: &str, long: &str) -> Result<()> {
    let numbers = parse_list(wanted)
        .map_err(|error| Error::invalid(format!("Invalid value {wanted} for cpuset {short}: {error}")))?;
    let there = parse_list(have).map_err(Error::Internal)?;
    if numbers.iter().all(|number| there.contains(number)) {
        return Ok(());
    }
    refuse(format!("Requested {long} are not available - requested {wanted}, available: {have}"))
}

fn block_io(resources: &mut Resources, host: &Host, warnings: &mut Vec<String>) -> Result<()> {
    if resources.blkio_weight > 0 && !host.blkio_weight {
        lacks(warnings, "Block I/O weight", "Weight discarded.");
        resources.blkio_weight = 0;
    }
    if resources.blkio_weight > 0 && !(10..=1000).contains(&resources.blkio_weight) {
        return refuse("Range of blkio weight is from 10 to 1000");
    }
    for (asked, what) in [
        (resources.io_maximum_bandwidth != 0, "maximum bandwidth"),
        (resources.io_maximum_iops != 0, "maximum IOPs"),
    ] {
        if asked {
            let text = format!("Invalid QoS settings: linux does not support configuration of {what}");
            return Err(Error::Refused(text));
        }
    }
    if resources.blkio_weight_device.as_ref().is_some_and(|list| !list.is_empty())
        && !host.blkio_weight_device
    {
        lacks(warnings, "Block I/O weight_device", "Weight-device discarded.");
        resources.blkio_weight_device = None;
    }
    if host.blkio_throttle {
        return Ok(());
    }
    let mut discard = |devices: &mut Option<Vec<ThrottleDevice>>, unit: &str, way: &str| {
        if devices.as_ref().is_some_and(|list| !list.is_empty()) {
            let what = format!("{unit} Block I/O {way} limit");
            lacks(warnings, &what, &format!("Block I/O {unit} {way} limit discarded."));
            *devices = None;
        }
    };
    discard(&mut resources.blkio_device_read_bps, "BPS", "read");
    discard(&mut resources.blkio_device_write_bps, "BPS", "write");
    discard(&mut resources.blkio_device_read_iops, "IOPS", "read");
    discard(&mut resources.blkio_device_write_iops, "IOPS", "write");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::Limits;

    fn host() -> Host {
        Host {
            cpus: 2,
            cpu_list: "0-1".to_owned(),
            memory_node_list: "0".to_owned(),
            limits: Limits {
                memory: true,
                swap: true,
                cpu_cfs_period: true,
                cpu_cfs_quota: true,
                cpu_shares: true,
                cpuset: true,
                pids: true,
                oom_kill_disable: true,
                ..Limits::default()
            },
            memory_reservation: true,
            memory_swappiness: true,
            blkio_throttle: true,
            ..Host::default()
        }
    }

    #[test]
    fn refusals_are_dockers() {
        let refused = |resources: Resources, expect: &str| {
            let error = check(&mut resources.clone(), &host(), false, &mut Vec::new()).unwrap_err();
            assert_eq!(error.to_string(), expect);
        };
        let base = Resources::default;
        refused(Resources { memory: 1000, ..base() }, "Minimum memory limit allowed is 6MB");
        refused(
            Resources { memory: 10_000_000, memory_swap: 9_000_000, ..base() },
            "Minimum memoryswap limit should be larger than memory limit, see usage",
        );
        refused(
            Resources { memory_swap: 9_000_000, ..base() },
            "You should always set the Memory limit when using Memoryswap limit, see usage",
        );
        refused(
            Resources { memory_swappiness: Some(101), ..base() },
            "Invalid value: 101, valid memory swappiness range is 0-100",
        );
        refused(
            Resources { nano_cpus: 9_000_000_000, ..base() },
            "Range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available",
        );
        refused(
            Resources { nano_cpus: 1, cpu_period: 1000, ..base() },
            "Conflicting options: Nano CPUs and CPU Period cannot both be set",
        );
        refused(
            Resources { cpuset_cpus: "9".to_owned(), ..base() },
            "Requested CPUs are not available - requested 9, available: 0-1",
        );
        refused(
            Resources { cpuset_cpus: "x".to_owned(), ..base() },
            "Invalid value x for cpuset cpus: invalid format: x",
        );
        refused(
            Resources { cpuset_mems: "9".to_owned(), ..base() },
            "Requested memory nodes are not available - requested 9, available: 0",
        );
        refused(Resources { cpu_quota: 10, ..base() }, "CPU cfs quota can not be less than 1ms (i.e. 1000)");
    }

    #[test]
    fn what_the_kernel_lacks_is_a_warning() {
        let mut resources =
            Resources { blkio_weight: 5, oom_kill_disable: Some(true), ..Resources::default() };
        let mut warnings = Vec::new();
        check(&mut resources, &host(), false, &mut warnings).unwrap();
        assert_eq!(resources.blkio_weight, 0);
        assert_eq!(
            warnings,
            [
                "OOM killer is disabled for the container, but no memory limit is set, this can result in the system \
                 running out of resources.",
                "Your kernel does not support Block I/O weight or the cgroup is not mounted. Weight discarded."
            ]
        );
        let mut resources = Resources { memory: 10 << 20, ..Resources::default() };
        warnings.clear();
        check(&mut resources, &Host { cpu_list: "0".into(), ..Host::default() }, false, &mut warnings)
            .unwrap();
        assert_eq!((resources.memory, resources.memory_swap), (0, -1));
        assert_eq!(warnings.len(), 1);
    }
}
