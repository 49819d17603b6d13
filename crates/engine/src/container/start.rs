//! Starting a container: network, files, spec, shim. What can be done at the same time is; on an error everything is
//! given back.
//!
//! ```text
//!   network sandbox (its own thread) ────────────────┐
//!   mounts, users, security, spec (here) ────────────┴─► files under /etc ─► shim ─► running
//! ```

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use berth_oci::Mount;
use berth_oci::container::NetworkMode;
use berth_oci::runtime::Spec;
use berth_shim::client::{Attach, Relay, Start, StartError, StdinMode};

use super::network::{self, Sandbox};
use super::task::Running;
use super::{Container, NetworkState, Record, forward, subpath};
use crate::Inner;
use crate::error::{Error, Result, chain};
use crate::rootfs::RootFs;
use crate::spec::{self, Input, Joins};
use crate::time::Time;
use crate::volumes::Mounted;
use crate::{files, security, user};

/// A container that runs.
pub(crate) struct Outcome {
    pub(crate) pid: u32,
    pub(crate) started_at: Time,
    pub(crate) network: NetworkState,
    pub(crate) running: Running,
    /// The way to where its lines are sent, if its log driver sends them.
    pub(crate) writer: Option<berth_logging::Writer>,
}

/// Starts a container. `clients` are attached from its first byte on.
///
/// Errors: Docker's texts; nothing is left behind.
pub(crate) async fn start(
    engine: &Arc<Inner>,
    container: &Container,
    clients: Vec<Attach>,
) -> Result<Outcome> {
    let record = container.record.clone();
    let mounted = engine.mount_volumes(&record, record.id.clone()).await?;
    let writer = forward::connect(&record).await?;
    let plan = network::plan(engine, &record)?;
    let sandbox = {
        let engine = engine.clone();
        tokio::task::spawn_blocking(move || plan.make(&engine.network))
    };
    let prepared = prepare(engine, &record);
    let mut sandbox = sandbox.await.map_err(|error| Error::internal("network", &error))??;
    let placed = prepared.and_then(|(spec, rootfs)| {
        let network = network::in_use(engine, container, sandbox.endpoint.as_ref())?;
        Ok((spec, rootfs, network))
    });
    let launched = match placed {
        Ok((spec, rootfs, network)) => launch(engine, &record, spec, rootfs, &mut sandbox, &network, clients)
            .await
            .map(|launched| (launched, network)),
        Err(error) => Err(error),
    };
    let ((running, pid, started_at), mut network) = match launched {
        Ok(launched) => launched,
        Err(error) => {
            sandbox.undo(&engine.network);
            return Err(error);
        }
    };
    network.set_process(&record, pid);
    mounted.into_iter().for_each(Mounted::keep);
    let netns = sandbox.netns.filter(|_| sandbox.own);
    Ok(Outcome { pid, started_at, network, running: Running { netns, ..running }, writer })
}

/// All that does not depend on the network.
fn prepare(engine: &Inner, record: &Record) -> Result<(Spec, Vec<Mount>)> {
    let host = &record.host_config;
    let rootfs = engine.store.snapshots().mounts(&record.id).map_err(crate::image::error)?;
    make_sources(record)?;
    let groups = host.group_add.as_deref().unwrap_or_default();
    let identity = user::resolve(&RootFs::of_mounts(&rootfs), &record.config.user, groups)?;
    let mut resources = spec::resources::limits(host);
    spec::resources::add_block_devices(host, &mut resources)?;
    let security = engine.security(host)?;
    if let Some(request) = host.resources.device_requests.iter().flatten().next() {
        let driver = &request.driver;
        let capabilities =
            request.capabilities.iter().flatten().flatten().map(|list| format!("[{}]", list.join(" ")));
        let capabilities = capabilities.collect::<Vec<_>>().join(" ");
        return Err(Error::Refused(format!(
            "could not select device driver \"{driver}\" with capabilities: [{capabilities}]"
        )));
    }
    let linked = engine.linked(record)?;
    let is_ours = matches!(engine.runtime(&host.runtime)?, berth_shim::Runtime::Linked);
    let wants_init = host.init.unwrap_or(engine.config.init);
    let input = Input {
        record,
        security,
        identity,
        resources,
        root_path: &engine.paths.rootfs_text,
        cgroups_path: engine.cgroups_path(record),
        subpaths: subpath::sources(record, is_ours)?,
        etc_files: files::mounts(engine, record)?,
        joins: joins(engine, record)?,
        link_env: linked.iter().flat_map(|linked| linked.environment(&record.name)).collect(),
        init: wants_init.then_some(engine.init_path.as_str()),
        recursive_readonly: engine.machine.kernel >= security::KernelVersion { major: 5, minor: 12 },
        has_sysctl: &|name| Path::new("/proc/sys").join(name.replace('.', "/")).exists(),
        default_ulimits: &engine.config.default_ulimits,
    };
    Ok((spec::generate(&input)?, rootfs))
}

/// Makes the sources of bind mounts that are to be made when they are missing, and finds those that are missing.
fn make_sources(record: &Record) -> Result<()> {
    for point in record.mounts.iter().filter(|point| point.kind == "bind") {
        let path = Path::new(&point.source);
        if path.exists() {
            continue;
        }
        if !point.create_source {
            return Err(Error::invalid(format!(
                "invalid mount config for type \"bind\": bind source path does not exist: {}",
                point.source
            )));
        }
        std::fs::create_dir_all(path).map_err(|error| {
            let text = crate::error::errno_text(&error);
            Error::Refused(format!(
                "error while creating mount source path '{}': mkdir {}: {text}",
                point.source, point.source
            ))
        })?;
    }
    Ok(())
}

fn joins(engine: &Inner, record: &Record) -> Result<Joins> {
    let join = |mode: &str, what: &str| match mode.strip_prefix("container:") {
        Some(other) => network::process_to_join(engine, other, what).map(Some),
        None => Ok(None),
    };
    if let Some(other) = record.host_config.ipc_mode.strip_prefix("container:") {
        if other.is_empty() {
            let text = "failed to join IPC namespace: invalid name or ID supplied: \"\"";
            return Err(Error::invalid(text));
        }
        let donor = engine.registry.find(other)?.get();
        let id = &donor.record.id;
        if donor.state.status.is_running() && donor.record.host_config.ipc_mode != "shareable" {
            return Err(Error::Conflict(format!(
                "failed to join IPC namespace: container {id}: non-shareable IPC (hint: use IpcMode:shareable for the \
                 donor container)"
            )));
        }
    }
    let ipc = join(&record.host_config.ipc_mode, "IPC")?;
    Ok(Joins { pid: join(&record.host_config.pid_mode, "PID")?, ipc })
}

async fn launch(
    engine: &Inner,
    record: &Record,
    spec: Spec,
    rootfs: Vec<Mount>,
    sandbox: &mut Sandbox,
    network: &NetworkState,
    attach: Vec<Attach>,
) -> Result<(Running, u32, Time)> {
    if !matches!(record.host_config.network(), NetworkMode::Container(_)) {
        files::write(engine, record, sandbox.endpoint.as_ref())?;
    }
    let stdin = match (record.config.open_stdin, record.config.stdin_once) {
        (false, _) => StdinMode::Null,
        (true, true) => StdinMode::Once,
        (true, false) => StdinMode::Open,
    };
    // Nobody else needs them: should the start fail, they are closed with the frames that carry them.
    let hold = std::mem::take(&mut sandbox.sockets);
    let relays = std::mem::take(&mut sandbox.relays).into_iter().map(relay).collect();
    let memo =
        serde_json::to_string(network).map_err(|error| Error::internal("a container's network", &error))?;
    let start = Start {
        id: record.id.clone(),
        dir: engine.paths.shim(&record.id),
        bundle: record.directory.clone(),
        spec,
        rootfs,
        stdin,
        log: super::log_config::log_file(record)?,
        exit_file: record.directory.join("exit.json"),
        netns: sandbox.netns()?,
        attach,
        hold,
        relays,
        runtime: engine.runtime(&record.host_config.runtime)?,
        memo,
    };
    let (shim, started) = engine.launcher.start(start).await.map_err(start_error)?;
    for warning in &started.warnings {
        tracing::warn!(container.id = %record.id, "{warning}");
    }
    tracing::debug!(container.id = %record.id, timings = ?started.timings, "started");
    let started_at = Time::from_unix_nanos(i64::try_from(started.started_at_nanos).unwrap_or(i64::MAX));
    Ok((Running { shim, events: started.events, netns: None }, started.pid, started_at))
}

fn duplicate(fd: &OwnedFd) -> Result<OwnedFd> {
    fd.try_clone().map_err(Error::io("cannot duplicate a descriptor"))
}

fn relay(relay: berth_network::Relay) -> Relay {
    let is_udp = relay.protocol == berth_network::Protocol::Udp;
    Relay { socket: relay.socket, is_udp, target: relay.target }
}

/// The text that Docker puts around what a runtime says.
fn start_error(error: StartError) -> Error {
    let what = "failed to create task for container";
    match error {
        StartError::Runtime { code, message } => {
            refused(format!("{what}: failed to create shim task: {message}"), i32::from(code))
        }
        error @ StartError::Log { .. } => Error::Internal(format!("{what}: {error}")),
        other => Error::Internal(format!("{what}: {}", chain(&other))),
    }
}

/// The error for a text of a runtime. Docker tells whose fault it is, and the exit code, from the text.
pub(crate) fn refused(mut message: String, code: i32) -> Error {
    let has = |part: &str| message.contains(part);
    let exit_code = if has("is a directory") && !has("permission denied") {
        message.push_str(": permission denied");
        126
    } else if has("permission denied") {
        126
    } else if has("not a directory") {
        message.push_str(
            ": Are you trying to mount a directory onto a file (or vice-versa)? Check if the specified host path \
             exists and is the expected type",
        );
        127
    } else if has("executable file not found") || has("no such file or directory") {
        127
    } else {
        code
    };
    Error::StartFailed { message, exit_code }
}

impl Sandbox {
    /// The namespace for the shim, which keeps a descriptor of its own.
    fn netns(&self) -> Result<Option<OwnedFd>> {
        self.netns.as_ref().map(duplicate).transpose()
    }
}
