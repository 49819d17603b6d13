//! `GET /images/json`, `POST /images/{name}/tag`, `DELETE /images/{name}`, `POST /images/prune`

use std::sync::Arc;

use berth_api::image::{DeleteItem, LIST_CHANGES, PruneResponse, Summary};
use berth_engine::{ImageDeleted, ImageListOptions, ImageSummary};
use hyper::StatusCode;

use super::super::answer::Answer;
use super::super::call::Call;
use super::super::error::Error;
use super::super::server::Server;

/// `GET /images/json`
pub(crate) async fn list(server: Arc<Server>, call: Call) -> Result<Answer, Error> {
    let mut filters = call.query.filters()?;
    // Before API 1.25 a name could be looked for with a parameter of its own.
    if let Some(name) = call.query.some("filter").filter(|_| call.version.is_before(41)) {
        filters.add("reference", name);
    }
    let options = ImageListOptions {
        all: call.query.flag("all"),
        filters,
        shared_size: !call.version.is_before(42) && call.query.flag("shared-size"),
    };
    let images = server.engine.image_list(&options).await?;
    let list: Vec<_> = images.iter().map(summary).collect();
    Answer::json_for(&list, call.version, LIST_CHANGES)
}

/// An image as lists show it.
pub(crate) fn summary(image: &ImageSummary) -> Summary {
    Summary {
        containers: image.containers,
        created: image.created.unix_seconds(),
        id: image.id.clone(),
        labels: (!image.labels.is_empty()).then(|| image.labels.clone()),
        manifests: Vec::new(),
        parent_id: image.parent_id.clone(),
        repo_digests: image.repo_digests.clone(),
        repo_tags: image.repo_tags.clone(),
        shared_size: image.shared_size,
        size: i64::try_from(image.size).unwrap_or(i64::MAX),
    }
}

/// `POST /images/{name}/tag`
pub(crate) async fn tag(server: Arc<Server>, call: Call) -> Result<Answer, Error> {
    // Docker does nothing then, and says that it is well.
    if call.query.text("repo").is_empty() {
        return Ok(Answer::status(StatusCode::OK));
    }
    server.engine.image_tag(&call.name, call.query.text("repo"), call.query.text("tag")).await?;
    Ok(Answer::status(StatusCode::CREATED))
}

/// `DELETE /images/{name}`
pub(crate) async fn remove(server: Arc<Server>, call: Call) -> Result<Answer, Error> {
    if call.name.trim().is_empty() {
        return Err(Error::invalid("image name cannot be blank"));
    }
    let (force, no_prune) = (call.query.flag("force"), call.query.flag("noprune"));
    let deleted = server.engine.image_remove(&call.name, force, no_prune).await?;
    Answer::json(&deleted.into_iter().map(delete_item).collect::<Vec<_>>())
}

/// `POST /images/prune`
pub(crate) async fn prune(server: Arc<Server>, call: Call) -> Result<Answer, Error> {
    let (deleted, space_reclaimed) = server.engine.image_prune(&call.query.filters()?).await?;
    let images_deleted = (!deleted.is_empty()).then(|| deleted.into_iter().map(delete_item).collect());
    Answer::json(&PruneResponse { images_deleted, space_reclaimed })
}

fn delete_item(deleted: ImageDeleted) -> DeleteItem {
    match deleted {
        ImageDeleted::Untagged(untagged) => DeleteItem { untagged, ..DeleteItem::default() },
        ImageDeleted::Deleted(deleted) => DeleteItem { deleted, ..DeleteItem::default() },
    }
}
