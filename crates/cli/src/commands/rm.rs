//! `rm`

use berth_api::client::RemoveOptions;

use super::many;
use crate::command::{Arity, Command, Invocation};
use crate::context::Context;
use crate::flags::Flag;
use crate::outcome::{Failure, Outcome};

#[derive(Debug, Default)]
pub(crate) struct Options {
    force: bool,
    link: bool,
    volumes: bool,
}

pub(crate) static COMMAND: Command<Options> = Command {
    name: "rm",
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Remove containers",
    aliases: &["container rm", "container remove", "rm"],
    arity: Arity::AtLeast(1),
    flags: &[
        Flag::bool(
            "force",
            'f',
            |o: &mut Options| &mut o.force,
            "Also remove containers that run (by SIGKILL)",
        ),
        Flag::bool("link", 'l', |o: &mut Options| &mut o.link, "Remove the link, not the container"),
        Flag::bool(
            "volumes",
            'v',
            |o: &mut Options| &mut o.volumes,
            "Also remove the containers' anonymous volumes",
        ),
    ],
    interspersed: true,
    run,
};

fn run(context: &Context, invocation: &Invocation<Options>) -> Outcome {
    let Options { force, link, volumes } = invocation.options;
    context.block_on(async {
        let client = context.client().await?;
        let options = RemoveOptions { volumes, link, force };
        many::each(context, &invocation.arguments, |name| async move {
            let name = name.trim_matches('/');
            if name.is_empty() {
                return Err(Failure::new("container name cannot be empty"));
            }
            match client.container_remove(name, options).await {
                // What should be gone is gone.
                Err(error) if force && error.is_not_found() => {
                    context.printer.say(error.to_string());
                    Err(Failure::status(0))
                }
                result => result.map_err(Failure::from),
            }
        })
        .await
    })
}
