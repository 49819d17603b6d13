//! Starting, stopping and the like: `POST /containers/{id}/start`, `stop`, `restart`, `kill`, `pause`, `unpause`,
//! `rename`, `update`, and `DELETE /containers/{id}`

use std::sync::Arc;

use berth_api::container::{HostConfig, UpdateRequest, UpdateResponse};
use berth_engine::{RemoveOptions, StopOptions, UpdateContainer};

use super::super::absent;
use super::super::answer::Answer;
use super::super::call::Call;
use super::super::error::Error;
use super::super::server::Server;

type Outcome = Result<Answer, Error>;

pub(crate) async fn start(server: Arc<Server>, mut call: Call) -> Outcome {
    // Before API 1.24 a configuration could be sent here; clients that still send one mean nothing by it.
    if !call.body.is_empty() && call.version.is_before(24) {
        return Err(Error::invalid(
            "starting container with non-empty request body was deprecated since API v1.22 and removed in v1.24",
        ));
    }
    if !call.body.is_empty() {
        let body = call.take_body().read().await?;
        if body.len() > 7 {
            return Err(Error::invalid(
                "starting container with non-empty request body was deprecated since API v1.22 and removed in v1.24",
            ));
        }
    }
    if call.query.get("checkpoint").is_some_and(|name| !name.is_empty()) {
        if server.settings().experimental {
            return Err(Error::not_built("starting from a checkpoint"));
        }
        return Err(Error::invalid("checkpoint is only supported in experimental mode"));
    }
    server.engine.container_start(&call.name).await?;
    Ok(Answer::no_content())
}

pub(crate) async fn stop(server: Arc<Server>, call: Call) -> Outcome {
    let options = stop_options(&call)?;
    server.engine.container_stop(&call.name, options).await?;
    Ok(Answer::no_content())
}

pub(crate) async fn restart(server: Arc<Server>, call: Call) -> Outcome {
    let options = stop_options(&call)?;
    server.engine.container_restart(&call.name, options).await?;
    Ok(Answer::no_content())
}

fn stop_options(call: &Call) -> Result<StopOptions, Error> {
    let signal = if call.version.is_before(42) { None } else { call.query.some("signal").map(str::to_owned) };
    Ok(StopOptions { signal, timeout: call.query.number_or_failure("t")? })
}

pub(crate) async fn kill(server: Arc<Server>, call: Call) -> Outcome {
    server.engine.container_kill(&call.name, call.query.some("signal")).await?;
    Ok(Answer::no_content())
}

pub(crate) async fn pause(server: Arc<Server>, call: Call) -> Outcome {
    server.engine.container_pause(&call.name).await?;
    Ok(Answer::no_content())
}

pub(crate) async fn unpause(server: Arc<Server>, call: Call) -> Outcome {
    server.engine.container_unpause(&call.name).await?;
    Ok(Answer::no_content())
}

pub(crate) async fn rename(server: Arc<Server>, call: Call) -> Outcome {
    server.engine.container_rename(&call.name, call.query.text("name")).await?;
    Ok(Answer::no_content())
}

pub(crate) async fn update(server: Arc<Server>, mut call: Call) -> Outcome {
    let request: UpdateRequest = call.json_or_default().await?;
    let restart_policy = (!request.restart_policy.name.is_empty()).then_some(request.restart_policy);
    let resources = HostConfig { resources: request.resources, ..HostConfig::default() };
    let warnings =
        server.engine.container_update(&call.name, UpdateContainer { resources, restart_policy }).await?;
    Answer::json(&UpdateResponse { warnings: (!warnings.is_empty()).then_some(warnings) })
}

pub(crate) async fn remove(server: Arc<Server>, call: Call) -> Outcome {
    if call.name.contains("/checkpoints/") {
        return absent::checkpoint(server, call).await;
    }
    let options = RemoveOptions {
        force: call.query.flag("force"),
        volumes: call.query.flag("v"),
        link: call.query.flag("link"),
    };
    server.engine.container_remove(&call.name, options).await?;
    Ok(Answer::no_content())
}
