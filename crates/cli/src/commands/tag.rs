//! `tag`

use berth_oci::Reference;

use crate::command::{Arity, Command, Invocation};
use crate::context::Context;
use crate::flags::quote;
use crate::outcome::{Failure, Outcome};
use crate::values::reference;

pub(crate) static COMMAND: Command<()> = Command {
    name: "tag",
    usage: "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]",
    about: "Give an image another name",
    aliases: &["image tag", "tag"],
    arity: Arity::Exactly(2),
    flags: &[],
    interspersed: true,
    run,
};

fn run(context: &Context, invocation: &Invocation<()>) -> Outcome {
    let (source, target) = (&invocation.arguments[0], &invocation.arguments[1]);
    let named = Reference::parse(target).map_err(|error| {
        Failure::new(format!(
            "Error parsing reference: {} is not a valid repository/tag: {error}",
            quote(target)
        ))
    })?;
    if named.digest().is_some() {
        return Err(Failure::new("refusing to create a tag with a digest reference"));
    }
    let (repository, tag) = reference::split(&named.or_latest());
    context.block_on(async {
        let client = context.client().await?;
        client.image_tag(source, &repository, &tag).await.map_err(Failure::from)
    })
}
