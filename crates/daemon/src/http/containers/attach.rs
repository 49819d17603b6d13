//! `POST /containers/{id}/attach`

use std::sync::Arc;

use berth_engine::AttachOptions;

use super::super::answer::Answer;
use super::super::attach::{self, End, Input};
use super::super::call::Call;
use super::super::detach::DetachKeys;
use super::super::error::Error;
use super::super::server::Server;
use super::logs::stream_type;

pub(crate) async fn attach(server: Arc<Server>, call: Call) -> Result<Answer, Error> {
    let query = &call.query;
    let keys = query.text("detachKeys");
    let detach_keys = DetachKeys::parse(keys)
        .map_err(|_| Error::invalid(format!("Invalid detach keys ({keys}) provided")))?;
    let container = server.engine.container(&call.name)?;
    let config = &container.record.config;
    let options = AttachOptions {
        stdin: query.flag("stdin"),
        stdout: query.flag("stdout"),
        stderr: query.flag("stderr"),
        logs: query.flag("logs"),
        stream: query.flag("stream"),
        detach_keys: query.some("detachKeys").map(str::to_owned),
    };
    let input = Input {
        attached: options.stdin && config.open_stdin,
        // A terminal's input never ends; other input only if it was opened for one client.
        closes: config.stdin_once && !config.tty,
        detach_keys: (options.stdin && config.tty).then_some(detach_keys),
    };
    let content_type = stream_type(&call, config.tty);
    let id = container.record.id.clone();
    // Attached before the answer goes out: what the container writes from now on reaches the client.
    let attached = server.engine.container_attach(&id, options).await?;
    Ok(Answer::hijack(content_type, move |client| async move {
        if attach::run(client, attached, input, std::future::ready(())).await == End::Detached {
            server.engine.container_detached(&id);
        }
    }))
}
