//! The flags of `run` and `create`, in the order of the alphabet.
//!
//! WHEN ADDING A FLAG: a row here, a field in `Options`, its place in `request.rs`.

use berth_api::container::Ulimit;

use super::options::{Options, Stream};
use crate::flags::{Flag, parse_bool, parse_duration, parse_int, parse_uint};
use crate::format::units::parse_bytes;
use crate::values::{devices, environment, gpus, limits, mounts, names, networks};

/// The table. Those from [`RUN_ONLY`] on are `run`'s alone.
pub(crate) static FLAGS: &[Flag<Options>] = &[
    Flag::value(
        "add-host",
        '\0',
        "list",
        |o: &mut Options, v| push(&mut o.extra_hosts, names::extra_host(v)),
        "Add a line to /etc/hosts (name:address)",
    ),
    Flag::value(
        "annotation",
        '\0',
        "map",
        |o: &mut Options, v| insert(&mut o.annotations, v),
        "Add an annotation for the OCI runtime",
    )
    .default("map[]"),
    Flag::value("attach", 'a', "list", attach, "Attach to STDIN, STDOUT or STDERR"),
    Flag::value(
        "blkio-weight",
        '\0',
        "uint16",
        |o: &mut Options, v| set(&mut o.blkio_weight, parse_uint(v, 16).map(|n| n as u16)),
        "Weight of block I/O, 10 to 1000, 0 for none",
    )
    .default("0"),
    Flag::value(
        "blkio-weight-device",
        '\0',
        "list",
        |o: &mut Options, v| push(&mut o.blkio_weight_devices, limits::weight_device(v)),
        "Weight of block I/O of one device",
    )
    .default("[]"),
    Flag::list("cap-add", '\0', |o: &mut Options| &mut o.cap_add, "Add a capability"),
    Flag::list("cap-drop", '\0', |o: &mut Options| &mut o.cap_drop, "Drop a capability"),
    Flag::text(
        "cgroup-parent",
        '\0',
        |o: &mut Options| &mut o.cgroup_parent,
        "Cgroup to make the container's cgroup in",
    ),
    Flag::text(
        "cgroupns",
        '\0',
        |o: &mut Options| &mut o.cgroupns,
        "Cgroup namespace\n'host':    the host's\n'private': one of its own\n'':        as the engine is configured (default)",
    ),
    Flag::text("cidfile", '\0', |o: &mut Options| &mut o.cidfile, "File to write the container's id to"),
    Flag::int("cpu-count", '\0', |o: &mut Options| &mut o.cpu_count, "Number of CPUs (Windows only)"),
    Flag::int("cpu-percent", '\0', |o: &mut Options| &mut o.cpu_percent, "Percentage of CPUs (Windows only)"),
    Flag::int(
        "cpu-period",
        '\0',
        |o: &mut Options| &mut o.cpu_period,
        "Period of the CPU quota in microseconds",
    ),
    Flag::int("cpu-quota", '\0', |o: &mut Options| &mut o.cpu_quota, "CPU time a period in microseconds"),
    Flag::int(
        "cpu-rt-period",
        '\0',
        |o: &mut Options| &mut o.cpu_rt_period,
        "Period of real-time CPU time in microseconds",
    ),
    Flag::int(
        "cpu-rt-runtime",
        '\0',
        |o: &mut Options| &mut o.cpu_rt_runtime,
        "Real-time CPU time a period in microseconds",
    ),
    Flag::int("cpu-shares", 'c', |o: &mut Options| &mut o.cpu_shares, "Weight of CPU time"),
    Flag::value(
        "cpus",
        '\0',
        "decimal",
        |o: &mut Options, v| set(&mut o.nano_cpus, limits::cpus(v)),
        "Number of CPUs",
    ),
    Flag::text("cpuset-cpus", '\0', |o: &mut Options| &mut o.cpuset_cpus, "CPUs to run on (0-3, 0,1)"),
    Flag::text("cpuset-mems", '\0', |o: &mut Options| &mut o.cpuset_mems, "Memory nodes to use (0-3, 0,1)"),
    Flag::list("device", '\0', |o: &mut Options| &mut o.devices, "Add a device of the host"),
    Flag::value(
        "device-cgroup-rule",
        '\0',
        "list",
        |o: &mut Options, v| push(&mut o.device_rules, devices::check_rule(v).map(|()| v.to_owned())),
        "Add a rule of the device cgroup",
    ),
    Flag::value(
        "device-read-bps",
        '\0',
        "list",
        |o: &mut Options, v| push(&mut o.read_bps, limits::throttle_bytes(v)),
        "Bytes read a second from a device",
    )
    .default("[]"),
    Flag::value(
        "device-read-iops",
        '\0',
        "list",
        |o: &mut Options, v| push(&mut o.read_iops, limits::throttle_operations(v)),
        "Reads a second from a device",
    )
    .default("[]"),
    Flag::value(
        "device-write-bps",
        '\0',
        "list",
        |o: &mut Options, v| push(&mut o.write_bps, limits::throttle_bytes(v)),
        "Bytes written a second to a device",
    )
    .default("[]"),
    Flag::value(
        "device-write-iops",
        '\0',
        "list",
        |o: &mut Options, v| push(&mut o.write_iops, limits::throttle_operations(v)),
        "Writes a second to a device",
    )
    .default("[]"),
    Flag::bool(
        "disable-content-trust",
        '\0',
        |o: &mut Options| &mut o.ignored,
        "Skip the check of signatures",
    )
    .default("true"),
    Flag::value(
        "dns",
        '\0',
        "list",
        |o: &mut Options, v| push(&mut o.dns, names::address(v)),
        "Add a name server",
    ),
    Flag::list("dns-opt", '\0', |o: &mut Options| &mut o.dns_options, "Add a resolver option").hidden(),
    Flag::list("dns-option", '\0', |o: &mut Options| &mut o.dns_options, "Add a resolver option"),
    Flag::value(
        "dns-search",
        '\0',
        "list",
        |o: &mut Options, v| push(&mut o.dns_search, names::search_domain(v)),
        "Add a search domain",
    ),
    Flag::text("domainname", '\0', |o: &mut Options| &mut o.domainname, "Domain name inside"),
    Flag::value(
        "entrypoint",
        '\0',
        "string",
        |o: &mut Options, v| some(&mut o.entrypoint, Ok(v.to_owned())),
        "Program to run instead of the image's entry point",
    ),
    Flag::value(
        "env",
        'e',
        "list",
        |o: &mut Options, v| environment::variable(v).map(|variable| environment::put(&mut o.env, variable)),
        "Set a variable",
    ),
    Flag::list("env-file", '\0', |o: &mut Options| &mut o.env_files, "Set the variables of a file"),
    Flag::list("expose", '\0', |o: &mut Options| &mut o.expose, "Expose a port or a range of ports"),
    Flag::value(
        "gpus",
        '\0',
        "gpu-request",
        |o: &mut Options, v| push(&mut o.gpus, gpus::parse(v)),
        "GPUs to add ('all' for all of them)",
    ),
    Flag::list("group-add", '\0', |o: &mut Options| &mut o.group_add, "Add a group to the process"),
    Flag::text(
        "health-cmd",
        '\0',
        |o: &mut Options| &mut o.health_command,
        "Command that checks the container's health",
    ),
    Flag::value(
        "health-interval",
        '\0',
        "duration",
        |o: &mut Options, v| set(&mut o.health_interval, parse_duration(v)),
        "Time between two checks (ms|s|m|h)",
    )
    .default("0s"),
    Flag::int(
        "health-retries",
        '\0',
        |o: &mut Options| &mut o.health_retries,
        "Failures in a row that make it unhealthy",
    ),
    Flag::value(
        "health-start-interval",
        '\0',
        "duration",
        |o: &mut Options, v| set(&mut o.health_start_interval, parse_duration(v)),
        "Time between two checks in the start period (ms|s|m|h)",
    )
    .default("0s"),
    Flag::value(
        "health-start-period",
        '\0',
        "duration",
        |o: &mut Options, v| set(&mut o.health_start_period, parse_duration(v)),
        "Time in which failures do not count (ms|s|m|h)",
    )
    .default("0s"),
    Flag::value(
        "health-timeout",
        '\0',
        "duration",
        |o: &mut Options, v| set(&mut o.health_timeout, parse_duration(v)),
        "Time after which a check has failed (ms|s|m|h)",
    )
    .default("0s"),
    Flag::text("hostname", 'h', |o: &mut Options| &mut o.hostname, "Host name inside"),
    Flag::value(
        "init",
        '\0',
        "",
        |o: &mut Options, v| some(&mut o.init, parse_bool(v)),
        "Run a small init as process 1 that passes signals on and reaps",
    )
    .switch(),
    Flag::bool(
        "interactive",
        'i',
        |o: &mut Options| &mut o.interactive,
        "Keep STDIN open even if not attached",
    ),
    Flag::value(
        "io-maxbandwidth",
        '\0',
        "bytes",
        |o: &mut Options, v| set(&mut o.io_bandwidth, parse_bytes(v)),
        "I/O bandwidth of the system drive (Windows only)",
    ),
    Flag::value(
        "io-maxiops",
        '\0',
        "uint",
        |o: &mut Options, v| set(&mut o.io_operations, parse_uint(v, 64)),
        "I/O operations of the system drive (Windows only)",
    ),
    Flag::text("ip", '\0', |o: &mut Options| &mut o.ipv4, "IPv4 address (as 172.30.100.104)"),
    Flag::text("ip6", '\0', |o: &mut Options| &mut o.ipv6, "IPv6 address (as 2001:db8::33)"),
    Flag::text("ipc", '\0', |o: &mut Options| &mut o.ipc, "IPC namespace"),
    Flag::text(
        "isolation",
        '\0',
        |o: &mut Options| &mut o.isolation,
        "Technique of isolation (Windows only)",
    ),
    Flag::value(
        "kernel-memory",
        '\0',
        "bytes",
        |o: &mut Options, v| set(&mut o.kernel_memory, parse_bytes(v)),
        "Limit of kernel memory",
    ),
    Flag::value(
        "label",
        'l',
        "list",
        |o: &mut Options, v| push(&mut o.labels, environment::label(v)),
        "Set a label",
    ),
    Flag::list("label-file", '\0', |o: &mut Options| &mut o.label_files, "Set the labels of a file"),
    Flag::value(
        "link",
        '\0',
        "list",
        |o: &mut Options, v| push(&mut o.links, names::link(v)),
        "Link to another container",
    ),
    Flag::list("link-local-ip", '\0', |o: &mut Options| &mut o.link_local, "Link-local address"),
    Flag::text("log-driver", '\0', |o: &mut Options| &mut o.log_driver, "Driver of the container's log"),
    Flag::list("log-opt", '\0', |o: &mut Options| &mut o.log_options, "Option of the log driver"),
    Flag::text(
        "mac-address",
        '\0',
        |o: &mut Options| &mut o.mac_address,
        "Hardware address (as 92:d0:c6:0a:29:33)",
    ),
    Flag::value(
        "memory",
        'm',
        "bytes",
        |o: &mut Options, v| set(&mut o.memory, parse_bytes(v)),
        "Limit of memory",
    ),
    Flag::value(
        "memory-reservation",
        '\0',
        "bytes",
        |o: &mut Options, v| set(&mut o.memory_reservation, parse_bytes(v)),
        "Memory that is kept when memory is short",
    ),
    Flag::value(
        "memory-swap",
        '\0',
        "bytes",
        |o: &mut Options, v| set(&mut o.memory_swap, if v == "-1" { Ok(-1) } else { parse_bytes(v) }),
        "Limit of memory and swap together, -1 for no limit of swap",
    ),
    Flag::value(
        "memory-swappiness",
        '\0',
        "int",
        |o: &mut Options, v| some(&mut o.memory_swappiness, parse_int(v)),
        "Readiness to swap (0 to 100)",
    )
    .default("-1"),
    Flag::value(
        "mount",
        '\0',
        "mount",
        |o: &mut Options, v| push(&mut o.mounts, mounts::parse(v)),
        "Mount a file system",
    ),
    Flag::text("name", '\0', |o: &mut Options| &mut o.name, "Name of the container"),
    Flag::value(
        "net",
        '\0',
        "network",
        |o: &mut Options, v| push(&mut o.networks, networks::parse(v)),
        "Connect to a network",
    )
    .hidden(),
    Flag::list("net-alias", '\0', |o: &mut Options| &mut o.aliases, "Add a name in the network").hidden(),
    Flag::value(
        "network",
        '\0',
        "network",
        |o: &mut Options, v| push(&mut o.networks, networks::parse(v)),
        "Connect to a network",
    ),
    Flag::list("network-alias", '\0', |o: &mut Options| &mut o.aliases, "Add a name in the network"),
    Flag::bool(
        "no-healthcheck",
        '\0',
        |o: &mut Options| &mut o.no_healthcheck,
        "Leave out the image's health check",
    ),
    Flag::bool(
        "oom-kill-disable",
        '\0',
        |o: &mut Options| &mut o.oom_kill_disable,
        "Stop instead of killing when memory runs out",
    ),
    Flag::int(
        "oom-score-adj",
        '\0',
        |o: &mut Options| &mut o.oom_score_adj,
        "Weight in the choice of a victim (-1000 to 1000)",
    ),
    Flag::text("pid", '\0', |o: &mut Options| &mut o.pid, "PID namespace"),
    Flag::int("pids-limit", '\0', |o: &mut Options| &mut o.pids_limit, "Limit of processes, -1 for none"),
    Flag::text(
        "platform",
        '\0',
        |o: &mut Options| &mut o.platform,
        "Platform of the image, if there are several",
    ),
    Flag::bool("privileged", '\0', |o: &mut Options| &mut o.privileged, "Give all capabilities and devices"),
    Flag::list("publish", 'p', |o: &mut Options| &mut o.publish, "Publish a port on the host"),
    Flag::bool(
        "publish-all",
        'P',
        |o: &mut Options| &mut o.publish_all,
        "Publish all exposed ports on free ports of the host",
    ),
    Flag::text(
        "pull",
        '\0',
        |o: &mut Options| &mut o.pull,
        "Fetch the image first (\"always\", \"missing\", \"never\")",
    )
    .default("\"missing\""),
    Flag::bool("quiet", 'q', |o: &mut Options| &mut o.quiet, "Fetch without telling"),
    Flag::bool("read-only", '\0', |o: &mut Options| &mut o.read_only, "Mount the root file system read-only"),
    Flag::text("restart", '\0', |o: &mut Options| &mut o.restart, "When to start again after the end")
        .default("\"no\""),
    Flag::bool(
        "rm",
        '\0',
        |o: &mut Options| &mut o.auto_remove,
        "Remove the container and its anonymous volumes when it ends",
    ),
    Flag::text("runtime", '\0', |o: &mut Options| &mut o.runtime, "OCI runtime to use"),
    Flag::list("security-opt", '\0', |o: &mut Options| &mut o.security, "Security option"),
    Flag::value(
        "shm-size",
        '\0',
        "bytes",
        |o: &mut Options, v| set(&mut o.shm_size, parse_bytes(v)),
        "Size of /dev/shm",
    ),
    Flag::text("stop-signal", '\0', |o: &mut Options| &mut o.stop_signal, "Signal that stops the container"),
    Flag::value(
        "stop-timeout",
        '\0',
        "int",
        |o: &mut Options, v| some(&mut o.stop_timeout, parse_int(v).map(|n| n as i32)),
        "Seconds to wait after that signal before killing",
    ),
    Flag::list("storage-opt", '\0', |o: &mut Options| &mut o.storage_options, "Option of the storage driver"),
    Flag::value(
        "sysctl",
        '\0',
        "map",
        |o: &mut Options, v| limits::sysctl(v).and_then(|()| insert(&mut o.sysctls, v)),
        "Set a kernel parameter",
    )
    .default("map[]"),
    Flag::list("tmpfs", '\0', |o: &mut Options| &mut o.tmpfs, "Mount a file system in memory"),
    Flag::bool("tty", 't', |o: &mut Options| &mut o.tty, "Allocate a terminal"),
    Flag::value(
        "ulimit",
        '\0',
        "ulimit",
        |o: &mut Options, v| push(&mut o.ulimits, Ulimit::parse(v)),
        "Limit of the process",
    )
    .default("[]"),
    Flag::bool(
        "use-api-socket",
        '\0',
        |o: &mut Options| &mut o.api_socket,
        "Put the socket of the engine into the container",
    ),
    Flag::text("user", 'u', |o: &mut Options| &mut o.user, "User (name or number, with or without :group)"),
    Flag::text("userns", '\0', |o: &mut Options| &mut o.userns, "User namespace"),
    Flag::text("uts", '\0', |o: &mut Options| &mut o.uts, "UTS namespace"),
    Flag::list("volume", 'v', |o: &mut Options| &mut o.volumes, "Mount a path of the host or a volume"),
    Flag::text("volume-driver", '\0', |o: &mut Options| &mut o.volume_driver, "Driver of the volumes"),
    Flag::list(
        "volumes-from",
        '\0',
        |o: &mut Options| &mut o.volumes_from,
        "Mount the volumes of another container",
    ),
    Flag::text("workdir", 'w', |o: &mut Options| &mut o.workdir, "Working directory inside"),
    // What follows is only `run`'s.
    Flag::bool(
        "detach",
        'd',
        |o: &mut Options| &mut o.detach,
        "Run in the background and print the container's id",
    ),
    Flag::text(
        "detach-keys",
        '\0',
        |o: &mut Options| &mut o.detach_keys,
        "Keys that detach from the container",
    ),
    Flag::value(
        "sig-proxy",
        '\0',
        "",
        |o: &mut Options, v| some(&mut o.sig_proxy, parse_bool(v)),
        "Pass signals on to the process",
    )
    .default("true")
    .switch(),
];

/// How many flags at the end of [`FLAGS`] are only `run`'s.
const RUN_ONLY: usize = 3;

/// The flags of `create`.
pub(crate) static CREATE_FLAGS: &[Flag<Options>] = FLAGS.split_at(FLAGS.len() - RUN_ONLY).0;

fn set<V>(field: &mut V, value: Result<V, String>) -> Result<(), String> {
    value.map(|value| *field = value)
}

fn some<V>(field: &mut Option<V>, value: Result<V, String>) -> Result<(), String> {
    value.map(|value| *field = Some(value))
}

fn push<V>(list: &mut Vec<V>, value: Result<V, String>) -> Result<(), String> {
    value.map(|value| list.push(value))
}

fn insert(map: &mut std::collections::BTreeMap<String, String>, pair: &str) -> Result<(), String> {
    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
    map.insert(name.to_owned(), value.to_owned());
    Ok(())
}

fn attach(options: &mut Options, value: &str) -> Result<(), String> {
    options.attach.push(match value.to_lowercase().as_str() {
        "stdin" => Stream::Stdin,
        "stdout" => Stream::Stdout,
        "stderr" => Stream::Stderr,
        _ => return Err("valid streams are STDIN, STDOUT and STDERR".to_owned()),
    });
    Ok(())
}
