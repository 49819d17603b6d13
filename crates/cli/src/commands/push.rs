//! `push`

use super::pull::{self, Options, To};
use crate::command::{Arity, Command, Invocation};
use crate::config::credentials;
use crate::context::Context;
use crate::flags::Flag;
use crate::outcome::{Failure, Outcome};
use crate::values::reference;

pub(crate) static COMMAND: Command<Options> = Command {
    name: "push",
    usage: "[OPTIONS] NAME[:TAG]",
    about: "Send an image to a registry",
    aliases: &["image push", "push"],
    arity: Arity::Exactly(1),
    flags: &[
        Flag::bool("all-tags", 'a', |o: &mut Options| &mut o.all_tags, "Send all tags of the repository"),
        Flag::bool("disable-content-trust", '\0', |o: &mut Options| &mut o.ignored, "Do not sign the image")
            .default("true"),
        Flag::text("platform", '\0', |o: &mut Options| &mut o.platform, "Send only this platform"),
        Flag::bool("quiet", 'q', |o: &mut Options| &mut o.quiet, "Do not show progress"),
    ],
    interspersed: true,
    run,
};

/// What Docker tells of `--platform`.
const PLATFORM_NOTE: &str = "
 Info -> Using --platform pushes only the specified platform manifest of a multi-platform image index.
         Other components, like attestations, will not be included.
         To push the complete multi-platform image, remove the --platform flag.
         
";

fn run(context: &Context, invocation: &Invocation<Options>) -> Outcome {
    let options = &invocation.options;
    // Docker leaves no blank between the two.
    let prefix = format!("Invalid platform {}", options.platform);
    let platform = reference::platform(&options.platform, &prefix)?;
    let named = pull::named(context, invocation)?;
    if named.digest().is_some() {
        return Err(Failure::new("cannot push a digest reference"));
    }
    if !options.platform.is_empty() {
        context.printer.data(PLATFORM_NOTE)?;
    }
    context.block_on(async {
        let client = context.client().await?;
        let auth = credentials::get(&context.config_path(), named.domain())?;
        let tag = named.tag().unwrap_or_default();
        let progress = client.image_push(&named.familiar_repository(), tag, &platform, auth.as_ref()).await?;
        pull::show(context, progress, if options.quiet { To::Nobody } else { To::Stdout }).await?;
        if options.quiet {
            context.printer.line(format!("{}/{}{}", named.domain(), named.path(), pull::suffix(&named)))?;
        }
        Ok(())
    })
}
