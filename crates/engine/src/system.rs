//! The engine and the machine, as `info` and `system df` show them.

/// What `docker info` shows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SystemInfo {
    /// The engine's id: kept in the data root.
    pub id: String,
    /// Containers in all.
    pub containers: usize,
    /// Those that run.
    pub running: usize,
    /// Those that are paused.
    pub paused: usize,
    /// Those that do not run.
    pub stopped: usize,
    /// Images.
    pub images: usize,
    /// The storage driver (`overlay2`) and what `info` says of it.
    pub storage: (String, Vec<(String, String)>),
    /// The host's name.
    pub host_name: String,
    /// The kernel's release.
    pub kernel: String,
    /// The distribution, by its own name.
    pub operating_system: String,
    /// Its version.
    pub os_version: String,
    /// `x86_64`, `aarch64`.
    pub architecture: String,
    /// Processors that the engine may use.
    pub cpus: usize,
    /// Memory in bytes.
    pub memory: u64,
    /// `cgroupfs` or `systemd`.
    pub cgroup_driver: String,
    /// `1` or `2`.
    pub cgroup_version: String,
    /// What the kernel can limit.
    pub limits: Limits,
    /// `name=seccomp,profile=builtin`, …
    pub security_options: Vec<String>,
    /// Names of runtimes, with the path of each.
    pub runtimes: Vec<(String, String)>,
    /// The runtime of containers that name none.
    pub default_runtime: String,
    /// The init program.
    pub init_binary: String,
    /// `json-file`.
    pub log_driver: String,
    /// Log drivers there are.
    pub log_drivers: Vec<String>,
    /// Network drivers there are.
    pub network_drivers: Vec<String>,
    /// Volume drivers there are.
    pub volume_drivers: Vec<String>,
    /// Where the engine keeps its data.
    pub data_root: String,
    /// Labels of the engine.
    pub labels: Vec<String>,
    /// Whether the engine tells more than usual.
    pub debug: bool,
    /// Open descriptors of the engine.
    pub open_files: usize,
    /// Tasks of the engine.
    pub tasks: usize,
    /// Who listens to events.
    pub event_listeners: usize,
    /// What the user should know of the machine.
    pub warnings: Vec<String>,
}

/// What the kernel can limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Memory.
    pub memory: bool,
    /// Memory and swap.
    pub swap: bool,
    /// CPU quota.
    pub cpu_cfs_period: bool,
    /// CPU quota.
    pub cpu_cfs_quota: bool,
    /// CPU shares.
    pub cpu_shares: bool,
    /// CPU sets.
    pub cpuset: bool,
    /// Number of processes.
    pub pids: bool,
    /// `oom_kill_disable`.
    pub oom_kill_disable: bool,
    /// Forwarding of IPv4.
    pub ipv4_forwarding: bool,
    /// Bridged packets pass the firewall.
    pub bridge_nf: bool,
    /// The same for IPv6.
    pub bridge_nf_v6: bool,
}

/// What images, containers and volumes take on disk.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DiskUsage {
    /// All layers, documents and compressed layers together, in bytes.
    pub layers_size: u64,
    /// Each image, its size with all that it needs on the disk.
    pub images: Vec<crate::image::ImageSummary>,
    /// Each container's id with its size.
    pub containers: Vec<(String, crate::container::ContainerSize)>,
    /// Each volume without options of its driver, with its size.
    pub volumes: Vec<(crate::VolumeView, u64)>,
}
