//! `volume prune`

use berth_api::client::Client;
use berth_api::filters::Filters;

use crate::command::{Arity, Command, Invocation};
use crate::commands::image_prune::confirm;
use crate::commands::prune::{Report, with_configured};
use crate::commands::ps::add_filter;
use crate::context::Context;
use crate::flags::Flag;
use crate::outcome::{Failure, Outcome};

#[derive(Debug, Default)]
pub(crate) struct Options {
    all: bool,
    filters: Filters,
    force: bool,
}

pub(crate) static COMMAND: Command<Options> = Command {
    name: "prune",
    usage: "[OPTIONS]",
    about: "Remove volumes that nobody uses",
    aliases: &[],
    arity: Arity::None,
    flags: &[
        Flag::bool("all", 'a', |o: &mut Options| &mut o.all, "Also those with a name"),
        Flag::value(
            "filter",
            '\0',
            "filter",
            |o: &mut Options, v| add_filter(&mut o.filters, v),
            "Only remove what matches (as \"label=<label>\")",
        ),
        Flag::bool("force", 'f', |o: &mut Options| &mut o.force, "Do not ask"),
    ],
    interspersed: true,
    run,
};

const ANONYMOUS: &str = "WARNING! This will remove anonymous local volumes not used by at least one container.\nAre you sure you want to continue?";
const ALL: &str = "WARNING! This will remove all local volumes not used by at least one container.\nAre you sure you want to continue?";

fn run(context: &Context, invocation: &Invocation<Options>) -> Outcome {
    let options = &invocation.options;
    let mut filters = with_configured(context, &options.filters);
    if options.all {
        if filters.contains_key("all") {
            return Err(Failure::new("conflicting options: cannot specify both --all and --filter all=1"));
        }
        filters.insert("all".to_owned(), vec!["true".to_owned()]);
    }
    if !options.force && !confirm(context, if options.all { ALL } else { ANONYMOUS })? {
        return Ok(());
    }
    context.block_on(async {
        let report = prune(context.client().await?, &filters).await?;
        report.print(context)
    })
}

/// Removes and tells.
pub(crate) async fn prune(client: &Client, filters: &Filters) -> Result<Report, Failure> {
    let removed = client.volumes_prune(filters).await?;
    Ok(Report::new("Deleted Volumes:", &removed.volumes_deleted, removed.space_reclaimed))
}
