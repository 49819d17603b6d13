//! `system fsck`: every image is checked byte for byte, and mended where that is asked for.

use std::collections::{BTreeMap, BTreeSet};

use berth_api::check::Line;
use berth_api::client::{Client, JsonStream};
use berth_api::filters::Filters;
use berth_api::registry::AuthConfig;
use berth_oci::Reference;

use crate::command::{Arity, Command, Invocation};
use crate::config::credentials;
use crate::context::Context;
use crate::flags::Flag;
use crate::format::units::human_size;
use crate::outcome::{Failure, Outcome};

#[derive(Debug, Default)]
pub(crate) struct Options {
    repair: bool,
    quiet: bool,
}

pub(crate) static COMMAND: Command<Options> = Command {
    name: "fsck",
    usage: "[OPTIONS]",
    about: "Check every image byte for byte",
    aliases: &[],
    arity: Arity::None,
    flags: &[
        Flag::bool("quiet", 'q', |o: &mut Options| &mut o.quiet, "Only print what is wrong"),
        Flag::bool(
            "repair",
            '\0',
            |o: &mut Options| &mut o.repair,
            "Fetch anew what is damaged, discard what nothing needs",
        ),
    ],
    interspersed: true,
    run,
};

fn run(context: &Context, invocation: &Invocation<Options>) -> Outcome {
    let options = &invocation.options;
    let faults = context.block_on(async {
        let client = context.client().await?;
        let logins = if options.repair { Some(logins(context, client).await?) } else { None };
        let mut lines: JsonStream<Line> = client.fsck(logins.as_ref()).await?;
        let mut faults = None;
        while let Some(line) = lines.next().await? {
            if !line.error.is_empty() {
                return Err(Failure::new(line.error));
            }
            if let Some(found) = line.found {
                let end = match (found.mended.as_str(), found.failed.as_str()) {
                    ("", "") => String::new(),
                    ("", why) => format!(" (cannot be mended: {why})"),
                    (how, _) => format!(" (mended: {how})"),
                };
                context.printer.line(format!("{}{end}", found.what))?;
            }
            if let Some(summary) = line.summary {
                if !options.quiet {
                    context.printer.line(format!(
                        "{} images, {} layers, {} blobs, {}: {}",
                        summary.images,
                        summary.layers,
                        summary.blobs,
                        human_size(summary.bytes as f64),
                        if summary.faults == 0 {
                            "all whole".to_owned()
                        } else {
                            format!("{} faults", summary.faults)
                        },
                    ))?;
                }
                faults = Some(summary.faults);
            }
        }
        faults.ok_or_else(|| Failure::new("the engine ended the check in the middle"))
    })?;
    if faults == 0 { Ok(()) } else { Err(Failure::status(1)) }
}

/// Who the user is to the registries that images here came from. Nobody else's credentials leave.
async fn logins(context: &Context, client: &Client) -> Result<BTreeMap<String, AuthConfig>, Failure> {
    let images = client.images(true, &Filters::default()).await?;
    let names = images.iter().flat_map(|image| &image.repo_digests);
    let domains: BTreeSet<String> =
        names.filter_map(|name| Some(Reference::parse(name).ok()?.domain().to_owned())).collect();
    let mut logins = BTreeMap::new();
    for domain in domains {
        if let Some(login) = credentials::get(&context.config_path(), &domain)? {
            logins.insert(domain, login);
        }
    }
    Ok(logins)
}
