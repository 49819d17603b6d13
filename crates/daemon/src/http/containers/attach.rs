//! `POST /containers/{id}/attach`, `GET /containers/{id}/attach/ws`

use std::sync::Arc;

use berth_engine::AttachOptions;
use berth_oci::keys::{self, Watcher};
use hyper::StatusCode;
use tokio::net::UnixStream;

use super::super::answer::Answer;
use super::super::attach::{self, End, Framing, Input};
use super::super::call::Call;
use super::super::error::Error;
use super::super::server::Server;
use super::super::stream::{Socket, Stream};
use super::super::websocket::{self, Form};
use super::logs::stream_type;

/// What a client asks for, and of which container.
struct Wanted {
    id: String,
    tty: bool,
    options: AttachOptions,
    input: Input,
}

fn wanted(server: &Server, call: &Call) -> Result<Wanted, Error> {
    let query = &call.query;
    let wanted = query.text("detachKeys");
    let keys = keys::parse(wanted)
        .map_err(|_| Error::invalid(format!("Invalid detach keys ({wanted}) provided")))?;
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
        detach: (options.stdin && config.tty).then(|| Watcher::new(keys)),
        framing: Framing::Same,
    };
    Ok(Wanted { id: container.record.id.clone(), tty: config.tty, options, input })
}

/// `POST /containers/{id}/attach`
pub(crate) async fn attach(server: Arc<Server>, call: Call) -> Result<Answer, Error> {
    let Wanted { id, tty, options, input } = match wanted(&server, &call) {
        Err(error) if error.status == StatusCode::NOT_FOUND => return Ok(refusal(&error)),
        wanted => wanted?,
    };
    let content_type = stream_type(&call, tty);
    // Attached before the answer goes out: what the container writes from now on reaches the client.
    let attached = server.engine.container_attach(&id, options).await?;
    Ok(Answer::hijack(content_type, move |client| async move {
        if attach::run(client, attached, input, std::future::ready(())).await == End::Detached {
            server.engine.container_detached(&id);
        }
    }))
}

/// `GET /containers/{id}/attach/ws`
pub(crate) async fn websocket(server: Arc<Server>, call: Call) -> Result<Answer, Error> {
    let Wanted { id, options, input, .. } = wanted(&server, &call)?;
    let headers = match websocket::accept(&call.headers) {
        Ok(headers) => headers,
        Err(refusal) => return Ok(refusal),
    };
    let attached = server.engine.container_attach(&id, options).await?;
    let form = Form { text: call.version.is_before(28), multiplexed: !attached.tty };
    Ok(Answer::websocket(headers, move |client| async move {
        let Ok((ours, theirs)) = UnixStream::pair() else { return };
        let container = async {
            let client = Stream::new(Socket::Unix(ours));
            if attach::run(client, attached, input, std::future::ready(())).await == End::Detached {
                server.engine.container_detached(&id);
            }
        };
        tokio::join!(container, websocket::translate(client, theirs, form));
    }))
}

/// An error as Docker tells it here: in the type of the stream that was asked for, and not as JSON.
fn refusal(error: &Error) -> Answer {
    let text = format!("{}\r\n", error.message);
    Answer::whole(error.status, Some(super::super::answer::RAW_STREAM), text.into())
}
