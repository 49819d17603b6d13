//! Completion: `completion bash|zsh|fish` prints a script for the shell, and that script asks `__complete` for what
//! could come next.
//!
//! `__complete` speaks the protocol of Docker's own scripts, so those work too: a candidate a line, its description
//! behind a tab, and at the end `:` with a number that says whether file names fit as well.

mod names;
mod words;

use crate::command::{Arity, Command, Entry, Group, Invocation};
use crate::context::Context;
use crate::outcome::Outcome;

/// The names of containers, or of images, that there are now.
pub(crate) fn known(context: &Context, containers: bool) -> Vec<String> {
    let wanted = if containers { names::Names::Containers(&[]) } else { names::Names::Images };
    names::list(context, wanted, &[]).into_iter().map(|(name, _)| name).collect()
}

/// The group.
pub(crate) static GROUP: Group = Group {
    name: "completion",
    about: "Print a script that completes commands and names in a shell",
    commands: &[&BASH, &FISH, &ZSH],
    aliases: &[],
    later: &[],
};

/// What the scripts ask.
pub(crate) static COMPLETE: Complete = Complete;

/// `__complete`: its words are not ours to read as flags.
pub(crate) struct Complete;

impl Entry for Complete {
    fn name(&self) -> &'static str {
        "__complete"
    }

    fn about(&self) -> &'static str {
        "Say what could come next on a command line"
    }

    fn call(&self, context: &Context, _path: &str, words: &[String]) -> Outcome {
        let answer = words::complete(context, words);
        let mut text = String::new();
        for (candidate, about) in &answer.candidates {
            text.push_str(candidate);
            if !about.is_empty() {
                text.push('\t');
                text.push_str(about.lines().next().unwrap_or_default());
            }
            text.push('\n');
        }
        text.push_str(if answer.files { ":0\n" } else { ":4\n" });
        context.printer.data(text)?;
        Ok(())
    }

    fn help(&self, _context: &Context, path: &str) -> String {
        format!("Usage:  {path} WORD...\n\n{}\n", self.about())
    }
}

const BASE: Command<()> = Command {
    name: "bash",
    usage: "",
    about: "For bash: put  source <(berth completion bash)  into ~/.bashrc",
    aliases: &[],
    arity: Arity::None,
    flags: &[],
    interspersed: true,
    run: |context, invocation| script(context, invocation, include_str!("bash.sh")),
};

static BASH: Command<()> = BASE;

static FISH: Command<()> = Command {
    name: "fish",
    about: "For fish: berth completion fish > ~/.config/fish/completions/berth.fish",
    run: |context, invocation| script(context, invocation, include_str!("fish.fish")),
    ..BASE
};

static ZSH: Command<()> = Command {
    name: "zsh",
    about: "For zsh: berth completion zsh > \"${fpath[1]}/_berth\"",
    run: |context, invocation| script(context, invocation, include_str!("zsh.zsh")),
    ..BASE
};

fn script(context: &Context, _: &Invocation<()>, text: &str) -> Outcome {
    context.printer.data(text.replace("PROGRAM", context.program.name))?;
    Ok(())
}
