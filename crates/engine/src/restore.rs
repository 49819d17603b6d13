//! Opening an engine: everything is found again, what runs is taken up, what a crash left half done is put right.
//!
//! ```text
//! lock ─► store, network ─► records ─► shims: running │ ended meanwhile │ lost
//!                                         │                 │
//!                       addresses and ports reserved again  └─ exit codes, restart policies, --rm
//!                                         └────────┬────────┘
//!                                       tasks, then what nobody knows of is swept away
//! ```

mod guard;

use std::collections::HashSet;
use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use berth_network::{Adopt, Network, NetworkConfig};
use berth_shim::client::{ExitStatus, Found, Launcher, clean_up, reconnect, supervised};
use berth_store::{Options, Store};
use futures_util::future::join_all;
use rustix::fs::FlockOperation;
use tokio::sync::mpsc;

use crate::config::{BridgeConfig, EngineConfig};
use crate::container::network::{self, NetworkIds};
use crate::container::registry::{Registry, Slot};
use crate::container::restart;
use crate::container::task::{Command, Running, Task};
use crate::container::{Container, Record, RemoveOptions, State, Status};
use crate::error::{Error, Result, chain};
use crate::event::Events;
use crate::exec::Execs;
use crate::host::Host;
use crate::inner::{Inner, Paths, Seccomp};
use crate::security::{Machine, Profile};
use crate::time::Time;
use crate::trash::Trash;
use crate::volumes::{Volumes, database_error, make_directory};

/// Opens an engine.
pub(crate) async fn open(config: EngineConfig) -> Result<Arc<Inner>> {
    let inner = tokio::task::spawn_blocking(move || set_up(config));
    let inner = Arc::new(inner.await.map_err(|error| Error::internal("opening", &error))??);
    let found = find_containers(&inner).await?;
    let adopted: Vec<Adopt<'_>> = found.iter().filter_map(Restored::adopt).collect();
    let adopted = inner.network.adopt(&adopted).map_err(|error| network::network_error(&error))?;
    for id in &adopted.lost {
        tracing::warn!(container.id = %id, "runs without its network, which could not be taken up");
    }
    guard::guard(&inner);
    sweep(&inner, &found)?;
    let mut to_start = Vec::new();
    let mut to_remove = Vec::new();
    for restored in found {
        match restored.then {
            Then::Start => to_start.push(restored.slot.clone()),
            Then::Remove(options) => to_remove.push((restored.slot.clone(), options)),
            Then::Nothing => {}
        }
        inner.registry.insert(restored.slot.clone());
        Task::spawn(inner.clone(), restored.slot, restored.commands, restored.running);
    }
    for (slot, options) in to_remove {
        if let Err(error) = slot.ask(|reply| Command::Remove(options, reply)).await {
            tracing::warn!(container.id = %slot.id(), "removing what was to be removed: {}", chain(&error));
        }
    }
    for slot in to_start {
        tokio::spawn(async move {
            if let Err(error) = slot.ask(Command::Start).await {
                tracing::warn!(container.id = %slot.id(), "starting again: {}", chain(&error));
            }
        });
    }
    crate::image::collect::start(&inner);
    inner.images_changed.notify_one();
    Ok(inner)
}

/// Directories, store, network and the rest that needs no tasks. Blocking.
fn set_up(config: EngineConfig) -> Result<Inner> {
    crate::container::check_log_options(&config.log_driver, &config.log_options)?;
    let (data, exec) = (&config.data_root, &config.exec_root);
    for root in [data, exec] {
        std::fs::create_dir_all(root).map_err(Error::io(format!("cannot create {}", root.display())))?;
        close_to_others(root)?;
    }
    let lock = lock(data)?;
    let paths = Paths::new(&config);
    for (path, mode) in [
        (paths.containers().to_owned(), 0o710),
        (data.join("volumes"), 0o710),
        (data.join("trash"), 0o700),
        (paths.shims().to_owned(), 0o700),
        (Path::new(&paths.rootfs_text).to_owned(), 0o700),
    ] {
        make_directory(&path, mode).map_err(Error::io(format!("cannot create {}", path.display())))?;
    }
    let store = Store::open(&Options::new(data.join("store"))).map_err(crate::image::error)?;
    let trash = Arc::new(Trash::open(data.join("trash"))?);
    let network = Network::open(network_config(&config)?).map_err(|error| network::network_error(&error))?;
    let launcher = match &config.program {
        Some(program) => Launcher::of(program),
        None => Launcher::new(),
    };
    let seccomp = match config.seccomp_profile.as_deref() {
        None | Some("" | "builtin" | "default") => Seccomp::BuiltIn,
        Some("unconfined") => Seccomp::Unconfined,
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(Error::io(format!("cannot read {path}")))?;
            Seccomp::Profile(Box::new(Profile::parse(&text)?))
        }
    };
    Ok(Inner {
        id: engine_id(&data.join("engine-id"))?,
        init_path: init_path(&config)?,
        launcher: launcher.map_err(Error::io("cannot prepare supervisors"))?,
        network_ids: NetworkIds::load(store.database())?,
        volumes: Volumes::open(data.join("volumes"), store.database().clone(), trash.clone()),
        events: Events::new(config.events_kept),
        registry: Registry::new(),
        registry_client: std::sync::Mutex::default(),
        images_changed: Arc::default(),
        execs: Execs::new(),
        links: crate::container::link::Links::default(),
        log_watches: crate::container::logs::Watches::default(),
        host: Host::look(),
        machine: Machine::detect()?,
        paths,
        store,
        network,
        seccomp,
        trash,
        config,
        _lock: lock,
    })
}

/// Nobody but root and its group gets in.
fn close_to_others(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let failed = || Error::io(format!("cannot protect {}", path.display()));
    let mode = std::fs::metadata(path).map_err(failed())?.permissions().mode();
    if mode & 0o067 != 0 {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o710)).map_err(failed())?;
    }
    Ok(())
}

/// Keeps other engines off the data root while it is held.
pub(crate) struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing is not enough: a child that is just being made has the descriptor, too, until it runs its program.
        let _ = rustix::fs::flock(&self.0, FlockOperation::Unlock);
    }
}

/// One engine only.
fn lock(data_root: &Path) -> Result<Lock> {
    let path = data_root.join("lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(Error::io(format!("cannot open {}", path.display())))?;
    match berth_store::lock(&file) {
        Ok(true) => Ok(Lock(file)),
        _ => Err(Error::Conflict(format!("another engine uses {}", data_root.display()))),
    }
}

fn engine_id(path: &Path) -> Result<String> {
    if let Ok(id) = std::fs::read_to_string(path)
        && !id.trim().is_empty()
    {
        return Ok(id.trim().to_owned());
    }
    let random = crate::names::random_id()?;
    let id = [&random[..8], &random[8..12], &random[12..16], &random[16..20], &random[20..32]].join("-");
    std::fs::write(path, &id).map_err(Error::io(format!("cannot write {}", path.display())))?;
    Ok(id)
}

fn init_path(config: &EngineConfig) -> Result<String> {
    let own = || config.program.clone().map_or_else(std::env::current_exe, Ok);
    let path =
        config.init_path.clone().map_or_else(own, Ok).map_err(Error::io("cannot find our own program"))?;
    Ok(path.to_string_lossy().into_owned())
}

fn network_config(config: &EngineConfig) -> Result<NetworkConfig> {
    let bridge: &BridgeConfig = &config.bridge;
    let parse = |text: &Option<String>| text.as_deref().map(str::parse).transpose();
    let parse_v6 = |text: &Option<String>| text.as_deref().map(str::parse).transpose();
    let refuse = |error: berth_network::ParseSubnetError| Error::invalid(error.to_string());
    let (gateway, gateway_v6) = match bridge.gateway {
        Some(std::net::IpAddr::V4(address)) => (Some(address), None),
        Some(std::net::IpAddr::V6(address)) => (None, Some(address)),
        None => (None, None),
    };
    Ok(NetworkConfig {
        bridge: bridge.name.clone(),
        bip: parse(&bridge.address).map_err(refuse)?,
        fixed_cidr: parse(&bridge.range).map_err(refuse)?,
        fixed_cidr_v6: parse_v6(&bridge.subnet_v6).map_err(refuse)?,
        default_gateway: gateway,
        default_gateway_v6: gateway_v6,
        ipv6: bridge.ipv6,
        mtu: (bridge.mtu > 0).then_some(bridge.mtu),
        icc: bridge.inter_container,
        ip_forward: bridge.forward,
        ip_masq: bridge.masquerade,
        default_binding: bridge.default_address,
        host_gateway: config.host_gateway.first().copied(),
        ..NetworkConfig::default()
    })
}

/// A container as it was found.
struct Restored {
    slot: Arc<Slot>,
    commands: mpsc::UnboundedReceiver<Command>,
    running: Option<Running>,
    then: Then,
    endpoint: Option<berth_network::Endpoint>,
}

/// What is to be done with a container that was found.
enum Then {
    Nothing,
    Start,
    Remove(RemoveOptions),
}

impl Restored {
    fn adopt(&self) -> Option<Adopt<'_>> {
        let running = self.running.as_ref()?;
        let netns = running.netns.as_ref().map(OwnedFd::as_fd);
        self.endpoint.as_ref().map(|endpoint| Adopt { endpoint, netns })
    }
}

async fn find_containers(engine: &Arc<Inner>) -> Result<Vec<Restored>> {
    let records = engine.database().scan::<Record>("").map_err(database_error)?;
    let living = living(engine);
    let mut found = Vec::new();
    // Some at a time: each one that runs is a connection and an answer.
    for records in records.chunks(64) {
        found.extend(join_all(records.iter().map(|(_, record)| find(engine, record, &living))).await);
    }
    found.into_iter().collect()
}

/// The containers that have a supervisor, whatever their records say: the engine before us may have been killed before it
/// could write down that they run, or that they do not any more.
fn living(engine: &Inner) -> HashSet<String> {
    let mut living = supervised();
    let left = std::fs::read_dir(engine.paths.shims()).into_iter().flatten().flatten();
    living.extend(left.map(|entry| entry.file_name().to_string_lossy().into_owned()));
    living
}

async fn find(engine: &Arc<Inner>, record: &Record, living: &HashSet<String>) -> Result<Restored> {
    let id = record.id.clone();
    let mut state = engine.database().get::<State>(&id).map_err(database_error)?.unwrap_or_default();
    if let Err(error) = engine.registry.reserve(&record.name, &id) {
        tracing::error!(container.id = %id, "{error}");
    }
    for name in record.mounts.iter().filter_map(|point| point.name.as_deref()) {
        engine.volumes.hold(name, &id);
    }
    engine.links.hold(record);
    repair(engine, record);
    let was_running = state.status.is_running() || living.contains(&id);
    let before = state.clone();
    let running = if was_running {
        take_up(engine, record, &mut state).await
    } else {
        end_unheard(record, &mut state);
        None
    };
    if running.is_some() {
        let mounted = record.mounts.iter().filter(|point| point.needs_mount);
        for name in mounted.filter_map(|point| point.name.as_deref()) {
            engine.volumes.resume(name, &id);
        }
    }
    let record = Arc::new(record.clone());
    if running.is_none() {
        state.pid = 0;
        let started = !state.started_at.is_never();
        state.network = network::at_rest(&record, |name| engine.network_ids.id(name), started);
    }
    let was_running = was_running && (before.status.is_running() || state.finished_at != before.finished_at);
    let then = decide(&record, &mut state, was_running, running.is_some());
    if state != before {
        drop(engine.save_state(&id, &state)?);
    }
    let endpoint = state.network.endpoint.clone();
    let (slot, commands) = Slot::new(Container { record, state, exec_ids: Vec::new() });
    Ok(Restored { slot, commands, running, then, endpoint })
}

/// Makes the snapshot and the directory again that power loss may have taken.
fn repair(engine: &Inner, record: &Record) {
    let failed = |what: &str, error: &dyn std::error::Error| {
        tracing::error!(container.id = %record.id, "repairing the {what}: {}", chain(error));
    };
    if let Err(error) = make_directory(&record.directory, 0o710) {
        failed("directory", &error);
    }
    let Ok(image) = record.image.parse() else { return };
    if engine.store.snapshots().mounts(&record.id).is_err()
        && let Err(error) = engine.store.snapshots().prepare(&record.id, &image)
    {
        failed("root file system", &error);
    }
}

/// Takes up a container that ran when its state was last written; what ended meanwhile gets its exit code.
async fn take_up(engine: &Inner, record: &Record, state: &mut State) -> Option<Running> {
    let directory = engine.paths.shim(&record.id);
    let exit_file = record.directory.join("exit.json");
    match reconnect(&directory, &exit_file).await {
        Ok(Found::Running(shim, started)) => {
            let started_at =
                Time::from_unix_nanos(i64::try_from(started.started_at_nanos).unwrap_or(i64::MAX));
            if state.started_at != started_at {
                begin_unheard(record, state, started_at, &started.memo);
            } else if !state.status.is_running() {
                // Its end is written down; it only was not let go.
                if let Err(error) = shim.shutdown().await {
                    tracing::warn!(container.id = %record.id, "letting its supervisor go: {}", chain(&error));
                }
                return None;
            }
            state.network.set_process(record, started.pid);
            state.pid = started.pid;
            state.status = if state.status == Status::Paused { Status::Paused } else { Status::Running };
            let netns = state.network.endpoint.as_ref().and_then(|_| open_netns(started.pid));
            return Some(Running { shim, events: started.events, netns });
        }
        Ok(Found::Exited(status)) if state.status.has_process() => {
            state.exit_code = status.code;
            state.oom_killed |= status.oom_killed;
            state.finished_at =
                Time::from_unix_nanos(i64::try_from(status.finished_at_nanos).unwrap_or(i64::MAX));
        }
        // It was between two runs.
        Ok(_) if !state.status.has_process() => {}
        Ok(_) => {
            // Nobody saw the end: the supervisor was killed, or the machine went down.
            state.exit_code = 255;
            state.finished_at = Time::now();
        }
        Err(error) => {
            tracing::error!(container.id = %record.id, "taking it up again: {}", chain(&error));
            state.exit_code = 255;
            state.error = chain(&error);
            state.finished_at = Time::now();
        }
    }
    if let Err(error) = clean_up(&directory, &engine.cgroups_path(record)).await {
        tracing::error!(container.id = %record.id, "cleaning up: {}", chain(&error));
    }
    None
}

/// A run began that the engine before us did not live to write down. What it knew of the network the shim has kept.
fn begin_unheard(record: &Record, state: &mut State, started_at: Time, memo: &str) {
    state.status = Status::Running;
    state.exit_code = 0;
    state.error.clear();
    state.oom_killed = false;
    state.manually_stopped = false;
    state.started_at = started_at;
    state.health = crate::container::health::initial(&record.config);
    match serde_json::from_str(memo) {
        Ok(network) => state.network = network,
        Err(error) => tracing::warn!(container.id = %record.id, %error, "its network is not known"),
    }
}

/// A run ended, and the engine before us did not live to write that down, nor did the shim to tell: but it left the exit
/// file.
fn end_unheard(record: &Record, state: &mut State) {
    let Ok(content) = std::fs::read(record.directory.join("exit.json")) else { return };
    let Ok(status) = serde_json::from_slice::<ExitStatus>(&content) else { return };
    let finished_at = Time::from_unix_nanos(i64::try_from(status.finished_at_nanos).unwrap_or(i64::MAX));
    if finished_at > state.finished_at && finished_at > state.started_at {
        state.status = Status::Exited;
        state.exit_code = status.code;
        state.oom_killed |= status.oom_killed;
        if state.started_at.is_never() {
            state.started_at = finished_at;
        }
        state.finished_at = finished_at;
    }
}

fn open_netns(pid: u32) -> Option<OwnedFd> {
    File::open(format!("/proc/{pid}/ns/net")).ok().map(OwnedFd::from)
}

/// What follows from how a container was found; its status is put right.
fn decide(record: &Record, state: &mut State, was_running: bool, runs: bool) -> Then {
    if runs {
        return Then::Nothing;
    }
    if was_running {
        state.status = Status::Exited;
    }
    let half_removed = matches!(state.status, Status::Removing | Status::Dead);
    let ended = was_running && record.host_config.auto_remove;
    if half_removed || ended {
        if half_removed {
            state.status = Status::Exited;
        }
        return Then::Remove(RemoveOptions {
            force: true,
            volumes: record.host_config.auto_remove,
            link: false,
        });
    }
    let policy = &record.host_config.restart_policy;
    let started_before = !state.started_at.is_never();
    let restart =
        restart::at_open(policy, was_running, state.exit_code, state.restart_count, state.manually_stopped);
    if started_before && restart { Then::Start } else { Then::Nothing }
}

/// Removes what belongs to no container: a creation or a removal was cut off.
fn sweep(engine: &Inner, found: &[Restored]) -> Result<()> {
    let known: HashSet<&str> = found.iter().map(|restored| restored.slot.id()).collect();
    let containers = engine.paths.containers();
    let failed = || Error::io(format!("cannot read {}", containers.display()));
    for entry in std::fs::read_dir(containers).map_err(failed())? {
        let entry = entry.map_err(failed())?;
        if !known.contains(entry.file_name().to_string_lossy().as_ref()) {
            engine.trash.discard(&entry.path())?;
        }
    }
    for (key, _) in engine.store.snapshots().list() {
        if !known.contains(key.as_str()) {
            engine.store.snapshots().remove(&key).map_err(crate::image::error)?;
        }
    }
    sweep_shims(engine, &known);
    engine.volumes.sweep()
}

/// Ends supervisors of containers that nobody knows: their record went, they did not.
fn sweep_shims(engine: &Inner, known: &HashSet<&str>) {
    let Ok(entries) = std::fs::read_dir(engine.paths.shims()) else { return };
    for entry in entries.flatten() {
        if known.contains(entry.file_name().to_string_lossy().as_ref()) {
            continue;
        }
        let path = entry.path();
        tokio::spawn(async move {
            if let Err(error) = clean_up(&path, "").await {
                tracing::warn!("cleaning up {}: {}", path.display(), chain(&error));
            }
        });
    }
}
