//! `POST /commit`

use std::sync::Arc;

use berth_api::container::Config;
use berth_engine::Commit;
use berth_oci::json::{self, Node};
use hyper::StatusCode;
use serde::{Deserialize as _, Serialize};

use super::super::answer::Answer;
use super::super::call::Call;
use super::super::error::Error;
use super::super::server::Server;

/// The answer.
#[derive(Serialize)]
struct Committed {
    #[serde(rename = "Id")]
    id: String,
}

pub(crate) async fn commit(server: Arc<Server>, mut call: Call) -> Result<Answer, Error> {
    let body: Option<Node> = if call.body.is_empty() { None } else { call.json_or_default().await? };
    let config: Option<Config> = match body {
        None | Some(Node::Null) => None,
        Some(Node::Object(entries)) if entries.is_empty() => None,
        Some(body) => Some(Config::deserialize(&body).map_err(|error: json::Error| Error::from(error))?),
    };
    let query = &call.query;
    let commit = Commit {
        repository: query.some("repo").map(str::to_owned),
        tag: query.some("tag").map(str::to_owned),
        author: query.text("author").to_owned(),
        comment: query.text("comment").to_owned(),
        changes: query.all("changes").map(str::to_owned).collect(),
        pause: query.flag_or("pause", true),
        config,
    };
    let id = server.engine.container_commit(query.text("container"), commit).await?;
    Answer::json_with(StatusCode::CREATED, &Committed { id })
}
