//! `GET /containers/{id}/json`

use std::sync::Arc;

use berth_api::container::{
    GraphDriver, Health, HealthcheckResult, INSPECT_CHANGES, Inspect, MountPoint, NetworkSettings, State,
};
use berth_engine::{Container, Status};

use super::super::answer::Answer;
use super::super::call::Call;
use super::super::error::Error;
use super::super::server::Server;

pub(crate) async fn inspect(server: Arc<Server>, call: Call) -> Result<Answer, Error> {
    let container = server.engine.container(&call.name)?;
    let mut inspect = render(&container);
    if inspect.host_config.links.is_some() {
        let links = server.engine.container_links(&container);
        inspect.host_config.links = (!links.is_empty()).then_some(links);
    }
    let graph = server.engine.container_graph_driver(&container.record.id)?;
    inspect.driver.clone_from(&graph.name);
    inspect.graph_driver = Some(GraphDriver { data: Some(graph.data), name: graph.name });
    if call.query.flag("size") {
        let size = server.engine.container_size(&container.record.id).await?;
        inspect.size_rw = i64::try_from(size.writable).ok();
        inspect.size_root_fs = i64::try_from(size.root_fs).ok();
    }
    Answer::json_for(&inspect, call.version, INSPECT_CHANGES)
}

/// A container as `inspect` shows it, without what has to be asked for.
fn render(container: &Container) -> Inspect {
    let (record, state) = (&container.record, &container.state);
    let was_started = !state.started_at.is_never() || state.status.has_process();
    let file = |name: &str| {
        if was_started { record.directory.join(name).to_string_lossy().into_owned() } else { String::new() }
    };
    let is_json_file = matches!(record.host_config.log_config.kind.as_str(), "" | "json-file");
    Inspect {
        id: record.id.clone(),
        created: record.created.to_string(),
        path: record.path.clone(),
        args: record.args.clone(),
        state: render_state(state),
        image: record.image.clone(),
        resolv_conf_path: file("resolv.conf"),
        hostname_path: file("hostname"),
        hosts_path: file("hosts"),
        log_path: if is_json_file { file(&format!("{}-json.log", record.id)) } else { String::new() },
        name: format!("/{}", record.name),
        restart_count: i32::try_from(state.restart_count).unwrap_or(i32::MAX),
        platform: record.platform.split('/').next().unwrap_or_default().to_owned(),
        exec_ids: (!container.exec_ids.is_empty()).then(|| container.exec_ids.clone()),
        host_config: record.host_config.clone(),
        mounts: record.mounts.iter().map(mount_point).collect(),
        config: record.config.clone(),
        network_settings: network_settings(container),
        ..Inspect::default()
    }
}

fn render_state(state: &berth_engine::State) -> State {
    let result = |result: &berth_engine::container::HealthResult| HealthcheckResult {
        start: result.start.to_string(),
        end: result.end.to_string(),
        exit_code: result.exit_code,
        output: result.output.clone(),
    };
    State {
        status: state.status.as_str().to_owned(),
        running: state.status.is_running(),
        paused: state.status == Status::Paused,
        restarting: state.status == Status::Restarting,
        oom_killed: state.oom_killed,
        dead: state.status == Status::Dead,
        pid: i64::from(state.pid),
        exit_code: state.exit_code,
        error: state.error.clone(),
        started_at: state.started_at.to_string(),
        finished_at: state.finished_at.to_string(),
        health: state.health.as_ref().map(|health| Health {
            status: health.status.clone(),
            failing_streak: health.failing_streak,
            log: Some(health.log.iter().map(result).collect()),
        }),
    }
}

fn network_settings(container: &Container) -> NetworkSettings {
    let network = &container.state.network;
    let mut networks = container.record.endpoints.clone();
    networks.extend(network.endpoints.iter().map(|(name, endpoint)| (name.clone(), endpoint.clone())));
    NetworkSettings {
        sandbox_id: network.sandbox_id.clone(),
        sandbox_key: network.sandbox_key.clone(),
        ports: network.ports.clone(),
        networks,
    }
}

/// A mount as `inspect` and lists show it.
pub(crate) fn mount_point(mount: &berth_engine::MountPoint) -> MountPoint {
    MountPoint {
        kind: mount.kind.clone(),
        name: mount.name.clone().unwrap_or_default(),
        source: mount.source.clone(),
        destination: mount.destination.clone(),
        driver: mount.driver.clone().unwrap_or_default(),
        mode: mount.mode.clone(),
        rw: mount.writable,
        propagation: mount.propagation.clone(),
    }
}
