//! Flags as Docker's command line reads them (which are those of Go's pflag, the POSIX and GNU way).
//!
//! A command states its flags in a `static` table: name, shorthand, where the value goes, one line of help. Nothing is
//! built at start: parsing walks the table, so a command with a hundred flags costs as much as one with three.
//!
//! - `--name value`, `--name=value`, `-n value`, `-nvalue`, `-n=value`, shorthands in a row (`-it`);
//! - a boolean takes a value only after `=`;
//! - `--` ends the flags; flags may follow arguments unless the command says otherwise (`run`, `exec`).

pub(crate) mod number;
mod usage;

pub(crate) use number::{parse_bool, parse_duration, parse_int, parse_uint, quote};
pub(crate) use usage::{Row, wrapped};

/// One flag of a command whose options are a `T`.
pub(crate) struct Flag<T: 'static> {
    /// Without dashes.
    pub(crate) long: &'static str,
    /// `'\0'`: none.
    pub(crate) short: char,
    /// The type as help shows it; empty for a boolean.
    pub(crate) type_name: &'static str,
    /// The default as help shows it; empty where it goes without saying.
    pub(crate) default: &'static str,
    /// Help, without the full stop. Line breaks are kept.
    pub(crate) help: &'static str,
    /// Not shown in help.
    pub(crate) hidden: bool,
    /// How a value gets into the options.
    pub(crate) set: Set<T>,
}

/// The setter of a [`Flag`].
pub(crate) enum Set<T: 'static> {
    /// On or off.
    Bool(fn(&mut T) -> &mut bool),
    /// A text.
    Text(fn(&mut T) -> &mut String),
    /// Any number of texts.
    List(fn(&mut T) -> &mut Vec<String>),
    /// A Go `int` or `int64`.
    Int(fn(&mut T) -> &mut i64),
    /// Anything else; the error is what Docker says about the value.
    Value(fn(&mut T, &str) -> Result<(), String>),
    /// The same for a flag that may stand alone, which means `true`.
    Switch(fn(&mut T, &str) -> Result<(), String>),
}

impl<T> Clone for Set<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Set<T> {}

impl<T> Flag<T> {
    const fn new(
        long: &'static str,
        short: char,
        type_name: &'static str,
        help: &'static str,
        set: Set<T>,
    ) -> Self {
        Self { long, short, type_name, default: "", help, hidden: false, set }
    }

    /// `--flag`, `--flag=false`.
    pub(crate) const fn bool(
        long: &'static str,
        short: char,
        field: fn(&mut T) -> &mut bool,
        help: &'static str,
    ) -> Self {
        Self::new(long, short, "", help, Set::Bool(field))
    }

    /// `--flag TEXT`.
    pub(crate) const fn text(
        long: &'static str,
        short: char,
        field: fn(&mut T) -> &mut String,
        help: &'static str,
    ) -> Self {
        Self::new(long, short, "string", help, Set::Text(field))
    }

    /// `--flag TEXT --flag TEXT`.
    pub(crate) const fn list(
        long: &'static str,
        short: char,
        field: fn(&mut T) -> &mut Vec<String>,
        help: &'static str,
    ) -> Self {
        Self::new(long, short, "list", help, Set::List(field))
    }

    /// `--flag NUMBER`.
    pub(crate) const fn int(
        long: &'static str,
        short: char,
        field: fn(&mut T) -> &mut i64,
        help: &'static str,
    ) -> Self {
        Self::new(long, short, "int", help, Set::Int(field))
    }

    /// `--flag VALUE` with a type of its own.
    pub(crate) const fn value(
        long: &'static str,
        short: char,
        type_name: &'static str,
        set: fn(&mut T, &str) -> Result<(), String>,
        help: &'static str,
    ) -> Self {
        Self::new(long, short, type_name, help, Set::Value(set))
    }

    /// Shows `(default …)` in help.
    pub(crate) const fn default(mut self, default: &'static str) -> Self {
        self.default = default;
        self
    }

    /// Lets the flag stand alone.
    pub(crate) const fn switch(mut self) -> Self {
        if let Set::Value(set) = self.set {
            self.set = Set::Switch(set);
        }
        self
    }

    /// Leaves the flag out of help.
    pub(crate) const fn hidden(mut self) -> Self {
        self.hidden = true;
        self
    }

    /// How error messages name the flag.
    fn name(&self) -> String {
        if self.short == '\0' {
            format!("--{}", self.long)
        } else {
            format!("-{}, --{}", self.short, self.long)
        }
    }

    fn apply(&self, options: &mut T, value: &str) -> Result<(), FlagError> {
        let set = match self.set {
            Set::Bool(field) => parse_bool(value).map(|value| *field(options) = value),
            Set::Int(field) => parse_int(value).map(|value| *field(options) = value),
            Set::Text(field) => {
                value.clone_into(field(options));
                Ok(())
            }
            Set::List(field) => {
                field(options).push(value.to_owned());
                Ok(())
            }
            Set::Value(set) | Set::Switch(set) => set(options, value),
        };
        set.map_err(|reason| FlagError::Value { value: quote(value), flag: self.name(), reason })
    }
}

/// Why a command line could not be read. The texts are pflag's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FlagError {
    #[error("unknown flag: --{0}")]
    Unknown(String),
    #[error("unknown shorthand flag: {0} in -{1}")]
    UnknownShort(String, String),
    #[error("flag needs an argument: --{0}")]
    Missing(String),
    #[error("flag needs an argument: {0} in -{1}")]
    MissingShort(String, String),
    #[error("bad flag syntax: {0}")]
    Syntax(String),
    #[error("invalid argument {value} for \"{flag}\" flag: {reason}")]
    Value { value: String, flag: String, reason: String },
}

/// A command line, read.
#[derive(Debug)]
pub(crate) struct Parsed {
    /// What is not a flag.
    pub(crate) arguments: Vec<String>,
    /// The flags that were given, by their long names.
    pub(crate) given: Vec<&'static str>,
    /// `--help` was given, or `-h` by somebody with old habits.
    pub(crate) help: Option<Help>,
}

/// How help was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Help {
    Long,
    /// `-h`, which Docker calls deprecated each time.
    Short,
}

/// Reads `words` into `options`.
pub(crate) fn parse<T>(
    flags: &'static [Flag<T>],
    interspersed: bool,
    words: &[String],
    options: &mut T,
) -> Result<Parsed, FlagError> {
    let mut parsed = Parsed { arguments: Vec::new(), given: Vec::new(), help: None };
    let mut at = 0;
    while let Some(word) = words.get(at) {
        at += 1;
        if let Some(long) = word.strip_prefix("--") {
            if long.is_empty() {
                parsed.arguments.extend_from_slice(&words[at..]);
                return Ok(parsed);
            }
            if parse_long(flags, long, words.get(at), options, &mut parsed)? {
                at += 1;
            }
        } else if word.len() > 1 && word.starts_with('-') {
            if parse_shorts(flags, &word[1..], words.get(at), options, &mut parsed)? {
                at += 1;
            }
        } else if interspersed {
            parsed.arguments.push(word.clone());
        } else {
            parsed.arguments.extend_from_slice(&words[at - 1..]);
            return Ok(parsed);
        }
    }
    Ok(parsed)
}

/// Reads `--long` or `--long=value`; true if it took the next word.
fn parse_long<T>(
    flags: &'static [Flag<T>],
    long: &str,
    next: Option<&String>,
    options: &mut T,
    parsed: &mut Parsed,
) -> Result<bool, FlagError> {
    if long.starts_with('-') || long.starts_with('=') {
        return Err(FlagError::Syntax(format!("--{long}")));
    }
    let (name, value) = match long.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (long, None),
    };
    let Some(flag) = flags.iter().find(|flag| flag.long == name) else {
        if name == "help" {
            let wanted = value.map_or(Ok(true), parse_bool).map_err(|reason| FlagError::Value {
                value: quote(value.unwrap_or_default()),
                flag: "--help".to_owned(),
                reason,
            })?;
            parsed.help = wanted.then_some(Help::Long);
            return Ok(false);
        }
        return Err(FlagError::Unknown(name.to_owned()));
    };
    parsed.given.push(flag.long);
    match (value, flag.set, next) {
        (Some(value), ..) => flag.apply(options, value).map(|()| false),
        (None, Set::Bool(_) | Set::Switch(_), _) => flag.apply(options, "true").map(|()| false),
        (None, _, Some(next)) => flag.apply(options, next).map(|()| true),
        (None, _, None) => Err(FlagError::Missing(name.to_owned())),
    }
}

/// Reads the shorthands of one word; true if the last of them took the next word.
fn parse_shorts<T>(
    flags: &'static [Flag<T>],
    word: &str,
    next: Option<&String>,
    options: &mut T,
    parsed: &mut Parsed,
) -> Result<bool, FlagError> {
    let mut rest = word;
    while let Some(short) = rest.chars().next() {
        let after = &rest[short.len_utf8()..];
        let Some(flag) = flags.iter().find(|flag| flag.short == short) else {
            if short == 'h' {
                parsed.help = Some(Help::Short);
                rest = after;
                continue;
            }
            return Err(FlagError::UnknownShort(format!("{short:?}"), rest.to_owned()));
        };
        parsed.given.push(flag.long);
        match (flag.set, after, next) {
            (_, after, _) if after.len() > 1 && after.starts_with('=') => {
                return flag.apply(options, &after[1..]).map(|()| false);
            }
            (Set::Bool(_) | Set::Switch(_), ..) => flag.apply(options, "true")?,
            (_, "", None) => return Err(FlagError::MissingShort(format!("{short:?}"), rest.to_owned())),
            (_, "", Some(next)) => return flag.apply(options, next).map(|()| true),
            (_, after, _) => return flag.apply(options, after).map(|()| false),
        }
        rest = after;
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default)]
    struct Options {
        all: bool,
        quiet: bool,
        name: String,
        env: Vec<String>,
        last: i64,
    }

    static FLAGS: &[Flag<Options>] = &[
        Flag::bool("all", 'a', |o| &mut o.all, ""),
        Flag::bool("quiet", 'q', |o| &mut o.quiet, ""),
        Flag::text("name", '\0', |o| &mut o.name, ""),
        Flag::list("env", 'e', |o| &mut o.env, ""),
        Flag::int("last", 'n', |o| &mut o.last, ""),
    ];

    fn check(interspersed: bool, line: &str, expect: &str) {
        let words: Vec<String> = line.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect();
        let mut options = Options::default();
        let got = match parse(FLAGS, interspersed, &words, &mut options) {
            Err(error) => error.to_string(),
            Ok(parsed) => {
                let Options { all, quiet, name, env, last } = options;
                let help = if parsed.help.is_some() { " help" } else { "" };
                format!("{all} {quiet} {name:?} {env:?} {last} {:?}{help}", parsed.arguments)
            }
        };
        assert_eq!(got, expect, "{line}");
    }

    #[test]
    fn every_way_of_writing_a_flag() {
        check(true, "-aq -e A -eB -e=C --env D --env=E", r#"true true "" ["A", "B", "C", "D", "E"] 0 []"#);
        check(true, "--all=false -q=true x --name y z", r#"false true "y" [] 0 ["x", "z"]"#);
        check(true, "-an3 - x", r#"true false "" [] 3 ["-", "x"]"#);
        check(true, "-n -3 -- -a", r#"false false "" [] -3 ["-a"]"#);
        check(false, "-a image -q", r#"true false "" [] 0 ["image", "-q"]"#);
        check(false, "-a -- -q image", r#"true false "" [] 0 ["-q", "image"]"#);
        check(true, "--help -a", r#"true false "" [] 0 [] help"#);
        check(true, "-ah", r#"true false "" [] 0 [] help"#);
        check(true, "--env= -n 0x10", r#"false false "" [""] 16 []"#);
    }

    #[test]
    fn errors_are_those_of_pflag() {
        check(true, "--foo", "unknown flag: --foo");
        check(true, "--foo=1", "unknown flag: --foo");
        check(true, "-aZ", "unknown shorthand flag: 'Z' in -Z");
        check(true, "-an", "flag needs an argument: 'n' in -n");
        check(true, "--name", "flag needs an argument: --name");
        check(true, "---x", "bad flag syntax: ---x");
        check(true, "--=x", "bad flag syntax: --=x");
        check(
            true,
            "-n abc",
            r#"invalid argument "abc" for "-n, --last" flag: strconv.ParseInt: parsing "abc": invalid syntax"#,
        );
        check(
            true,
            "--all=x",
            r#"invalid argument "x" for "-a, --all" flag: strconv.ParseBool: parsing "x": invalid syntax"#,
        );
    }
}
