//! The command line of the daemon, read as dockerd's.

use std::collections::BTreeMap;
use std::ffi::OsString;

use super::table::{Kind, Row, TABLE, by_flag, by_short};
use super::value::Value;

/// Values by the name of their option (see [`Row::id`]).
pub(super) type Values = BTreeMap<&'static str, Value>;

/// What the command line says.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Flags {
    pub(super) values: Values,
    /// The words that are no flags.
    pub(super) words: Vec<String>,
}

/// Reads the arguments behind `berth daemon`.
///
/// Errors: Docker's text.
pub(super) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Flags, String> {
    let mut flags = Flags::default();
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        let argument = into_text(argument)?;
        if argument == "--" {
            for word in arguments.by_ref() {
                flags.words.push(into_text(word)?);
            }
        } else if let Some(long) = argument.strip_prefix("--") {
            let (name, value) =
                long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value)));
            let row = by_flag(name).ok_or_else(|| format!("unknown flag: --{name}"))?;
            flags.take(row, value.map(str::to_owned), &mut arguments, || format!("--{name}"))?;
        } else if argument.len() > 1 && argument.starts_with('-') {
            parse_short(&mut flags, &argument[1..], &mut arguments)?;
        } else {
            flags.words.push(argument);
        }
    }
    Ok(flags)
}

fn into_text(argument: OsString) -> Result<String, String> {
    argument
        .into_string()
        .map_err(|argument| format!("an argument is not UTF-8: {}", argument.to_string_lossy()))
}

/// Reads `-DH unix:///x`, `-l=debug`, `-Hunix:///x`.
fn parse_short(
    flags: &mut Flags,
    letters: &str,
    rest: &mut impl Iterator<Item = OsString>,
) -> Result<(), String> {
    for (index, letter) in letters.char_indices() {
        let row =
            by_short(letter).ok_or_else(|| format!("unknown shorthand flag: '{letter}' in -{letters}"))?;
        let after = &letters[index + letter.len_utf8()..];
        let spelled = || format!("'{letter}' in -{letters}");
        if let Some(value) = after.strip_prefix('=') {
            return flags.take(row, Some(value.to_owned()), rest, spelled);
        }
        if row.kind != Kind::Bool && !after.is_empty() {
            return flags.take(row, Some(after.to_owned()), rest, spelled);
        }
        flags.take(row, None, rest, spelled)?;
    }
    Ok(())
}

impl Flags {
    fn take(
        &mut self,
        row: &'static Row,
        value: Option<String>,
        rest: &mut impl Iterator<Item = OsString>,
        spelled: impl Fn() -> String,
    ) -> Result<(), String> {
        let text = match value {
            Some(value) => value,
            None if row.kind == Kind::Bool => "true".to_owned(),
            None => into_text(rest.next().ok_or_else(|| format!("flag needs an argument: {}", spelled()))?)?,
        };
        let value = Value::from_flag(row.kind, &text)
            .map_err(|why| format!("invalid argument {text:?} for \"{}\" flag: {why}", row.spelled()))?;
        match self.values.entry(row.id()) {
            std::collections::btree_map::Entry::Vacant(slot) => {
                slot.insert(value);
            }
            std::collections::btree_map::Entry::Occupied(mut slot) => slot.get_mut().add(value),
        }
        Ok(())
    }
}

/// The text of `--help`.
pub(super) fn help() -> String {
    let mut text = String::from(
        "\nUsage:  berth daemon [OPTIONS]\n        berth daemon stop [--pidfile PATH]\n\nThe engine: runs containers for the clients of \
         the Docker Engine API.\n\nOptions:\n",
    );
    for row in TABLE.iter().filter(|row| !row.flag.is_empty() && !row.help.is_empty()) {
        let short = row.short.map_or("    ".to_owned(), |short| format!("-{short}, "));
        let argument = match row.kind {
            Kind::Bool => "",
            Kind::Int => " int",
            Kind::Text => " string",
            Kind::Bytes => " bytes",
            Kind::Ip => " ip",
            Kind::IpList => " ipSlice",
            Kind::List => " list",
            Kind::Map | Kind::Switches | Kind::Object | Kind::Registries => " map",
            Kind::Ulimits => " ulimit",
            Kind::Runtimes => " runtime",
            Kind::Pools => " pool-options",
        };
        let name = format!("  {short}--{}{argument}", row.flag);
        let note = match row.effect {
            super::table::Effect::Works => String::new(),
            super::table::Effect::Idle(why) => format!(" [no effect: {why}]"),
            super::table::Effect::Refused(why) => format!(" [refused: {why}]"),
        };
        text.push_str(&format!("{name:<44}  {}{note}\n", row.help));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &[&str]) -> Result<Flags, String> {
        parse(arguments.iter().map(OsString::from))
    }

    fn error(arguments: &[&str]) -> String {
        read(arguments).unwrap_err()
    }

    #[test]
    fn flags_are_read_in_all_their_forms() {
        let flags = read(&[
            "-D",
            "--bridge=br9",
            "-H",
            "unix:///a",
            "-Hunix:///b",
            "--host=unix:///c",
            "--icc=false",
            "-ldebug",
            "stop",
        ])
        .unwrap();
        assert_eq!(flags.values["debug"], Value::Bool(true));
        assert_eq!(flags.values["bridge"], Value::Text("br9".into()));
        assert_eq!(flags.values["hosts"].to_string(), "[unix:///a unix:///b unix:///c]");
        assert_eq!(flags.values["icc"], Value::Bool(false));
        assert_eq!(flags.values["log-level"], Value::Text("debug".into()));
        assert_eq!(flags.words, ["stop"]);
        assert_eq!(read(&["-Dp", "/x"]).unwrap().values["pidfile"], Value::Text("/x".into()));
        assert_eq!(read(&["--", "--debug"]).unwrap().words, ["--debug"]);
    }

    #[test]
    fn errors_have_dockers_texts() {
        assert_eq!(error(&["--foo"]), "unknown flag: --foo");
        assert_eq!(error(&["-x"]), "unknown shorthand flag: 'x' in -x");
        assert_eq!(error(&["--bip"]), "flag needs an argument: --bip");
        assert_eq!(
            error(&["--mtu", "x"]),
            "invalid argument \"x\" for \"--mtu\" flag: strconv.ParseInt: parsing \"x\": invalid syntax"
        );
        assert_eq!(
            error(&["--debug=maybe"]),
            "invalid argument \"maybe\" for \"-D, --debug\" flag: strconv.ParseBool: parsing \"maybe\": invalid syntax"
        );
        assert_eq!(
            error(&["--dns", "foo"]),
            "invalid argument \"foo\" for \"--dns\" flag: invalid string being converted to IP address: foo"
        );
        assert_eq!(
            error(&["--default-ulimit", "nofile"]),
            "invalid argument \"nofile\" for \"--default-ulimit\" flag: invalid ulimit argument: nofile"
        );
        assert_eq!(
            error(&["--add-runtime", "x"]),
            "invalid argument \"x\" for \"--add-runtime\" flag: invalid runtime argument: x"
        );
    }
}
