//! Every option of the daemon: one row for its flag, its key in the configuration file and what it does here.
//!
//! WHEN AN OPTION COMES INTO EFFECT: turn its row to `Works` and read it in `resolve.rs`.

/// An option of the daemon.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    /// The long flag, without its dashes.
    pub(super) flag: &'static str,
    /// The short flag.
    pub(super) short: Option<char>,
    /// The key in the configuration file; empty: only a flag.
    pub(super) key: &'static str,
    pub(super) kind: Kind,
    pub(super) effect: Effect,
    /// What it does, for `--help`.
    pub(super) help: &'static str,
}

/// What the value of an option is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Bool,
    Int,
    Text,
    /// A size in bytes with a unit.
    Bytes,
    /// An address.
    Ip,
    /// Texts; the flag can be given several times.
    List,
    /// Addresses; the flag can be given several times.
    IpList,
    /// `key=value`; the flag can be given several times.
    Map,
    /// `name=soft[:hard]`.
    Ulimits,
    /// `name=path`; objects in the file.
    Runtimes,
    /// `base=…,size=…`; objects in the file.
    Pools,
    /// `name=true|false`; an object in the file.
    Switches,
    /// `name={"mirrors": […], "insecure": true}`; only the file can have them.
    Registries,
    /// An object that only the file can have.
    Object,
}

/// What an option does here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    Works,
    /// It is taken and has no effect; the user is told why.
    Idle(&'static str),
    /// It is refused unless it asks for what is so anyway; the user is told what is missing.
    Refused(&'static str),
}

use Effect::{Idle, Refused, Works};
use Kind::{
    Bool, Bytes, Int, Ip, IpList, List, Map, Object, Pools, Registries, Runtimes, Switches, Text, Ulimits,
};

const fn row(flag: &'static str, key: &'static str, kind: Kind, effect: Effect, help: &'static str) -> Row {
    Row { flag, short: None, key, kind, effect, help }
}

const fn short(short: char, row: Row) -> Row {
    Row { short: Some(short), ..row }
}

const NO_CONTAINERD: Effect = Idle("there is no containerd: supervisors are part of the program");
const NO_SWARM: Effect = Idle("there is no swarm");

/// All options, in the order of `--help`.
pub(super) static TABLE: &[Row] = &[
    row(
        "add-runtime",
        "runtimes",
        Runtimes,
        Works,
        "Register an additional OCI compatible runtime (name=path)",
    ),
    row(
        "allow-nondistributable-artifacts",
        "allow-nondistributable-artifacts",
        List,
        Idle("images are not pushed yet"),
        "Allow push of nondistributable artifacts to registry",
    ),
    row(
        "api-cors-header",
        "api-cors-header",
        Text,
        Refused("CORS headers were removed from the Engine API"),
        "Set CORS headers in the Engine API",
    ),
    row(
        "authorization-plugin",
        "authorization-plugins",
        List,
        Refused("authorization plugins do not exist here"),
        "Authorization plugins to load",
    ),
    row("bip", "bip", Text, Works, "Address and prefix length of the default bridge"),
    row(
        "bip6",
        "bip6",
        Text,
        Refused("IPv6 on the default bridge is not built yet"),
        "IPv6 address and prefix length of the default bridge",
    ),
    short(
        'b',
        row("bridge", "bridge", Text, Works, "Attach containers to a network bridge (default \"berth0\")"),
    ),
    row(
        "bridge-accept-fwmark",
        "bridge-accept-fwmark",
        Text,
        Refused("accepting marked packets is not built yet"),
        "Accept packets with this firewall mark in bridge networks",
    ),
    row(
        "cdi-spec-dir",
        "cdi-spec-dirs",
        List,
        Idle("device specifications (CDI) are not read yet"),
        "CDI specification directories to use",
    ),
    row("cgroup-parent", "cgroup-parent", Text, Works, "Set parent cgroup for all containers"),
    row("config-file", "", Text, Works, "Daemon configuration file (default \"/etc/berth/daemon.json\")"),
    row("containerd", "containerd", Text, NO_CONTAINERD, "containerd grpc address"),
    row("containerd-namespace", "containerd-namespace", Text, NO_CONTAINERD, "Containerd namespace to use"),
    row(
        "containerd-plugins-namespace",
        "containerd-plugin-namespace",
        Text,
        NO_CONTAINERD,
        "Containerd namespace to use for plugins",
    ),
    row(
        "cpu-rt-period",
        "cpu-rt-period",
        Int,
        Refused("real-time scheduling of the parent cgroup is not built yet"),
        "Limit the CPU real-time period in microseconds for the parent cgroup for all containers",
    ),
    row(
        "cpu-rt-runtime",
        "cpu-rt-runtime",
        Int,
        Refused("real-time scheduling of the parent cgroup is not built yet"),
        "Limit the CPU real-time runtime in microseconds for the parent cgroup for all containers",
    ),
    row(
        "cri-containerd",
        "cri-containerd",
        Bool,
        Refused("the CRI server is not built yet"),
        "start containerd with cri",
    ),
    row(
        "data-root",
        "data-root",
        Text,
        Works,
        "Root directory of persistent state (default \"/var/lib/berth\")",
    ),
    short('D', row("debug", "debug", Bool, Works, "Enable debug mode")),
    row(
        "default-address-pool",
        "default-address-pools",
        Pools,
        Works,
        "Default address pools for node specific local networks (base=…,size=…)",
    ),
    row(
        "default-cgroupns-mode",
        "default-cgroupns-mode",
        Text,
        Works,
        "Default mode for containers cgroup namespace (\"host\" | \"private\")",
    ),
    row("default-gateway", "default-gateway", Ip, Works, "Container default gateway IPv4 address"),
    row(
        "default-gateway-v6",
        "default-gateway-v6",
        Ip,
        Refused("IPv6 on the default bridge is not built yet"),
        "Container default gateway IPv6 address",
    ),
    row(
        "default-ipc-mode",
        "default-ipc-mode",
        Text,
        Works,
        "Default mode for containers ipc (\"shareable\" | \"private\") (default \"private\")",
    ),
    row(
        "default-network-opt",
        "default-network-opts",
        Object,
        Refused("options of further networks are not built yet"),
        "Default network options",
    ),
    row(
        "default-runtime",
        "default-runtime",
        Text,
        Works,
        "Default OCI runtime for containers (default \"runc\")",
    ),
    row(
        "default-shm-size",
        "default-shm-size",
        Bytes,
        Works,
        "Default shm size for containers (default 64MiB)",
    ),
    row("default-ulimit", "default-ulimits", Ulimits, Works, "Default ulimits for containers"),
    row("deprecated-key-path", "deprecated-key-path", Text, Idle("there is no such key"), ""),
    row("dns", "dns", IpList, Works, "DNS server to use"),
    row("dns-opt", "dns-opts", List, Works, "DNS options to use"),
    row("dns-search", "dns-search", List, Works, "DNS search domains to use"),
    row(
        "exec-opt",
        "exec-opts",
        List,
        Works,
        "Runtime execution options (native.cgroupdriver=cgroupfs|systemd)",
    ),
    row(
        "exec-root",
        "exec-root",
        Text,
        Works,
        "Root directory for execution state files (default \"/run/berth\")",
    ),
    row("experimental", "experimental", Bool, Works, "Enable experimental features"),
    row("feature", "features", Switches, Idle("no feature can be switched"), "Enable feature in the daemon"),
    row("firewall-backend", "firewall-backend", Text, Works, "Firewall backend to use (\"nftables\" only)"),
    row("fixed-cidr", "fixed-cidr", Text, Works, "IPv4 subnet for fixed IPs"),
    row("fixed-cidr-v6", "fixed-cidr-v6", Text, Works, "IPv6 subnet for fixed IPs"),
    short('G', row("group", "group", Text, Works, "Group for the unix socket (default \"docker\")")),
    row("help", "", Bool, Works, "Print usage"),
    short(
        'H',
        row(
            "host",
            "hosts",
            List,
            Works,
            "Daemon socket(s) to connect to (default \"unix:///run/berth.sock\")",
        ),
    ),
    row(
        "host-gateway-ip",
        "host-gateway-ips",
        IpList,
        Works,
        "IP addresses that the special 'host-gateway' string in --add-host resolves to",
    ),
    row("http-proxy", "http-proxy", Text, Works, "HTTP proxy URL to use for outgoing traffic"),
    row("https-proxy", "https-proxy", Text, Works, "HTTPS proxy URL to use for outgoing traffic"),
    row("icc", "icc", Bool, Works, "Enable inter-container communication (default true)"),
    row("init", "init", Bool, Works, "Run an init in the container to forward signals and reap processes"),
    row("init-path", "init-path", Text, Works, "Path to the docker-init binary"),
    row("insecure-registry", "insecure-registries", List, Works, "Enable insecure registry communication"),
    row("ip", "ip", Ip, Works, "Default IP when binding container ports (default 0.0.0.0)"),
    row("ip-forward", "ip-forward", Bool, Works, "Enable net.ipv4.ip_forward (default true)"),
    row(
        "ip-forward-no-drop",
        "ip-forward-no-drop",
        Bool,
        Idle("the host's forwarding policy is never changed"),
        "Do not set the filter-FORWARD policy to DROP when enabling IP forwarding",
    ),
    row("ip-masq", "ip-masq", Bool, Works, "Enable IP masquerading (default true)"),
    row(
        "ip6tables",
        "ip6tables",
        Bool,
        Idle("the table of --iptables is for both families"),
        "Enable addition of IPv6 firewall rules",
    ),
    row("iptables", "iptables", Bool, Works, "Enable addition of firewall rules (default true)"),
    row("ipv6", "ipv6", Bool, Works, "Enable IPv6 on the default bridge"),
    row("label", "labels", List, Works, "Set key=value labels to the daemon"),
    row("live-restore", "live-restore", Bool, Works, "Containers outlive the daemon (always on)"),
    row("log-driver", "log-driver", Text, Works, "Default driver for container logs (default \"json-file\")"),
    row("log-format", "log-format", Text, Works, "Set the logging format (\"text\")"),
    short(
        'l',
        row(
            "log-level",
            "log-level",
            Text,
            Works,
            "Set the logging level (\"debug\"|\"info\"|\"warn\"|\"error\"|\"fatal\") (default \"info\")",
        ),
    ),
    row("log-opt", "log-opts", Map, Works, "Default log driver options for containers"),
    row(
        "max-concurrent-downloads",
        "max-concurrent-downloads",
        Int,
        Works,
        "Set the max concurrent downloads",
    ),
    row("max-concurrent-uploads", "max-concurrent-uploads", Int, Works, "Set the max concurrent uploads"),
    row(
        "max-download-attempts",
        "max-download-attempts",
        Int,
        Works,
        "Set the max download attempts for each pull",
    ),
    row(
        "metrics-addr",
        "metrics-addr",
        Text,
        Refused("metrics are not served yet"),
        "Set default address and port to serve the metrics api on",
    ),
    row("mtu", "mtu", Int, Works, "Set the MTU for the default \"bridge\" network"),
    row("network-control-plane-mtu", "network-control-plane-mtu", Int, NO_SWARM, "Network Control plane MTU"),
    row(
        "no-new-privileges",
        "no-new-privileges",
        Bool,
        Works,
        "Set no-new-privileges by default for new containers",
    ),
    row(
        "no-proxy",
        "no-proxy",
        Text,
        Works,
        "Comma-separated list of hosts or IP addresses for which the proxy is skipped",
    ),
    row("node-generic-resource", "node-generic-resources", List, NO_SWARM, "Advertise user-defined resource"),
    row("oom-score-adjust", "oom-score-adjust", Int, Works, "Set the oom_score_adj of the supervisors"),
    short(
        'p',
        row(
            "pidfile",
            "pidfile",
            Text,
            Works,
            "Path to use for daemon PID file (default \"/run/berth.pid\")",
        ),
    ),
    row("raw-logs", "raw-logs", Bool, Works, "Full timestamps without ANSI coloring"),
    row("registry-mirror", "registry-mirrors", List, Works, "Preferred registry mirror"),
    row("rootless", "", Bool, Refused("running without root is not built yet"), "Enable rootless mode"),
    row(
        "seccomp-profile",
        "seccomp-profile",
        Text,
        Works,
        "Path to seccomp profile. Set to \"unconfined\" to disable the default seccomp profile (default \"builtin\")",
    ),
    row(
        "selinux-enabled",
        "selinux-enabled",
        Bool,
        Refused("labels of SELinux are not managed yet"),
        "Enable selinux support",
    ),
    row(
        "shutdown-timeout",
        "shutdown-timeout",
        Int,
        Idle("containers outlive the daemon, so that its end never waits for them"),
        "Set the default shutdown timeout",
    ),
    short(
        's',
        row("storage-driver", "storage-driver", Text, Works, "Storage driver to use (\"overlay2\" only)"),
    ),
    row(
        "storage-opt",
        "storage-opts",
        List,
        Refused("the storage driver has no options"),
        "Storage driver options",
    ),
    row(
        "swarm-default-advertise-addr",
        "swarm-default-advertise-addr",
        Text,
        NO_SWARM,
        "Set default address or interface for swarm advertised address",
    ),
    row("tls", "tls", Bool, Works, "Use TLS; implied by --tlsverify"),
    row("tlscacert", "tlscacert", Text, Works, "Trust certs signed only by this CA"),
    row("tlscert", "tlscert", Text, Works, "Path to TLS certificate file"),
    row("tlskey", "tlskey", Text, Works, "Path to TLS key file"),
    row("tlsverify", "tlsverify", Bool, Works, "Use TLS and verify the remote"),
    row(
        "userland-proxy",
        "userland-proxy",
        Bool,
        Idle("ports are published by the kernel, loopback too"),
        "Use userland proxy for loopback traffic",
    ),
    row(
        "userland-proxy-path",
        "userland-proxy-path",
        Text,
        Idle("ports are published by the kernel, loopback too"),
        "Path to the userland proxy binary",
    ),
    row(
        "userns-remap",
        "userns-remap",
        Text,
        Refused("remapping users is not built yet"),
        "User/Group setting for user namespaces",
    ),
    row("validate", "", Bool, Works, "Validate daemon configuration and exit"),
    short('v', row("version", "", Bool, Works, "Print version information and quit")),
    // The key of Docker 26 for one address; its flag was the same.
    row("", "host-gateway-ip", IpList, Works, ""),
    // Ours: Docker has mirrors of Docker Hub alone.
    row("", "registries", Registries, Works, ""),
    row("", "builder", Object, Idle("building is not built yet"), ""),
    // Ours: no key of dockerd's is about images without a name. Its words are those of a policy of `builder.gc`.
    row("", "image-gc", Object, Works, ""),
];

/// The row of a long flag.
pub(super) fn by_flag(flag: &str) -> Option<&'static Row> {
    TABLE.iter().find(|row| row.flag == flag && !flag.is_empty())
}

/// The row of a short flag.
pub(super) fn by_short(short: char) -> Option<&'static Row> {
    TABLE.iter().find(|row| row.short == Some(short))
}

/// The row of a key in the file.
pub(super) fn by_key(key: &str) -> Option<&'static Row> {
    TABLE.iter().find(|row| row.key == key && !key.is_empty())
}

impl Row {
    /// How the row is kept: by its key, or by its flag if it has none.
    pub(super) fn id(&self) -> &'static str {
        match self.key {
            "" => self.flag,
            "host-gateway-ip" => "host-gateway-ips",
            key => key,
        }
    }

    /// Where Docker keeps the value, as errors name it.
    pub(super) fn go_field(&self) -> String {
        let parent = match self.key {
            "dns" | "dns-opts" | "dns-search" | "host-gateway-ip" | "host-gateway-ips" => {
                "CommonConfig.DNSConfig."
            }
            "log-driver" | "log-opts" => "CommonConfig.LogConfig.",
            "bip" | "bip6" | "bridge" | "default-gateway" | "default-gateway-v6" | "fixed-cidr"
            | "fixed-cidr-v6" | "icc" | "ip" | "ipv6" | "mtu" => {
                "CommonConfig.BridgeConfig.DefaultBridgeConfig."
            }
            "ip-forward"
            | "ip-masq"
            | "ip6tables"
            | "iptables"
            | "userland-proxy"
            | "userland-proxy-path" => "CommonConfig.BridgeConfig.",
            "cgroup-parent"
            | "cpu-rt-period"
            | "cpu-rt-runtime"
            | "default-cgroupns-mode"
            | "default-ipc-mode"
            | "default-shm-size"
            | "default-ulimits"
            | "init"
            | "init-path"
            | "no-new-privileges"
            | "seccomp-profile"
            | "selinux-enabled"
            | "userns-remap" => "",
            _ => "CommonConfig.",
        };
        format!("Config.{parent}{}", self.key)
    }

    /// How messages name the flag.
    pub(super) fn spelled(&self) -> String {
        match self.short {
            Some(short) => format!("-{short}, --{}", self.flag),
            None => format!("--{}", self.flag),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_stands_twice() {
        for (at, row) in TABLE.iter().enumerate() {
            for other in &TABLE[at + 1..] {
                assert!(row.flag.is_empty() || row.flag != other.flag, "{row:?}");
                assert!(row.key.is_empty() || row.key != other.key, "{row:?}");
                assert!(row.short.is_none() || row.short != other.short, "{row:?}");
            }
        }
    }
}
