//! `/volumes`

use std::sync::Arc;

use berth_api::volume::{CreateOptions, ListResponse, PruneResponse, Volume};
use berth_engine::{CreateVolume, VolumeView};
use hyper::StatusCode;

use super::absent::no_swarm;
use super::answer::Answer;
use super::call::Call;
use super::error::Error;
use super::server::Server;

/// Volumes of clusters, and prunes that leave volumes with a name alone, came with this version.
const CLUSTERS: u16 = 42;

/// `GET /volumes`
pub(crate) async fn list(server: Arc<Server>, call: Call) -> Result<Answer, Error> {
    let filters = call
        .query
        .filters()
        .map_err(|error| Error { message: format!("error reading volume filters: {error}"), ..error })?;
    let volumes = server.engine.volume_list(&filters)?.into_iter().map(render).collect();
    Answer::json(&ListResponse { volumes, warnings: None })
}

/// `GET /volumes/{name}`
pub(crate) async fn inspect(server: Arc<Server>, call: Call) -> Result<Answer, Error> {
    Answer::json(&render(server.engine.volume(&call.name)?))
}

/// `POST /volumes/create`
pub(crate) async fn create(server: Arc<Server>, mut call: Call) -> Result<Answer, Error> {
    let CreateOptions { name, driver, driver_opts, labels, cluster_volume_spec } =
        call.json_or_default().await.map_err(|mut error| {
            // The type's own name comes with its package, the names of its fields without.
            error.message = error
                .message
                .replace("Go value of type CreateOptions", "Go value of type volume.CreateOptions");
            error
        })?;
    if cluster_volume_spec.is_some() && !call.version.is_before(CLUSTERS) {
        return Err(no_swarm());
    }
    let wanted = CreateVolume { name, driver, options: driver_opts, labels };
    Answer::json_with(StatusCode::CREATED, &render(server.engine.volume_create(wanted).await?))
}

/// `PUT /volumes/{name}`
pub(crate) async fn update(_: Arc<Server>, _: Call) -> Result<Answer, Error> {
    let text = "volume update only valid for cluster volumes, but swarm is unavailable";
    Err(Error::new(StatusCode::SERVICE_UNAVAILABLE, text))
}

/// `DELETE /volumes/{name}`
pub(crate) async fn remove(server: Arc<Server>, call: Call) -> Result<Answer, Error> {
    server.engine.volume_remove(&call.name, call.query.flag("force")).await?;
    Ok(Answer::no_content())
}

/// `POST /volumes/prune`
pub(crate) async fn prune(server: Arc<Server>, call: Call) -> Result<Answer, Error> {
    let mut filters = call.query.filters()?;
    if call.version.is_before(CLUSTERS) {
        filters.add("all", "true");
    }
    let pruned = server.engine.volume_prune(&filters).await?;
    Answer::json(&PruneResponse { volumes_deleted: pruned.deleted, space_reclaimed: pruned.space_reclaimed })
}

/// A volume as clients see it.
pub(crate) fn render(view: VolumeView) -> Volume {
    let created = view.created.to_string();
    Volume {
        cluster_volume: None,
        // Whole seconds, as Docker takes the time from the directory.
        created_at: created.split_once('.').map_or(created.clone(), |(seconds, _)| format!("{seconds}Z")),
        driver: "local".to_owned(),
        labels: view.labels,
        mountpoint: view.mountpoint,
        name: view.name,
        options: view.options,
        scope: "local".to_owned(),
        usage_data: None,
    }
}
