//! A container's processes and terminal: `GET /containers/{id}/top`, `POST /containers/{id}/resize`

use std::sync::Arc;

use berth_api::container::TopResponse;
use hyper::StatusCode;

use super::super::answer::Answer;
use super::super::call::Call;
use super::super::error::Error;
use super::super::server::Server;

pub(crate) async fn top(server: Arc<Server>, call: Call) -> Result<Answer, Error> {
    let top = server.engine.container_top(&call.name, call.query.text("ps_args")).await?;
    Answer::json(&TopResponse { processes: top.processes, titles: top.titles })
}

pub(crate) async fn resize(server: Arc<Server>, call: Call) -> Result<Answer, Error> {
    let (height, width) = size(&call)?;
    server.engine.container_resize(&call.name, height, width).await?;
    Ok(Answer::status(StatusCode::OK))
}

/// The size that a terminal is to have.
pub(crate) fn size(call: &Call) -> Result<(u32, u32), Error> {
    Ok((call.query.required_number("h")?, call.query.required_number("w")?))
}
