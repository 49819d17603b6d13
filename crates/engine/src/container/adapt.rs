//! A `HostConfig` as Docker keeps it: what was asked for is checked, what was left open is filled in.

use berth_oci::container::{Config, HostConfig, NetworkMode};

use super::{limits, log_config, network};
use crate::config::{CgroupDriver, EngineConfig};
use crate::error::{Error, Result};
use crate::host::Host;
use crate::security::{self, Machine};

/// Checks what can be told without other containers, and fills in defaults. Adds warnings.
///
/// Errors: `InvalidParameter` with Docker's text.
pub(crate) fn adapt(
    own: &Config,
    host_config: &mut HostConfig,
    config: &EngineConfig,
    host: &Host,
    machine: &Machine,
    warnings: &mut Vec<String>,
) -> Result<()> {
    check_conflicts(own, host_config)?;
    check(host_config, config)?;
    limits::check(&mut host_config.resources, host, false, warnings)?;
    warn(host_config, host, warnings);
    security::validate(host_config, machine)?;
    log_config::check(&mut host_config.log_config, &config.log_driver, &config.log_options)?;
    fill(host_config, config, host);
    Ok(())
}

/// Options that exclude each other.
fn check_conflicts(own: &Config, host: &HostConfig) -> Result<()> {
    let some = |list: &Option<Vec<String>>| list.as_ref().is_some_and(|list| !list.is_empty());
    let network = host.network();
    let joins = matches!(network, NetworkMode::Container(_));
    let ports = host.port_bindings.as_ref().is_some_and(|ports| !ports.is_empty()) || host.publish_all_ports;
    let exposes = own.exposed_ports.as_ref().is_some_and(|ports| !ports.is_empty());
    let undefined = "This would result in undefined behavior";
    let links = |kind: &str| format!("{kind} can't be used with links. {undefined}");
    let conflict = if host.uts_mode == "host" && !own.hostname.is_empty() {
        "hostname and the UTS mode".to_owned()
    } else if joins && !own.hostname.is_empty() {
        "hostname and the network mode".to_owned()
    } else if network == NetworkMode::Host && some(&host.links) {
        links("host type networking")
    } else if joins && some(&host.links) {
        links("container type network")
    } else if joins && some(&host.dns) {
        "dns and the network mode".to_owned()
    } else if joins && some(&host.extra_hosts) {
        "custom host-to-IP mapping and the network mode".to_owned()
    } else if joins && ports {
        "port publishing and the container type network mode".to_owned()
    } else if joins && exposes {
        "port exposing and the container type network mode".to_owned()
    } else {
        return Ok(());
    };
    Err(Error::invalid(format!("conflicting options: {conflict}")))
}

fn check(host: &HostConfig, config: &EngineConfig) -> Result<()> {
    let restart = host.restart_policy.parse().map_err(Error::InvalidParameter)?;
    if host.auto_remove && restart != berth_oci::container::RestartPolicyName::No {
        return Err(Error::invalid("can't create 'AutoRemove' container with restart policy"));
    }
    for entry in host.extra_hosts.iter().flatten() {
        // What `host-gateway` stands for is asked at the start; here any address will do.
        let gateway = std::net::IpAddr::from([127, 0, 0, 1]);
        berth_network::files::parse_add_host(entry, Some(gateway)).map_err(Error::InvalidParameter)?;
    }
    network::check_ports(host)?;
    if host.annotations.iter().flatten().any(|(name, _)| name.is_empty()) {
        let text = "invalid Annotations: the empty string is not permitted as an annotation key";
        return Err(Error::invalid(text));
    }
    if host.shm_size < 0 {
        return Err(Error::invalid("SHM size can not be less than 0"));
    }
    let adjust = host.oom_score_adj;
    if !(-1000..=1000).contains(&adjust) {
        return Err(Error::invalid(format!(
            "Invalid value {adjust}, range for oom score adj is [-1000, 1000]"
        )));
    }
    if !matches!(host.isolation.as_str(), "" | "default") {
        let isolation = &host.isolation;
        return Err(Error::invalid(format!(
            "Invalid isolation: {isolation:?} - linux only supports 'default'"
        )));
    }
    if let Some(options) = host.storage_opt.as_ref().filter(|options| !options.is_empty()) {
        if let Some(name) = options.keys().find(|name| !name.eq_ignore_ascii_case("size")) {
            return Err(Error::invalid(format!("Unknown option {name}")));
        }
        let text = "--storage-opt is supported only for overlay over xfs with 'pquota' mount option";
        return Err(Error::invalid(text));
    }
    let parent = &host.resources.cgroup_parent;
    if config.cgroup_driver == CgroupDriver::Systemd && !parent.is_empty() && !parent.ends_with(".slice") {
        let text = "cgroup-parent for systemd cgroup should be a valid slice named as \"xxx.slice\"";
        return Err(Error::invalid(text));
    }
    check_modes(host)?;
    check_runtime(&host.runtime, config)
}

fn check_modes(host: &HostConfig) -> Result<()> {
    let shares = |mode: &str| mode.strip_prefix("container:").is_some_and(|other| !other.is_empty());
    let pid = host.pid_mode.as_str();
    if !matches!(pid, "" | "host") && !shares(pid) {
        return Err(Error::invalid(format!("invalid PID mode: {pid}")));
    }
    let ipc = host.ipc_mode.as_str();
    // That nobody is named is found out at the start.
    if !matches!(ipc, "" | "none" | "private" | "shareable" | "host" | "container:") && !shares(ipc) {
        return Err(Error::invalid(format!("invalid IPC mode: {ipc}")));
    }
    let uts = host.uts_mode.as_str();
    if !matches!(uts, "" | "host") {
        return Err(Error::invalid(format!("invalid UTS mode: {uts}")));
    }
    let cgroup = host.cgroupns_mode.as_str();
    if !matches!(cgroup, "" | "private" | "host") {
        return Err(Error::invalid(format!("invalid cgroup namespace mode: {cgroup}")));
    }
    if host.network_mode == "container:" {
        return Err(Error::invalid("Invalid network mode: invalid container format container:<name|id>"));
    }
    Ok(())
}

/// Names that mean the linked runtime.
pub(crate) const OWN_RUNTIMES: [&str; 4] = ["", "berth", "runc", "io.containerd.runc.v2"];

fn check_runtime(runtime: &str, config: &EngineConfig) -> Result<()> {
    if OWN_RUNTIMES.contains(&runtime) || config.live.get().runtimes.contains_key(runtime) {
        return Ok(());
    }
    Err(Error::invalid(format!("unknown or invalid runtime name: {runtime}")))
}

fn warn(host_config: &HostConfig, host: &Host, warnings: &mut Vec<String>) {
    let network = host_config.network();
    if !host.limits.ipv4_forwarding && !matches!(network, NetworkMode::Host | NetworkMode::None) {
        warnings.push("IPv4 forwarding is disabled. Networking will not work.".to_owned());
    }
    let publishes = host_config.port_bindings.as_ref().is_some_and(|ports| !ports.is_empty());
    if network == NetworkMode::Host && publishes {
        warnings.push("Published ports are discarded when using host network mode".to_owned());
    }
    if host_config.cgroupns_mode == "private" && !host.cgroup_namespaces {
        let text = "Your kernel does not support cgroup namespaces.  Cgroup namespace setting discarded.";
        warnings.push(text.to_owned());
    }
}

fn fill(host_config: &mut HostConfig, config: &EngineConfig, host: &Host) {
    let or = |value: &mut String, default: &str| {
        if value.is_empty() {
            default.clone_into(value);
        }
    };
    if matches!(host_config.network(), NetworkMode::Default) {
        "bridge".clone_into(&mut host_config.network_mode);
    }
    or(&mut host_config.restart_policy.name, "no");
    or(&mut host_config.runtime, &config.live.get().default_runtime);
    or(&mut host_config.ipc_mode, &config.default_ipc_mode);
    if host_config.shm_size == 0 {
        host_config.shm_size = i64::try_from(config.default_shm_size).unwrap_or(i64::MAX);
    }
    let resources = &mut host_config.resources;
    if resources.memory > 0 && resources.memory_swap == 0 {
        resources.memory_swap = resources.memory.saturating_mul(2);
    }
    resources.oom_kill_disable.get_or_insert(false);
    // Nought and less are what clients send for "no limit".
    resources.pids_limit = resources.pids_limit.filter(|limit| *limit > 0);
    let cgroupns = if host_config.privileged && !host.cgroup_v2 {
        "host"
    } else if !config.default_cgroupns_mode.is_empty() {
        &config.default_cgroupns_mode
    } else if host.cgroup_v2 {
        "private"
    } else {
        "host"
    };
    or(&mut host_config.cgroupns_mode, cgroupns);
    fill_security(host_config);
}

fn fill_security(host_config: &mut HostConfig) {
    let label_off =
        host_config.privileged || host_config.pid_mode == "host" || host_config.ipc_mode == "host";
    let has = |options: &Option<Vec<String>>, prefix: &str| {
        options.iter().flatten().any(|option| option.starts_with(prefix))
    };
    if label_off && !has(&host_config.security_opt, "label") {
        host_config.security_opt.get_or_insert_default().push("label=disable".to_owned());
    }
    let is_open = host_config.privileged || has(&host_config.security_opt, "systempaths=unconfined");
    if !is_open {
        host_config.masked_paths.get_or_insert_with(security::default_masked_paths);
        host_config.readonly_paths.get_or_insert_with(security::default_readonly_paths);
    }
    // Names of capabilities are kept the way the kernel spells them.
    for list in [&mut host_config.cap_add, &mut host_config.cap_drop].into_iter().flatten() {
        for name in list.iter_mut() {
            *name = security::normalize(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::security::{CapabilitySet, KernelVersion};

    fn adapted(json: &str) -> Result<(HostConfig, Vec<String>)> {
        let machine = Machine {
            capabilities: CapabilitySet::from_bits(u64::MAX),
            kernel: KernelVersion { major: 6, minor: 1 },
            apparmor: false,
            selinux: false,
        };
        let mut host =
            Host { cpus: 2, cpu_list: "0-1".into(), memory_node_list: "0".into(), ..Host::default() };
        host.limits.ipv4_forwarding = true;
        host.limits.memory = true;
        host.limits.swap = true;
        host.limits.oom_kill_disable = true;
        let mut config: HostConfig = serde_json::from_str(json).unwrap();
        let mut warnings = Vec::new();
        let own = Config { hostname: "h".to_owned(), ..Config::default() };
        adapt(&own, &mut config, &EngineConfig::default(), &host, &machine, &mut warnings)?;
        Ok((config, warnings))
    }

    #[test]
    fn defaults_are_dockers() {
        let (config, warnings) = adapted("{}").unwrap();
        assert_eq!(config.network_mode, "bridge");
        assert_eq!(config.restart_policy.name, "no");
        assert_eq!(config.runtime, "runc");
        assert_eq!(config.ipc_mode, "private");
        assert_eq!(config.cgroupns_mode, "host");
        assert_eq!(config.shm_size, 64 << 20);
        assert_eq!(config.log_config.kind, "json-file");
        assert_eq!(config.resources.oom_kill_disable, Some(false));
        assert_eq!(config.readonly_paths.as_ref().unwrap().len(), 5);
        assert!(config.security_opt.is_none() && warnings.is_empty());
        let (config, _) = adapted(r#"{"Privileged":true,"Memory":10000000,"CapAdd":["net_admin"]}"#).unwrap();
        assert_eq!(config.security_opt.unwrap(), ["label=disable"]);
        assert!(config.masked_paths.is_none());
        assert_eq!(config.resources.memory_swap, 20_000_000);
        assert_eq!(config.cap_add.unwrap(), ["CAP_NET_ADMIN"]);
    }

    #[test]
    fn refusals_are_dockers() {
        let check = |json: &str, expect: &str| assert_eq!(adapted(json).unwrap_err().to_string(), expect);
        check(r#"{"UTSMode":"host"}"#, "conflicting options: hostname and the UTS mode");
        check(r#"{"NetworkMode":"container:x"}"#, "conflicting options: hostname and the network mode");
        check(r#"{"PidMode":"foo"}"#, "invalid PID mode: foo");
        check(r#"{"IpcMode":"foo"}"#, "invalid IPC mode: foo");
        check(r#"{"UTSMode":"foo"}"#, "invalid UTS mode: foo");
        check(r#"{"CgroupnsMode":"foo"}"#, "invalid cgroup namespace mode: foo");
        check(r#"{"Runtime":"foo"}"#, "unknown or invalid runtime name: foo");
        check(r#"{"ShmSize":-1}"#, "SHM size can not be less than 0");
        check(r#"{"OomScoreAdj":2000}"#, "Invalid value 2000, range for oom score adj is [-1000, 1000]");
        check(r#"{"Isolation":"hyperv"}"#, "Invalid isolation: \"hyperv\" - linux only supports 'default'");
        check(
            r#"{"AutoRemove":true,"RestartPolicy":{"Name":"always"}}"#,
            "can't create 'AutoRemove' container with restart policy",
        );
        check(r#"{"CapAdd":["FOO"]}"#, "invalid CapAdd: unknown capability: \"CAP_FOO\"");
        let (_, warnings) =
            adapted(r#"{"NetworkMode":"host","PortBindings":{"80/tcp":[{"HostPort":"80"}]}}"#).unwrap();
        assert_eq!(warnings, ["Published ports are discarded when using host network mode"]);
    }
}
