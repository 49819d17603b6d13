//! Paths of `/proc` and `/sys` that a container sees empty or read-only.

use berth_oci::container::HostConfig;

use super::SecurityOptions;

const MASKED: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

const READONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Docker's default list of hidden paths (`HostConfig.MaskedPaths` as `inspect` shows it).
#[must_use]
pub fn default_masked_paths() -> Vec<String> {
    // A counter of throttling events a processor tells on the neighbours.
    let mut paths: Vec<String> = MASKED.iter().map(|&path| path.to_owned()).collect();
    paths.extend(thermal_throttle());
    paths
}

/// Docker's default list of read-only paths (`HostConfig.ReadonlyPaths` as `inspect` shows it).
#[must_use]
pub fn default_readonly_paths() -> Vec<String> {
    READONLY.iter().map(|&path| path.to_owned()).collect()
}

/// The masked and the read-only paths of a container: what the request lists; else none for a privileged one and
/// with `systempaths=unconfined`; else the default.
pub(super) fn of_container(config: &HostConfig, options: &SecurityOptions) -> (Vec<String>, Vec<String>) {
    let open = config.privileged || options.system_paths_unconfined;
    let choose = |listed: &Option<Vec<String>>, default: fn() -> Vec<String>| match listed {
        _ if open => Vec::new(),
        Some(paths) => paths.clone(),
        None => default(),
    };
    (
        choose(&config.masked_paths, default_masked_paths),
        choose(&config.readonly_paths, default_readonly_paths),
    )
}

fn thermal_throttle() -> Vec<String> {
    let mut paths = Vec::new();
    for number in 0.. {
        let processor = format!("/sys/devices/system/cpu/cpu{number}");
        if !std::path::Path::new(&processor).exists() {
            break;
        }
        let path = format!("{processor}/thermal_throttle");
        if std::path::Path::new(&path).exists() {
            paths.push(path);
        }
    }
    paths
}
