//! Which limits this host can set, and what Docker says of those it cannot.

use berth_oci::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxResources};
use rustix::io::Errno;

use super::file::Dir;
use super::hierarchy::{Controller, Hierarchies, Version};

/// Which limits can be set. Docker's `info` has these as booleans, its `create` warns by them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is named after its setting")]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Support {
    pub memory: bool,
    pub memory_reservation: bool,
    pub swap: bool,
    pub swappiness: bool,
    pub oom_kill_disable: bool,
    pub kernel_memory_tcp: bool,
    pub cpu_shares: bool,
    pub cpu_quota: bool,
    pub cpu_realtime: bool,
    pub cpuset: bool,
    /// The processors that groups can be given, as a list.
    pub cpus: String,
    /// The memory nodes that groups can be given, as a list.
    pub mems: String,
    pub pids: bool,
    pub blkio_weight: bool,
    pub blkio_weight_device: bool,
    pub blkio_read_bps: bool,
    pub blkio_write_bps: bool,
    pub blkio_read_iops: bool,
    pub blkio_write_iops: bool,
    pub hugetlb: bool,
    pub devices: bool,
    pub freezer: bool,
}

impl Hierarchies {
    /// Looks which limits can be set. Some twenty system calls: ask once.
    #[must_use]
    pub fn support(&self) -> Support {
        if self.version() == Version::V2 { self.support_v2() } else { self.support_v1() }
    }

    fn support_v1(&self) -> Support {
        let root =
            |controller| self.position(controller).map(|position| Dir::new(&self.v1[position].root, ""));
        let has = |controller, name| root(controller).is_some_and(|root| root.has(name));
        let throttle = |name| has(Controller::Blkio, name);
        Support {
            memory: has(Controller::Memory, "memory.limit_in_bytes"),
            memory_reservation: has(Controller::Memory, "memory.soft_limit_in_bytes"),
            swap: has(Controller::Memory, "memory.memsw.limit_in_bytes"),
            swappiness: has(Controller::Memory, "memory.swappiness"),
            oom_kill_disable: has(Controller::Memory, "memory.oom_control"),
            kernel_memory_tcp: has(Controller::Memory, "memory.kmem.tcp.limit_in_bytes"),
            cpu_shares: has(Controller::Cpu, "cpu.shares"),
            cpu_quota: has(Controller::Cpu, "cpu.cfs_quota_us"),
            cpu_realtime: has(Controller::Cpu, "cpu.rt_period_us"),
            cpuset: root(Controller::Cpuset).is_some(),
            cpus: list(root(Controller::Cpuset), "cpuset.cpus"),
            mems: list(root(Controller::Cpuset), "cpuset.mems"),
            pids: root(Controller::Pids).is_some(),
            blkio_weight: throttle("blkio.weight"),
            blkio_weight_device: throttle("blkio.weight_device"),
            blkio_read_bps: throttle("blkio.throttle.read_bps_device"),
            blkio_write_bps: throttle("blkio.throttle.write_bps_device"),
            blkio_read_iops: throttle("blkio.throttle.read_iops_device"),
            blkio_write_iops: throttle("blkio.throttle.write_iops_device"),
            hugetlb: self.has(Controller::Hugetlb),
            devices: root(Controller::Devices).is_some(),
            freezer: root(Controller::Freezer).is_some(),
        }
    }

    /// The root group of version 2 has hardly any files; what the controllers can do is known.
    fn support_v2(&self) -> Support {
        let has = |controller| self.has(controller);
        let root = self.unified.as_ref().map(|unified| Dir::new(&unified.root, ""));
        let io = has(Controller::Blkio);
        Support {
            memory: has(Controller::Memory),
            memory_reservation: has(Controller::Memory),
            swap: has(Controller::Memory) && std::path::Path::new("/proc/swaps").exists(),
            cpu_shares: has(Controller::Cpu),
            cpu_quota: has(Controller::Cpu),
            cpuset: has(Controller::Cpuset),
            cpus: list(root, "cpuset.cpus.effective"),
            mems: list(root, "cpuset.mems.effective"),
            pids: has(Controller::Pids),
            blkio_weight: io,
            blkio_weight_device: io,
            blkio_read_bps: io,
            blkio_write_bps: io,
            blkio_read_iops: io,
            blkio_write_iops: io,
            hugetlb: has(Controller::Hugetlb),
            devices: true,
            freezer: true,
            ..Support::default()
        }
    }
}

impl Support {
    /// Takes out of `resources` what cannot be set here; answers what to tell the user, in Docker's words.
    ///
    /// Docker does so at `create`. For what it refuses instead (`--cpus` without a quota, real-time scheduling
    /// without the controller) see [`Support::refuse`].
    pub fn discard(&self, resources: &mut LinuxResources) -> Vec<String> {
        let mut warnings = Warnings::default();
        if let Some(memory) = &mut resources.memory {
            self.discard_memory(memory, &mut warnings);
        }
        if let Some(cpu) = &mut resources.cpu {
            self.discard_cpu(cpu, &mut warnings);
        }
        if let Some(pids) = &resources.pids
            && !self.pids
        {
            if pids.limit > 0 {
                warnings.push("PIDs limit capabilities", true, "PIDs limit");
            }
            resources.pids = None;
        }
        if let Some(block_io) = &mut resources.block_io {
            self.discard_block_io(block_io, &mut warnings);
        }
        warnings.0
    }

    fn discard_memory(&self, memory: &mut LinuxMemory, warnings: &mut Warnings) {
        if !self.memory && is_set(memory.limit) {
            warnings.push("memory limit capabilities", true, "Limitation");
            memory.limit = None;
            memory.swap = None;
        }
        if !self.swap && is_set(memory.swap) {
            if memory.limit.is_some_and(|limit| limit > 0) && memory.swap != Some(-1) {
                warnings.0.push(
                    "Your kernel does not support swap limit capabilities or the cgroup is not mounted. Memory \
                     limited without swap."
                        .to_owned(),
                );
            }
            memory.swap = None;
        }
        if !self.swappiness && memory.swappiness.is_some() {
            warnings.push("memory swappiness capabilities", true, "Memory swappiness");
            memory.swappiness = None;
        }
        if !self.memory_reservation && is_set(memory.reservation) {
            warnings.push("memory soft limit capabilities", true, "Limitation");
            memory.reservation = None;
        }
        if !self.oom_kill_disable && memory.disable_oom_killer == Some(true) {
            warnings.push("OomKillDisable", false, "OomKillDisable");
            memory.disable_oom_killer = None;
        }
    }

    fn discard_cpu(&self, cpu: &mut LinuxCpu, warnings: &mut Warnings) {
        if !self.cpu_shares && cpu.shares.is_some_and(|shares| shares > 0) {
            warnings.push("CPU shares", true, "Shares");
            cpu.shares = None;
        }
        if !self.cpu_quota && (cpu.period.is_some_and(|period| period > 0) || is_set(cpu.quota)) {
            warnings.push("CPU CFS scheduler", false, "CPU period/quota");
            cpu.period = None;
            cpu.quota = None;
        }
        let placed = !cpu.cpus.is_empty() || !cpu.mems.is_empty();
        if placed && !self.cpuset {
            warnings.push("cpuset", true, "Cpuset");
            cpu.cpus.clear();
            cpu.mems.clear();
        }
    }

    fn discard_block_io(&self, block_io: &mut LinuxBlockIo, warnings: &mut Warnings) {
        if !self.blkio_weight && block_io.weight.is_some_and(|weight| weight > 0) {
            warnings.push("Block I/O weight", true, "Weight");
            block_io.weight = None;
        }
        if !self.blkio_weight_device && !block_io.weight_device.is_empty() {
            warnings.push("Block I/O weight_device", true, "Weight-device");
            block_io.weight_device.clear();
        }
        for (supported, devices, long, short) in [
            (
                self.blkio_read_bps,
                &mut block_io.throttle_read_bps_device,
                "BPS Block I/O read limit",
                "BPS read",
            ),
            (
                self.blkio_write_bps,
                &mut block_io.throttle_write_bps_device,
                "BPS Block I/O write limit",
                "BPS write",
            ),
            (
                self.blkio_read_iops,
                &mut block_io.throttle_read_iops_device,
                "IOPS Block read limit",
                "IOPS read",
            ),
            (
                self.blkio_write_iops,
                &mut block_io.throttle_write_iops_device,
                "IOPS Block write limit",
                "IOPS write",
            ),
        ] {
            if !supported && !devices.is_empty() {
                warnings.push(long, true, &format!("Block I/O {short} limit"));
                devices.clear();
            }
        }
    }

    /// What Docker does not start a container for, in its words: a list of processors or memory nodes that are not
    /// there, real-time scheduling without its controller.
    #[must_use]
    pub fn refuse(&self, resources: &LinuxResources) -> Option<String> {
        let cpu = resources.cpu.as_ref()?;
        let realtime = is_set(cpu.realtime_runtime) || cpu.realtime_period.is_some_and(|period| period > 0);
        if realtime && !self.cpu_realtime {
            let what = if is_set(cpu.realtime_runtime) { "runtime" } else { "period" };
            return Some(format!("Your kernel does not support CPU real-time {what}"));
        }
        let lists = [
            ("CPUs", "cpuset-cpus", &cpu.cpus, &self.cpus),
            ("memory nodes", "cpuset-mems", &cpu.mems, &self.mems),
        ];
        for (what, flag, wanted, available) in lists {
            if wanted.is_empty() || !self.cpuset {
                continue;
            }
            let Some(numbers) = parse_list(wanted) else {
                return Some(format!("Invalid value {wanted} for {}", flag.replace('-', " ")));
            };
            let known = parse_list(available).unwrap_or_default();
            if numbers.iter().any(|number| !known.contains(number)) {
                return Some(format!(
                    "Requested {what} are not available - requested {wanted}, available: {available}"
                ));
            }
        }
        None
    }
}

#[derive(Default)]
struct Warnings(Vec<String>);

impl Warnings {
    fn push(&mut self, feature: &str, cgroup: bool, discarded: &str) {
        let cgroup = if cgroup { " or the cgroup is not mounted" } else { "" };
        self.0.push(format!("Your kernel does not support {feature}{cgroup}. {discarded} discarded."));
    }
}

/// Nought means unset in Docker's requests.
fn is_set(value: Option<i64>) -> bool {
    value.is_some_and(|value| value != 0)
}

/// `0-2,5` as numbers, each once.
fn parse_list(text: &str) -> Option<Vec<u32>> {
    // What the kernel can count in a list; more would be a request for memory, not for processors.
    const MAX: u32 = 8192;
    let mut numbers = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if first > last || last > MAX {
            return None;
        }
        numbers.extend(first..=last);
    }
    Some(numbers)
}

fn list(dir: Option<Dir<'_>>, name: &str) -> String {
    let text: Result<String, Errno> = dir.map_or(Ok(String::new()), |dir| dir.read(name));
    text.unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_oci::runtime::LinuxPids;

    #[test]
    fn what_is_missing_is_discarded_with_dockers_words() {
        let mut resources = LinuxResources {
            memory: Some(LinuxMemory { limit: Some(1 << 20), swap: Some(2 << 20), ..LinuxMemory::default() }),
            cpu: Some(LinuxCpu { shares: Some(512), cpus: "0".to_owned(), ..LinuxCpu::default() }),
            pids: Some(LinuxPids { limit: 10 }),
            block_io: Some(LinuxBlockIo { weight: Some(100), ..LinuxBlockIo::default() }),
            ..LinuxResources::default()
        };
        let support = Support { memory: true, cpuset: true, cpus: "0-1".to_owned(), ..Support::default() };
        let warnings = support.discard(&mut resources);
        let kernel = "Your kernel does not support";
        assert_eq!(
            warnings,
            [
                format!(
                    "{kernel} swap limit capabilities or the cgroup is not mounted. Memory limited without swap."
                ),
                format!("{kernel} CPU shares or the cgroup is not mounted. Shares discarded."),
                format!(
                    "{kernel} PIDs limit capabilities or the cgroup is not mounted. PIDs limit discarded."
                ),
                format!("{kernel} Block I/O weight or the cgroup is not mounted. Weight discarded."),
            ]
        );
        let memory = resources.memory.unwrap();
        assert_eq!((memory.limit, memory.swap), (Some(1 << 20), None));
        let cpu = resources.cpu.unwrap();
        assert_eq!((cpu.shares, cpu.cpus.as_str()), (None, "0"));
        assert!(resources.pids.is_none());
    }

    #[test]
    fn what_is_there_is_left_alone() {
        let mut resources = LinuxResources {
            memory: Some(LinuxMemory {
                limit: Some(1),
                disable_oom_killer: Some(false),
                ..LinuxMemory::default()
            }),
            block_io: Some(LinuxBlockIo::default()),
            ..LinuxResources::default()
        };
        let before = resources.clone();
        assert!(Support { memory: true, ..Support::default() }.discard(&mut resources).is_empty());
        assert_eq!(resources, before);
    }

    #[test]
    fn processors_that_are_not_there_are_refused() {
        let support =
            Support { cpuset: true, cpus: "0-1,3".to_owned(), mems: "0".to_owned(), ..Support::default() };
        let check = |cpus: &str| {
            let cpu = LinuxCpu { cpus: cpus.to_owned(), ..LinuxCpu::default() };
            support.refuse(&LinuxResources { cpu: Some(cpu), ..LinuxResources::default() })
        };
        assert_eq!(check("0,3"), None);
        assert_eq!(check(""), None);
        assert_eq!(
            check("0-2").as_deref(),
            Some("Requested CPUs are not available - requested 0-2, available: 0-1,3")
        );
        assert_eq!(check("a").as_deref(), Some("Invalid value a for cpuset cpus"));
        assert_eq!(check("2-1").as_deref(), Some("Invalid value 2-1 for cpuset cpus"));
        assert!(check("0-4000000000").is_some());
    }
}
