//! `container prune`

use berth_api::client::Client;
use berth_api::filters::Filters;

use super::prune::{Report, with_configured};
use crate::command::{Arity, Command, Invocation};
use crate::context::Context;
use crate::flags::Flag;
use crate::outcome::{Failure, Outcome};

#[derive(Debug, Default)]
pub(crate) struct Options {
    filters: Filters,
    force: bool,
}

pub(crate) static COMMAND: Command<Options> = Command {
    name: "prune",
    usage: "[OPTIONS]",
    about: "Remove all containers that do not run",
    aliases: &[],
    arity: Arity::None,
    flags: &[
        Flag::value(
            "filter",
            '\0',
            "filter",
            |o: &mut Options, v| super::ps::add_filter(&mut o.filters, v),
            "Only remove what matches (as \"until=<timestamp>\")",
        ),
        Flag::bool("force", 'f', |o: &mut Options| &mut o.force, "Do not ask"),
    ],
    interspersed: true,
    run,
};

const WARNING: &str = "WARNING! This will remove all stopped containers.\nAre you sure you want to continue?";

fn run(context: &Context, invocation: &Invocation<Options>) -> Outcome {
    let options = &invocation.options;
    let filters = with_configured(context, &options.filters);
    if !options.force && !super::image_prune::confirm(context, WARNING)? {
        return Ok(());
    }
    context.block_on(async {
        let report = prune(context.client().await?, &filters).await?;
        report.print(context)
    })
}

/// Removes and tells.
pub(super) async fn prune(client: &Client, filters: &Filters) -> Result<Report, Failure> {
    let removed = client.containers_prune(filters).await?;
    Ok(Report::new(
        "Deleted Containers:",
        &removed.containers_deleted.unwrap_or_default(),
        removed.space_reclaimed,
    ))
}
