//! Flags as runc takes them: `--name value`, `--name=value`, with one dash or two, switches with `=true` or `=false`.

use super::Failure;

/// A flag that a command knows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Flag {
    pub(super) name: &'static str,
    short: Option<char>,
    pub(super) takes_value: bool,
}

impl Flag {
    pub(super) const fn switch(name: &'static str) -> Self {
        Self { name, short: None, takes_value: false }
    }

    pub(super) const fn value(name: &'static str) -> Self {
        Self { name, short: None, takes_value: true }
    }

    /// With a short name too.
    pub(super) const fn or(self, short: char) -> Self {
        Self { short: Some(short), ..self }
    }

    fn is(&self, name: &str) -> bool {
        let mut letters = name.chars();
        self.name == name
            || (letters.next() == self.short && self.short.is_some() && letters.next().is_none())
    }
}

/// Arguments that were taken apart.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Parsed {
    values: Vec<(&'static str, String)>,
    pub(super) positional: Vec<String>,
}

impl Parsed {
    /// `flags_end`: from the first argument that is no flag, everything is taken as it is.
    pub(super) fn parse(arguments: &[String], flags: &[Flag], flags_end: bool) -> Result<Self, Failure> {
        let mut parsed = Self::default();
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            if argument == "--" {
                parsed.positional.extend(rest.cloned());
                break;
            }
            let Some(name) = argument.strip_prefix('-').filter(|name| !name.is_empty()) else {
                parsed.positional.push(argument.clone());
                if flags_end {
                    parsed.positional.extend(rest.cloned());
                    break;
                }
                continue;
            };
            let name = name.strip_prefix('-').unwrap_or(name);
            let (name, given) = match name.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (name, None),
            };
            let help = Flag::switch("help").or('h');
            let flag = flags
                .iter()
                .chain([&help])
                .find(|flag| flag.is(name))
                .ok_or_else(|| Failure::new(format!("flag provided but not defined: -{name}")))?;
            let value = match given {
                Some(value) => value,
                None if !flag.takes_value => "true".to_owned(),
                None => rest
                    .next()
                    .cloned()
                    .ok_or_else(|| Failure::new(format!("flag needs an argument: -{name}")))?,
            };
            parsed.values.push((flag.name, value));
        }
        Ok(parsed)
    }

    /// Whether a switch is on.
    pub(super) fn has(&self, name: &str) -> bool {
        self.value(name).is_some_and(|value| matches!(value, "true" | "1" | "t" | "T" | "TRUE" | "True"))
    }

    /// The last value of a flag.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.values.iter().rev().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    /// All values of a flag.
    pub(super) fn all<'p>(&'p self, name: &'p str) -> impl Iterator<Item = &'p str> {
        self.values.iter().filter(move |(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    /// A number.
    pub(super) fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, Failure> {
        self.value(name)
            .map(|value| {
                value.parse().map_err(|_| {
                    Failure::new(format!("invalid value {value:?} for flag -{name}: not a number"))
                })
            })
            .transpose()
    }

    /// The only argument: the id of a container.
    pub(super) fn id(&self) -> Result<&str, Failure> {
        match self.positional.as_slice() {
            [id] => Ok(id),
            _ => Err(Failure::new("exactly one argument is needed: the id of the container")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLAGS: &[Flag] =
        &[Flag::value("bundle").or('b'), Flag::switch("detach").or('d'), Flag::value("env").or('e')];

    fn parse(arguments: &[&str], flags_end: bool) -> Result<Parsed, Failure> {
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        Parsed::parse(&arguments, FLAGS, flags_end)
    }

    #[test]
    fn flags_in_all_spellings() {
        for spelling in [
            &["--bundle", "/b", "-d", "id"][..],
            &["-b=/b", "--detach=true", "id"],
            &["-bundle=/b", "id", "--detach"],
            &["-d", "--bundle", "/b", "--", "id"],
        ] {
            let parsed = parse(spelling, false).unwrap();
            assert_eq!(parsed.value("bundle"), Some("/b"), "{spelling:?}");
            assert!(parsed.has("detach"), "{spelling:?}");
            assert_eq!(parsed.id().unwrap(), "id");
        }
        assert!(!parse(&["--detach=false", "id"], false).unwrap().has("detach"));
    }

    #[test]
    fn the_command_of_exec_keeps_its_flags() {
        let parsed = parse(&["-e", "A=1", "-e", "B=2", "id", "ls", "-d", "--"], true).unwrap();
        assert_eq!(parsed.all("env").collect::<Vec<_>>(), ["A=1", "B=2"]);
        assert_eq!(parsed.positional, ["id", "ls", "-d", "--"]);
        assert!(!parsed.has("detach"));
    }

    #[test]
    fn unknown_flags_and_missing_values_are_errors() {
        assert_eq!(parse(&["--fly"], false).unwrap_err().message, "flag provided but not defined: -fly");
        assert_eq!(parse(&["--bundle"], false).unwrap_err().message, "flag needs an argument: -bundle");
        assert!(parse(&["a", "b"], false).unwrap().id().is_err());
    }
}
