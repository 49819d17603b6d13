//! What a container may do: Docker's defaults and the options that change them, as values of the runtime spec.
//!
//! [`Machine::detect`] looks at the host once. [`validate`] is for `create`: it finds every error that can be told
//! without looking at device nodes. [`decide`] is for `start`: a [`Security`] has one field for each part of the
//! spec that this module owns, and the caller moves them there. Nothing here touches the container.
//!
//! Docker's words for the parts: capabilities (`--cap-add`, `--cap-drop`), security options (`--security-opt`),
//! system paths (masked and read-only), devices (`--device`, `--device-cgroup-rule`), `--privileged`.

mod capabilities;
mod default_profile;
mod devices;
mod options;
mod paths;
pub(crate) mod profile;

use berth_oci::container::HostConfig;
use berth_oci::runtime::{LinuxCapabilities, LinuxDevice, LinuxDeviceCgroup, LinuxSeccomp};

use crate::error::Result;

pub use capabilities::{CapabilitySet, normalize};
pub use devices::Devices;
pub use options::{SeccompChoice, SecurityOptions};
pub use paths::{default_masked_paths, default_readonly_paths};
pub use profile::{KernelVersion, Profile};

/// What the host has to give. Looked at once, when the engine starts.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The bounding set of the engine: no container gets more, however privileged.
    pub capabilities: CapabilitySet,
    /// The running kernel.
    pub kernel: KernelVersion,
    /// Whether `AppArmor` is on.
    pub apparmor: bool,
    /// Whether `SELinux` is on.
    pub selinux: bool,
}

impl Machine {
    /// Looks at the host.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub fn detect() -> Result<Self> {
        Ok(Self {
            capabilities: CapabilitySet::bounding()?,
            kernel: KernelVersion::running()?,
            apparmor: std::fs::read_to_string("/sys/module/apparmor/parameters/enabled")
                .is_ok_and(|text| text.starts_with('Y')),
            selinux: std::path::Path::new("/sys/fs/selinux/enforce").exists(),
        })
    }
}

/// What a container may do, as parts of its spec.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Security {
    /// `process.capabilities`.
    pub capabilities: LinuxCapabilities,
    /// `process.noNewPrivileges`.
    pub no_new_privileges: bool,
    /// `process.apparmorProfile`; empty for none.
    pub apparmor_profile: String,
    /// `process.selinuxLabel`; empty for none.
    pub selinux_label: String,
    /// `linux.seccomp`; `None` is unconfined.
    pub seccomp: Option<LinuxSeccomp>,
    /// `linux.maskedPaths`.
    pub masked_paths: Vec<String>,
    /// `linux.readonlyPaths`.
    pub readonly_paths: Vec<String>,
    /// `linux.devices`, beside those that every runtime makes.
    pub devices: Vec<LinuxDevice>,
    /// `linux.resources.devices`.
    pub device_rules: Vec<LinuxDeviceCgroup>,
    /// Whether `/sys` is read-only (not so for `--privileged`).
    pub readonly_system_mounts: bool,
    /// Whether the cgroup mount is writable (`--privileged`, `writable-cgroups`).
    pub writable_cgroups: bool,
}

/// Checks at `create` what [`decide`] would refuse at `start`, device nodes of the host aside.
///
/// # Errors
/// `InvalidParameter` with Docker's text.
pub fn validate(config: &HostConfig, machine: &Machine) -> Result<()> {
    SecurityOptions::parse(config.security_opt.as_deref().unwrap_or_default())?;
    capabilities::check(config, machine)?;
    devices::check(config)
}

/// The capabilities of a container.
///
/// # Errors
/// `InvalidParameter` with Docker's text.
pub fn capabilities(config: &HostConfig, machine: &Machine) -> Result<CapabilitySet> {
    capabilities::of_container(config, machine)
}

/// Everything that a container may do.
///
/// # Errors
/// `InvalidParameter` with Docker's text.
pub fn decide(config: &HostConfig, machine: &Machine) -> Result<Security> {
    let options = SecurityOptions::parse(config.security_opt.as_deref().unwrap_or_default())?;
    let set = capabilities::of_container(config, machine)?;
    let seccomp = match &options.seccomp {
        SeccompChoice::Unconfined => None,
        // Docker: a privileged container has no filter, unless one is asked for by file.
        SeccompChoice::Default if config.privileged => None,
        SeccompChoice::Default => Some(default_profile::seccomp(set)),
        SeccompChoice::Profile(profile) => Some(profile.resolve(set, machine.kernel)),
    };
    let (masked_paths, readonly_paths) = paths::of_container(config, &options);
    let devices = Devices::of_container(config)?;
    Ok(Security {
        capabilities: set.spec(),
        no_new_privileges: options.no_new_privileges,
        apparmor_profile: options.apparmor_profile(machine),
        selinux_label: String::new(),
        seccomp,
        masked_paths,
        readonly_paths,
        devices: devices.nodes,
        device_rules: devices.rules,
        readonly_system_mounts: !config.privileged,
        writable_cgroups: config.privileged || options.writable_cgroups,
    })
}

/// The capabilities of a process of `exec`: those of the container, or with `--privileged` all that there are.
pub fn exec_capabilities(container: &Security, privileged: bool, machine: &Machine) -> LinuxCapabilities {
    if privileged { machine.capabilities.spec() } else { container.capabilities.clone() }
}
