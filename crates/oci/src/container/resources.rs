//! Limits of a container's cgroup, and its devices.

use serde::{Deserialize, Serialize};

use super::Map;

use crate::units::quote;

/// Limits and devices. Zero, empty and unset mean: no limit.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Resources {
    /// Weight of the CPU time.
    pub cpu_shares: i64,
    /// Memory in bytes.
    pub memory: i64,
    /// CPU time in billionths of a CPU.
    pub nano_cpus: i64,
    /// The cgroup that the container's cgroup is made in.
    pub cgroup_parent: String,
    /// Weight of the block I/O, 10 to 1000.
    pub blkio_weight: u16,
    /// The same, per device.
    pub blkio_weight_device: Option<Vec<WeightDevice>>,
    /// Bytes read a second, per device.
    pub blkio_device_read_bps: Option<Vec<ThrottleDevice>>,
    /// Bytes written a second, per device.
    pub blkio_device_write_bps: Option<Vec<ThrottleDevice>>,
    /// Reads a second, per device.
    #[serde(rename = "BlkioDeviceReadIOps")]
    pub blkio_device_read_iops: Option<Vec<ThrottleDevice>>,
    /// Writes a second, per device.
    #[serde(rename = "BlkioDeviceWriteIOps")]
    pub blkio_device_write_iops: Option<Vec<ThrottleDevice>>,
    /// Period of the CPU quota in microseconds.
    pub cpu_period: i64,
    /// CPU time a period in microseconds.
    pub cpu_quota: i64,
    /// Period of the real-time scheduler in microseconds.
    pub cpu_realtime_period: i64,
    /// Real-time CPU time a period in microseconds.
    pub cpu_realtime_runtime: i64,
    /// CPUs: `0-2,4`.
    pub cpuset_cpus: String,
    /// Memory nodes: `0-2,4`.
    pub cpuset_mems: String,
    /// Devices of the host.
    pub devices: Option<Vec<DeviceMapping>>,
    /// More rules of the device cgroup: `c 1:3 rwm`.
    pub device_cgroup_rules: Option<Vec<String>>,
    /// Devices asked for by driver and capability.
    pub device_requests: Option<Vec<DeviceRequest>>,
    /// Memory in bytes that is kept when memory is short.
    pub memory_reservation: i64,
    /// Memory and swap together in bytes; -1: no limit of swap.
    pub memory_swap: i64,
    /// Readiness to swap, 0 to 100.
    pub memory_swappiness: Option<i64>,
    /// Stop the container instead of killing a process when its memory runs out.
    pub oom_kill_disable: Option<bool>,
    /// Number of processes; 0 and -1: no limit; unset: no change.
    pub pids_limit: Option<i64>,
    /// Limits of the process.
    pub ulimits: Option<Vec<Ulimit>>,
    /// Windows only.
    pub cpu_count: i64,
    /// Windows only.
    pub cpu_percent: i64,
    /// Windows only.
    #[serde(rename = "IOMaximumIOps")]
    pub io_maximum_iops: u64,
    /// Windows only.
    #[serde(rename = "IOMaximumBandwidth")]
    pub io_maximum_bandwidth: u64,
}

/// The weight of a device's block I/O.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct WeightDevice {
    /// The device node of the host.
    pub path: String,
    /// 10 to 1000.
    pub weight: u16,
}

/// A limit of a device's block I/O.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ThrottleDevice {
    /// The device node of the host.
    pub path: String,
    /// Bytes or operations a second.
    pub rate: u64,
}

/// A device of the host that the container sees.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DeviceMapping {
    /// The device node of the host.
    pub path_on_host: String,
    /// The device node inside.
    pub path_in_container: String,
    /// A choice of `r`, `w` and `m`.
    pub cgroup_permissions: String,
}

/// Devices asked for by driver and capability.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DeviceRequest {
    /// `nvidia`, `cdi`, …; any when empty.
    pub driver: String,
    /// How many; -1: all.
    pub count: i32,
    /// Which.
    #[serde(rename = "DeviceIDs")]
    pub device_ids: Option<Vec<String>>,
    /// What they can do: one of the outer list, all of the inner list.
    pub capabilities: Option<Vec<Option<Vec<String>>>>,
    /// Options of the driver.
    pub options: Option<Map<String>>,
}

/// A limit of the process.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Ulimit {
    /// `nofile`, `core`, …
    pub name: String,
    /// The hard limit; -1: none.
    pub hard: i64,
    /// The soft limit; -1: none.
    pub soft: i64,
}

/// The limits that there are, as Docker names them.
const ULIMITS: &[&str] = &[
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

impl Ulimit {
    /// Reads `name=soft[:hard]`.
    ///
    /// # Errors
    /// Docker's text.
    pub fn parse(value: &str) -> Result<Self, String> {
        let Some((name, limits)) = value.split_once('=') else {
            return Err(format!("invalid ulimit argument: {value}"));
        };
        if !ULIMITS.contains(&name) {
            return Err(format!("invalid ulimit type: {name}"));
        }
        let numbers: Vec<&str> = limits.split(':').collect();
        let number = |text: &str| {
            let plain = text.strip_prefix(['-', '+']).unwrap_or(text);
            let is_decimal = !plain.is_empty() && plain.bytes().all(|byte| byte.is_ascii_digit());
            if !is_decimal {
                return Err(format!("strconv.ParseInt: parsing {}: invalid syntax", quote(text)));
            }
            text.parse::<i64>()
                .map_err(|_| format!("strconv.ParseInt: parsing {}: value out of range", quote(text)))
        };
        let (soft, hard) = match numbers.as_slice() {
            [soft] => (number(soft)?, number(soft)?),
            [soft, hard] => (number(soft)?, number(hard)?),
            _ => {
                return Err(format!(
                    "too many limit value arguments - {limits}, can only have up to two, `soft[:hard]`"
                ));
            }
        };
        if hard != -1 {
            if soft == -1 {
                return Err(format!(
                    "ulimit soft limit must be less than or equal to hard limit: soft: -1 (unlimited), hard: {hard}"
                ));
            }
            if soft > hard {
                return Err(format!(
                    "ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}"
                ));
            }
        }
        Ok(Self { name: name.to_owned(), hard, soft })
    }
}
