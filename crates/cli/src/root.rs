//! The top of the tree of commands.

use crate::command::{Entry, command_list, print_help, two_columns, usage_failure, with_suggestion};
use crate::commands;
use crate::context::{Context, Globals, Program};
use crate::flags::{self, Flag, Help, Row};
use crate::outcome::{Failure, Outcome};
use crate::{completion, plugins, suggest};

static FLAGS: &[Flag<Globals>] = &[
    Flag::text("config", '\0', |o: &mut Globals| &mut o.config, "Directory of the client's own files")
        .default("\"~/.docker\""),
    Flag::text(
        "context",
        'c',
        |o: &mut Globals| &mut o.context,
        "Context that says which engine to speak to",
    ),
    Flag::bool("debug", 'D', |o: &mut Globals| &mut o.debug, "Tell more"),
    Flag::list("host", 'H', |o: &mut Globals| &mut o.hosts, "Socket of the engine to speak to"),
    Flag::text(
        "log-level",
        'l',
        |o: &mut Globals| &mut o.log_level,
        "How much to tell: debug, info, warn, error or fatal",
    )
    .default("\"info\""),
    Flag::bool("tls", '\0', |o: &mut Globals| &mut o.tls, "Speak TLS; goes without saying with --tlsverify"),
    Flag::text(
        "tlscacert",
        '\0',
        |o: &mut Globals| &mut o.tls_ca,
        "Trust only engines that this authority has signed",
    ),
    Flag::text(
        "tlscert",
        '\0',
        |o: &mut Globals| &mut o.tls_certificate,
        "Certificate that we show to the engine",
    ),
    Flag::text("tlskey", '\0', |o: &mut Globals| &mut o.tls_key, "Its key"),
    Flag::value("tlsverify", '\0', "", tls_verify, "Speak TLS and check the engine's certificate").switch(),
    Flag::bool("version", 'v', |o: &mut Globals| &mut o.version, "Print the version and quit"),
];

fn tls_verify(globals: &mut Globals, value: &str) -> Result<(), String> {
    globals.tls_verify = Some(flags::parse_bool(value)?);
    Ok(())
}

const USAGE: &str = "[OPTIONS] COMMAND [ARG...]";

/// Reads the whole command line and runs the command.
pub(crate) fn run(program: Program, words: &[String]) -> Outcome {
    let mut globals = Globals::default();
    let parsed = flags::parse(FLAGS, false, words, &mut globals)
        .map_err(|error| usage_failure(&with_suggestion(&error, FLAGS), program.name, USAGE))?;
    let context = Context::new(program, globals);
    let Some((name, rest)) = parsed.arguments.split_first() else {
        return nothing_to_do(&context, parsed.help);
    };
    if name == "help" {
        return help_topic(&context, rest);
    }
    if context.globals.version {
        return commands::version::print_short(&context);
    }
    let expanded = alias(&context, name, rest);
    let (name, rest) = match &expanded {
        Some(words) => (&words[0], &words[1..]),
        None => (name, rest),
    };
    let found = find(name);
    if found.is_none_or(super::command::Entry::is_later) && plugins::find(&context, name).is_some() {
        return plugins::run(&context, name, words);
    }
    let Some(command) = found else {
        let program = context.program.name;
        let names = all().map(|command| command.name().to_owned()).chain(plugins::names(&context));
        let meant = suggest::line(program, name, names);
        return Err(Failure::new(format!(
            "{program}: unknown command: {program} {name}\n{meant}\nRun '{program} --help' for more information"
        )));
    };
    let mut rest = rest.to_vec();
    if parsed.help.is_some() {
        rest.insert(0, "--help".to_owned());
    }
    command
        .call(&context, &format!("{} {}", context.program.name, command.name()), &rest)
        .map_err(|failure| with_names(&context, failure))
}

/// The failure, and the thing that was perhaps meant where a name is nobody's. Under Docker's name the words stay
/// Docker's.
fn with_names(context: &Context, mut failure: Failure) -> Failure {
    if context.program == Program::DOCKER {
        return failure;
    }
    for (words, containers) in [("No such container: ", true), ("No such image: ", false)] {
        let Some((_, after)) = failure.text.split_once(words) else { continue };
        let name = after.split_whitespace().next().unwrap_or_default();
        let name = name.strip_suffix(":latest").unwrap_or(name).to_owned();
        if let [first, ..] =
            suggest::nearest(&name, completion::known(context, containers).into_iter()).as_slice()
        {
            failure.text.push_str(&format!("\nDid you mean {first}?"));
        }
        break;
    }
    failure
}

/// No command: the version, or help; help that nobody asked for is talk.
fn nothing_to_do(context: &Context, wanted: Option<Help>) -> Outcome {
    match wanted {
        Some(wanted) => {
            if wanted == Help::Short {
                context.printer.say("Flag shorthand -h has been deprecated, use --help");
            }
            print_help(context, Help::Long, &help(context))
        }
        None if context.globals.version => commands::version::print_short(context),
        None => {
            context.printer.talk(help(context));
            Ok(())
        }
    }
}

/// The words that the user has put in place of a command of his own.
fn alias(context: &Context, name: &str, rest: &[String]) -> Option<Vec<String>> {
    if find(name).is_some_and(|command| !command.is_later()) {
        return None;
    }
    let words = context.config().aliases.get(name)?;
    let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
    (!words.is_empty()).then(|| [words.as_slice(), rest].concat())
}

/// The flags before the command, for completion.
pub(crate) fn rows() -> Vec<Row> {
    FLAGS.iter().map(Row::from).collect()
}

/// Every command that is there.
pub(crate) fn all() -> impl Iterator<Item = &'static dyn Entry> {
    commands::COMMON.iter().chain(commands::MANAGEMENT).chain(commands::OTHER).copied()
}

/// The command of that name, hidden ones too.
pub(crate) fn find(name: &str) -> Option<&'static dyn Entry> {
    if name == "__complete" {
        return Some(&completion::COMPLETE);
    }
    all().chain(commands::HIDDEN.iter().copied()).find(|command| command.name() == name)
}

fn help_topic(context: &Context, topic: &[String]) -> Outcome {
    let Some((name, rest)) = topic.split_first() else {
        return print_help(context, Help::Long, &help(context));
    };
    let found = find(name);
    if found.is_none_or(super::command::Entry::is_later) && plugins::find(context, name).is_some() {
        return plugins::run(context, name, &[topic, &["--help".to_owned()]].concat());
    }
    let Some(command) = found else {
        return Err(Failure::new(format!("unknown help topic: {}", topic.join(" "))));
    };
    let mut words = rest.to_vec();
    words.push("--help".to_owned());
    command.call(context, &format!("{} {name}", context.program.name), &words)
}

fn help(context: &Context) -> String {
    let program = context.program.name;
    let about = match context.program {
        Program::DOCKER => "Containers and images, by Berth in Docker's words",
        _ => "Containers and images from one file",
    };
    let mut text = format!("Usage:  {program} [OPTIONS] COMMAND\n\n{about}\n\nCommon Commands:\n");
    // In the order in which a newcomer meets them.
    for command in commands::COMMON {
        text.push_str(&format!("  {:11} {}\n", command.name(), command.about()));
    }
    let management =
        commands::MANAGEMENT.iter().map(|command| (command.name().to_owned(), command.about().to_owned()));
    let plugins = plugins::described(context).into_iter().map(|(name, about)| (format!("{name}*"), about));
    text.push_str(&format!("\nManagement Commands:\n{}", two_columns(management.chain(plugins).collect())));
    text.push_str(&format!("\nCommands:\n{}", command_list(commands::OTHER.iter().copied())));
    let rows: Vec<Row> = FLAGS.iter().map(Row::from).collect();
    let width = context.columns().saturating_sub(1);
    text.push_str(&format!("\nGlobal Options:\n{}", flags::wrapped(&rows, width)));
    text.push_str(&format!("\nRun '{program} COMMAND --help' for more information on a command.\n"));
    text
}
