//! `logs`

use berth_api::client::{Demultiplexer, LogsOptions};
use jiff::Timestamp;

use crate::command::{Arity, Command, Invocation};
use crate::container::attach::write_output;
use crate::context::Context;
use crate::flags::Flag;
use crate::format::time;
use crate::outcome::{Failure, Outcome};

#[derive(Debug, Default)]
pub(crate) struct Options {
    details: bool,
    follow: bool,
    since: String,
    until: String,
    tail: String,
    timestamps: bool,
}

pub(crate) static COMMAND: Command<Options> = Command {
    name: "logs",
    usage: "[OPTIONS] CONTAINER",
    about: "Show what a container has written",
    aliases: &["container logs", "logs"],
    arity: Arity::Exactly(1),
    flags: &[
        Flag::bool(
            "details",
            '\0',
            |o: &mut Options| &mut o.details,
            "Show what the log driver knows besides",
        ),
        Flag::bool("follow", 'f', |o: &mut Options| &mut o.follow, "Go on as more is written"),
        Flag::text(
            "since",
            '\0',
            |o: &mut Options| &mut o.since,
            "Only what is newer than a time (as 2013-01-02T13:23:37Z) or an age (as 42m)",
        ),
        Flag::text("tail", 'n', |o: &mut Options| &mut o.tail, "Only the last lines").default("\"all\""),
        Flag::bool("timestamps", 't', |o: &mut Options| &mut o.timestamps, "Show when each line was written"),
        Flag::text(
            "until",
            '\0',
            |o: &mut Options| &mut o.until,
            "Only what is older than a time (as 2013-01-02T13:23:37Z) or an age (as 42m)",
        ),
    ],
    interspersed: true,
    run,
};

fn run(context: &Context, invocation: &Invocation<Options>) -> Outcome {
    let options = &invocation.options;
    let moment = |text: &str, flag: &str| {
        if text.is_empty() {
            return Ok(String::new());
        }
        time::since(text, Timestamp::now())
            .map_err(|error| Failure::new(format!("invalid value for \"{flag}\": {error}")))
    };
    let name = &invocation.arguments[0];
    let times = moment(&options.since, "since")
        .and_then(|since| moment(&options.until, "until").map(|until| (since, until)));
    let (since, until) = match times {
        Ok(times) => times,
        Err(wrong) => {
            // A container that is not there is the first thing to be told of.
            return context.block_on(async {
                context.client().await?.container_inspect(name).await?;
                Err(wrong)
            });
        }
    };
    let logs = LogsOptions {
        stdout: true,
        stderr: true,
        follow: options.follow,
        timestamps: options.timestamps,
        details: options.details,
        since,
        until,
        tail: if options.tail.is_empty() { "all".to_owned() } else { options.tail.clone() },
    };
    context.block_on(show(context, name, &logs))
}

async fn show(context: &Context, name: &str, logs: &LogsOptions) -> Outcome {
    let client = context.client().await?;
    let mut body = client.container_logs(name, logs).await?;
    // Older engines do not say whether the stream has frames: then the container knows.
    let tty = match body.is_multiplexed() {
        Some(multiplexed) => !multiplexed,
        None => client.container_inspect(name).await?.config.tty,
    };
    let mut demultiplexer = Demultiplexer::default();
    while let Some(chunk) = body.chunk().await? {
        write_output(&chunk, tty, &mut demultiplexer)?;
    }
    Ok(())
}
