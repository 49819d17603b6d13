//! Dockerfile instructions that change an image's configuration without running anything: what `import --change` and
//! `commit --change` take.
//!
//! Source: Dockerfile reference; the error texts are those of Docker 26, asked one by one.

mod duration;
mod words;

use std::collections::BTreeMap;

use berth_oci::image::{Healthcheck, RunConfig};
use serde_json::Value;

use crate::Error;
use words::{Lines, Variables};

const ALLOWED: [&str; 11] = [
    "CMD",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "HEALTHCHECK",
    "LABEL",
    "ONBUILD",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// Applies instructions to a configuration, all or none.
///
/// Errors: [`Error::Invalid`] with Docker's text.
pub fn apply_changes(config: &mut RunConfig, changes: &[String]) -> Result<(), Error> {
    if changes.is_empty() {
        return Ok(());
    }
    let text = changes.join("\n");
    let instructions: Vec<Instruction> = Lines::new(&text).map(|line| Instruction::parse(&line)).collect();
    if instructions.is_empty() {
        return Err(invalid("file with no instructions"));
    }
    if let Some(other) = instructions.iter().find(|one| !ALLOWED.contains(&one.keyword.as_str())) {
        return Err(invalid(format!("{} is not a valid change command", other.spelled)));
    }
    let mut changed = Changed { config: config.clone(), command_is_set: false };
    for instruction in &instructions {
        changed.apply(instruction)?;
    }
    *config = changed.config;
    Ok(())
}

fn invalid(message: impl Into<String>) -> Error {
    Error::Invalid(message.into())
}

/// One instruction, taken apart.
struct Instruction {
    /// In upper case.
    keyword: String,
    /// As it was written.
    spelled: String,
    /// `--name=value` in front of the arguments, without the dashes.
    flags: Vec<String>,
    /// The rest of the line.
    rest: String,
}

impl Instruction {
    fn parse(line: &str) -> Self {
        let (spelled, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let mut rest = rest.trim();
        let mut flags = Vec::new();
        while let Some(flag) = rest.strip_prefix("--") {
            let (flag, after) = flag.split_once(char::is_whitespace).unwrap_or((flag, ""));
            rest = after.trim_start();
            if flag.is_empty() {
                break;
            }
            flags.push(flag.to_owned());
        }
        Self { keyword: spelled.to_uppercase(), spelled: spelled.to_owned(), flags, rest: rest.to_owned() }
    }

    fn one(&self) -> Result<&str, Error> {
        match self.rest.as_str() {
            "" => Err(invalid(format!("{} requires exactly one argument", self.keyword))),
            rest => Ok(rest),
        }
    }

    fn some(&self) -> Result<&str, Error> {
        match self.rest.as_str() {
            "" => Err(invalid(format!("{} requires at least one argument", self.keyword))),
            rest => Ok(rest),
        }
    }
}

/// The configuration while instructions are applied.
struct Changed {
    config: RunConfig,
    /// A `CMD` was among them: an `ENTRYPOINT` after it does not reset the command.
    command_is_set: bool,
}

impl Changed {
    fn apply(&mut self, instruction: &Instruction) -> Result<(), Error> {
        if instruction.keyword != "HEALTHCHECK"
            && let Some(flag) = instruction.flags.first()
        {
            return Err(unknown_flag(flag));
        }
        match instruction.keyword.as_str() {
            "CMD" => {
                self.config.cmd = Some(self.command(&instruction.rest)?.unwrap_or_default());
                self.command_is_set = true;
            }
            "ENTRYPOINT" => self.entrypoint(instruction)?,
            "ENV" => self.env(instruction)?,
            "EXPOSE" => self.expose(instruction)?,
            "HEALTHCHECK" => self.config.healthcheck = Some(healthcheck(instruction)?),
            "LABEL" => self.label(instruction)?,
            "ONBUILD" => self.on_build(instruction)?,
            "STOPSIGNAL" => {
                let signal = self.variables().expand(instruction.one()?)?;
                check_signal(&signal)?;
                self.config.stop_signal = signal;
            }
            "USER" => self.config.user = self.variables().expand(instruction.one()?)?,
            "VOLUME" => self.volume(instruction)?,
            "WORKDIR" => {
                let path = self.variables().expand(instruction.one()?)?;
                self.config.working_dir = clean_path(&self.config.working_dir, &path);
            }
            other => return Err(invalid(format!("{other} is not a valid change command"))),
        }
        Ok(())
    }

    fn variables(&self) -> Variables {
        Variables::new(self.config.env.as_deref().unwrap_or_default())
    }

    /// A command in JSON form, or wrapped into the shell; `None` if it is an empty list.
    fn command(&self, text: &str) -> Result<Option<Vec<String>>, Error> {
        if let Some(words) = words::json_list(text)? {
            return Ok((!words.is_empty()).then_some(words));
        }
        let mut command = match &self.config.shell {
            Some(shell) if !shell.is_empty() => shell.clone(),
            _ => vec!["/bin/sh".to_owned(), "-c".to_owned()],
        };
        if !text.is_empty() {
            command.push(text.to_owned());
        }
        Ok(Some(command))
    }

    fn entrypoint(&mut self, instruction: &Instruction) -> Result<(), Error> {
        self.config.entrypoint = match instruction.rest.as_str() {
            "" => None,
            text => self.command(text)?,
        };
        if !self.command_is_set {
            self.config.cmd = None;
        }
        Ok(())
    }

    fn env(&mut self, instruction: &Instruction) -> Result<(), Error> {
        let pairs = self.pairs(instruction)?;
        let env = self.config.env.get_or_insert_default();
        for (name, value) in pairs {
            let line = format!("{name}={value}");
            let is_same = |other: &&mut String| other.split('=').next() == Some(name.as_str());
            match env.iter_mut().find(is_same) {
                Some(present) => *present = line,
                None => env.push(line),
            }
        }
        Ok(())
    }

    fn label(&mut self, instruction: &Instruction) -> Result<(), Error> {
        let pairs = self.pairs(instruction)?;
        self.config.labels.get_or_insert_default().extend(pairs);
        Ok(())
    }

    /// `name=value …`, or the old form `name value`.
    fn pairs(&self, instruction: &Instruction) -> Result<Vec<(String, String)>, Error> {
        let keyword = &instruction.keyword;
        let words = words::split(instruction.some()?);
        let variables = self.variables();
        let mut pairs = Vec::new();
        if words.first().is_some_and(|word| !word.contains('=')) {
            let (name, value) = instruction
                .rest
                .split_once(char::is_whitespace)
                .ok_or_else(|| invalid(format!("{keyword} must have two arguments")))?;
            pairs.push((variables.expand(name)?, variables.expand(value.trim_start())?));
        } else {
            for word in &words {
                let (name, value) = word.split_once('=').ok_or_else(|| {
                    invalid(format!(
                        "Syntax error - can't find = in {word:?}. Must be of the form: name=value"
                    ))
                })?;
                pairs.push((variables.expand(name)?, variables.expand(value)?));
            }
        }
        if pairs.iter().any(|(name, _)| name.is_empty()) {
            return Err(invalid(format!("{keyword} names can not be blank")));
        }
        Ok(pairs)
    }

    fn expose(&mut self, instruction: &Instruction) -> Result<(), Error> {
        let variables = self.variables();
        let ports = self.config.exposed_ports.get_or_insert_default();
        for word in instruction.some()?.split_whitespace() {
            for word in variables.expand(word)?.split_whitespace() {
                expose(word, ports)?;
            }
        }
        Ok(())
    }

    fn volume(&mut self, instruction: &Instruction) -> Result<(), Error> {
        let text = instruction.some()?;
        let paths = match words::json_list(text)? {
            Some(paths) if paths.is_empty() => {
                return Err(invalid("VOLUME requires at least one argument"));
            }
            Some(paths) => paths,
            None => text.split_whitespace().map(str::to_owned).collect(),
        };
        let variables = self.variables();
        let volumes = self.config.volumes.get_or_insert_default();
        for path in paths {
            let path = variables.expand(&path)?;
            let path = path.trim();
            if path.is_empty() {
                return Err(invalid("VOLUME specified can not be an empty string"));
            }
            volumes.insert(path.to_owned(), Value::Object(serde_json::Map::new()));
        }
        Ok(())
    }

    fn on_build(&mut self, instruction: &Instruction) -> Result<(), Error> {
        let trigger = instruction.some()?;
        let keyword = trigger.split_whitespace().next().unwrap_or_default().to_uppercase();
        match keyword.as_str() {
            "ONBUILD" => return Err(invalid("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")),
            "FROM" | "MAINTAINER" => {
                return Err(invalid(format!("{keyword} isn't allowed as an ONBUILD trigger")));
            }
            _ => {}
        }
        self.config.on_build.get_or_insert_default().push(trigger.to_owned());
        Ok(())
    }
}

fn unknown_flag(flag: &str) -> Error {
    let name = flag.split('=').next().unwrap_or(flag);
    invalid(format!("unknown flag: {name}"))
}

fn healthcheck(instruction: &Instruction) -> Result<Healthcheck, Error> {
    let text = instruction.some()?;
    let (kind, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let rest = rest.trim_start();
    let mut check = Healthcheck::default();
    let flags = flags(&instruction.flags)?;
    match kind.to_uppercase().as_str() {
        "NONE" if !rest.is_empty() => return Err(invalid("HEALTHCHECK NONE takes no arguments")),
        "NONE" => check.test = Some(vec!["NONE".to_owned()]),
        "CMD" if rest.is_empty() => return Err(invalid("Missing command after HEALTHCHECK CMD")),
        "CMD" => {
            let words = words::json_list(rest)?;
            let mut test = vec![if words.is_some() { "CMD" } else { "CMD-SHELL" }.to_owned()];
            test.extend(words.unwrap_or_else(|| vec![rest.to_owned()]));
            check.test = Some(test);
        }
        other => {
            return Err(invalid(format!("Unknown type {other:?} in HEALTHCHECK (try CMD)")));
        }
    }
    for (name, value) in flags {
        match name {
            "interval" => check.interval = interval(name, value)?,
            "timeout" => check.timeout = interval(name, value)?,
            "start-period" => check.start_period = interval(name, value)?,
            "start-interval" => check.start_interval = interval(name, value)?,
            _ => check.retries = retries(value)?,
        }
    }
    Ok(check)
}

fn flags(flags: &[String]) -> Result<Vec<(&str, &str)>, Error> {
    let mut found: Vec<(&str, &str)> = Vec::new();
    for flag in flags {
        let (name, value) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (flag.as_str(), None),
        };
        if !matches!(name, "interval" | "timeout" | "start-period" | "start-interval" | "retries") {
            return Err(unknown_flag(flag));
        }
        if found.iter().any(|(other, _)| *other == name) {
            return Err(invalid(format!("duplicate flag specified: {name}")));
        }
        let value = value.ok_or_else(|| invalid(format!("missing a value on flag: {name}")))?;
        found.push((name, value));
    }
    Ok(found)
}

fn interval(name: &str, value: &str) -> Result<i64, Error> {
    if value.is_empty() {
        return Ok(0);
    }
    let nanos = duration::parse(value).map_err(invalid)?;
    if nanos != 0 && nanos < 1_000_000 {
        return Err(invalid(format!("Interval {name:?} cannot be less than 1ms")));
    }
    Ok(nanos)
}

fn retries(value: &str) -> Result<i64, Error> {
    if value.is_empty() {
        return Ok(0);
    }
    let retries: i32 =
        value.parse().map_err(|_| invalid(format!("strconv.ParseInt: parsing {value:?}: invalid syntax")))?;
    if retries < 0 {
        return Err(invalid(format!("--retries cannot be negative ({retries})")));
    }
    Ok(i64::from(retries))
}

/// Adds `port[-port][/protocol]`; what stands for the host in front of it is passed over.
fn expose(text: &str, ports: &mut BTreeMap<String, Value>) -> Result<(), Error> {
    let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let range = range.rsplit(':').next().unwrap_or(range);
    let protocol = match protocol.to_lowercase() {
        empty if empty.is_empty() => "tcp".to_owned(),
        known if matches!(known.as_str(), "tcp" | "udp" | "sctp") => known,
        _ => return Err(invalid(format!("Invalid proto: {protocol}"))),
    };
    if range.is_empty() {
        return Err(invalid(format!("No port specified: {text}<empty>")));
    }
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    match (first.parse::<u16>(), last.parse::<u16>()) {
        (Ok(first), Ok(last)) if first <= last => {
            for port in first..=last {
                ports.insert(format!("{port}/{protocol}"), Value::Object(serde_json::Map::new()));
            }
            Ok(())
        }
        _ => Err(invalid(format!("Invalid containerPort: {range}"))),
    }
}

/// Joins and cleans as Go's `path` does: absolute, no `.`, no `..`, no double slash.
fn clean_path(current: &str, path: &str) -> String {
    let joined = if path.starts_with('/') { path.to_owned() } else { format!("{current}/{path}") };
    let mut parts: Vec<&str> = Vec::new();
    for part in joined.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// A number, or a name with or without `SIG`.
fn check_signal(text: &str) -> Result<(), Error> {
    const NAMES: [&str; 35] = [
        "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL",
        "PIPE", "POLL", "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP",
        "TTIN", "TTOU", "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ", "RTMIN",
    ];
    let upper = text.to_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let real_time = |prefix: &str, most: u32| {
        name.strip_prefix(prefix)
            .and_then(|offset| offset.parse::<u32>().ok())
            .is_some_and(|offset| (1..=most).contains(&offset))
    };
    let is_good = match text.parse::<i64>() {
        Ok(number) => number != 0,
        Err(_) => {
            NAMES.contains(&name) || name == "RTMAX" || real_time("RTMIN+", 15) || real_time("RTMAX-", 14)
        }
    };
    if is_good { Ok(()) } else { Err(invalid(format!("invalid signal: {text}"))) }
}

#[cfg(test)]
mod tests;
