//! `POST /containers/prune`

use std::sync::Arc;

use berth_api::container::PruneResponse;

use super::super::answer::Answer;
use super::super::call::Call;
use super::super::error::Error;
use super::super::server::Server;

pub(crate) async fn prune(server: Arc<Server>, call: Call) -> Result<Answer, Error> {
    let pruned = server.engine.container_prune(&call.query.filters()?).await?;
    Answer::json(&PruneResponse {
        containers_deleted: (!pruned.deleted.is_empty()).then_some(pruned.deleted),
        space_reclaimed: pruned.space_reclaimed,
    })
}
