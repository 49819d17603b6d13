//! Lines, words, quotes and variables of Dockerfile instructions.

use std::collections::HashMap;

use crate::Error;

use super::invalid;

/// The instructions of a text: comments and empty lines left out, continued lines joined.
pub(super) struct Lines<'a> {
    lines: std::str::Lines<'a>,
}

impl<'a> Lines<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { lines: text.lines() }
    }
}

impl Iterator for Lines<'_> {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        let mut whole = String::new();
        for line in self.lines.by_ref() {
            let trimmed = line.trim_start();
            if trimmed.starts_with('#') || (trimmed.is_empty() && whole.is_empty()) {
                continue;
            }
            let line = if whole.is_empty() { trimmed } else { line };
            match line.trim_end().strip_suffix('\\') {
                Some(continued) => whole.push_str(continued),
                None => {
                    whole.push_str(line.trim_end());
                    return Some(whole);
                }
            }
        }
        (!whole.trim().is_empty()).then_some(whole)
    }
}

/// A list in JSON form; `None` if the text is none, and then it is a shell command.
///
/// Errors: a list of something else than strings.
pub(super) fn json_list(text: &str) -> Result<Option<Vec<String>>, Error> {
    if !text.trim_start().starts_with('[') {
        return Ok(None);
    }
    let Ok(values) = serde_json::from_str::<Vec<serde_json::Value>>(text) else { return Ok(None) };
    let strings = values.into_iter().map(|value| match value {
        serde_json::Value::String(text) => Ok(text),
        _ => Err(invalid("when using JSON array syntax, arrays must be comprised of strings only")),
    });
    strings.collect::<Result<_, _>>().map(Some)
}

/// Splits at blanks that are neither quoted nor escaped; quotes and escapes stay.
pub(super) fn split(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match (letter, quote) {
            ('\\', None | Some('"')) => {
                word.push('\\');
                word.extend(letters.next());
            }
            ('"' | '\'', None) => {
                quote = Some(letter);
                word.push(letter);
            }
            (closing, Some(opening)) if closing == opening => {
                quote = None;
                word.push(letter);
            }
            (blank, None) if blank.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            _ => word.push(letter),
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// The variables that words may use.
pub(super) struct Variables {
    values: HashMap<String, String>,
}

type Letters<'a> = std::iter::Peekable<std::str::Chars<'a>>;

impl Variables {
    pub(super) fn new(env: &[String]) -> Self {
        let values = env.iter().filter_map(|line| line.split_once('='));
        Self { values: values.map(|(name, value)| (name.to_owned(), value.to_owned())).collect() }
    }

    /// Replaces variables and takes quotes and escapes away.
    pub(super) fn expand(&self, word: &str) -> Result<String, Error> {
        self.until(&mut word.chars().peekable(), None)
    }

    /// Expands up to a closing letter, or the end if there is none to come.
    fn until(&self, letters: &mut Letters<'_>, end: Option<char>) -> Result<String, Error> {
        let mut out = String::new();
        while let Some(letter) = letters.next() {
            match letter {
                _ if Some(letter) == end => return Ok(out),
                '\\' => out.extend(letters.next()),
                '\'' => loop {
                    match letters.next() {
                        Some('\'') => break,
                        Some(letter) => out.push(letter),
                        None => {
                            return Err(invalid(
                                "unexpected end of statement while looking for matching single-quote",
                            ));
                        }
                    }
                },
                '"' => self.double_quoted(letters, &mut out)?,
                '$' => out.push_str(&self.variable(letters)?),
                letter => out.push(letter),
            }
        }
        match end {
            None => Ok(out),
            Some(_) => Err(invalid("syntax error: missing '}'")),
        }
    }

    fn double_quoted(&self, letters: &mut Letters<'_>, out: &mut String) -> Result<(), Error> {
        while let Some(letter) = letters.next() {
            match letter {
                '"' => return Ok(()),
                '$' => out.push_str(&self.variable(letters)?),
                '\\' => match letters.next() {
                    Some(escaped @ ('"' | '$' | '\\')) => out.push(escaped),
                    Some(other) => out.extend(['\\', other]),
                    None => {}
                },
                letter => out.push(letter),
            }
        }
        Err(invalid("unexpected end of statement while looking for matching double-quote"))
    }

    /// What follows a dollar sign.
    fn variable(&self, letters: &mut Letters<'_>) -> Result<String, Error> {
        if letters.next_if_eq(&'{').is_none() {
            let name = name(letters);
            if name.is_empty() {
                return Ok("$".to_owned());
            }
            return Ok(self.values.get(&name).cloned().unwrap_or_default());
        }
        let name = name(letters);
        if name.is_empty() {
            return Err(invalid("syntax error: bad substitution"));
        }
        let value = self.values.get(&name);
        if letters.next_if_eq(&'}').is_some() {
            return Ok(value.cloned().unwrap_or_default());
        }
        let with_colon = letters.next_if_eq(&':').is_some();
        let modifier = letters.next();
        let other = self.until(letters, Some('}'))?;
        let value = value.filter(|value| !with_colon || !value.is_empty());
        match (modifier, value) {
            (Some('-' | '?'), Some(value)) => Ok(value.clone()),
            (Some('-'), None) | (Some('+'), Some(_)) => Ok(other),
            (Some('+'), None) => Ok(String::new()),
            (Some('?'), None) => Err(invalid(format!("{name}: {other}"))),
            (modifier, _) => {
                let modifier = modifier.map(String::from).unwrap_or_default();
                Err(invalid(format!("unsupported modifier ({modifier}) in substitution")))
            }
        }
    }
}

/// The name of a variable: letters, digits and underscores, or one special letter.
fn name(letters: &mut Letters<'_>) -> String {
    let mut name = String::new();
    if let Some(digit) = letters.next_if(char::is_ascii_digit) {
        return digit.to_string();
    }
    while let Some(letter) = letters.next_if(|c| c.is_ascii_alphanumeric() || *c == '_') {
        name.push(letter);
    }
    name
}
