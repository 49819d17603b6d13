//! `unpause`

use super::many;
use crate::command::{Arity, Command, Invocation};
use crate::context::Context;
use crate::outcome::{Failure, Outcome};

pub(crate) static COMMAND: Command<()> = Command {
    name: "unpause",
    usage: "CONTAINER [CONTAINER...]",
    about: "Let the processes of containers go on",
    aliases: &["container unpause", "unpause"],
    arity: Arity::AtLeast(1),
    flags: &[],
    interspersed: true,
    run,
};

fn run(context: &Context, invocation: &Invocation<()>) -> Outcome {
    context.block_on(async {
        let client = context.client().await?;
        many::each(context, &invocation.arguments, |name| async move {
            client.container_unpause(name).await.map_err(Failure::from)
        })
        .await
    })
}
