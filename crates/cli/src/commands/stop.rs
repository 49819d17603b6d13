//! `stop`

use super::many;
use crate::command::{Arity, Command, Invocation};
use crate::context::Context;
use crate::flags::{Flag, parse_int};
use crate::outcome::{Failure, Outcome};

#[derive(Debug, Default)]
pub(super) struct Options {
    pub(super) signal: String,
    pub(super) timeout: Option<i64>,
}

pub(super) static FLAGS: &[Flag<Options>] = &[
    Flag::text("signal", 's', |o: &mut Options| &mut o.signal, "Signal to send"),
    Flag::value("timeout", 't', "int", timeout, "Seconds to wait before killing"),
    Flag::value("time", '\0', "int", timeout, "Seconds to wait before killing").hidden(),
];

fn timeout(options: &mut Options, value: &str) -> Result<(), String> {
    options.timeout = Some(parse_int(value)?);
    Ok(())
}

pub(crate) static COMMAND: Command<Options> = Command {
    name: "stop",
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Stop containers",
    aliases: &["container stop", "stop"],
    arity: Arity::AtLeast(1),
    flags: FLAGS,
    interspersed: true,
    run,
};

fn run(context: &Context, invocation: &Invocation<Options>) -> Outcome {
    let Options { signal, timeout } = &invocation.options;
    context.block_on(async {
        let client = context.client().await?;
        many::each(context, &invocation.arguments, |name| async move {
            client.container_stop(name, signal, *timeout).await.map_err(Failure::from)
        })
        .await
    })
}
