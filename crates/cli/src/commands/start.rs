//! `start`

use berth_api::client::{AttachOptions, Client, WaitCondition};

use super::run::exit_code;
use crate::command::{Arity, Command, Invocation};
use crate::container::attach::{End, Resized, Streams, beside};
use crate::context::Context;
use crate::flags::{Flag, parse_bool};
use crate::outcome::{Failure, Outcome, exit_status};
use crate::terminal::Forwarded;

#[derive(Debug, Default)]
pub(crate) struct Options {
    attach: bool,
    checkpoint: String,
    detach_keys: String,
    interactive: bool,
    no_sig_proxy: bool,
}

pub(crate) static COMMAND: Command<Options> = Command {
    name: "start",
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Start containers that do not run",
    aliases: &["container start", "start"],
    arity: Arity::AtLeast(1),
    flags: &[
        Flag::bool("attach", 'a', |o: &mut Options| &mut o.attach, "Show what it writes and pass signals on"),
        Flag::text(
            "detach-keys",
            '\0',
            |o: &mut Options| &mut o.detach_keys,
            "Keys that detach from the container",
        ),
        Flag::bool("interactive", 'i', |o: &mut Options| &mut o.interactive, "Also send it our input"),
        Flag::value("sig-proxy", '\0', "", sig_proxy, "Pass signals on to the process")
            .switch()
            .default("true")
            .hidden(),
        Flag::text(
            "checkpoint",
            '\0',
            |o: &mut Options| &mut o.checkpoint,
            "Go on from a checkpoint (not built yet)",
        ),
        Flag::text(
            "checkpoint-dir",
            '\0',
            |o: &mut Options| &mut o.checkpoint,
            "Directory of the checkpoint (not built yet)",
        ),
    ],
    interspersed: true,
    run,
};

fn sig_proxy(options: &mut Options, value: &str) -> Result<(), String> {
    options.no_sig_proxy = !parse_bool(value)?;
    Ok(())
}

fn run(context: &Context, invocation: &Invocation<Options>) -> Outcome {
    let options = &invocation.options;
    let names = &invocation.arguments;
    if !options.checkpoint.is_empty() {
        return Err(Failure::new(format!(
            "\"--checkpoint\" is only supported on a {} daemon with experimental features enabled",
            context.program.title
        )));
    }
    context.block_on(async {
        let client = context.client().await?;
        if options.attach || options.interactive {
            if names.len() > 1 {
                return Err(Failure::new("you cannot start and attach multiple containers at once"));
            }
            return attached(context, client, options, &names[0]).await;
        }
        plain(context, client, names).await
    })
}

async fn plain(context: &Context, client: &Client, names: &[String]) -> Outcome {
    let mut failed = Vec::new();
    for name in names {
        match client.container_start(name).await {
            Ok(()) => context.printer.line(name)?,
            Err(error) => {
                context.printer.say(error.to_string());
                failed.push(name.as_str());
            }
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    Err(Failure::new(format!("Error: failed to start containers: {}", failed.join(", "))))
}

/// Starts one container and stays with it until it ends.
async fn attached(context: &Context, client: &Client, options: &Options, name: &str) -> Outcome {
    let container = client.container_inspect(name).await?;
    let tty = container.config.tty;
    let stdin = options.interactive && container.config.open_stdin;
    let signals = if tty || options.no_sig_proxy { None } else { Some(Forwarded::catch()?) };
    let attach = AttachOptions {
        stream: true,
        stdin,
        stdout: true,
        stderr: true,
        logs: false,
        detach_keys: context.detach_keys(&options.detach_keys),
    };
    let condition =
        if container.host_config.auto_remove { WaitCondition::Removed } else { WaitCondition::NextExit };
    let (hijacked, end) = tokio::join!(
        client.container_attach(&container.id, &attach),
        client.container_wait(&container.id, condition)
    );
    let (hijacked, mut end) = (hijacked?, end?);
    if let Err(error) = client.container_start(&container.id).await {
        if container.host_config.auto_remove {
            let _ = end.next().await;
        }
        return Err(Failure::new(error.to_string()));
    }
    let detach = context.detach_watcher(&options.detach_keys);
    let streams = Streams { hijacked, tty, stdin, output: true, detach };
    let follow = async {
        match streams.run().await? {
            End::Detached => Ok(0),
            End::Closed => exit_code(&mut end).await,
        }
    };
    let resize = tty.then_some(Resized::Container(&container.id));
    let code =
        beside(client, follow, resize, signals.map(|signals| (container.id.as_str(), signals))).await?;
    if code == 0 { Ok(()) } else { Err(Failure::status(exit_status(code))) }
}
