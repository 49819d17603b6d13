//! `kill`

use super::many;
use crate::command::{Arity, Command, Invocation};
use crate::context::Context;
use crate::flags::Flag;
use crate::outcome::{Failure, Outcome};

#[derive(Debug, Default)]
pub(crate) struct Options {
    signal: String,
}

pub(crate) static COMMAND: Command<Options> = Command {
    name: "kill",
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Send containers a signal, the deadly one if none is named",
    aliases: &["container kill", "kill"],
    arity: Arity::AtLeast(1),
    flags: &[Flag::text("signal", 's', |o: &mut Options| &mut o.signal, "Signal to send")],
    interspersed: true,
    run,
};

fn run(context: &Context, invocation: &Invocation<Options>) -> Outcome {
    let signal = &invocation.options.signal;
    context.block_on(async {
        let client = context.client().await?;
        many::each(context, &invocation.arguments, |name| async move {
            client.container_kill(name, signal).await.map_err(Failure::from)
        })
        .await
    })
}
