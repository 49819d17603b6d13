//! `attach`

use berth_api::client::{AttachOptions, WaitCondition};
use berth_api::container::State;

use super::run::exit_code;
use crate::command::{Arity, Command, Invocation};
use crate::container::attach::{End, Resized, Streams, beside};
use crate::context::Context;
use crate::flags::{Flag, parse_bool};
use crate::outcome::{Failure, Outcome, exit_status};
use crate::terminal::{self, Forwarded};

#[derive(Debug, Default)]
pub(crate) struct Options {
    detach_keys: String,
    no_stdin: bool,
    no_sig_proxy: bool,
}

pub(crate) static COMMAND: Command<Options> = Command {
    name: "attach",
    usage: "[OPTIONS] CONTAINER",
    about: "Connect to the input and output of a container that runs",
    aliases: &["container attach", "attach"],
    arity: Arity::Exactly(1),
    flags: &[
        Flag::text(
            "detach-keys",
            '\0',
            |o: &mut Options| &mut o.detach_keys,
            "Keys that detach from the container",
        ),
        Flag::bool("no-stdin", '\0', |o: &mut Options| &mut o.no_stdin, "Do not send it our input"),
        Flag::value("sig-proxy", '\0', "", sig_proxy, "Pass signals on to the process")
            .switch()
            .default("true"),
    ],
    interspersed: true,
    run,
};

fn sig_proxy(options: &mut Options, value: &str) -> Result<(), String> {
    options.no_sig_proxy = !parse_bool(value)?;
    Ok(())
}

fn run(context: &Context, invocation: &Invocation<Options>) -> Outcome {
    context.block_on(attach(context, &invocation.options, &invocation.arguments[0]))
}

async fn attach(context: &Context, options: &Options, name: &str) -> Outcome {
    let client = context.client().await?;
    let container = client.container_inspect(name).await?;
    check_state(&container.state)?;
    let tty = container.config.tty;
    let stdin = !options.no_stdin && container.config.open_stdin;
    terminal::check_input(!options.no_stdin, tty)?;
    let signals = if tty || options.no_sig_proxy { None } else { Some(Forwarded::catch()?) };
    let attach = AttachOptions {
        stream: true,
        stdin,
        stdout: true,
        stderr: true,
        logs: false,
        detach_keys: context.detach_keys(&options.detach_keys),
    };
    let id = &container.id;
    let (hijacked, end) = tokio::join!(
        client.container_attach(id, &attach),
        client.container_wait(id, WaitCondition::NotRunning)
    );
    let (hijacked, mut end) = (hijacked?, end?);
    let detach = context.detach_watcher(&options.detach_keys);
    let streams = Streams { hijacked, tty, stdin, output: true, detach };
    let follow = async {
        match streams.run().await? {
            End::Detached => Err(Failure::new("read escape sequence")),
            End::Closed => exit_code(&mut end).await,
        }
    };
    let resize = tty.then_some(Resized::Attached(id));
    let code = beside(client, follow, resize, signals.map(|signals| (id.as_str(), signals))).await?;
    if code == 0 { Ok(()) } else { Err(Failure::status(exit_status(code))) }
}

fn check_state(state: &State) -> Outcome {
    if !state.running {
        return Err(Failure::new("You cannot attach to a stopped container, start it first"));
    }
    if state.paused {
        return Err(Failure::new("You cannot attach to a paused container, unpause it first"));
    }
    if state.restarting {
        return Err(Failure::new("You cannot attach to a restarting container, wait until it is running"));
    }
    Ok(())
}
