//! `manifest inspect`

use berth_oci::Reference;

use super::kept::{Kept, Lists, no_such};
use super::{Found, INSECURE, asking, document, fetch};
use crate::command::{Arity, Command, Invocation};
use crate::context::Context;
use crate::flags::Flag;
use crate::format::json::indent_by;
use crate::outcome::{Failure, Outcome};
use crate::values::reference;

#[derive(Debug, Default)]
pub(crate) struct Options {
    insecure: bool,
    verbose: bool,
}

pub(crate) static COMMAND: Command<Options> = Command {
    name: "inspect",
    usage: "[OPTIONS] [MANIFEST_LIST] MANIFEST",
    about: "Show a manifest, or a list of them",
    aliases: &[],
    arity: Arity::Between(1, 2),
    flags: &[
        Flag::bool("insecure", '\0', |o: &mut Options| &mut o.insecure, INSECURE),
        Flag::bool("verbose", 'v', |o: &mut Options| &mut o.verbose, "Show platforms and layers as well"),
    ],
    interspersed: true,
    run,
};

fn run(context: &Context, invocation: &Invocation<Options>) -> Outcome {
    let Options { insecure, verbose } = invocation.options;
    let lists = Lists::new(context);
    let names: Vec<Reference> =
        invocation.arguments.iter().map(|name| reference::parse(name)).collect::<Result<_, _>>()?;
    let [first, rest @ ..] = names.as_slice() else { return Err(Failure::status(1)) };
    if let [manifest] = rest {
        let kept = lists.get(first, manifest)?.ok_or_else(|| no_such(manifest))?;
        return one(context, &kept, verbose);
    }
    let kept = lists.all(first)?;
    if !kept.is_empty() {
        return several(context, &kept, verbose);
    }
    context.block_on(async {
        let client = context.client().await?;
        let options = asking(context, first, insecure)?;
        let index = match fetch(client, first, &options).await? {
            Found::Manifest(manifest) => return one(context, &manifest, verbose),
            Found::Index(index) => index,
        };
        let mut manifests = Vec::new();
        for entry in index.manifests {
            let name = first.with_digest(entry.digest);
            // An index in an index has no platform; it is left out, as a manifest list has none.
            if let Found::Manifest(mut manifest) = fetch(client, &name, &options).await? {
                manifest.reference = format!("{first}@{}", manifest.descriptor.digest);
                manifest.descriptor.platform = entry.platform.or(manifest.descriptor.platform);
                manifests.push(manifest);
            }
        }
        several(context, &manifests, verbose)
    })
}

fn one(context: &Context, manifest: &Kept, verbose: bool) -> Outcome {
    let text =
        if verbose { manifest.to_json()? } else { String::from_utf8_lossy(&manifest.raw).into_owned() };
    context.printer.line(indent_by(&text, "\t"))?;
    Ok(())
}

fn several(context: &Context, manifests: &[Kept], verbose: bool) -> Outcome {
    if !verbose {
        context.printer.line(document(manifests, false)?.0)?;
        return Ok(());
    }
    let all: Vec<String> = manifests.iter().map(Kept::to_json).collect::<Result<_, _>>()?;
    context.printer.line(indent_by(&format!("[{}]", all.join(",")), "\t"))?;
    Ok(())
}
