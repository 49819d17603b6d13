//! `manifest push`

use super::kept::{Lists, no_such};
use super::{INSECURE, asking, document};
use crate::command::{Arity, Command, Invocation};
use crate::context::Context;
use crate::flags::Flag;
use crate::outcome::Outcome;
use crate::values::reference;

#[derive(Debug, Default)]
pub(crate) struct Options {
    insecure: bool,
    purge: bool,
}

pub(crate) static COMMAND: Command<Options> = Command {
    name: "push",
    usage: "[OPTIONS] MANIFEST_LIST",
    about: "Send a list of manifests to its registry",
    aliases: &[],
    arity: Arity::Exactly(1),
    flags: &[
        Flag::bool("insecure", '\0', |o: &mut Options| &mut o.insecure, INSECURE),
        Flag::bool("purge", 'p', |o: &mut Options| &mut o.purge, "Forget the list once it is pushed"),
    ],
    interspersed: true,
    run,
};

fn run(context: &Context, invocation: &Invocation<Options>) -> Outcome {
    let Options { insecure, purge } = invocation.options;
    let lists = Lists::new(context);
    let list = reference::parse(&invocation.arguments[0])?;
    let manifests = lists.all(&list)?;
    if manifests.is_empty() {
        return Err(no_such(&list));
    }
    let (text, kind) = document(&manifests, true)?;
    context.block_on(async {
        let client = context.client().await?;
        let options = asking(context, &list, insecure)?;
        // A list may only name what its own repository has.
        for manifest in manifests {
            let from = reference::parse(&manifest.reference)?;
            if from.repository() == list.repository() {
                continue;
            }
            let name = list.with_digest(manifest.descriptor.digest);
            let there = asking(context, &from, insecure)?;
            let source = (manifest.reference.as_str(), there.auth.as_ref());
            let kind = &manifest.descriptor.media_type;
            let raw = manifest.raw.into();
            let put = client.document_put(&name.to_string(), kind, raw, Some(source), &options).await?;
            context.printer.line(format!("Pushed ref {name} with digest: {}", put.digest))?;
        }
        let put = client.document_put(&list.to_string(), kind, text.into(), None, &options).await?;
        context.printer.line(put.digest)?;
        if purge { lists.remove(&list) } else { Ok(()) }
    })
}
