//! `container prune`

use berth_api::client::Client;
use berth_api::filters::Filters;

use super::prune::{self, FORCE, Options, Report, with_configured};
use crate::command::{Command, Invocation};
use crate::context::Context;
use crate::outcome::{Failure, Outcome};

pub(crate) static COMMAND: Command<Options> = prune::command(
    "Remove all containers that do not run",
    &[prune::filter("Only remove what matches (as \"until=<timestamp>\")"), FORCE],
    run,
);

fn run(context: &Context, invocation: &Invocation<Options>) -> Outcome {
    let options = &invocation.options;
    let filters = with_configured(context, &options.filters);
    let warning = "This will remove all stopped containers.";
    prune::run(context, options, warning, async |client| prune(client, &filters).await)
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
