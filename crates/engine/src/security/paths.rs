//! Paths of `/proc` and `/sys` that a container sees empty or read-only.

use std::path::Path;
use std::sync::OnceLock;

use berth_oci::container::HostConfig;

use super::SecurityOptions;

// In Docker's order, which `inspect` shows.
const MASKED: [&str; 12] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];

const READONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Docker's default list of hidden paths (`HostConfig.MaskedPaths` as `inspect` shows it).
#[must_use]
pub fn default_masked_paths() -> Vec<String> {
    static THERMAL: OnceLock<Vec<String>> = OnceLock::new();
    let mut paths: Vec<String> = MASKED.iter().map(|&path| path.to_owned()).collect();
    paths.extend_from_slice(THERMAL.get_or_init(thermal_throttle));
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

/// Where processors count how often they got too hot, which tells one container about another.
fn thermal_throttle() -> Vec<String> {
    let processor = |number: usize| format!("/sys/devices/system/cpu/cpu{number}");
    let processors = (0..).map(processor).take_while(|path| Path::new(path).exists());
    processors.map(|path| path + "/thermal_throttle").filter(|path| Path::new(path).exists()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(config: &HostConfig, options: &[&str]) -> (usize, usize) {
        let options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
        let (masked, readonly) = of_container(config, &SecurityOptions::parse(&options).unwrap());
        (masked.len(), readonly.len())
    }

    #[test]
    fn the_default_hides_and_a_list_or_an_option_shows() {
        let default = (default_masked_paths().len(), 5);
        assert!(default.0 >= 12);
        assert_eq!(check(&HostConfig::default(), &[]), default);
        assert_eq!(check(&HostConfig::default(), &["systempaths=unconfined"]), (0, 0));
        assert_eq!(check(&HostConfig { privileged: true, ..HostConfig::default() }, &[]), (0, 0));
        let listed = HostConfig {
            masked_paths: Some(vec!["/proc/kcore".to_owned()]),
            readonly_paths: Some(Vec::new()),
            ..HostConfig::default()
        };
        assert_eq!(check(&listed, &[]), (1, 0));
    }
}
