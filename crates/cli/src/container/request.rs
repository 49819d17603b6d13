//! From options to the request that makes the container.

use std::collections::BTreeMap;

use berth_api::container::{
    Config, CreateRequest, Healthcheck, HostConfig, LogConfig, NetworkingConfig, PortMap, Resources, Ulimit,
};

use super::options::{Options, Stream};
use crate::outcome::Failure;
use crate::values::devices::{self, Device};
use crate::values::environment::{self, Kind};
use crate::values::networks::{self, Wishes};
use crate::values::{limits, names, ports, security, volumes};

/// Puts the options together with what follows them: image, command and its arguments.
///
/// # Errors
/// Docker's text for values that do not go together.
pub(crate) fn plan(options: &Options, arguments: &[String]) -> Result<CreateRequest, String> {
    if options.memory_swappiness.is_some_and(|value| value != -1 && !(0..=100).contains(&value)) {
        let value = options.memory_swappiness.unwrap_or_default();
        return Err(format!("invalid value: {value}. Valid memory swappiness range is 0-100"));
    }
    if !options.mac_address.is_empty() {
        names::mac_address(&options.mac_address)?;
    }
    let directory = std::env::current_dir().unwrap_or_default();
    let volumes = volumes::parse(&options.volumes, &directory)?;
    let (mut exposed, published) = ports::parse_published(&options.publish)?;
    ports::parse_exposed(&options.expose, &mut exposed)?;
    let (nodes, described) = devices(&options.devices)?;
    let env = environment::with_files(&options.env_files, &options.env, Kind::Environment)?;
    let labels = environment::with_files(&options.label_files, &options.labels, Kind::Labels)?;
    security::check_modes(&options.pid, &options.uts, &options.userns, &options.cgroupns)?;
    let restart_policy = limits::restart(if options.restart.is_empty() { "no" } else { &options.restart })?;
    let log_config = log(options)?;
    let security = security::parse(&options.security)?;
    let storage_opt = storage(&options.storage_options)?;
    let healthcheck = health(options)?;
    if options.auto_remove && !matches!(restart_policy.name.as_str(), "" | "no") {
        return Err("conflicting options: cannot specify both --restart and --rm".to_owned());
    }
    let (network_mode, networking_config) = network(options)?;

    let image = arguments.first().cloned().unwrap_or_default();
    let command = arguments.get(1..).filter(|command| !command.is_empty()).map(<[String]>::to_vec);
    let attached = |stream, by_default| {
        if options.attach.is_empty() { by_default } else { options.attach.contains(&stream) }
    };
    let attach_stdin = options.interactive || options.attach.contains(&Stream::Stdin);
    let config = Config {
        hostname: options.hostname.clone(),
        domainname: options.domainname.clone(),
        user: options.user.clone(),
        attach_stdin,
        attach_stdout: attached(Stream::Stdout, true),
        attach_stderr: attached(Stream::Stderr, true),
        exposed_ports: (!exposed.is_empty()).then_some(exposed),
        tty: options.tty,
        open_stdin: options.interactive,
        stdin_once: options.interactive && attach_stdin,
        env: list(env),
        cmd: command,
        healthcheck,
        image,
        volumes: Some(volumes.anonymous),
        working_dir: options.workdir.clone(),
        // An empty entry point is sent as one empty word: it undoes the image's.
        entrypoint: options.entrypoint.clone().map(|entrypoint| vec![entrypoint]),
        labels: Some(environment::to_map(&labels)),
        stop_signal: options.stop_signal.clone(),
        stop_timeout: options.stop_timeout,
        ..Config::default()
    };
    let mut host_config = host(options, published);
    host_config.binds = list(volumes.binds);
    (host_config.cap_add, host_config.cap_drop) = security::capabilities(&options.cap_add, &options.cap_drop);
    host_config.log_config = log_config;
    host_config.network_mode = network_mode;
    host_config.restart_policy = restart_policy;
    host_config.storage_opt = storage_opt;
    host_config.security_opt = list(security.options);
    if security.all_paths {
        host_config.security_opt.get_or_insert_default();
        host_config.masked_paths = Some(Vec::new());
        host_config.readonly_paths = Some(Vec::new());
    }
    host_config.resources.devices = Some(nodes);
    let gpus = options.gpus.iter().cloned();
    host_config.resources.device_requests = list(gpus.chain(devices::request(described)).collect());
    Ok(CreateRequest { config, host_config, networking_config })
}

/// Refuses what only another operating system has.
///
/// # Errors
/// Docker's text, one line a flag.
pub(crate) fn check_system(options: &Options) -> Result<(), Failure> {
    let given = [
        ("cpu-count", options.cpu_count != 0),
        ("cpu-percent", options.cpu_percent != 0),
        ("io-maxbandwidth", options.io_bandwidth != 0),
        ("io-maxiops", options.io_operations != 0),
    ];
    let lines = given.iter().filter(|(_, given)| *given).map(|(flag, _)| {
        format!(
            "\"--{flag}\" is only supported on a Docker daemon running on windows, but the Docker daemon is running on linux"
        )
    });
    let lines: Vec<String> = lines.collect();
    if lines.is_empty() { Ok(()) } else { Err(Failure::new(lines.join("\n"))) }
}

fn list<V>(list: Vec<V>) -> Option<Vec<V>> {
    (!list.is_empty()).then_some(list)
}

fn host(options: &Options, published: PortMap) -> HostConfig {
    let copy = |values: &[String]| list(values.to_vec());
    HostConfig {
        container_id_file: options.cidfile.clone(),
        port_bindings: Some(published),
        auto_remove: options.auto_remove,
        volume_driver: options.volume_driver.clone(),
        volumes_from: copy(&options.volumes_from),
        annotations: (!options.annotations.is_empty()).then(|| options.annotations.clone()),
        cgroupns_mode: options.cgroupns.clone(),
        // Docker sends empty lists for these three.
        dns: Some(options.dns.clone()),
        dns_options: Some(options.dns_options.clone()),
        dns_search: Some(options.dns_search.clone()),
        extra_hosts: copy(&options.extra_hosts),
        group_add: copy(&options.group_add),
        ipc_mode: options.ipc.clone(),
        links: copy(&options.links),
        oom_score_adj: i32::try_from(options.oom_score_adj).unwrap_or(i32::MAX),
        pid_mode: options.pid.clone(),
        privileged: options.privileged,
        publish_all_ports: options.publish_all,
        readonly_rootfs: options.read_only,
        tmpfs: (!options.tmpfs.is_empty()).then(|| volumes::parse_tmpfs(&options.tmpfs)),
        uts_mode: options.uts.clone(),
        userns_mode: options.userns.clone(),
        shm_size: options.shm_size,
        sysctls: (!options.sysctls.is_empty()).then(|| options.sysctls.clone()),
        runtime: options.runtime.clone(),
        isolation: options.isolation.clone(),
        resources: resources(options),
        mounts: list(options.mounts.clone()),
        init: options.init,
        ..HostConfig::default()
    }
}

fn resources(options: &Options) -> Resources {
    Resources {
        cpu_shares: options.cpu_shares,
        memory: options.memory,
        nano_cpus: options.nano_cpus,
        cgroup_parent: options.cgroup_parent.clone(),
        blkio_weight: options.blkio_weight,
        blkio_weight_device: Some(options.blkio_weight_devices.clone()),
        blkio_device_read_bps: Some(options.read_bps.clone()),
        blkio_device_write_bps: Some(options.write_bps.clone()),
        blkio_device_read_iops: Some(options.read_iops.clone()),
        blkio_device_write_iops: Some(options.write_iops.clone()),
        cpu_period: options.cpu_period,
        cpu_quota: options.cpu_quota,
        cpu_realtime_period: options.cpu_rt_period,
        cpu_realtime_runtime: options.cpu_rt_runtime,
        cpuset_cpus: options.cpuset_cpus.clone(),
        cpuset_mems: options.cpuset_mems.clone(),
        device_cgroup_rules: list(options.device_rules.clone()),
        memory_reservation: options.memory_reservation,
        memory_swap: options.memory_swap,
        memory_swappiness: Some(options.memory_swappiness.unwrap_or(-1)),
        oom_kill_disable: Some(options.oom_kill_disable),
        pids_limit: Some(options.pids_limit),
        ulimits: Some(ulimits(&options.ulimits)),
        cpu_count: options.cpu_count,
        cpu_percent: options.cpu_percent,
        io_maximum_iops: options.io_operations,
        io_maximum_bandwidth: u64::try_from(options.io_bandwidth).unwrap_or_default(),
        ..Resources::default()
    }
}

/// One of each name, sorted; the last of several counts.
fn ulimits(values: &[Ulimit]) -> Vec<Ulimit> {
    let by_name: BTreeMap<&str, &Ulimit> =
        values.iter().map(|ulimit| (ulimit.name.as_str(), ulimit)).collect();
    by_name.into_values().cloned().collect()
}

/// Nodes of the host, and devices by description.
fn devices(values: &[String]) -> Result<(Vec<berth_api::container::DeviceMapping>, Vec<String>), String> {
    let (mut nodes, mut described) = (Vec::new(), Vec::new());
    for value in values {
        devices::check(value)?;
        match devices::parse(value)? {
            Device::Node(node) => nodes.push(node),
            Device::Described(name) => described.push(name),
        }
    }
    Ok((nodes, described))
}

fn log(options: &Options) -> Result<LogConfig, String> {
    let config = environment::to_map(&options.log_options);
    if options.log_driver == "none" && !config.is_empty() {
        return Err("invalid logging opts for driver none".to_owned());
    }
    Ok(LogConfig { kind: options.log_driver.clone(), config: Some(config) })
}

fn storage(values: &[String]) -> Result<Option<berth_api::container::Map<String>>, String> {
    if values.iter().any(|value| !value.contains('=')) {
        return Err("invalid storage option".to_owned());
    }
    Ok((!values.is_empty()).then(|| environment::to_map(values)))
}

fn health(options: &Options) -> Result<Option<Healthcheck>, String> {
    let durations = [
        ("interval", options.health_interval),
        ("timeout", options.health_timeout),
        ("retries", options.health_retries),
        ("start-period", options.health_start_period),
        ("start-interval", options.health_start_interval),
    ];
    let is_set = !options.health_command.is_empty() || durations.iter().any(|(_, value)| *value != 0);
    if options.no_healthcheck {
        if is_set {
            return Err("--no-healthcheck conflicts with --health-* options".to_owned());
        }
        return Ok(Some(Healthcheck { test: Some(vec!["NONE".to_owned()]), ..Healthcheck::default() }));
    }
    if let Some((name, _)) = durations.iter().find(|(_, value)| *value < 0) {
        return Err(format!("--health-{name} cannot be negative"));
    }
    Ok(is_set.then(|| Healthcheck {
        test: (!options.health_command.is_empty())
            .then(|| vec!["CMD-SHELL".to_owned(), options.health_command.clone()]),
        interval: options.health_interval,
        timeout: options.health_timeout,
        start_period: options.health_start_period,
        start_interval: options.health_start_interval,
        retries: i32::try_from(options.health_retries).unwrap_or(i32::MAX),
    }))
}

fn network(options: &Options) -> Result<(String, NetworkingConfig), String> {
    let wishes = Wishes {
        aliases: &options.aliases,
        links: &options.links,
        ipv4: &options.ipv4,
        ipv6: &options.ipv6,
        link_local: &options.link_local,
        mac_address: &options.mac_address,
    };
    networks::plan(&options.networks, &wishes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::FLAGS;

    fn request(line: &str) -> Result<CreateRequest, String> {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let mut options = Options::default();
        let parsed =
            crate::flags::parse(FLAGS, false, &words, &mut options).map_err(|error| error.to_string())?;
        plan(&options, &parsed.arguments)
    }

    #[test]
    fn streams_follow_the_flags() {
        let streams = |line: &str| {
            let config = request(line).unwrap().config;
            let all = [
                config.attach_stdin,
                config.attach_stdout,
                config.attach_stderr,
                config.open_stdin,
                config.stdin_once,
            ];
            all.map(u8::from)
        };
        assert_eq!(streams("image"), [0, 1, 1, 0, 0]);
        assert_eq!(streams("-i image"), [1, 1, 1, 1, 1]);
        assert_eq!(streams("-a stderr image"), [0, 0, 1, 0, 0]);
        assert_eq!(streams("-i -a stdout image"), [1, 1, 0, 1, 1]);
    }

    #[test]
    fn command_entry_point_and_health() {
        let config = request("--entrypoint= --health-cmd x image a -b").unwrap().config;
        assert_eq!(config.entrypoint.unwrap(), [""]);
        assert_eq!(config.cmd.unwrap(), ["a", "-b"]);
        assert_eq!(config.healthcheck.unwrap().test.unwrap(), ["CMD-SHELL", "x"]);
        assert_eq!(request("image").unwrap().config.cmd, None);
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        let check = |line: &str, expect: &str| assert_eq!(request(line).unwrap_err(), expect, "{line}");
        check("--rm --restart always image", "conflicting options: cannot specify both --restart and --rm");
        check("--no-healthcheck --health-cmd x image", "--no-healthcheck conflicts with --health-* options");
        check("--health-interval -1s image", "--health-interval cannot be negative");
        check("--memory-swappiness 200 image", "invalid value: 200. Valid memory swappiness range is 0-100");
        check("--log-driver none --log-opt a=b image", "invalid logging opts for driver none");
        check("--storage-opt foo image", "invalid storage option");
        check("--pid foo image", "--pid: invalid PID mode");
    }
}
