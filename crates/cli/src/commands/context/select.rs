//! `context use`, `context show`, `context rm`

use super::overruled;
use crate::command::{Arity, Command, Invocation};
use crate::commands::many;
use crate::config::set_current_context;
use crate::context::{Context, DEFAULT_CONTEXT};
use crate::flags::Flag;
use crate::outcome::Outcome;

#[derive(Debug, Default)]
pub(crate) struct Options {
    force: bool,
}

pub(super) static USE: Command<()> = Command {
    name: "use",
    usage: "CONTEXT",
    about: "Make a context the one that is used when none is named",
    aliases: &[],
    arity: Arity::Exactly(1),
    flags: &[],
    interspersed: true,
    run: use_context,
};

pub(super) static SHOW: Command<()> = Command {
    name: "show",
    usage: "",
    about: "Print the name of the context in force",
    aliases: &[],
    arity: Arity::None,
    flags: &[],
    interspersed: true,
    run: |context, _| Ok(context.printer.line(context.context_name())?),
};

pub(super) static RM: Command<Options> = Command {
    name: "rm",
    usage: "CONTEXT [CONTEXT...]",
    about: "Remove contexts",
    aliases: &["context rm", "context remove"],
    arity: Arity::AtLeast(1),
    flags: &[Flag::bool("force", 'f', |o: &mut Options| &mut o.force, "Also the one in force")],
    interspersed: true,
    run: remove,
};

fn use_context(context: &Context, invocation: &Invocation<()>) -> Outcome {
    let name = &invocation.arguments[0];
    let is_default = name == DEFAULT_CONTEXT;
    if !is_default {
        context.contexts().get(name)?;
    }
    let wanted = if is_default { "" } else { name };
    if context.config().current_context != wanted {
        set_current_context(&context.config_path(), wanted)?;
    }
    context.printer.line(name)?;
    context.printer.say(format!("Current context is now \"{name}\""));
    if !is_default {
        overruled(context, &format!("\"{name}\""));
    }
    Ok(())
}

fn remove(context: &Context, invocation: &Invocation<Options>) -> Outcome {
    let mut errors = Vec::new();
    let current = context.context_name();
    let store = context.contexts();
    for name in &invocation.arguments {
        let force = invocation.options.force;
        let refused = if name == DEFAULT_CONTEXT {
            Some("cannot be removed")
        } else if !store.has(name) {
            if force {
                continue;
            }
            Some("does not exist")
        } else if *name == current && !force {
            Some("is in use, set -f flag to force remove")
        } else {
            None
        };
        if let Some(reason) = refused {
            errors.push(format!("context \"{name}\" {reason}"));
            continue;
        }
        store.remove(name)?;
        if *name == context.config().current_context {
            set_current_context(&context.config_path(), "")?;
        }
        context.printer.line(name)?;
    }
    many::joined(&errors)
}
