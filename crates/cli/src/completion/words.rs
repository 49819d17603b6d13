//! Where on the command line the cursor is, and what fits there.

use super::names::{self, Names};
use crate::command::Entry;
use crate::context::Context;
use crate::flags::Row;
use crate::{plugins, root};

/// What fits.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// Candidates with what is said of them.
    pub(super) candidates: Vec<(String, String)>,
    /// Whether file names fit too.
    pub(super) files: bool,
}

/// What could stand in place of the last of the words.
pub(super) fn complete(context: &Context, words: &[String]) -> Answer {
    let (typed, before) = words.split_last().map_or(("", &[][..]), |(last, before)| (last.as_str(), before));
    let place = find(before);
    let mut answer = match &place {
        Place::Value { path, flag } => value(context, path, flag),
        Place::Word { rows, flags_fit, .. } if *flags_fit && typed.starts_with('-') => {
            return flags(context, rows, typed);
        }
        Place::Word { command: None, .. } => commands(context),
        Place::Word { command: Some(command), path, arguments, .. } => {
            below(context, *command, path, arguments)
        }
    };
    answer.candidates.retain(|(candidate, _)| candidate.starts_with(typed));
    answer
}

/// A place on a command line.
enum Place {
    /// The value of a flag.
    Value { path: Vec<&'static str>, flag: &'static str },
    /// A flag, a command or an argument.
    Word {
        /// The command so far; `None` before the first.
        command: Option<&'static dyn Entry>,
        path: Vec<&'static str>,
        /// Its arguments so far.
        arguments: Vec<String>,
        rows: Vec<Row>,
        /// Whether a flag may stand here.
        flags_fit: bool,
    },
}

/// Follows the words before the cursor.
fn find(before: &[String]) -> Place {
    let mut command: Option<&'static dyn Entry> = None;
    let mut path = Vec::new();
    let mut rows = root::rows();
    let mut arguments: Vec<String> = Vec::new();
    let mut flags_fit = true;
    let mut words = before.iter().peekable();
    while let Some(word) = words.next() {
        if flags_fit && word == "--" {
            flags_fit = false;
            continue;
        }
        if flags_fit && word.starts_with('-') && word.len() > 1 {
            let Some(flag) = open_flag(&rows, word) else { continue };
            if words.next().is_none() {
                return Place::Value { path, flag };
            }
            continue;
        }
        let next = match command {
            None => root::find(word),
            Some(group) if arguments.is_empty() => group.below(word),
            Some(_) => None,
        };
        match next {
            Some(next) => {
                path.push(next.name());
                rows = next.rows();
                command = Some(next);
            }
            None => {
                arguments.push(word.clone());
                flags_fit = flags_fit && command.is_some_and(Entry::is_interspersed);
            }
        }
    }
    Place::Word { command, path, arguments, rows, flags_fit }
}

/// The flag that still waits for its value.
fn open_flag(rows: &[Row], word: &str) -> Option<&'static str> {
    if word.contains('=') {
        return None;
    }
    let row = match word.strip_prefix("--") {
        Some(long) => rows.iter().find(|row| row.long == long),
        // Of shorthands in a row the last one counts.
        None => rows.iter().find(|row| word.ends_with(row.short) && row.short != '\0'),
    };
    row.filter(|row| !row.type_name.is_empty()).map(|row| row.long)
}

fn flags(context: &Context, rows: &[Row], typed: &str) -> Answer {
    // `--flag=` completes the value.
    if let Some((flag, value_typed)) = typed.split_once('=') {
        let row = rows.iter().find(|row| flag.strip_prefix("--") == Some(row.long));
        let mut answer = row.map_or_else(Answer::default, |row| value(context, &[], row.long));
        answer.candidates.retain(|(candidate, _)| candidate.starts_with(value_typed));
        for (candidate, _) in &mut answer.candidates {
            *candidate = format!("{flag}={candidate}");
        }
        return answer;
    }
    let mut candidates: Vec<(String, String)> = rows
        .iter()
        .filter(|row| !row.hidden)
        .map(|row| (format!("--{}", row.long), row.help.to_owned()))
        .chain([("--help".to_owned(), "Say how it is used".to_owned())])
        .filter(|(candidate, _)| candidate.starts_with(typed))
        .collect();
    candidates.sort();
    candidates.dedup_by(|a, b| a.0 == b.0);
    Answer { candidates, files: false }
}

fn described(commands: impl Iterator<Item = &'static dyn Entry>) -> Vec<(String, String)> {
    commands.map(|command| (command.name().to_owned(), command.about().to_owned())).collect()
}

fn commands(context: &Context) -> Answer {
    let mut candidates = described(root::all());
    candidates.extend(plugins::names(context).into_iter().map(|name| (name, String::new())));
    candidates.sort();
    candidates.dedup_by(|a, b| a.0 == b.0);
    Answer { candidates, files: false }
}

/// A command below a group, or an argument.
fn below(context: &Context, command: &'static dyn Entry, path: &[&str], arguments: &[String]) -> Answer {
    if !command.commands().is_empty() && arguments.is_empty() {
        return Answer { candidates: described(command.commands().iter().copied()), files: false };
    }
    match names::of_argument(path, arguments.len()) {
        Names::Files => Answer { candidates: Vec::new(), files: true },
        wanted => Answer { candidates: names::list(context, wanted, arguments), files: false },
    }
}

fn value(context: &Context, path: &[&str], flag: &str) -> Answer {
    match names::of_flag(path, flag) {
        Names::Files => Answer { candidates: Vec::new(), files: true },
        wanted => Answer { candidates: names::list(context, wanted, &[]), files: false },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::{Globals, Program};

    fn check(line: &str, expect: &[&str]) {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        // No engine, no contexts: only what the program knows by itself.
        let globals = Globals {
            config: "/nonexistent".to_owned(),
            hosts: vec!["unix:///nonexistent/socket".to_owned()],
            ..Globals::default()
        };
        let context = Context::new(Program::BERTH, globals);
        let answer = complete(&context, &words);
        let candidates: Vec<&str> = answer.candidates.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(candidates, expect, "{line}");
    }

    #[test]
    fn commands_flags_and_values() {
        check("res", &["restart"]);
        check("container pr", &["prune"]);
        check("--debug container pru", &["prune"]);
        check("-H tcp://x imag", &["image", "images"]);
        check("run --memory-sw", &["--memory-swap", "--memory-swappiness"]);
        check("run --pull ", &["always", "missing", "never"]);
        check("run --pull=al", &["--pull=always"]);
        check("run -it --restart on", &["on-failure"]);
        check("inspect --type vo", &["volume"]);
        // Behind the image everything is the container's.
        check("run busybox --memory-sw", &[]);
        check("rm -f --vol", &["--volumes"]);
        check("ps -- --al", &[]);
    }

    #[test]
    fn files_where_files_are_meant() {
        let context =
            Context::new(Program::BERTH, Globals { config: "/nonexistent".to_owned(), ..Globals::default() });
        let files =
            |line: &str| complete(&context, &line.split(' ').map(str::to_owned).collect::<Vec<_>>()).files;
        assert!(
            files("load -i ") && files("import ") && files("run --env-file ") && files("context import x ")
        );
        assert!(!files("ps ") && !files("run --pull "));
    }
}
