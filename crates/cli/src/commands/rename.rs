//! `rename`

use crate::command::{Arity, Command, Invocation};
use crate::context::Context;
use crate::outcome::{Failure, Outcome};

pub(crate) static COMMAND: Command<()> = Command {
    name: "rename",
    usage: "CONTAINER NEW_NAME",
    about: "Give a container another name",
    aliases: &["container rename", "rename"],
    arity: Arity::Exactly(2),
    flags: &[],
    interspersed: true,
    run,
};

fn run(context: &Context, invocation: &Invocation<()>) -> Outcome {
    let [old, new] = [0, 1].map(|index| invocation.arguments[index].trim());
    if old.is_empty() || new.is_empty() {
        return Err(Failure::new("Error: Neither old nor new names may be empty"));
    }
    context.block_on(async {
        let client = context.client().await?;
        client
            .container_rename(old, new)
            .await
            .map_err(|error| Failure::new(format!("{error}\nError: failed to rename container named {old}")))
    })
}
