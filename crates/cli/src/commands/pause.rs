//! `pause` and `unpause`

use super::many;
use crate::command::{Arity, Command, Invocation};
use crate::context::Context;
use crate::outcome::{Failure, Outcome};

const BASE: Command<()> = Command {
    name: "pause",
    usage: "CONTAINER [CONTAINER...]",
    about: "Stop all processes of containers where they are",
    aliases: &["container pause", "pause"],
    arity: Arity::AtLeast(1),
    flags: &[],
    interspersed: true,
    run: |context, invocation| set(context, invocation, true),
};

pub(crate) static COMMAND: Command<()> = BASE;

pub(crate) static UNPAUSE: Command<()> = Command {
    name: "unpause",
    about: "Let the processes of containers go on",
    aliases: &["container unpause", "unpause"],
    run: |context, invocation| set(context, invocation, false),
    ..BASE
};

fn set(context: &Context, invocation: &Invocation<()>, paused: bool) -> Outcome {
    context.block_on(async {
        let client = context.client().await?;
        many::each(context, &invocation.arguments, |name| async move {
            let done = if paused {
                client.container_pause(name).await
            } else {
                client.container_unpause(name).await
            };
            done.map_err(Failure::from)
        })
        .await
    })
}
