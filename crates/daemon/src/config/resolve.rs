//! From values to the checked configuration.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use berth_engine::{
    BridgeConfig, CgroupDriver, EngineConfig, ImageCollection, Live, LiveConfig, RegistryOptions,
    RegistryProxies, RegistrySettings, Runtime, parse_duration,
};
use berth_oci::json::Node;

use super::check::{check_words, effects};
use super::flags::Values;
use super::host::Host;
use super::value::{Value, parse_bytes};
use super::{Config, Group, PIDFILE, flag, int, ips, list, text, tls};
use crate::http::Settings;

/// Checks the values and gives each part of the daemon its own.
///
/// Errors: Docker's text where it has one.
pub(super) fn resolve(values: &Values) -> Result<Config, String> {
    let mut warnings = effects(values)?;
    check_words(values)?;
    if flag(values, "live-restore") == Some(false) {
        warnings.push("live-restore cannot be turned off: containers always outlive the daemon".to_owned());
    }
    let debug = flag(values, "debug").unwrap_or(false);
    let live = LiveConfig {
        runtimes: runtimes(values)?,
        default_runtime: text(values, "default-runtime").unwrap_or("runc").to_owned(),
        registries: registries(values, RegistryOptions::default())?,
        labels: list(values, "labels"),
        image_collection: image_collection(values)?,
        debug,
    };
    let tls = tls::read(values)?;
    let hosts = hosts(values, tls.is_some())?;
    check_exposure(&hosts, tls.as_ref(), tls::is_refused(values), &mut warnings)?;
    Ok(Config {
        settings: Settings {
            version: env!("CARGO_PKG_VERSION"),
            experimental: flag(values, "experimental").unwrap_or(false),
            mirrors: live
                .registries
                .registries
                .iter()
                .map(|(name, of)| (name.clone(), of.mirrors.clone()))
                .collect(),
            insecure_registries: live.registries.insecure.clone(),
            http_proxy: live.registries.proxies.http.clone().unwrap_or_default(),
            https_proxy: live.registries.proxies.https.clone().unwrap_or_default(),
            no_proxy: live.registries.proxies.none.join(","),
        },
        hosts,
        tls,
        reloaded: reloaded(values, &live),
        pidfile: text(values, "pidfile").unwrap_or(PIDFILE).into(),
        group: text(values, "group").map_or(Group::Default, |name| Group::Named(name.to_owned())),
        log_level: if debug { tracing::Level::DEBUG } else { log_level(values)? },
        raw_logs: flag(values, "raw-logs").unwrap_or(false),
        engine: engine(values, live)?,
        warnings,
    })
}

/// The runtimes that were added. The default one must be among them or ours.
fn runtimes(values: &Values) -> Result<BTreeMap<String, Runtime>, String> {
    const OURS: [&str; 3] = ["runc", "berth", "io.containerd.runc.v2"];
    let runtimes = match values.get("runtimes") {
        Some(Value::Runtimes(runtimes)) => runtimes.clone(),
        _ => BTreeMap::new(),
    };
    if let Some(name) = runtimes.keys().find(|name| OURS.contains(&name.as_str())) {
        return Err(format!("runtime name '{name}' is reserved"));
    }
    match text(values, "default-runtime") {
        Some(name) if !OURS.contains(&name) && !runtimes.contains_key(name) => {
            Err(format!("specified default runtime '{name}' does not exist"))
        }
        _ => Ok(runtimes),
    }
}

/// `image-gc`: which images without a name stay.
fn image_collection(values: &Values) -> Result<Option<ImageCollection>, String> {
    let Some(Value::Object(Node::Object(entries))) = values.get("image-gc") else {
        return match values.get("image-gc") {
            None => Ok(None),
            Some(_) => Err("image-gc is an object with enabled, keepStorage and keepDuration".to_owned()),
        };
    };
    let week = std::time::Duration::from_secs(7 * 24 * 3600);
    let mut collection = ImageCollection { keep_storage_bytes: 0, keep_duration: week };
    let mut enabled = false;
    for (key, node) in entries {
        let wrong = || format!("image-gc: invalid value of {key}: {}", node.kind());
        match (key.as_str(), node) {
            ("enabled", Node::Bool(value)) => enabled = *value,
            ("keepStorage", Node::String(text)) => {
                collection.keep_storage_bytes =
                    parse_bytes(text).map_err(|why| format!("image-gc: keepStorage: {why}"))?;
            }
            ("keepDuration", Node::String(text)) => {
                collection.keep_duration = parse_duration(text)
                    .ok_or_else(|| format!("image-gc: keepDuration: invalid duration {text:?}"))?;
            }
            ("enabled" | "keepStorage" | "keepDuration", _) => return Err(wrong()),
            _ => return Err(format!("image-gc: unknown key {key}")),
        }
    }
    Ok(enabled.then_some(collection))
}

/// What the event of a reload tells.
fn reloaded(values: &Values, live: &LiveConfig) -> BTreeMap<String, String> {
    let json = |id: &str| serde_json::to_string(&list(values, id)).unwrap_or_default();
    let number = |id: &str, default: i64| int(values, id).unwrap_or(default).to_string();
    let runtimes: Vec<_> =
        live.runtimes.iter().map(|(name, runtime)| format!("{name}:{}", runtime.path)).collect();
    let attributes = [
        ("debug", live.debug.to_string()),
        ("default-runtime", live.default_runtime.clone()),
        ("insecure-registries", json("insecure-registries")),
        ("labels", json("labels")),
        ("live-restore", "true".to_owned()),
        ("max-concurrent-downloads", number("max-concurrent-downloads", 3)),
        ("max-concurrent-uploads", number("max-concurrent-uploads", 5)),
        ("max-download-attempts", number("max-download-attempts", 5)),
        ("registry-mirrors", json("registry-mirrors")),
        ("runtimes", runtimes.join(" ")),
        ("shutdown-timeout", number("shutdown-timeout", 15)),
    ];
    attributes.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Whoever reaches the API is root: others than this machine's users need a certificate, or a user who knows.
fn check_exposure(
    hosts: &[Host],
    tls: Option<&tls::Tls>,
    known: bool,
    warnings: &mut Vec<String>,
) -> Result<(), String> {
    if tls.is_some_and(|tls| tls.verify) {
        return Ok(());
    }
    for host in hosts {
        if !host.is_local() && !known {
            return Err(format!(
                "invalid bind address ({host}): binding to an IP address without --tlsverify gives root access on this \
                 machine to everyone who has access to your network: let clients show certificates (--tlsverify), or \
                 say that you know with --tls=false or --tlsverify=false"
            ));
        }
        if matches!(host, Host::Tcp(_)) {
            warnings.push(format!(
                "[{host}] Binding to IP address without --tlsverify is insecure and gives root access on this machine \
                 to everyone who has access to your network."
            ));
            warnings.push(format!(
                "[{host}] Binding to an IP address, even on localhost, can also give access to scripts run in a \
                 browser. Be safe out there!"
            ));
        }
    }
    Ok(())
}

fn hosts(values: &Values, tls: bool) -> Result<Vec<Host>, String> {
    let mut hosts: Vec<Host> = Vec::new();
    for host in list(values, "hosts") {
        let host = Host::parse(&host, tls)?;
        if !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    if hosts.is_empty() {
        hosts.push(Host::parse(Host::DEFAULT, tls)?);
    }
    Ok(hosts)
}

fn log_level(values: &Values) -> Result<tracing::Level, String> {
    Ok(match text(values, "log-level") {
        None | Some("info") => tracing::Level::INFO,
        Some("trace") => tracing::Level::TRACE,
        Some("debug") => tracing::Level::DEBUG,
        Some("warn" | "warning") => tracing::Level::WARN,
        Some("error" | "fatal" | "panic") => tracing::Level::ERROR,
        Some(level) => return Err(format!("invalid logging level: {level}")),
    })
}

fn engine(values: &Values, live: LiveConfig) -> Result<EngineConfig, String> {
    let own = EngineConfig::default();
    let path = |id: &str, default: PathBuf| text(values, id).map_or(default, PathBuf::from);
    let word = |id: &str, default: String| text(values, id).map_or(default, str::to_owned);
    let ulimits = match values.get("default-ulimits") {
        Some(Value::Ulimits(ulimits)) => ulimits.values().cloned().collect(),
        _ => own.default_ulimits,
    };
    Ok(EngineConfig {
        data_root: absolute(&path("data-root", own.data_root))?,
        exec_root: absolute(&path("exec-root", own.exec_root))?,
        version: own.version,
        cgroup_driver: cgroup_driver(values)?,
        cgroup_parent: word("cgroup-parent", own.cgroup_parent),
        live: Live::new(live),
        bridge: bridge(values)?,
        dns: ips(values, "dns"),
        dns_options: list(values, "dns-opts"),
        dns_search: list(values, "dns-search"),
        host_gateway: ips(values, "host-gateway-ips"),
        log_driver: word("log-driver", own.log_driver),
        log_options: match values.get("log-opts") {
            Some(Value::Map(options)) => options.clone(),
            _ => own.log_options,
        },
        default_ulimits: ulimits,
        default_shm_size: match values.get("default-shm-size") {
            Some(Value::Bytes(bytes)) => *bytes,
            _ => own.default_shm_size,
        },
        default_ipc_mode: word("default-ipc-mode", own.default_ipc_mode),
        default_cgroupns_mode: word("default-cgroupns-mode", own.default_cgroupns_mode),
        seccomp_profile: text(values, "seccomp-profile").filter(|path| *path != "builtin").map(str::to_owned),
        no_new_privileges: flag(values, "no-new-privileges").unwrap_or(own.no_new_privileges),
        init_path: text(values, "init-path").map(PathBuf::from),
        init: flag(values, "init").unwrap_or(own.init),
        oom_score_adjust: int(values, "oom-score-adjust").unwrap_or(own.oom_score_adjust),
        shutdown_timeout: own.shutdown_timeout,
        events_kept: own.events_kept,
        program: own.program,
    })
}

/// How registries are reached.
pub(super) fn registries(values: &Values, own: RegistryOptions) -> Result<RegistryOptions, String> {
    let (registries, insecure) = by_registry(values)?;
    let count = |id: &str, default: usize| match int::<i64>(values, id) {
        None | Some(0) => Ok(default),
        Some(number) => usize::try_from(number).map_err(|_| format!("invalid {id}: {number}")),
    };
    let attempts = match int::<i64>(values, "max-download-attempts") {
        None => own.attempts,
        Some(number) => match u32::try_from(number) {
            Ok(attempts) if attempts > 0 => attempts,
            _ => return Err(format!("invalid max download attempts: {number}")),
        },
    };
    let environment = RegistryProxies::from_environment();
    let proxies = RegistryProxies {
        http: text(values, "http-proxy").map(str::to_owned).or(environment.http),
        https: text(values, "https-proxy").map(str::to_owned).or(environment.https),
        none: match text(values, "no-proxy") {
            Some(hosts) => hosts.split(',').map(|host| host.trim().to_owned()).collect(),
            None => environment.none,
        },
    };
    Ok(RegistryOptions {
        registries,
        insecure,
        proxies,
        downloads: count("max-concurrent-downloads", own.downloads)?,
        uploads: count("max-concurrent-uploads", own.uploads)?,
        attempts,
        ..own
    })
}

/// Mirrors by registry, Docker's key for Docker Hub among them, and the registries that may be insecure.
type ByRegistry = (BTreeMap<String, RegistrySettings>, Vec<String>);

fn by_registry(values: &Values) -> Result<ByRegistry, String> {
    let hub = RegistrySettings { mirrors: list(values, "registry-mirrors") };
    let mut registries = BTreeMap::from([("docker.io".to_owned(), hub)]);
    let mut insecure = list(values, "insecure-registries");
    if let Some(Value::Registries(more)) = values.get("registries") {
        for (name, registry) in more {
            if name.is_empty() || name.contains(['/', '@', ' ']) {
                return Err(format!("invalid registry: {name:?} is not a host with or without a port"));
            }
            registries.entry(name.clone()).or_default().mirrors.extend(registry.mirrors.iter().cloned());
            insecure.extend(registry.insecure.then(|| name.clone()));
        }
    }
    for registry in registries.values() {
        registry.check().map_err(|error| error.to_string())?;
    }
    Ok((registries, insecure))
}

/// A path that means the same from every working directory.
fn absolute(path: &Path) -> Result<PathBuf, String> {
    std::path::absolute(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn cgroup_driver(values: &Values) -> Result<CgroupDriver, String> {
    let mut driver = CgroupDriver::default();
    for option in list(values, "exec-opts") {
        driver = match option.split_once('=') {
            Some(("native.cgroupdriver", "cgroupfs")) => CgroupDriver::Cgroupfs,
            Some(("native.cgroupdriver", "systemd")) => CgroupDriver::Systemd,
            Some(("native.cgroupdriver", other)) => {
                return Err(format!("invalid cgroup driver {other:?}: use \"cgroupfs\" or \"systemd\""));
            }
            _ => {
                return Err(format!(
                    "invalid execution option {option:?}: only native.cgroupdriver is known"
                ));
            }
        };
    }
    Ok(driver)
}

fn bridge(values: &Values) -> Result<BridgeConfig, String> {
    let own = BridgeConfig::default();
    let ip = |id: &str| match values.get(id) {
        Some(Value::Ip(ip)) => Some(*ip),
        _ => None,
    };
    let name = match text(values, "bridge") {
        None => own.name,
        Some("none") => None,
        Some(name) => Some(name.to_owned()),
    };
    if name.is_none() && text(values, "bip").is_some() {
        return Err(
            "a bridge address was given (bip), but the bridge was turned off (bridge: none)".to_owned()
        );
    }
    if flag(values, "icc") == Some(false) && flag(values, "iptables") == Some(false) {
        return Err("You specified --iptables=false with --icc=false. ICC=false uses iptables to function. Please set \
                    --icc or --iptables to true"
            .to_owned());
    }
    Ok(BridgeConfig {
        name,
        address: text(values, "bip").map(str::to_owned),
        range: text(values, "fixed-cidr").map(str::to_owned),
        gateway: ip("default-gateway"),
        mtu: int(values, "mtu").unwrap_or(own.mtu),
        default_address: ip("ip").unwrap_or(own.default_address),
        inter_container: flag(values, "icc").unwrap_or(own.inter_container),
        // Without our rules there is none that could masquerade.
        masquerade: flag(values, "ip-masq").unwrap_or(own.masquerade)
            && flag(values, "iptables").unwrap_or(true),
        forward: flag(values, "ip-forward").unwrap_or(own.forward),
        firewall: flag(values, "iptables").unwrap_or(own.firewall),
        ipv6: flag(values, "ipv6").unwrap_or(own.ipv6),
        subnet_v6: text(values, "fixed-cidr-v6").map(str::to_owned),
        address_pools: match values.get("default-address-pools") {
            Some(Value::Pools(pools)) => pools.clone(),
            _ => own.address_pools,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsString;
    use std::net::IpAddr;

    fn resolved(arguments: &[&str]) -> Result<Config, String> {
        let flags = super::super::flags::parse(arguments.iter().map(OsString::from)).unwrap();
        resolve(&flags.values)
    }

    #[test]
    fn each_part_gets_its_own_piece() {
        let config = resolved(&[
            "--data-root=/a",
            "--exec-root=/b",
            "--pidfile=/c",
            "-H",
            "unix:///d",
            "--bridge=br9",
            "--bip=10.0.0.1/24",
            "--cgroup-parent=/e",
            "--mtu=1400",
            "--icc=false",
            "--dns=1.1.1.1",
            "--log-opt=max-size=1m",
            "-l",
            "warn",
            "--label=a=b",
            "--exec-opt=native.cgroupdriver=systemd",
            "--default-ulimit=nofile=1:2",
            "-G",
            "wheel",
        ])
        .unwrap();
        assert_eq!(config.engine.data_root, PathBuf::from("/a"));
        assert_eq!(config.engine.exec_root, PathBuf::from("/b"));
        assert_eq!(config.pidfile, PathBuf::from("/c"));
        assert_eq!(config.hosts, [Host::Unix("/d".into())]);
        assert_eq!(config.engine.bridge.name.as_deref(), Some("br9"));
        assert_eq!(config.engine.bridge.address.as_deref(), Some("10.0.0.1/24"));
        assert_eq!(config.engine.bridge.mtu, 1400);
        assert!(!config.engine.bridge.inter_container);
        assert_eq!(config.engine.cgroup_parent, "/e");
        assert_eq!(config.engine.dns, ["1.1.1.1".parse::<IpAddr>().unwrap()]);
        assert_eq!(config.engine.log_options["max-size"], "1m");
        assert_eq!(config.engine.cgroup_driver, CgroupDriver::Systemd);
        assert_eq!(config.engine.default_ulimits[0].hard, 2);
        assert_eq!(config.log_level, tracing::Level::WARN);
        assert_eq!(config.group, Group::Named("wheel".into()));
        assert_eq!(config.warnings, Vec::<String>::new());
    }

    #[test]
    fn the_defaults_are_the_engines() {
        let config = resolved(&[]).unwrap();
        assert_eq!(config.engine.data_root, PathBuf::from("/var/lib/berth"));
        assert_eq!(config.hosts, [Host::Unix("/run/berth.sock".into())]);
        assert_eq!(config.pidfile, PathBuf::from("/run/berth.pid"));
        assert_eq!(config.group, Group::Default);
        assert_eq!(config.engine.bridge, BridgeConfig::default());
    }

    #[test]
    fn strangers_need_a_certificate_or_a_user_who_knows() {
        for host in ["tcp://0.0.0.0:2375", "tcp://10.0.0.1", "tcp://[::]:1"] {
            assert!(resolved(&["-H", host]).unwrap_err().contains("without --tlsverify"), "{host}");
            assert_eq!(resolved(&["-H", host, "--tls=false"]).unwrap().warnings.len(), 2, "{host}");
            assert_eq!(resolved(&["-H", host, "--tlsverify=false"]).unwrap().warnings.len(), 2, "{host}");
        }
        assert_eq!(
            resolved(&["--tlsverify", "--tlscert=/nope/c", "--tlskey=/nope/k"]).unwrap_err(),
            "invalid TLS configuration: Could not load X509 key pair (cert: \"/nope/c\", key: \"/nope/k\"): open \
             /nope/c: no such file or directory"
        );
    }

    #[test]
    fn nothing_is_ignored_in_silence() {
        let config = resolved(&[
            "--userland-proxy",
            "--max-concurrent-downloads=5",
            "--live-restore=false",
            "-H",
            "tcp://127.0.0.1:1",
        ])
        .unwrap();
        assert_eq!(config.warnings.len(), 4, "{:?}", config.warnings);
        assert!(resolved(&["--userland-proxy=false"]).unwrap().warnings.is_empty());
        for refused in [
            "--userns-remap=default",
            "--selinux-enabled",
            "--authorization-plugin=x",
            "--storage-opt=x",
            "--metrics-addr=x",
        ] {
            assert!(resolved(&[refused]).unwrap_err().contains("cannot be used"), "{refused}");
        }
        assert!(resolved(&["--selinux-enabled=false"]).is_ok());
    }

    #[test]
    fn wrong_values_are_refused_with_dockers_texts() {
        let error = |arguments: &[&str]| resolved(arguments).unwrap_err();
        assert_eq!(error(&["-l", "foo"]), "invalid logging level: foo");
        assert_eq!(
            error(&["--default-cgroupns-mode=bad"]),
            "default cgroup namespace mode (bad) is invalid; use \"host\" or \"private\""
        );
        assert_eq!(
            error(&["--default-ipc-mode=x"]),
            "IPC mode \"x\" is not supported as default value; use \"shareable\" or \"private\""
        );
        assert_eq!(error(&["--default-runtime=nope"]), "specified default runtime 'nope' does not exist");
        assert_eq!(
            error(&["--add-runtime=a=/a", "--default-runtime=nope"]),
            "specified default runtime 'nope' does not exist"
        );
        assert_eq!(error(&["--add-runtime=runc=/a"]), "runtime name 'runc' is reserved");
        for arguments in [
            ["--exec-opt=native.cgroupdriver=bad"],
            ["--storage-driver=foo"],
            ["--label=a"],
            ["--exec-opt=x"],
            ["--mtu=-1"],
            ["--max-concurrent-downloads=-1"],
            ["--dns-search=-x"],
        ] {
            assert!(resolved(&arguments).is_err(), "{arguments:?}");
        }
        assert!(resolved(&["--add-runtime=crun=/a", "--default-runtime=crun"]).is_ok());
        assert!(resolved(&["--icc=false", "--iptables=false"]).is_err());
    }
}
