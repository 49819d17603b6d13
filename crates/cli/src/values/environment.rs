//! `-e`, `--env-file`, `-l`, `--label-file`: pairs from the command line and from files.

use std::collections::BTreeMap;
use std::io::Read;

use crate::outcome::{io_text, open_text};

/// Checks one `-e` value and fills in the value of a variable that is only named.
pub(crate) fn variable(value: &str) -> Result<String, String> {
    let (name, has_value) = match value.split_once('=') {
        Some((name, _)) => (name, true),
        None => (value, false),
    };
    if name.is_empty() {
        return Err(format!("invalid environment variable: {value}"));
    }
    // A variable that we do not have stays a bare name, which takes it out of the image's environment.
    match std::env::var(name) {
        Ok(own) if !has_value => Ok(format!("{name}={own}")),
        _ => Ok(value.to_owned()),
    }
}

/// Checks one `-l` value.
pub(crate) fn label(value: &str) -> Result<String, String> {
    let name = value.split_once('=').map_or(value, |(name, _)| name);
    if name.is_empty() {
        return Err(format!("invalid label '{value}': empty name"));
    }
    Ok(value.to_owned())
}

/// The pairs of files, then those of the command line.
///
/// # Errors
/// Docker's text for a file that cannot be read or has something else in it.
pub(crate) fn with_files(files: &[String], values: &[String], kind: Kind) -> Result<Vec<String>, String> {
    let mut all = Vec::new();
    for file in files {
        read(file, kind, &mut all)?;
    }
    all.extend_from_slice(values);
    Ok(all)
}

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A bare name takes our own variable's value, or is left out.
    Environment,
    /// A bare name is left out.
    Labels,
}

fn read(path: &str, kind: Kind, into: &mut Vec<String>) -> Result<(), String> {
    let invalid = |reason: String| format!("invalid env file ({path}): {reason}");
    let mut file = std::fs::File::open(path).map_err(|error| open_text(path, &error))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(|error| invalid(format!("read {path}: {}", io_text(&error))))?;
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    for (index, line) in bytes.split(|&byte| byte == b'\n').enumerate() {
        let line = std::str::from_utf8(line)
            .map_err(|_| invalid(format!("invalid utf8 bytes at line {}: {:?}", index + 1, line)))?;
        let line = line.trim_start().trim_end_matches('\r');
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = match line.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (line, None),
        };
        if name.is_empty() {
            return Err(invalid(format!("no variable name on line '{line}'")));
        }
        if name.contains([' ', '\t', '\u{b}', '\u{c}']) {
            return Err(invalid(format!("variable '{name}' contains whitespaces")));
        }
        match (value, kind) {
            (Some(value), _) => into.push(format!("{name}={value}")),
            (None, Kind::Labels) => {}
            (None, Kind::Environment) => {
                into.extend(std::env::var(name).ok().map(|own| format!("{name}={own}")));
            }
        }
    }
    Ok(())
}

/// Adds a variable; one of that name keeps its place and takes the new value.
pub(crate) fn put(variables: &mut Vec<String>, variable: String) {
    let name = |variable: &str| variable.split('=').next().unwrap_or_default().to_owned();
    match variables.iter_mut().find(|known| name(known) == name(&variable)) {
        Some(known) => *known = variable,
        None => variables.push(variable),
    }
}

/// Pairs as a map; the last of several wins.
pub(crate) fn to_map(pairs: &[String]) -> BTreeMap<String, String> {
    let pairs = pairs.iter().map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables() {
        assert_eq!(variable("A=b=c").unwrap(), "A=b=c");
        assert_eq!(variable("CARGO_PKG_NAME").unwrap(), format!("CARGO_PKG_NAME={}", env!("CARGO_PKG_NAME")));
        assert_eq!(variable("NOT_A_VARIABLE_OF_OURS").unwrap(), "NOT_A_VARIABLE_OF_OURS");
        assert_eq!(variable("=").unwrap_err(), "invalid environment variable: =");
        assert_eq!(label("=x").unwrap_err(), "invalid label '=x': empty name");
    }

    #[test]
    fn files() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("env");
        let path = path.to_str().unwrap();
        std::fs::write(path, "\u{feff}# comment\n\n  A=1 \r\nNOT_A_VARIABLE_OF_OURS\nB==\n").unwrap();
        let read = |kind| with_files(&[path.to_owned()], &["C=3".to_owned()], kind).unwrap();
        assert_eq!(read(Kind::Environment), ["A=1 ", "B==", "C=3"]);
        assert_eq!(read(Kind::Labels), ["A=1 ", "B==", "C=3"]);
        std::fs::write(path, "A B=1\n").unwrap();
        let error = with_files(&[path.to_owned()], &[], Kind::Environment).unwrap_err();
        assert_eq!(error, format!("invalid env file ({path}): variable 'A B' contains whitespaces"));
        let error = with_files(&["/nope".to_owned()], &[], Kind::Environment).unwrap_err();
        assert_eq!(error, "open /nope: no such file or directory");
    }
}
