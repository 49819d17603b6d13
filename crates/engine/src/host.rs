//! What the machine has: processors, memory, the limits its kernel knows. Read once, when the engine opens.

use std::path::{Path, PathBuf};

use crate::system::Limits;

/// The machine, as far as containers care.
#[derive(Clone, Debug, Default)]
pub(crate) struct Host {
    /// Processors that the engine may run on.
    pub(crate) cpus: usize,
    /// The machine's processors as a list: `0-3`.
    pub(crate) cpu_list: String,
    /// Its memory nodes as a list.
    pub(crate) memory_node_list: String,
    /// Memory in bytes.
    pub(crate) memory: u64,
    /// cgroup v2 is the hierarchy with the controllers.
    pub(crate) cgroup_v2: bool,
    /// What can be limited, as `info` shows it.
    pub(crate) limits: Limits,
    /// `memory.soft_limit_in_bytes` or `memory.low`.
    pub(crate) memory_reservation: bool,
    /// `memory.swappiness` of a cgroup.
    pub(crate) memory_swappiness: bool,
    /// Weight of block I/O.
    pub(crate) blkio_weight: bool,
    /// Weight of block I/O by device.
    pub(crate) blkio_weight_device: bool,
    /// Limits of block I/O by device.
    pub(crate) blkio_throttle: bool,
    /// Cgroup namespaces.
    pub(crate) cgroup_namespaces: bool,
}

impl Host {
    /// Looks at the machine.
    pub(crate) fn look() -> Host {
        let mut host = Host {
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            memory: meminfo_total(&read("/proc/meminfo")).unwrap_or(0),
            cgroup_namespaces: Path::new("/proc/self/ns/cgroup").exists(),
            ..Host::default()
        };
        let hierarchies = Hierarchies::parse(&read("/proc/self/mountinfo"));
        match hierarchies.v1("memory").or_else(|| hierarchies.v1("cpu")) {
            Some(_) => host.look_v1(&hierarchies),
            None => host.look_v2(&hierarchies),
        }
        let list = |path: &str, fallback: &str| {
            let text = read(path).trim().to_owned();
            if text.is_empty() { fallback.to_owned() } else { text }
        };
        if host.cpu_list.is_empty() {
            host.cpu_list = list("/sys/devices/system/cpu/online", "0");
        }
        if host.memory_node_list.is_empty() {
            host.memory_node_list = list("/sys/devices/system/node/online", "0");
        }
        host.limits.ipv4_forwarding = read("/proc/sys/net/ipv4/ip_forward").trim() != "0";
        host.limits.bridge_nf = read("/proc/sys/net/bridge/bridge-nf-call-iptables").trim() == "1";
        host.limits.bridge_nf_v6 = read("/proc/sys/net/bridge/bridge-nf-call-ip6tables").trim() == "1";
        host
    }

    fn look_v1(&mut self, hierarchies: &Hierarchies) {
        let has = |controller: &str, file: &str| {
            hierarchies.v1(controller).is_some_and(|mount| mount.join(file).exists())
        };
        let text = |controller: &str, file: &str| {
            hierarchies
                .v1(controller)
                .map_or_else(String::new, |mount| read(mount.join(file)).trim().to_owned())
        };
        self.limits = Limits {
            memory: has("memory", "memory.limit_in_bytes"),
            swap: has("memory", "memory.memsw.limit_in_bytes"),
            oom_kill_disable: has("memory", "memory.oom_control"),
            cpu_shares: has("cpu", "cpu.shares"),
            cpu_cfs_period: has("cpu", "cpu.cfs_period_us"),
            cpu_cfs_quota: has("cpu", "cpu.cfs_quota_us"),
            cpuset: hierarchies.v1("cpuset").is_some(),
            pids: hierarchies.v1("pids").is_some(),
            ..Limits::default()
        };
        self.memory_reservation = has("memory", "memory.soft_limit_in_bytes");
        self.memory_swappiness = has("memory", "memory.swappiness");
        self.blkio_weight = has("blkio", "blkio.weight") || has("blkio", "blkio.bfq.weight");
        self.blkio_weight_device =
            has("blkio", "blkio.weight_device") || has("blkio", "blkio.bfq.weight_device");
        self.blkio_throttle = has("blkio", "blkio.throttle.read_bps_device");
        self.cpu_list = text("cpuset", "cpuset.cpus");
        self.memory_node_list = text("cpuset", "cpuset.mems");
    }

    fn look_v2(&mut self, hierarchies: &Hierarchies) {
        let Some(mount) = &hierarchies.v2 else { return };
        self.cgroup_v2 = true;
        let controllers = read(mount.join("cgroup.controllers"));
        let has = |controller: &str| controllers.split_whitespace().any(|name| name == controller);
        self.limits = Limits {
            memory: has("memory"),
            // The root cgroup has no such file; swap is accounted unless the kernel was told otherwise.
            swap: has("memory") && !read("/proc/cmdline").contains("swapaccount=0"),
            cpu_shares: has("cpu"),
            cpu_cfs_period: has("cpu"),
            cpu_cfs_quota: has("cpu"),
            cpuset: has("cpuset"),
            pids: has("pids"),
            ..Limits::default()
        };
        self.memory_reservation = has("memory");
        self.blkio_weight = has("io");
        self.blkio_weight_device = has("io");
        self.blkio_throttle = has("io");
        self.cpu_list = read(mount.join("cpuset.cpus.effective")).trim().to_owned();
        self.memory_node_list = read(mount.join("cpuset.mems.effective")).trim().to_owned();
    }
}

/// Where cgroup hierarchies are mounted.
#[derive(Debug, Default)]
struct Hierarchies {
    v1: Vec<(String, PathBuf)>,
    v2: Option<PathBuf>,
}

impl Hierarchies {
    /// The first mount of each controller, from `/proc/self/mountinfo`.
    fn parse(mountinfo: &str) -> Hierarchies {
        let mut found = Hierarchies::default();
        for line in mountinfo.lines() {
            let Some((front, back)) = line.split_once(" - ") else { continue };
            let Some(mount) = front.split(' ').nth(4) else { continue };
            let mut back = back.split(' ');
            match back.next() {
                Some("cgroup2") if found.v2.is_none() => found.v2 = Some(PathBuf::from(mount)),
                Some("cgroup") => {
                    for controller in back.nth(1).unwrap_or("").split(',') {
                        if found.v1(controller).is_none() {
                            found.v1.push((controller.to_owned(), PathBuf::from(mount)));
                        }
                    }
                }
                _ => {}
            }
        }
        found
    }

    fn v1(&self, controller: &str) -> Option<&Path> {
        self.v1.iter().find(|(name, _)| name == controller).map(|(_, mount)| mount.as_path())
    }
}

/// The numbers of a list as the kernel writes it: `0-2,7`.
///
/// Errors: the text that Docker shows.
pub(crate) fn parse_list(list: &str) -> Result<Vec<u32>, String> {
    let invalid = |part: &str| format!("invalid format: {part}");
    let mut numbers = Vec::new();
    for part in list.split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let first: u32 = first.trim().parse().map_err(|_| invalid(part))?;
        let last: u32 = last.trim().parse().map_err(|_| invalid(part))?;
        // A bound keeps a hostile list from filling the memory; no machine has so many.
        if last < first || last > 65_535 {
            return Err(invalid(part));
        }
        numbers.extend(first..=last);
    }
    numbers.sort_unstable();
    numbers.dedup();
    Ok(numbers)
}

/// The whole of a file as text, or nothing.
pub(crate) fn read(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn meminfo_total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find(|line| line.starts_with("MemTotal:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kibibytes| kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        assert_eq!(parse_list("0-2,7").unwrap(), [0, 1, 2, 7]);
        assert!(parse_list("").unwrap().is_empty());
        assert_eq!(parse_list("3,1-2,2").unwrap(), [1, 2, 3]);
        for bad in ["x", "1-", "-1", "2-1", "0-99999999"] {
            assert_eq!(parse_list(bad).unwrap_err(), format!("invalid format: {bad}"));
        }
    }

    #[test]
    fn hierarchies_are_found_by_controller() {
        let text = "33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n\
                    41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
                    47 45 0:30 / /elsewhere/cpu rw - cgroup cgroup rw,cpu,cpuacct\n";
        let found = Hierarchies::parse(text);
        assert_eq!(found.v1("cpuacct"), Some(Path::new("/sys/fs/cgroup/cpu,cpuacct")));
        assert_eq!(found.v1("memory"), None);
        assert_eq!(found.v2.as_deref(), Some(Path::new("/sys/fs/cgroup/unified")));
    }

    #[test]
    fn this_machine_has_memory_and_processors() {
        let host = Host::look();
        assert!(host.memory > 1 << 20 && host.cpus > 0);
        assert!(!parse_list(&host.cpu_list).unwrap().is_empty());
    }
}
