//! `context create` and `context update`

use super::{Pairs, described, endpoint, pairs};
use crate::command::{Arity, Command, Invocation};
use crate::config::{Entry, check_name};
use crate::context::{Context, DEFAULT_CONTEXT};
use crate::flags::Flag;
use crate::outcome::{Failure, Outcome};

#[derive(Debug, Default)]
pub(crate) struct Options {
    description: Option<String>,
    docker: Pairs,
    from: String,
}

const DESCRIPTION: Flag<Options> = Flag::value(
    "description",
    '\0',
    "string",
    |o: &mut Options, v| {
        o.description = Some(v.to_owned());
        Ok(())
    },
    "What to say of it",
);
const DOCKER: Flag<Options> = Flag::value(
    "docker",
    '\0',
    "stringToString",
    |o: &mut Options, v| pairs(&mut o.docker, v),
    "The engine: host=ADDRESS, ca=FILE, cert=FILE, key=FILE, skip-tls-verify=BOOL, or from=CONTEXT",
)
.default("[]");

pub(super) static COMMAND: Command<Options> = Command {
    name: "create",
    usage: "[OPTIONS] CONTEXT",
    about: "Make a context",
    aliases: &[],
    arity: Arity::Exactly(1),
    flags: &[
        DESCRIPTION,
        DOCKER,
        Flag::text("from", '\0', |o: &mut Options| &mut o.from, "Make it of another context"),
    ],
    interspersed: true,
    run: create,
};

pub(super) static UPDATE: Command<Options> = Command {
    name: "update",
    usage: "[OPTIONS] CONTEXT",
    about: "Change a context",
    aliases: &[],
    arity: Arity::Exactly(1),
    flags: &[DESCRIPTION, DOCKER],
    interspersed: true,
    run: update,
};

fn create(context: &Context, invocation: &Invocation<Options>) -> Outcome {
    let Options { description, docker, from } = &invocation.options;
    let name = &invocation.arguments[0];
    let store = context.contexts();
    check_name(name)?;
    if store.has(name) {
        return Err(Failure::new(format!("context \"{name}\" already exists")));
    }
    let (inherited, endpoint) = if docker.is_empty() {
        // Without an engine it is a copy, of the context in force where none is named.
        let from = if from.is_empty() { context.context_name() } else { from.clone() };
        described(context, &from)?
    } else if from.is_empty() {
        (String::new(), endpoint(context, docker)?)
    } else {
        return Err(Failure::new("cannot use --docker flag when --from is set"));
    };
    let description = description.clone().unwrap_or(inherited);
    store.put(&Entry::new(name, &description, &endpoint), Some(&endpoint.tls))?;
    context.printer.line(name)?;
    context.printer.say(format!("Successfully created context \"{name}\""));
    Ok(())
}

fn update(context: &Context, invocation: &Invocation<Options>) -> Outcome {
    let Options { description, docker, .. } = &invocation.options;
    let name = &invocation.arguments[0];
    if name == DEFAULT_CONTEXT {
        return Err(Failure::new("\"default\" is a reserved context name"));
    }
    let store = context.contexts();
    let mut entry = store.get(name)?;
    if let Some(description) = description {
        entry.set_description(description);
    }
    if docker.is_empty() {
        store.put(&entry, None)?;
    } else {
        let endpoint = endpoint(context, docker)?;
        entry.set_endpoint(&endpoint);
        store.put(&entry, Some(&endpoint.tls))?;
    }
    context.printer.line(name)?;
    context.printer.say(format!("Successfully updated context \"{name}\""));
    Ok(())
}
