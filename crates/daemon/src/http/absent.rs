//! Paths of the Engine API whose work is not built yet, each with an answer that says so, and those that an engine
//! without a cluster and without plugins has, with Docker's answers.

use std::sync::Arc;

use hyper::StatusCode;

use super::answer::Answer;
use super::call::Call;
use super::error::Error;
use super::server::Server;

type Outcome = Result<Answer, Error>;

macro_rules! not_built {
    ($($handler:ident $what:literal;)*) => {$(
        pub(crate) async fn $handler(_: Arc<Server>, _: Call) -> Outcome {
            Err(Error::not_built($what))
        }
    )*};
}

not_built! {
    build "building an image";
    session "the build session";
    network_create "creating a network";
    network_connect "connecting a container to a further network";
    plugin_install "installing a plugin";
    swarm_init "a swarm";
}

/// The answer of `POST /build/prune`.
#[derive(Default, serde::Serialize)]
#[serde(rename_all = "PascalCase")]
struct BuildPruned {
    caches_deleted: Option<Vec<String>>,
    space_reclaimed: u64,
}

/// There is no build cache yet, so nothing to prune.
pub(crate) async fn build_prune(_: Arc<Server>, _: Call) -> Outcome {
    Answer::json(&BuildPruned::default())
}

/// An engine without networks of its users has none to prune.
pub(crate) async fn network_prune(_: Arc<Server>, _: Call) -> Outcome {
    Answer::json(&berth_api::network::PruneResponse::default())
}

pub(crate) async fn plugins(_: Arc<Server>, _: Call) -> Outcome {
    Answer::json::<[(); 0]>(&[])
}

pub(crate) async fn plugin(_: Arc<Server>, call: Call) -> Outcome {
    Err(Error::not_found(format!("plugin {:?} not found", call.name)))
}

/// Making, listing and removing checkpoints.
///
/// Errors: Docker's text where nobody asked for experiments; else that they are not built.
pub(crate) async fn checkpoint(server: Arc<Server>, _: Call) -> Outcome {
    if server.settings().experimental {
        return Err(Error::not_built("a checkpoint"));
    }
    Err(Error::new(
        StatusCode::NOT_IMPLEMENTED,
        "This experimental feature is disabled by default. Start the Docker daemon in experimental mode in order to \
         enable it.",
    ))
}

pub(crate) async fn swarm(_: Arc<Server>, _: Call) -> Outcome {
    Err(no_swarm())
}

/// What only a manager of a swarm can do.
pub(crate) fn no_swarm() -> Error {
    Error::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to \
         swarm and try again.",
    )
}

pub(crate) async fn swarm_leave(_: Arc<Server>, _: Call) -> Outcome {
    Err(Error::new(StatusCode::SERVICE_UNAVAILABLE, "This node is not part of a swarm"))
}
