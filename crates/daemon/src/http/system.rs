//! The engine itself: `/_ping`, `/version`, `/info`.

use std::sync::Arc;

use berth_api::container::Map;
use berth_api::system::{
    self as api, Component, FirewallInfo, IndexConfig, Info, Plugins, RegistryConfig, VersionResponse,
};
use berth_api::version::Version;
use berth_engine::Time;
use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, HeaderName, HeaderValue, PRAGMA};

use super::answer::Answer;
use super::call::Call;
use super::error::Error;
use super::server::{Server, Settings};

/// `GET /_ping` and `HEAD /_ping`
pub(crate) async fn ping(_: Arc<Server>, _: Call) -> Result<Answer, Error> {
    let answer = Answer::whole(StatusCode::OK, Some("text/plain; charset=utf-8"), Bytes::from_static(b"OK"));
    let Answer::Response(mut response) = answer else { return Ok(answer) };
    let headers = response.headers_mut();
    headers.insert(HeaderName::from_static("builder-version"), HeaderValue::from_static("2"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, no-store, must-revalidate"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    headers.insert(HeaderName::from_static("swarm"), HeaderValue::from_static("inactive"));
    Ok(Answer::Response(response))
}

/// `OPTIONS` of any path
pub(crate) async fn options(_: Arc<Server>, _: Call) -> Result<Answer, Error> {
    Ok(Answer::status(StatusCode::OK))
}

/// `GET /version`
pub(crate) async fn version(server: Arc<Server>, _: Call) -> Result<Answer, Error> {
    let settings = server.settings();
    let version = settings.version;
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    let details = [
        ("ApiVersion", Version::NEWEST.to_string()),
        ("Arch", go_architecture().to_owned()),
        ("Experimental", settings.experimental.to_string()),
        ("GitCommit", git_commit().to_owned()),
        ("KernelVersion", kernel.clone()),
        ("MinAPIVersion", Version::OLDEST.to_string()),
        ("Os", "linux".to_owned()),
    ];
    let engine = Component {
        name: "Engine".to_owned(),
        version: version.to_owned(),
        details: details.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
    };
    Answer::json(&VersionResponse {
        platform: api::Platform { name: "Berth".to_owned() },
        version: version.to_owned(),
        api_version: Version::NEWEST.to_string(),
        min_api_version: Version::OLDEST.to_string(),
        os: "linux".to_owned(),
        arch: go_architecture().to_owned(),
        components: vec![engine],
        git_commit: git_commit().to_owned(),
        go_version: String::new(),
        kernel_version: kernel,
        experimental: settings.experimental,
        build_time: String::new(),
    })
}

/// The architecture in Go's words.
fn go_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The commit that this binary was built from, if the build was told.
fn git_commit() -> &'static str {
    option_env!("BERTH_COMMIT").unwrap_or_default()
}

/// `GET /info`
pub(crate) async fn info(server: Arc<Server>, call: Call) -> Result<Answer, Error> {
    let system = server.engine.info().await?;
    let settings = server.settings();
    let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
    let limits = system.limits;
    let (driver, driver_status) = system.storage;
    let info = Info {
        id: system.id,
        containers: count(system.containers),
        containers_running: count(system.running),
        containers_paused: count(system.paused),
        containers_stopped: count(system.stopped),
        images: count(system.images),
        driver,
        driver_status: driver_status.into_iter().map(|(name, value)| [name, value]).collect(),
        plugins: Plugins {
            volume: system.volume_drivers,
            network: system.network_drivers,
            authorization: None,
            log: system.log_drivers,
        },
        memory_limit: limits.memory,
        swap_limit: limits.swap,
        cpu_cfs_period: limits.cpu_cfs_period,
        cpu_cfs_quota: limits.cpu_cfs_quota,
        cpu_shares: limits.cpu_shares,
        cpu_set: limits.cpuset,
        pids_limit: limits.pids,
        ipv4_forwarding: limits.ipv4_forwarding,
        debug: system.debug,
        n_fd: count(system.open_files),
        oom_kill_disable: limits.oom_kill_disable,
        n_goroutines: count(system.tasks),
        system_time: Time::now().to_string(),
        logging_driver: system.log_driver,
        cgroup_driver: system.cgroup_driver,
        cgroup_version: system.cgroup_version,
        n_events_listener: count(system.event_listeners),
        kernel_version: system.kernel,
        operating_system: system.operating_system,
        os_version: system.os_version,
        os_type: "linux".to_owned(),
        architecture: system.architecture,
        index_server_address: "https://index.docker.io/v1/".to_owned(),
        registry_config: registries(&settings),
        ncpu: count(system.cpus),
        mem_total: i64::try_from(system.memory).unwrap_or(i64::MAX),
        docker_root_dir: system.data_root,
        http_proxy: without_password(&settings.http_proxy),
        https_proxy: without_password(&settings.https_proxy),
        no_proxy: settings.no_proxy.clone(),
        name: system.host_name,
        labels: system.labels,
        experimental_build: settings.experimental,
        server_version: settings.version.to_owned(),
        runtimes: system.runtimes.into_iter().map(|(name, path)| (name, runtime(path))).collect(),
        default_runtime: system.default_runtime,
        live_restore_enabled: true,
        init_binary: system.init_binary,
        runc_commit: api::Commit { id: git_commit().to_owned() },
        security_options: system.security_options,
        firewall_backend: Some(FirewallInfo { driver: "nftables".to_owned(), info: Vec::new() }),
        warnings: (!system.warnings.is_empty()).then_some(system.warnings),
        ..Info::default()
    };
    Answer::json_for(&info, call.version, api::INFO_CHANGES)
}

/// The address of a proxy without the name and the password in it.
fn without_password(proxy: &str) -> String {
    match proxy.split_once("://") {
        Some((scheme, rest)) if rest.split('/').next().unwrap_or_default().contains('@') => {
            let address = rest.split_once('@').map_or(rest, |(_, address)| address);
            format!("{scheme}://xxxxx:xxxxx@{address}")
        }
        _ => proxy.to_owned(),
    }
}

fn runtime(path: String) -> api::Runtime {
    api::Runtime { path, ..api::Runtime::default() }
}

fn registries(settings: &Settings) -> RegistryConfig {
    let is_network = |name: &&String| name.contains('/');
    let index = |name: &str, mirrors: &[String], secure, official| {
        (name.to_owned(), IndexConfig { name: name.to_owned(), mirrors: mirrors.to_vec(), secure, official })
    };
    let insecure = settings.insecure_registries.iter().filter(|name| !is_network(name));
    let mut index_configs: Map<IndexConfig> = insecure.map(|name| index(name, &[], false, false)).collect();
    let hub = settings.mirrors.get("docker.io").cloned().unwrap_or_default();
    for (name, mirrors) in settings.mirrors.iter().filter(|(_, mirrors)| !mirrors.is_empty()) {
        let secure = !settings.insecure_registries.contains(name);
        index_configs.extend([index(name, mirrors, secure, false)]);
    }
    index_configs.extend([index("docker.io", &hub, true, true)]);
    let cidrs = settings.insecure_registries.iter().filter(is_network).cloned();
    RegistryConfig {
        insecure_registry_cidrs: cidrs.chain(["::1/128".to_owned(), "127.0.0.0/8".to_owned()]).collect(),
        index_configs,
        mirrors: (!hub.is_empty()).then_some(hub),
    }
}
