//! `run`: make, attach, start, wait.
//!
//! ```text
//! create ──► attach ┐
//!       └──► wait   ┴─► start ──► streams … ──► exit code
//! ```
//!
//! Attaching and waiting are asked for at once, on connections of their own, and both are in place before the start:
//! no output and no end can be missed.

use berth_api::client::{AttachOptions, Client, Hijacked, JsonStream, WaitCondition};
use berth_api::container::{CreateRequest, WaitResponse};

use crate::command::{Arity, Command, Invocation};
use crate::container::attach::{End, Resized, Streams, beside};
use crate::container::{self, Options, Pull};
use crate::context::Context;
use crate::outcome::{Failure, Outcome, exit_status};
use crate::terminal::{self, Forwarded};

pub(crate) static COMMAND: Command<Options> = Command {
    name: "run",
    usage: "[OPTIONS] IMAGE [COMMAND] [ARG...]",
    about: "Make a container from an image and run it",
    aliases: &["container run", "run"],
    arity: Arity::AtLeast(1),
    flags: container::FLAGS,
    interspersed: false,
    run,
};

fn run(context: &Context, invocation: &Invocation<Options>) -> Outcome {
    let options = &invocation.options;
    let refused = |text: String| with_help(context, "run", &text);
    container::check_system(options)?;
    let pull = Pull::parse(&options.pull).map_err(refused)?;
    let mut request = container::plan(options, &invocation.arguments).map_err(refused)?;
    container::surround(context, options, &mut request)?;
    let config = &mut request.config;
    if options.detach {
        if !options.attach.is_empty() {
            return Err(Failure::new("conflicting options: cannot specify both --attach and --detach"));
        }
        config.attach_stdin = false;
        config.attach_stdout = false;
        config.attach_stderr = false;
        config.stdin_once = false;
    } else {
        terminal::check_input(config.attach_stdin, config.tty)?;
    }
    if config.tty
        && let Some((height, width)) = terminal::size()
    {
        request.host_config.console_size = [u32::from(height), u32::from(width)];
    }
    context.block_on(async {
        let client = context.client().await.map_err(|failure| started_failure(context, &failure.text))?;
        let created = container::create::create(context, client, options, pull, &request)
            .await
            .map_err(|failure| started_failure(context, &failure.text))?;
        live(context, client, options, &request, &created.id).await
    })
}

/// What is running beside the container.
struct Attached {
    streams: Option<Hijacked>,
    /// Answers when the container has ended.
    end: Option<JsonStream<WaitResponse>>,
}

/// The container's life, from before its start to its exit code.
async fn live(
    context: &Context,
    client: &Client,
    options: &Options,
    request: &CreateRequest,
    id: &str,
) -> Outcome {
    let config = &request.config;
    let shows_output = config.attach_stdout || config.attach_stderr;
    // Caught before the start, so that no signal of that moment is lost.
    let signals = match (options.detach, options.sig_proxy.unwrap_or(true)) {
        (true, _) => None,
        (false, true) => Some(Forwarded::catch()?),
        // A terminal session ends with its terminal; nobody else is to end what only waits.
        (false, false) if config.tty => None,
        (false, false) => Some(Forwarded::hold_back()?),
    };
    if !shows_output {
        context.printer.line(id)?;
    }
    let mut attached = attach(context, client, options, request, id).await?;
    if let Err(error) = client.container_start(id).await {
        // The container is removed before we say that it did not start.
        if options.auto_remove
            && let Some(end) = &mut attached.end
        {
            let _ = end.next().await;
        }
        return Err(started_failure(context, &error.to_string()));
    }
    let streams = attached.streams.map(|hijacked| Streams {
        hijacked,
        tty: config.tty,
        stdin: config.attach_stdin,
        output: shows_output,
        detach: context.detach_watcher(&options.detach_keys),
    });
    let follow = async {
        let end = match streams {
            Some(streams) => streams.run().await?,
            None => End::Closed,
        };
        match &mut attached.end {
            Some(answer) if end == End::Closed && shows_output => exit_code(answer).await,
            _ => Ok(0),
        }
    };
    let resize = (config.tty && !options.detach).then_some(Resized::Container(id));
    let code = beside(client, follow, resize, signals.map(|signals| (id, signals))).await?;
    if code == 0 { Ok(()) } else { Err(Failure::status(exit_status(code))) }
}

/// Attaches and registers for the end, both at once.
async fn attach(
    context: &Context,
    client: &Client,
    options: &Options,
    request: &CreateRequest,
    id: &str,
) -> Result<Attached, Failure> {
    let config = &request.config;
    let attach = async {
        if !(config.attach_stdin || config.attach_stdout || config.attach_stderr) {
            return Ok(None);
        }
        let attach = AttachOptions {
            stream: true,
            stdin: config.attach_stdin,
            stdout: config.attach_stdout,
            stderr: config.attach_stderr,
            logs: false,
            detach_keys: context.detach_keys(&options.detach_keys),
        };
        client.container_attach(id, &attach).await.map(Some)
    };
    let wait = async {
        if options.detach {
            return Ok(None);
        }
        let condition = if options.auto_remove { WaitCondition::Removed } else { WaitCondition::NextExit };
        client.container_wait(id, condition).await.map(Some)
    };
    let (streams, end) = tokio::join!(attach, wait);
    Ok(Attached { streams: streams?, end: end? })
}

/// The container's exit code.
pub(super) async fn exit_code(answer: &mut JsonStream<WaitResponse>) -> Result<i64, Failure> {
    match answer.next().await {
        Ok(Some(WaitResponse { error: Some(error), .. })) => Err(Failure {
            status: Failure::REFUSED,
            text: format!("Error waiting for container: {}", error.message),
        }),
        Ok(Some(answer)) => Ok(answer.status_code),
        Ok(None) => {
            Err(Failure { status: Failure::REFUSED, text: "Error waiting for container: EOF".to_owned() })
        }
        Err(error) => {
            Err(Failure { status: Failure::REFUSED, text: format!("Error waiting for container: {error}") })
        }
    }
}

/// A complaint of the command itself, with the way to its help.
pub(super) fn with_help(context: &Context, command: &str, text: &str) -> Failure {
    let program = context.program.name;
    Failure {
        status: Failure::REFUSED,
        text: format!("{program}: {text}\n\nRun '{program} {command} --help' for more information"),
    }
}

/// A container that could not be made or started: 127 if its program is missing, 126 if it cannot be run.
fn started_failure(context: &Context, text: &str) -> Failure {
    let is_any = |needles: &[&str]| needles.iter().any(|needle| text.contains(needle));
    let status = if is_any(&[
        "executable file not found",
        "no such file or directory",
        "system cannot find the file specified",
    ]) {
        127
    } else if is_any(&["permission denied", "is a directory"]) {
        126
    } else {
        Failure::REFUSED
    };
    Failure { status, ..with_help(context, "run", text) }
}
