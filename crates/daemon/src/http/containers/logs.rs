//! `GET /containers/{id}/logs`

use std::sync::Arc;

use berth_engine::LogsOptions;
use futures_util::StreamExt as _;

use super::super::answer::{Answer, MULTIPLEXED_STREAM, RAW_STREAM};
use super::super::call::Call;
use super::super::error::Error;
use super::super::server::Server;
use super::super::time::parse_moment;

pub(crate) async fn logs(server: Arc<Server>, call: Call) -> Result<Answer, Error> {
    let query = &call.query;
    let (stdout, stderr) = (query.flag("stdout"), query.flag("stderr"));
    if !stdout && !stderr {
        return Err(Error::invalid("Bad parameters: you must choose at least one stream"));
    }
    server.engine.container(&call.name)?;
    let options = LogsOptions {
        stdout,
        stderr,
        follow: query.flag("follow"),
        since: parse_moment(query.text("since")).map_err(Error::into_failure)?,
        until: parse_moment(query.text("until")).map_err(Error::into_failure)?,
        timestamps: query.flag("timestamps"),
        details: query.flag("details"),
        // As in Docker, what is no number means all.
        tail: query.text("tail").parse().ok(),
    };
    let logs = server.engine.container_logs(&call.name, options).await?;
    let content_type = stream_type(&call, logs.tty);
    // What cannot be read ends the answer early; the client sees that its end is missing.
    Ok(Answer::stream(content_type, logs.map(|chunk| chunk.map_err(std::io::Error::other))))
}

/// The media type of a container's output: clients before API 1.42 know only one.
pub(crate) fn stream_type(call: &Call, tty: bool) -> &'static str {
    if tty || call.version.is_before(42) { RAW_STREAM } else { MULTIPLEXED_STREAM }
}
