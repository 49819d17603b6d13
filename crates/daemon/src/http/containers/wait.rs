//! `POST /containers/{id}/wait`

use std::sync::Arc;

use berth_api::container::{WaitError, WaitResponse};
use berth_engine::{WaitCondition, WaitResult};

use super::super::answer::{Answer, json_line};
use super::super::call::Call;
use super::super::error::Error;
use super::super::server::Server;

pub(crate) async fn wait(server: Arc<Server>, call: Call) -> Result<Answer, Error> {
    // Conditions are known since API 1.30; before it the answer came with the end, status and all.
    let old = call.version.is_before(30);
    let condition = if old { WaitCondition::NotRunning } else { condition(call.query.text("condition"))? };
    // It is waited from here on: an end after this line is not missed, which clients rely on when the answer's head
    // has reached them.
    let wait = server.engine.container_wait(&call.name, condition)?;
    if old {
        return Answer::json(&response(wait.result().await));
    }
    let result = futures_util::stream::once(async { json_line(&response(wait.result().await)) });
    Ok(Answer::stream("application/json", result))
}

fn condition(text: &str) -> Result<WaitCondition, Error> {
    match text {
        "" | "not-running" => Ok(WaitCondition::NotRunning),
        "next-exit" => Ok(WaitCondition::NextExit),
        "removed" => Ok(WaitCondition::Removed),
        other => Err(Error::invalid(format!("invalid condition: {other:?}"))),
    }
}

fn response(result: WaitResult) -> WaitResponse {
    WaitResponse { status_code: result.status_code, error: result.error.map(|message| WaitError { message }) }
}
