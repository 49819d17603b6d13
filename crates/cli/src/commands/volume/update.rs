//! `volume update`: only volumes of clusters can be changed.

use serde_json::{Value, json};

use crate::command::{Arity, Command, Invocation};
use crate::context::Context;
use crate::flags::Flag;
use crate::outcome::{Failure, Outcome};

#[derive(Debug, Default)]
pub(crate) struct Options {
    availability: Option<String>,
}

pub(crate) static COMMAND: Command<Options> = Command {
    name: "update",
    usage: "[OPTIONS] [VOLUME]",
    about: "Change a volume of a cluster",
    aliases: &[],
    arity: Arity::Exactly(1),
    flags: &[Flag::value(
        "availability",
        '\0',
        "string",
        |o: &mut Options, value| {
            o.availability = Some(value.to_owned());
            Ok(())
        },
        "Whether it can be used: \"active\", \"pause\" or \"drain\"",
    )
    .default("active")],
    interspersed: true,
    run,
};

fn run(context: &Context, invocation: &Invocation<Options>) -> Outcome {
    context.block_on(async {
        let client = context.client().await?;
        let found = client.raw("/volumes/", &invocation.arguments[0]).await?;
        let volume: Value =
            serde_json::from_slice(&found).map_err(|error| Failure::new(error.to_string()))?;
        let cluster = &volume["ClusterVolume"];
        let (Some(id), Some(version)) = (cluster["ID"].as_str(), cluster["Version"]["Index"].as_u64()) else {
            return Err(Failure::new("can only update cluster volumes"));
        };
        let mut spec = cluster["Spec"].clone();
        if let Some(availability) = &invocation.options.availability {
            spec["Availability"] = json!(availability);
        }
        client.volume_update(id, version, &json!({"Spec": spec})).await?;
        Ok(())
    })
}
