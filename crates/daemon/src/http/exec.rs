//! Further processes in containers: `POST /containers/{id}/exec`, `/exec/…`

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use berth_api::exec::{CreateRequest, CreateResponse, Inspect, ProcessConfig, StartRequest};
use berth_engine::{Class, ExecConfig, ExecStart};
use berth_oci::keys::{self, Watcher};
use hyper::StatusCode;
use tokio::io::AsyncWriteExt as _;

use super::answer::{Answer, MULTIPLEXED_STREAM, RAW_STREAM};
use super::attach::{self, Framing, Input, frame_header};
use super::call::Call;
use super::containers::process::size;
use super::error::Error;
use super::server::Server;
use super::stream::Stream;

/// How long the end of a process may come after the end of its output, before the stream ends without it.
const SETTLED_WITHIN: Duration = Duration::from_secs(2);

/// `POST /containers/{id}/exec`
pub(crate) async fn create(server: Arc<Server>, mut call: Call) -> Result<Answer, Error> {
    let request: CreateRequest = call.json_or_default().await?;
    let command = request.cmd.unwrap_or_default();
    if command.is_empty() {
        return Err(Error::invalid("No exec command specified"));
    }
    let wanted = &request.detach_keys;
    keys::parse(wanted).map_err(|_| Error::invalid(format!("Invalid escape keys ({wanted}) provided")))?;
    let config = ExecConfig {
        user: request.user,
        privileged: request.privileged,
        tty: request.tty,
        attach_stdin: request.attach_stdin,
        attach_stdout: request.attach_stdout,
        attach_stderr: request.attach_stderr,
        // The size at the start is known since API 1.42, and only a terminal has one.
        console_size: console_size(&call, request.console_size.filter(|_| request.tty)),
        detach_keys: (!request.detach_keys.is_empty()).then_some(request.detach_keys),
        env: request.env.unwrap_or_default(),
        working_dir: request.working_dir,
        command,
    };
    let id = server.engine.exec_create(&call.name, config).await?;
    Answer::json_with(StatusCode::CREATED, &CreateResponse { id })
}

fn console_size(call: &Call, size: Option<[u32; 2]>) -> Option<(u32, u32)> {
    size.filter(|_| !call.version.is_before(42)).map(|[height, width]| (height, width))
}

/// `POST /exec/{id}/start`
pub(crate) async fn start(server: Arc<Server>, mut call: Call) -> Result<Answer, Error> {
    let request: StartRequest = call.json_or_default().await?;
    let exec = server.engine.exec(&call.name)?;
    if request.console_size.is_some() && !call.version.is_before(42) {
        if request.detach {
            return Err(Error::invalid("console size is only supported when attached"));
        }
        if !request.tty {
            return Err(Error::invalid("console size is only supported with TTY"));
        }
    }
    let start = ExecStart { detach: request.detach, console_size: console_size(&call, request.console_size) };
    if request.detach {
        // Not cut off by a client that goes away.
        let task = tokio::spawn(async move { server.engine.exec_start(&call.name, start).await });
        task.await.map_err(|error| Error::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))??;
        return Ok(Answer::status(StatusCode::OK));
    }
    let multiplexed = !request.tty && !call.version.is_before(42);
    let content_type = if multiplexed { MULTIPLEXED_STREAM } else { RAW_STREAM };
    let attached = match server.engine.exec_start(&call.name, start).await {
        Ok(Some(attached)) => attached,
        Ok(None) => return Ok(Answer::status(StatusCode::OK)),
        // What does not exist is told as such. Anything else is told on the stream, as Docker does it.
        Err(error) if error.class() == Class::NotFound => return Err(error.into()),
        Err(error) => {
            let text = format!("{error}\r\n");
            return Ok(Answer::hijack(content_type, move |client| tell(client, text, request.tty)));
        }
    };
    let wanted = exec.config.detach_keys.as_deref().unwrap_or_default();
    let has_input = exec.config.tty && exec.config.attach_stdin;
    let detach = keys::parse(wanted).ok().filter(|_| has_input).map(Watcher::new);
    let framing = Framing::between(exec.config.tty, request.tty);
    let input = Input { attached: exec.config.attach_stdin, closes: !exec.config.tty, detach, framing };
    Ok(Answer::hijack(content_type, move |client| async move {
        let settled = server.engine.exec_settled(&call.name, SETTLED_WITHIN);
        attach::run(client, attached, input, settled).await;
    }))
}

/// Writes a text as the standard output of a process that there is none of.
async fn tell(mut client: Stream, text: String, raw: bool) {
    let mut bytes = Vec::with_capacity(text.len() + 8);
    if !raw {
        bytes.extend_from_slice(&frame_header(text.len()));
    }
    bytes.extend_from_slice(text.as_bytes());
    client.is_read().await;
    let _ = client.write_all(&bytes).await; // the client may be gone
    let _ = client.shutdown().await;
}

/// `POST /exec/{id}/resize`
pub(crate) async fn resize(server: Arc<Server>, call: Call) -> Result<Answer, Error> {
    let (height, width) = size(&call)?;
    server.engine.exec_resize(&call.name, height, width).await?;
    Ok(Answer::status(StatusCode::OK))
}

/// `GET /exec/{id}/json`
pub(crate) async fn inspect(server: Arc<Server>, call: Call) -> Result<Answer, Error> {
    let exec = server.engine.exec(&call.name)?;
    let detach_keys = exec
        .config
        .detach_keys
        .as_deref()
        .and_then(|wanted| keys::parse(wanted).ok())
        .map(|keys| STANDARD.encode(keys));
    let (entrypoint, arguments) = exec
        .config
        .command
        .split_first()
        .map_or((String::new(), Vec::new()), |(first, rest)| (first.clone(), rest.to_vec()));
    Answer::json(&Inspect {
        id: exec.id,
        running: exec.running,
        exit_code: exec.exit_code,
        process_config: ProcessConfig {
            tty: exec.config.tty,
            entrypoint,
            arguments,
            privileged: Some(exec.config.privileged),
            user: exec.config.user,
        },
        open_stdin: exec.config.attach_stdin,
        open_stderr: exec.config.attach_stderr,
        open_stdout: exec.config.attach_stdout,
        can_remove: exec.can_remove,
        container_id: exec.container_id,
        detach_keys: detach_keys.unwrap_or_default(),
        pid: exec.pid,
    })
}
