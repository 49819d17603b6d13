//! The options of `run` and `create`.

use berth_api::container::{DeviceRequest, Map, Mount, ThrottleDevice, Ulimit, WeightDevice};

use crate::values::networks::Attachment;

/// Everything that can be said of a new container, as the flags leave it: checked one by one, not yet together.
#[derive(Debug, Default)]
pub(crate) struct Options {
    // How the command behaves.
    pub(crate) name: String,
    pub(crate) detach: bool,
    pub(crate) detach_keys: String,
    /// `None`: not said, which is yes.
    pub(crate) sig_proxy: Option<bool>,
    pub(crate) cidfile: String,
    /// Empty: `missing`.
    pub(crate) pull: String,
    pub(crate) quiet: bool,
    pub(crate) platform: String,
    pub(crate) attach: Vec<Stream>,
    pub(crate) interactive: bool,
    pub(crate) tty: bool,
    /// For flags that Docker takes and that do nothing on Linux.
    pub(crate) ignored: bool,

    // What runs.
    pub(crate) entrypoint: Option<String>,
    pub(crate) env: Vec<String>,
    pub(crate) env_files: Vec<String>,
    pub(crate) labels: Vec<String>,
    pub(crate) label_files: Vec<String>,
    pub(crate) user: String,
    pub(crate) workdir: String,
    pub(crate) hostname: String,
    pub(crate) domainname: String,
    pub(crate) stop_signal: String,
    pub(crate) stop_timeout: Option<i32>,
    pub(crate) expose: Vec<String>,
    pub(crate) health_command: String,
    pub(crate) health_interval: i64,
    pub(crate) health_timeout: i64,
    pub(crate) health_start_period: i64,
    pub(crate) health_start_interval: i64,
    pub(crate) health_retries: i64,
    pub(crate) no_healthcheck: bool,

    // Files.
    pub(crate) volumes: Vec<String>,
    pub(crate) mounts: Vec<Mount>,
    pub(crate) tmpfs: Vec<String>,
    pub(crate) volumes_from: Vec<String>,
    pub(crate) volume_driver: String,
    pub(crate) read_only: bool,
    pub(crate) shm_size: i64,
    pub(crate) storage_options: Vec<String>,

    // Network.
    pub(crate) networks: Vec<Attachment>,
    pub(crate) aliases: Vec<String>,
    pub(crate) links: Vec<String>,
    pub(crate) ipv4: String,
    pub(crate) ipv6: String,
    pub(crate) link_local: Vec<String>,
    pub(crate) mac_address: String,
    pub(crate) publish: Vec<String>,
    pub(crate) publish_all: bool,
    pub(crate) extra_hosts: Vec<String>,
    pub(crate) dns: Vec<String>,
    pub(crate) dns_options: Vec<String>,
    pub(crate) dns_search: Vec<String>,

    // Isolation.
    pub(crate) privileged: bool,
    pub(crate) cap_add: Vec<String>,
    pub(crate) cap_drop: Vec<String>,
    pub(crate) security: Vec<String>,
    pub(crate) group_add: Vec<String>,
    pub(crate) ipc: String,
    pub(crate) pid: String,
    pub(crate) uts: String,
    pub(crate) userns: String,
    pub(crate) cgroupns: String,
    pub(crate) isolation: String,
    pub(crate) runtime: String,
    pub(crate) annotations: Map<String>,
    pub(crate) sysctls: Map<String>,
    pub(crate) init: Option<bool>,
    /// The socket of the engine goes into the container.
    pub(crate) api_socket: bool,

    // Limits.
    pub(crate) memory: i64,
    pub(crate) memory_reservation: i64,
    pub(crate) memory_swap: i64,
    /// `None`: not said, which is -1.
    pub(crate) memory_swappiness: Option<i64>,
    pub(crate) kernel_memory: i64,
    pub(crate) oom_kill_disable: bool,
    pub(crate) oom_score_adj: i64,
    pub(crate) nano_cpus: i64,
    pub(crate) cpu_shares: i64,
    pub(crate) cpu_period: i64,
    pub(crate) cpu_quota: i64,
    pub(crate) cpu_rt_period: i64,
    pub(crate) cpu_rt_runtime: i64,
    pub(crate) cpu_count: i64,
    pub(crate) cpu_percent: i64,
    pub(crate) cpuset_cpus: String,
    pub(crate) cpuset_mems: String,
    pub(crate) pids_limit: i64,
    pub(crate) blkio_weight: u16,
    pub(crate) blkio_weight_devices: Vec<WeightDevice>,
    pub(crate) read_bps: Vec<ThrottleDevice>,
    pub(crate) write_bps: Vec<ThrottleDevice>,
    pub(crate) read_iops: Vec<ThrottleDevice>,
    pub(crate) write_iops: Vec<ThrottleDevice>,
    pub(crate) io_bandwidth: i64,
    pub(crate) io_operations: u64,
    pub(crate) ulimits: Vec<Ulimit>,
    pub(crate) cgroup_parent: String,
    pub(crate) devices: Vec<String>,
    pub(crate) device_rules: Vec<String>,
    pub(crate) gpus: Vec<DeviceRequest>,

    // Life.
    pub(crate) auto_remove: bool,
    /// Empty: `no`.
    pub(crate) restart: String,
    pub(crate) log_driver: String,
    pub(crate) log_options: Vec<String>,
}

/// One of a container's streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdin,
    Stdout,
    Stderr,
}
