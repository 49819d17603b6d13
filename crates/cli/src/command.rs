//! What a command is, how one is found in the tree of commands, and the texts every command shares: help, wrong
//! arguments, unknown commands.

use crate::context::Context;
use crate::flags::{self, Flag, FlagError, Help, Parsed, Row};
use crate::outcome::{Failure, Outcome};
use crate::{since, suggest};

/// How many arguments a command takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arity {
    /// None.
    None,
    /// That many, no more, no less.
    Exactly(usize),
    /// That many or more.
    AtLeast(usize),
    /// That many or fewer.
    AtMost(usize),
    /// Between these two.
    Between(usize, usize),
}

/// A command with flags and a body.
pub(crate) struct Command<T: 'static> {
    /// The last word of the way to it.
    pub(crate) name: &'static str,
    /// What follows the command in its usage line: `[OPTIONS] IMAGE [COMMAND] [ARG...]`; a line for each way to call it.
    pub(crate) usage: &'static str,
    /// One line of help.
    pub(crate) about: &'static str,
    /// The other ways to call it, program left out: `container ls`.
    pub(crate) aliases: &'static [&'static str],
    /// Its arguments.
    pub(crate) arity: Arity,
    /// Its flags.
    pub(crate) flags: &'static [Flag<T>],
    /// Whether flags may follow the first argument.
    pub(crate) interspersed: bool,
    /// The body.
    pub(crate) run: fn(&Context, &Invocation<T>) -> Outcome,
}

/// A command line that has been read.
pub(crate) struct Invocation<T> {
    /// The flags' values.
    pub(crate) options: T,
    /// What is not a flag.
    pub(crate) arguments: Vec<String>,
}

/// A [`Command`] of any options.
pub(crate) trait Entry: Sync {
    fn name(&self) -> &'static str;
    fn about(&self) -> &'static str;
    fn call(&self, context: &Context, path: &str, words: &[String]) -> Outcome;
    fn help(&self, context: &Context, path: &str) -> String;
    /// Whether it only says that it is not built yet.
    fn is_later(&self) -> bool {
        false
    }
    /// The commands below it.
    fn commands(&self) -> &'static [&'static dyn Entry] {
        &[]
    }
    /// The command below it of that name.
    fn below(&self, _name: &str) -> Option<&'static dyn Entry> {
        None
    }
    /// Its flags, for help and completion.
    fn rows(&self) -> Vec<Row> {
        Vec::new()
    }
    /// Whether flags may follow the first argument.
    fn is_interspersed(&self) -> bool {
        true
    }
}

impl<T: Default> Entry for Command<T> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn about(&self) -> &'static str {
        self.about
    }

    fn call(&self, context: &Context, path: &str, words: &[String]) -> Outcome {
        let mut options = T::default();
        let parsed = flags::parse(self.flags, self.interspersed, words, &mut options)
            .map_err(|error| usage_failure(&with_suggestion(&error, self.flags), path, self.usage))?;
        let Parsed { arguments, given, help } = parsed;
        if let Some(help) = help {
            return print_help(context, help, &self.help(context, path));
        }
        check_arity(self.arity, arguments.len(), path, self.usage, context)?;
        context.check_needs(&since::needs(path, &given))?;
        (self.run)(context, &Invocation { options, arguments })
    }

    fn rows(&self) -> Vec<Row> {
        self.flags.iter().map(Row::from).collect()
    }

    fn is_interspersed(&self) -> bool {
        self.interspersed
    }

    fn help(&self, context: &Context, path: &str) -> String {
        let mut text = usage_line(path, self.usage);
        text.push_str(&format!("\n\n{}\n", self.about));
        if !self.aliases.is_empty() {
            let program = context.program.name;
            let aliases: Vec<String> =
                self.aliases.iter().map(|alias| format!("{program} {alias}")).collect();
            text.push_str(&format!("\nAliases:\n  {}\n", aliases.join(", ")));
        }
        let rows: Vec<Row> = self.flags.iter().map(Row::from).collect();
        if rows.iter().any(|row| !row.hidden) {
            text.push_str(&format!(
                "\nOptions:\n{}",
                flags::wrapped(&rows, context.columns().saturating_sub(1))
            ));
        }
        text
    }
}

/// A command that only has commands under it.
pub(crate) struct Group {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) commands: &'static [&'static dyn Entry],
    /// Other names of its commands: (`list`, `ls`).
    pub(crate) aliases: &'static [(&'static str, &'static str)],
    /// Commands that Docker has here and we do not yet.
    pub(crate) later: &'static [&'static dyn Entry],
}

impl Entry for Group {
    fn name(&self) -> &'static str {
        self.name
    }

    fn about(&self) -> &'static str {
        self.about
    }

    fn call(&self, context: &Context, path: &str, words: &[String]) -> Outcome {
        let parsed = flags::parse::<()>(&[], false, words, &mut ())
            .map_err(|error| usage_failure(&error.to_string(), path, ""))?;
        let Some(name) = parsed.arguments.first() else {
            let help = self.help(context, path);
            if let Some(wanted) = parsed.help {
                return print_help(context, wanted, &help);
            }
            context.printer.talk(help);
            return Ok(());
        };
        let Some(command) = self.find(name) else {
            // Docker has it so for two of its groups.
            let usage = if matches!(self.name, "manifest" | "volume") { " COMMAND" } else { "" };
            let meant =
                suggest::line(path, name, self.commands.iter().map(|command| command.name().to_owned()));
            return Err(Failure::new(format!(
                "{program}: unknown command: {path} {name}\n{meant}\nUsage:  {path}{usage}\n\nRun '{path} --help' for more information",
                program = context.program.name,
            )));
        };
        let mut rest = parsed.arguments[1..].to_vec();
        if parsed.help.is_some() {
            rest.insert(0, "--help".to_owned());
        }
        command.call(context, &format!("{path} {}", command.name()), &rest)
    }

    fn commands(&self) -> &'static [&'static dyn Entry] {
        self.commands
    }

    fn below(&self, name: &str) -> Option<&'static dyn Entry> {
        self.find(name)
    }

    fn help(&self, _context: &Context, path: &str) -> String {
        let mut text = format!("Usage:  {path} COMMAND\n\n{}\n", self.about);
        text.push_str(&format!("\nCommands:\n{}", command_list(self.commands.iter().copied())));
        text.push_str(&format!("\nRun '{path} COMMAND --help' for more information on a command.\n"));
        text
    }
}

impl Group {
    /// The command of that name.
    pub(crate) fn find(&self, name: &str) -> Option<&'static dyn Entry> {
        let name = self.aliases.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, name)| name);
        self.commands.iter().chain(self.later).copied().find(|command| command.name() == name)
    }
}

/// Names and one-liners in two columns, sorted.
pub(crate) fn command_list(commands: impl Iterator<Item = &'static dyn Entry>) -> String {
    two_columns(commands.map(|command| (command.name().to_owned(), command.about().to_owned())).collect())
}

/// The same for names and one-liners as they are.
pub(crate) fn two_columns(mut rows: Vec<(String, String)>) -> String {
    const NAME: usize = 11;
    rows.sort();
    // Only the first line of what is said at length.
    let about = |text: &str| text.lines().next().unwrap_or_default().to_owned();
    rows.iter().map(|(name, text)| format!("  {name:NAME$} {}\n", about(text))).collect()
}

/// The error, and the flag that was perhaps meant.
pub(crate) fn with_suggestion<T>(error: &FlagError, flags: &[Flag<T>]) -> String {
    let FlagError::Unknown(name) = error else { return error.to_string() };
    let names = flags.iter().filter(|flag| !flag.hidden).map(|flag| flag.long.to_owned());
    match suggest::nearest(name, names).as_slice() {
        [] => error.to_string(),
        [first, ..] => format!("{error}\n\nDid you mean --{first}?"),
    }
}

/// Prints a help text that was asked for.
pub(crate) fn print_help(context: &Context, wanted: Help, text: &str) -> Outcome {
    if wanted == Help::Short {
        context.printer.line("Flag shorthand -h has been deprecated, use --help")?;
    }
    context.printer.data(text)?;
    Ok(())
}

fn usage_line(path: &str, usage: &str) -> String {
    let ways: Vec<String> =
        usage.split('\n').map(|way| format!("{path} {way}").trim_end().to_owned()).collect();
    format!("Usage:  {}", ways.join("\n\t"))
}

/// A command line that cannot be read.
pub(crate) fn usage_failure(error: &str, path: &str, usage: &str) -> Failure {
    let usage = usage_line(path, usage);
    Failure {
        status: Failure::REFUSED,
        text: format!("{error}\n\n{usage}\n\nRun '{path} --help' for more information"),
    }
}

fn check_arity(arity: Arity, count: usize, path: &str, usage: &str, context: &Context) -> Outcome {
    let arguments = |count: usize| if count == 1 { "argument" } else { "arguments" };
    let (complaint, see) = match arity {
        Arity::None if count > 0 => ("accepts no arguments".to_owned(), "Run"),
        Arity::Exactly(n) if count != n => (format!("requires {n} {}", arguments(n)), "Run"),
        Arity::AtLeast(n) if count < n => (format!("requires at least {n} {}", arguments(n)), "See"),
        // Not our slip, but the text is compared.
        Arity::AtMost(n) if count > n => (format!("requires at most {n} {}", arguments(n)), "SRun"),
        Arity::Between(least, most) if count < least || count > most => {
            (format!("requires at least {least} and at most {most} {}", arguments(most)), "Run")
        }
        _ => return Ok(()),
    };
    Err(Failure::new(format!(
        "{program}: '{path}' {complaint}\n\n{usage}\n\n{see} '{path} --help' for more information",
        program = context.program.name,
        usage = usage_line(path, usage),
    )))
}
