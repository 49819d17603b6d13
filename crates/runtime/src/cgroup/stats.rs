//! What a group has used, in the kernel's own numbers.

use std::collections::BTreeMap;
use std::os::fd::AsFd;

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::error::Error;
use super::file::{self, Dir};
use super::group::Cgroup;
use super::hierarchy::{Controller, Version};

/// One reading of every controller that the group has. A controller that is not there leaves noughts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Whether the numbers come from version 2, whose files and keys have other names.
    pub unified: bool,
    /// Processor time.
    pub cpu: Cpu,
    /// Memory.
    pub memory: Memory,
    /// Number of tasks.
    pub pids: Pids,
    /// Block devices.
    pub blkio: Blkio,
    /// Huge pages, by their size (`2MB`).
    pub hugetlb: BTreeMap<String, Hugetlb>,
    /// RDMA, by device.
    pub rdma: BTreeMap<String, Rdma>,
}

/// Processor time. Units: nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cpu {
    /// All of it.
    pub total: u64,
    /// In user mode.
    pub user: u64,
    /// In the kernel.
    pub system: u64,
    /// By processor; version 1 only.
    pub per_cpu: Vec<u64>,
    /// In the kernel, by processor; version 1 and [`Cgroup::full_stats`] only.
    pub per_cpu_system: Vec<u64>,
    /// In user mode, by processor; version 1 and [`Cgroup::full_stats`] only.
    pub per_cpu_user: Vec<u64>,
    /// What the quota has done.
    pub throttling: Throttling,
}

/// What a quota of processor time has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Throttling {
    /// Periods that passed while there was something to run.
    pub periods: u64,
    /// Periods in which the quota was used up.
    pub throttled_periods: u64,
    /// How long processes had to wait for the next. Units: nanoseconds.
    pub throttled_time: u64,
}

/// Memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Memory itself.
    pub usage: MemoryCounter,
    /// Version 1: memory and swap together. Version 2: swap alone.
    pub swap: MemoryCounter,
    /// Kernel memory; version 1 only.
    pub kernel: MemoryCounter,
    /// Kernel memory of TCP; version 1 only.
    pub kernel_tcp: MemoryCounter,
    /// `memory.stat`, as it is.
    pub stat: BTreeMap<String, u64>,
    /// How many processes the OOM killer has killed.
    pub oom_kills: u64,
}

/// One thing of which memory there is a limit. Units: bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryCounter {
    /// In use.
    pub usage: u64,
    /// The most that ever was; nought where the kernel does not tell.
    pub max: u64,
    /// How often the limit was met.
    pub failures: u64,
    /// The limit. None is some number beyond all memory: `u64::MAX` in version 2, a page less than 2^63 in version 1.
    pub limit: u64,
}

/// Number of tasks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pids {
    /// Now.
    pub current: u64,
    /// At most; `u64::MAX` for no limit.
    pub limit: u64,
}

/// Block devices, those of groups below included.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blkio {
    /// Bytes.
    pub service_bytes: Vec<BlkioEntry>,
    /// Operations.
    pub serviced: Vec<BlkioEntry>,
}

/// One number of a block device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlkioEntry {
    /// Major number.
    pub major: u64,
    /// Minor number.
    pub minor: u64,
    /// Version 1: `Read`, `Write`, `Sync`, `Async`, `Discard`, `Total`. Version 2: `read`, `write`, `discard`.
    pub op: String,
    /// The number.
    pub value: u64,
}

/// Huge pages of one size. Units: bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hugetlb {
    /// In use.
    pub usage: u64,
    /// The most that ever was; version 1 only.
    pub max: u64,
    /// How often the limit was met.
    pub failures: u64,
}

/// RDMA of one device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rdma {
    /// Handles in use.
    pub hca_handles: u64,
    /// Objects in use.
    pub hca_objects: u64,
}

impl Cgroup {
    /// Reads what users ask for: processor time, memory, tasks, block devices. Huge pages and RDMA are left out, on
    /// version 1 also swap, kernel memory and the modes by processor: see [`Cgroup::full_stats`].
    ///
    /// # Errors
    /// [`Error::Io`] when the group is gone.
    pub fn stats(&self) -> Result<Stats, Error> {
        self.read_stats(false)
    }

    /// Reads everything, which takes three times as long on version 1.
    ///
    /// # Errors
    /// [`Error::Io`] when the group is gone.
    pub fn full_stats(&self) -> Result<Stats, Error> {
        self.read_stats(true)
    }

    /// What a file of version 1's `cpuset` says, by its name without the controller's; empty where there is none.
    pub(crate) fn cpuset(&self, name: &str) -> String {
        let dir = self.dir(Controller::Cpuset).filter(|_| self.version() != Version::V2);
        dir.and_then(|dir| dir.read(&format!("cpuset.{name}")).ok()).unwrap_or_default()
    }

    fn read_stats(&self, full: bool) -> Result<Stats, Error> {
        let mut reader = Reader { buffer: Vec::with_capacity(4096) };
        let unified = self.version() == Version::V2;
        let read = if unified { read_v2(self, &mut reader, full) } else { read_v1(self, &mut reader, full) };
        let mut stats =
            read.map_err(|errno| Error::io("read the statistics of", format!("/{}", self.path), errno))?;
        stats.unified = unified;
        Ok(stats)
    }
}

fn read_v1(group: &Cgroup, reader: &mut Reader, full: bool) -> Result<Stats, Errno> {
    let mut stats = Stats::default();
    if let Some(dir) = group.dir(Controller::Cpuacct) {
        read_cpuacct(dir, reader, &mut stats.cpu)?;
        if full {
            read_modes(dir, reader, &mut stats.cpu)?;
        }
    }
    if let Some(dir) = group.dir(Controller::Cpu) {
        let text = reader.read(dir, "cpu.stat")?;
        stats.cpu.throttling = Throttling {
            periods: value(text, "nr_periods"),
            throttled_periods: value(text, "nr_throttled"),
            throttled_time: value(text, "throttled_time"),
        };
    }
    if let Some(dir) = group.dir(Controller::Memory) {
        stats.memory.usage = read_counter(dir, "memory")?;
        stats.memory.stat = table(reader.read(dir, "memory.stat")?);
        stats.memory.oom_kills = value(reader.read(dir, "memory.oom_control")?, "oom_kill");
        if full {
            // What a kernel without swap or kernel memory accounting does not have.
            stats.memory.swap = optional(read_counter(dir, "memory.memsw"))?;
            stats.memory.kernel = optional(read_counter(dir, "memory.kmem"))?;
            stats.memory.kernel_tcp = optional(read_counter(dir, "memory.kmem.tcp"))?;
        }
    }
    read_pids(group, &mut stats)?;
    if let Some(dir) = group.dir(Controller::Blkio) {
        stats.blkio.service_bytes = read_blkio(dir, reader, "io_service_bytes_recursive")?;
        stats.blkio.serviced = read_blkio(dir, reader, "io_serviced_recursive")?;
    }
    if full {
        read_hugetlb(group, &mut stats.hugetlb)?;
        read_rdma(group, reader, &mut stats.rdma)?;
    }
    Ok(stats)
}

fn read_counter(dir: Dir<'_>, prefix: &str) -> Result<MemoryCounter, Errno> {
    let number = |suffix: &str| dir.read_number(&format!("{prefix}.{suffix}"));
    Ok(MemoryCounter {
        usage: number("usage_in_bytes")?,
        max: number("max_usage_in_bytes")?,
        failures: number("failcnt")?,
        limit: number("limit_in_bytes")?,
    })
}

fn read_v2(group: &Cgroup, reader: &mut Reader, full: bool) -> Result<Stats, Errno> {
    let mut stats = Stats::default();
    let Some(dir) = group.unified_dir() else { return Ok(stats) };
    // Without the cpu controller too, with the times alone.
    let text = reader.read(dir, "cpu.stat")?;
    let microseconds = |key| value(text, key).saturating_mul(1000);
    stats.cpu.total = microseconds("usage_usec");
    stats.cpu.user = microseconds("user_usec");
    stats.cpu.system = microseconds("system_usec");
    stats.cpu.throttling = Throttling {
        periods: value(text, "nr_periods"),
        throttled_periods: value(text, "nr_throttled"),
        throttled_time: microseconds("throttled_usec"),
    };
    if let Some(dir) = group.dir(Controller::Memory) {
        let number = |name| optional(dir.read_number(name));
        let text = reader.read(dir, "memory.events")?;
        let (failures, oom_kills) = (value(text, "max"), value(text, "oom_kill"));
        stats.memory = Memory {
            usage: MemoryCounter {
                usage: dir.read_number("memory.current")?,
                max: number("memory.peak")?,
                failures,
                limit: dir.read_number("memory.max")?,
            },
            swap: MemoryCounter {
                usage: number("memory.swap.current")?,
                max: number("memory.swap.peak")?,
                failures: 0,
                limit: number("memory.swap.max")?,
            },
            stat: table(reader.read(dir, "memory.stat")?),
            oom_kills,
            ..Memory::default()
        };
    }
    read_pids(group, &mut stats)?;
    if let Some(dir) = group.dir(Controller::Blkio) {
        stats.blkio = parse_io_stat(reader.read(dir, "io.stat")?);
    }
    if full {
        read_hugetlb(group, &mut stats.hugetlb)?;
        read_rdma(group, reader, &mut stats.rdma)?;
    }
    Ok(stats)
}

fn read_cpuacct(dir: Dir<'_>, reader: &mut Reader, cpu: &mut Cpu) -> Result<(), Errno> {
    // `USER_HZ`, which no kernel of ours builds otherwise.
    const NANOSECONDS_A_TICK: u64 = 10_000_000;
    let text = reader.read(dir, "cpuacct.usage_percpu")?;
    cpu.per_cpu = text.split_ascii_whitespace().map(file::number).collect();
    cpu.total = cpu.per_cpu.iter().sum();
    let text = reader.read(dir, "cpuacct.stat")?;
    cpu.user = value(text, "user").saturating_mul(NANOSECONDS_A_TICK);
    cpu.system = value(text, "system").saturating_mul(NANOSECONDS_A_TICK);
    Ok(())
}

/// `cpu user system`, then a line for each processor.
fn read_modes(dir: Dir<'_>, reader: &mut Reader, cpu: &mut Cpu) -> Result<(), Errno> {
    for line in reader.read(dir, "cpuacct.usage_all")?.lines().skip(1) {
        let mut numbers = line.split_ascii_whitespace().skip(1).map(file::number);
        let (user, system) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        cpu.per_cpu_user.push(user);
        cpu.per_cpu_system.push(system);
    }
    Ok(())
}

fn read_pids(group: &Cgroup, stats: &mut Stats) -> Result<(), Errno> {
    if let Some(dir) = group.dir(Controller::Pids) {
        stats.pids = Pids { current: dir.read_number("pids.current")?, limit: dir.read_number("pids.max")? };
    }
    Ok(())
}

/// The throttling layer counts for all; BFQ, where it is the scheduler, for itself.
fn read_blkio(dir: Dir<'_>, reader: &mut Reader, name: &str) -> Result<Vec<BlkioEntry>, Errno> {
    for prefix in ["blkio.throttle", "blkio.bfq"] {
        let entries = match reader.read(dir, &format!("{prefix}.{name}")) {
            Ok(text) => parse_blkio(text),
            Err(Errno::NOENT) => continue,
            Err(errno) => return Err(errno),
        };
        if !entries.is_empty() {
            return Ok(entries);
        }
    }
    Ok(Vec::new())
}

/// `8:0 Read 4096`; the sum over all devices at the end has no device.
fn parse_blkio(text: &str) -> Vec<BlkioEntry> {
    let entry = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let (major, minor) = words.next()?.split_once(':')?;
        let (op, value) = (words.next()?, words.next()?);
        Some(BlkioEntry {
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
            op: op.to_owned(),
            value: value.parse().ok()?,
        })
    };
    text.lines().filter_map(entry).collect()
}

/// `8:0 rbytes=4096 wbytes=0 rios=1 wios=0 dbytes=0 dios=0`.
fn parse_io_stat(text: &str) -> Blkio {
    let mut blkio = Blkio::default();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        let device = words.next().and_then(|device| device.split_once(':'));
        let Some((Ok(major), Ok(minor))) = device.map(|(major, minor)| (major.parse(), minor.parse())) else {
            continue;
        };
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            let (list, op) = match key {
                "rbytes" => (&mut blkio.service_bytes, "read"),
                "wbytes" => (&mut blkio.service_bytes, "write"),
                "dbytes" => (&mut blkio.service_bytes, "discard"),
                "rios" => (&mut blkio.serviced, "read"),
                "wios" => (&mut blkio.serviced, "write"),
                "dios" => (&mut blkio.serviced, "discard"),
                _ => continue,
            };
            list.push(BlkioEntry { major, minor, op: op.to_owned(), value: file::number(value) });
        }
    }
    blkio
}

fn read_hugetlb(group: &Cgroup, sizes: &mut BTreeMap<String, Hugetlb>) -> Result<(), Errno> {
    let Some(dir) = group.dir(Controller::Hugetlb) else { return Ok(()) };
    let version1 = group.hierarchies.position(Controller::Hugetlb).is_some();
    let suffix = if version1 { ".usage_in_bytes" } else { ".current" };
    for size in huge_page_sizes(dir, suffix)? {
        let number = |name: String| dir.read_number(&name);
        let usage = number(format!("hugetlb.{size}{suffix}"))?;
        let hugetlb = if version1 {
            Hugetlb {
                usage,
                max: number(format!("hugetlb.{size}.max_usage_in_bytes"))?,
                failures: number(format!("hugetlb.{size}.failcnt"))?,
            }
        } else {
            let events = dir.read(&format!("hugetlb.{size}.events"))?;
            Hugetlb { usage, max: 0, failures: value(&events, "max") }
        };
        sizes.insert(size, hugetlb);
    }
    Ok(())
}

/// The sizes for which there are files: `hugetlb.2MB.current` is `2MB`.
fn huge_page_sizes(dir: Dir<'_>, suffix: &str) -> Result<Vec<String>, Errno> {
    let opened = dir.open_self()?;
    let listed = file::open_list(opened.as_fd())?;
    let mut sizes = Vec::new();
    for entry in rustix::fs::Dir::new(listed)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy();
        let size = name.strip_prefix("hugetlb.").and_then(|rest| rest.strip_suffix(suffix));
        sizes.extend(size.filter(|size| !size.contains('.')).map(str::to_owned));
    }
    Ok(sizes)
}

fn read_rdma(group: &Cgroup, reader: &mut Reader, devices: &mut BTreeMap<String, Rdma>) -> Result<(), Errno> {
    let Some(dir) = group.dir(Controller::Rdma) else { return Ok(()) };
    for line in reader.read(dir, "rdma.current")?.lines() {
        let Some((device, rest)) = line.split_once(' ') else { continue };
        let number = |key: &str| {
            let word = rest.split_ascii_whitespace().find_map(|word| word.strip_prefix(key));
            word.map_or(0, file::number)
        };
        let rdma = Rdma { hca_handles: number("hca_handle="), hca_objects: number("hca_object=") };
        devices.insert(device.to_owned(), rdma);
    }
    Ok(())
}

/// One buffer for all files.
struct Reader {
    buffer: Vec<u8>,
}

impl Reader {
    fn read(&mut self, dir: Dir<'_>, name: &str) -> Result<&str, Errno> {
        dir.read_into(name, &mut self.buffer)?;
        std::str::from_utf8(&self.buffer).map_err(|_| Errno::ILSEQ)
    }
}

/// The number behind a key at the start of a line; nought if there is none.
fn value(text: &str, key: &str) -> u64 {
    let found = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
    found.map_or(0, file::number)
}

fn table(text: &str) -> BTreeMap<String, u64> {
    let pairs = text.lines().filter_map(|line| line.split_once(' '));
    pairs.map(|(key, value)| (key.to_owned(), file::number(value))).collect()
}

fn optional<T: Default>(result: Result<T, Errno>) -> Result<T, Errno> {
    match result {
        // Some of version 1's files are there and refuse to be read (`memory.kmem.*` on kernels that gave it up).
        Err(Errno::NOENT | Errno::OPNOTSUPP) => Ok(T::default()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_match_whole() {
        let text = "nr_periods 7\nnr_throttled 3\nthrottled_time 12\n";
        assert_eq!(value(text, "nr_periods"), 7);
        assert_eq!(value(text, "nr_"), 0);
        assert_eq!(value("oom_kill_disable 1\noom_kill 2\n", "oom_kill"), 2);
    }

    #[test]
    fn block_devices_are_read_in_both_versions() {
        let entries = parse_blkio("254:0 Read 528384\n254:0 Total 528384\nTotal 528384\n");
        assert_eq!(entries.len(), 2);
        assert_eq!((entries[0].major, entries[0].minor, entries[0].op.as_str()), (254, 0, "Read"));
        let io = parse_io_stat("254:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6\n8:16 \n");
        assert_eq!(io.service_bytes.iter().map(|entry| entry.value).collect::<Vec<_>>(), [1, 2, 5]);
        assert_eq!(io.serviced.iter().map(|entry| entry.value).collect::<Vec<_>>(), [3, 4, 6]);
        assert_eq!(parse_io_stat("(unknown) rbytes=1"), Blkio::default());
    }

    #[test]
    fn a_table_keeps_every_key() {
        let stat = table("cache 12\ntotal_cache 13\nhierarchical_memory_limit 9223372036854771712\n");
        assert_eq!(stat.len(), 3);
        assert_eq!(stat["total_cache"], 13);
    }
}
