//! Attributes that a container's lines carry: labels and variables that the options name.

use std::collections::BTreeMap;

use regex_automata::nfa::thompson::pikevm::PikeVM;

use crate::{Container, Error};

/// The labels and variables that `labels`, `labels-regex`, `env` and `env-regex` name. `rename` makes a driver's names of
/// theirs.
///
/// # Errors
/// Go's text for an expression that is none.
pub fn attributes(
    container: &Container,
    rename: impl Fn(&str) -> String,
) -> Result<BTreeMap<String, String>, Error> {
    let mut attributes = BTreeMap::new();
    let env: BTreeMap<&str, &str> =
        container.env.iter().filter_map(|variable| variable.split_once('=')).collect();
    let labels: BTreeMap<&str, &str> =
        container.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    for (source, names, regex) in [(&labels, "labels", "labels-regex"), (&env, "env", "env-regex")] {
        for name in container.option(names).split(',') {
            if let Some(value) = source.get(name) {
                attributes.insert(rename(name), (*value).to_owned());
            }
        }
        let expression = container.option(regex);
        if !expression.is_empty() {
            let expression = parse_regex(expression)?;
            for (name, value) in
                source.iter().filter(|(name, _)| expression.is_match(&mut expression.create_cache(), **name))
            {
                attributes.insert(rename(name), (*value).to_owned());
            }
        }
    }
    Ok(attributes)
}

/// An expression as Go's `regexp` has them.
///
/// # Errors
/// Go's text: `error parsing regexp: missing closing ): …`.
pub fn parse_regex(text: &str) -> Result<PikeVM, Error> {
    PikeVM::new(text).map_err(|error| {
        // The syntax error behind it has a picture of the place; its last line is the reason.
        let source = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
        let last = source.lines().last().unwrap_or_default().trim_start_matches("error: ");
        let reason = match last {
            "unclosed group" => "missing closing )",
            "unopened group" => "unexpected )",
            "unclosed character class" => "missing closing ]",
            "repetition operator missing expression" => "missing argument to repetition operator",
            other => other,
        };
        Error::new(format!("error parsing regexp: {reason}: `{text}`"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::container;

    #[test]
    fn labels_and_variables_are_picked_by_name_and_by_expression() {
        let picked = |options: &[(&str, &str)]| {
            let found = attributes(&container(options), str::to_uppercase).unwrap();
            found.into_iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(picked(&[]), "");
        assert_eq!(picked(&[("labels", "a,none"), ("env", "B")]), "A=1 B=2");
        assert_eq!(picked(&[("labels-regex", "^(a|b)"), ("env-regex", "x$")]), "A=1 B.Y=4 C.X=3");
        let error = attributes(&container(&[("env-regex", "(")]), str::to_owned).unwrap_err();
        assert_eq!(error.to_string(), "error parsing regexp: missing closing ): `(`");
    }
}
