//! `create`

use super::run::with_help;
use crate::command::{Arity, Command, Invocation};
use crate::container::{self, Options, Pull};
use crate::context::Context;
use crate::outcome::Outcome;

pub(crate) static COMMAND: Command<Options> = Command {
    name: "create",
    usage: "[OPTIONS] IMAGE [COMMAND] [ARG...]",
    about: "Make a container without starting it",
    aliases: &["container create", "create"],
    arity: Arity::AtLeast(1),
    flags: container::CREATE_FLAGS,
    interspersed: false,
    run,
};

fn run(context: &Context, invocation: &Invocation<Options>) -> Outcome {
    let options = &invocation.options;
    let refused = |text: String| with_help(context, "create", &text);
    container::check_system(options)?;
    let pull = Pull::parse(&options.pull).map_err(refused)?;
    let mut request = container::plan(options, &invocation.arguments).map_err(refused)?;
    container::surround(context, options, &mut request)?;
    context.block_on(async {
        let client = context.client().await?;
        let created = container::create::create(context, client, options, pull, &request).await?;
        context.printer.line(created.id)?;
        Ok(())
    })
}
