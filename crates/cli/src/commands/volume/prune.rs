//! `volume prune`

use berth_api::client::Client;
use berth_api::filters::Filters;

use crate::command::{Command, Invocation};
use crate::commands::prune::{self, FORCE, Options, Report, with_configured};
use crate::context::Context;
use crate::outcome::{Failure, Outcome};

pub(crate) static COMMAND: Command<Options> = prune::command(
    "Remove volumes that nobody uses",
    &[
        prune::all("Also those with a name"),
        prune::filter("Only remove what matches (as \"label=<label>\")"),
        FORCE,
    ],
    run,
);

fn run(context: &Context, invocation: &Invocation<Options>) -> Outcome {
    let options = &invocation.options;
    let mut filters = with_configured(context, &options.filters);
    if options.all {
        if filters.contains_key("all") {
            return Err(Failure::new("conflicting options: cannot specify both --all and --filter all=1"));
        }
        filters.insert("all".to_owned(), vec!["true".to_owned()]);
    }
    // Engines before that version take those with a name in any case.
    let version = context.block_on(async { context.client().await.map(Client::version) });
    let takes_all = options.all || version.is_ok_and(|version| version.is_before(42));
    let what = if takes_all { "all" } else { "anonymous" };
    let warning = format!("This will remove {what} local volumes not used by at least one container.");
    prune::run(context, options, &warning, async |client| prune(client, &filters).await)
}

/// Removes and tells.
pub(crate) async fn prune(client: &Client, filters: &Filters) -> Result<Report, Failure> {
    let removed = client.volumes_prune(filters).await?;
    Ok(Report::new("Deleted Volumes:", &removed.volumes_deleted, removed.space_reclaimed))
}
