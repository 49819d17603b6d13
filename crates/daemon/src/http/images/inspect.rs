//! `GET /images/{name}/json`, `GET /images/{name}/history`

use std::sync::Arc;

use berth_api::container::{Empty, GraphDriver, Healthcheck};
use berth_api::image::{
    Config, HistoryItem, INSPECT_CHANGES, Inspect, MadeBy, Metadata, OfAContainer, RootFs,
};
use berth_api::version::Version;
use berth_engine::Image;
use berth_oci::ImageConfig;
use berth_oci::image::RunConfig;
use serde_json::Value;

use super::super::answer::Answer;
use super::super::call::Call;
use super::super::error::Error;
use super::super::server::Server;

/// `GET /images/{name}/json`
pub(crate) async fn inspect(server: Arc<Server>, call: Call) -> Result<Answer, Error> {
    let image = server.engine.image(&call.name).await?;
    Answer::json_for(&render(image, call.version)?, call.version, INSPECT_CHANGES)
}

fn render(image: Image, version: Version) -> Result<Inspect, Error> {
    let config = image.config;
    let of_a_container =
        version.is_before(50).then(|| of_a_container(to_value(&config.config)?)).transpose()?;
    let made_by = version.is_before(45).then(|| made_by(&config)).transpose()?;
    let said_last = || config.history.as_ref().and_then(|history| Some(history.last()?.comment.clone()));
    Ok(Inspect {
        id: image.id,
        repo_tags: image.repo_tags,
        repo_digests: image.repo_digests,
        parent: image.parent,
        comment: if config.comment.is_empty() { said_last().unwrap_or_default() } else { config.comment },
        created: config.created.unwrap_or_default(),
        docker_version: config.docker_version,
        author: config.author,
        config: config.config.map(run_config).unwrap_or_default(),
        architecture: config.architecture,
        variant: config.variant,
        os: config.os,
        os_version: config.os_version,
        size: i64::try_from(image.size).unwrap_or(i64::MAX),
        graph_driver: Some(GraphDriver {
            data: Some(image.graph_driver.data),
            name: image.graph_driver.name,
        }),
        root_fs: RootFs {
            kind: "layers".to_owned(),
            layers: config.rootfs.diff_ids.iter().map(ToString::to_string).collect(),
        },
        metadata: Metadata { last_tag_time: image.last_tagged.to_string() },
        of_a_container,
        made_by,
    })
}

/// An image's configuration as the container's that it was.
fn of_a_container(config: Value) -> Result<OfAContainer, Error> {
    let mac_address = config.get("MacAddress").and_then(Value::as_str).unwrap_or_default().to_owned();
    let config = serde_json::from_value(config).map_err(|error| unreadable(&error))?;
    Ok(OfAContainer { config, mac_address })
}

/// The container that an image was made from, as the image has it.
fn made_by(config: &ImageConfig) -> Result<MadeBy, Error> {
    let made_with = config.other.get("container_config").filter(|config| !config.is_null());
    let made_with = made_with.cloned().unwrap_or_else(|| Value::Object(serde_json::Map::new()));
    Ok(MadeBy { container: config.container.clone(), config: of_a_container(made_with)? })
}

fn to_value(config: &Option<RunConfig>) -> Result<Value, Error> {
    serde_json::to_value(config).map_err(|error| unreadable(&error))
}

fn unreadable(error: &serde_json::Error) -> Error {
    Error::from(berth_engine::Error::Internal(format!("the image's configuration cannot be shown: {error}")))
}

fn run_config(config: RunConfig) -> Config {
    Config {
        user: config.user,
        exposed_ports: config
            .exposed_ports
            .map(|ports| ports.into_keys().map(|port| (port, Empty {})).collect()),
        env: config.env,
        entrypoint: config.entrypoint,
        cmd: config.cmd,
        volumes: config.volumes.map(|volumes| volumes.into_keys().map(|path| (path, Empty {})).collect()),
        working_dir: config.working_dir,
        labels: config.labels,
        stop_signal: config.stop_signal,
        args_escaped: config.args_escaped,
        healthcheck: config.healthcheck.map(|check| Healthcheck {
            test: check.test,
            interval: check.interval,
            timeout: check.timeout,
            start_period: check.start_period,
            start_interval: check.start_interval,
            retries: i32::try_from(check.retries).unwrap_or(i32::MAX),
        }),
        on_build: config.on_build,
        shell: config.shell,
    }
}

/// `GET /images/{name}/history`
pub(crate) async fn history(server: Arc<Server>, call: Call) -> Result<Answer, Error> {
    let history = server.engine.image_history(&call.name).await?;
    let item = |item: berth_engine::HistoryItem| HistoryItem {
        comment: item.comment,
        created: item.created.unix_seconds(),
        created_by: item.created_by,
        id: item.id,
        size: i64::try_from(item.size).unwrap_or(i64::MAX),
        tags: (!item.tags.is_empty()).then_some(item.tags),
    };
    Answer::json(&history.into_iter().map(item).collect::<Vec<_>>())
}
