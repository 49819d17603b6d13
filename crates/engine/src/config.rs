//! How an engine is set up. The daemon fills this from flags and file; the engine checks what only it can know.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use berth_oci::container::Ulimit;

/// Everything an engine is told when it opens. Engines with different roots, bridges and cgroup parents run side
/// by side on one host.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// What outlives a reboot: images, layers, containers, volumes, the database.
    pub data_root: PathBuf,
    /// What does not: the shims' sockets.
    pub exec_root: PathBuf,
    /// The engine's version, as `docker version` shows it.
    pub version: String,
    /// The cgroup (or systemd slice) that containers live under unless they say otherwise.
    pub cgroup_parent: String,
    /// How cgroups are made.
    pub cgroup_driver: CgroupDriver,
    /// What can be changed while the engine runs.
    pub live: Live,
    /// The default bridge.
    pub bridge: BridgeConfig,
    /// Name servers for containers that name none; empty: the host's.
    pub dns: Vec<IpAddr>,
    /// Resolver options for containers that name none.
    pub dns_options: Vec<String>,
    /// Search domains for containers that name none.
    pub dns_search: Vec<String>,
    /// What `host-gateway` in `--add-host` means; empty: the bridge's address.
    pub host_gateway: Vec<IpAddr>,
    /// The log driver of containers that name none.
    pub log_driver: String,
    /// Its options.
    pub log_options: BTreeMap<String, String>,
    /// Limits of processes for containers that name none.
    pub default_ulimits: Vec<Ulimit>,
    /// Size of `/dev/shm` in bytes for containers that say nothing.
    pub default_shm_size: u64,
    /// `private` or `shareable`.
    pub default_ipc_mode: String,
    /// `private` or `host`; empty: private on cgroup v2, host on v1.
    pub default_cgroupns_mode: String,
    /// A seccomp profile (path) in place of the built-in one; `unconfined` for none.
    pub seccomp_profile: Option<String>,
    /// All containers get `no-new-privileges`.
    pub no_new_privileges: bool,
    /// The program that `--init` puts in front; none: the built-in one.
    pub init_path: Option<PathBuf>,
    /// `--init` for containers that say nothing.
    pub init: bool,
    /// `oom_score_adj` of the shims.
    pub oom_score_adjust: i32,
    /// Seconds a container is given to stop when the engine is told to stop its containers.
    pub shutdown_timeout: i64,
    /// How many events are kept for `since`.
    pub events_kept: usize,
    /// The program that supervisors are started from; `None`: the running one. For tests.
    pub program: Option<PathBuf>,
}

/// The settings that can be changed while the engine runs. Copies share them.
#[derive(Clone, Debug, Default)]
pub struct Live(Arc<RwLock<Arc<LiveConfig>>>);

/// See [`Live`].
#[derive(Clone, Debug)]
pub struct LiveConfig {
    /// The runtime of containers that name none.
    pub default_runtime: String,
    /// Runtimes by name besides the built-in ones (`berth`, `runc` and `io.containerd.runc.v2` all mean ours).
    pub runtimes: BTreeMap<String, Runtime>,
    /// How registries are reached.
    pub registries: crate::image::registry::RegistryOptions,
    /// Labels of the engine, for `info`.
    pub labels: Vec<String>,
    /// Which images without a name stay; `None`: all of them.
    pub image_collection: Option<crate::image::ImageCollection>,
    /// Shown by `info`.
    pub debug: bool,
}

impl Live {
    /// Settings that begin as these.
    pub fn new(config: LiveConfig) -> Live {
        Live(Arc::new(RwLock::new(Arc::new(config))))
    }

    /// The settings as they are now.
    pub fn get(&self) -> Arc<LiveConfig> {
        // Nothing panics while the lock is held, so a poisoned one still holds whole settings.
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes them for all who ask from now on.
    pub fn set(&self, config: LiveConfig) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
    }
}

impl Default for LiveConfig {
    fn default() -> LiveConfig {
        LiveConfig {
            default_runtime: "runc".to_owned(),
            runtimes: BTreeMap::new(),
            registries: crate::image::registry::RegistryOptions::default(),
            labels: Vec::new(),
            image_collection: None,
            debug: false,
        }
    }
}

/// How cgroups are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CgroupDriver {
    /// Directories in the cgroup file system.
    #[default]
    Cgroupfs,
    /// Scopes made by systemd.
    Systemd,
}

/// A runtime that is not ours: a program with runc's command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Runtime {
    /// The program.
    pub path: String,
    /// Arguments that come before the command.
    pub arguments: Vec<String>,
}

/// The default bridge network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BridgeConfig {
    /// The bridge's name; `None`: no default bridge at all (`--bridge none`).
    pub name: Option<String>,
    /// Its address with prefix length (`--bip`); `None`: a subnet that the host's routes leave free.
    pub address: Option<String>,
    /// The part of the subnet that containers get addresses from (`--fixed-cidr`).
    pub range: Option<String>,
    /// The gateway that containers are told, if it is not the bridge.
    pub gateway: Option<IpAddr>,
    /// MTU of the bridge and its links; 0: the kernel's choice.
    pub mtu: u32,
    /// The host address that ports are published on by default.
    pub default_address: IpAddr,
    /// Containers on the bridge may talk to one another.
    pub inter_container: bool,
    /// Outgoing traffic is masqueraded.
    pub masquerade: bool,
    /// Turn `ip_forward` on.
    pub forward: bool,
    /// The firewall is ours to fill (`--iptables`).
    pub firewall: bool,
    /// IPv6 on the bridge.
    pub ipv6: bool,
    /// Its IPv6 subnet.
    pub subnet_v6: Option<String>,
    /// Pools that subnets are chosen from, each with the size of the subnets.
    pub address_pools: Vec<(String, u8)>,
}

impl Default for BridgeConfig {
    fn default() -> BridgeConfig {
        BridgeConfig {
            name: Some("berth0".to_owned()),
            address: None,
            range: None,
            gateway: None,
            mtu: 0,
            default_address: IpAddr::from([0, 0, 0, 0]),
            inter_container: true,
            masquerade: true,
            forward: true,
            firewall: true,
            ipv6: false,
            subnet_v6: None,
            address_pools: Vec::new(),
        }
    }
}

impl Default for EngineConfig {
    fn default() -> EngineConfig {
        EngineConfig {
            data_root: PathBuf::from("/var/lib/berth"),
            exec_root: PathBuf::from("/run/berth"),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            cgroup_parent: "/berth".to_owned(),
            cgroup_driver: CgroupDriver::default(),
            live: Live::default(),
            bridge: BridgeConfig::default(),
            dns: Vec::new(),
            dns_options: Vec::new(),
            dns_search: Vec::new(),
            host_gateway: Vec::new(),
            log_driver: "json-file".to_owned(),
            log_options: BTreeMap::new(),
            default_ulimits: Vec::new(),
            default_shm_size: 64 << 20,
            default_ipc_mode: "private".to_owned(),
            default_cgroupns_mode: String::new(),
            seccomp_profile: None,
            no_new_privileges: false,
            init_path: None,
            init: false,
            oom_score_adjust: 0,
            shutdown_timeout: 15,
            events_kept: 256,
            program: None,
        }
    }
}
