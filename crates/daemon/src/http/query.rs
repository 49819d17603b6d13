//! The parameters of a request, read as Docker's router reads them.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use super::error::Error;

/// The parameters behind the `?`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads `a=b&c=d`.
    ///
    /// Errors: a percent sign that two hexadecimal digits do not follow.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let mut pairs = Vec::new();
        for part in text.split('&').filter(|part| !part.is_empty()) {
            if part.contains(';') {
                return Err(Error::invalid("invalid semicolon separator in query"));
            }
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            pairs.push((decode(name)?, decode(value)?));
        }
        Ok(Self(pairs))
    }

    /// The first value of a parameter.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// The first value of a parameter, or nothing.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default()
    }

    /// The first value of a parameter if it says something.
    pub(crate) fn some(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|value| !value.is_empty())
    }

    /// All values of a parameter.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A switch: everything but nothing, `0`, `no`, `false` and `none` is on.
    pub(crate) fn flag(&self, name: &str) -> bool {
        let value = self.text(name).trim().to_ascii_lowercase();
        !matches!(value.as_str(), "" | "0" | "no" | "false" | "none")
    }

    /// A switch that is on unless it is turned off.
    pub(crate) fn flag_or(&self, name: &str, default: bool) -> bool {
        if self.get(name).is_none() { default } else { self.flag(name) }
    }

    /// A number, if there is one.
    ///
    /// Errors: Go's text for a value that is none.
    pub(crate) fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, Error> {
        self.some(name).map(|value| value.parse().map_err(|_| Error::bad_number(value))).transpose()
    }

    /// As [`Query::number`], where Docker takes a value that is none for a failure of its own.
    pub(crate) fn number_or_failure<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, Error> {
        self.number(name).map_err(Error::into_failure)
    }

    /// A number that must be there.
    pub(crate) fn required_number<T: std::str::FromStr>(&self, name: &str) -> Result<T, Error> {
        let value = self.text(name);
        value.parse().map_err(|_| Error::bad_number(value))
    }

    /// The `filters` parameter in either of its forms.
    pub(crate) fn filters(&self) -> Result<berth_engine::Filters, Error> {
        let filters = berth_api::filters::parse(self.text("filters"))
            .map_err(|error| Error::invalid(error.to_string()))?;
        Ok(berth_engine::Filters(filters))
    }
}

/// Decodes one part of a query.
fn decode(text: &str) -> Result<String, Error> {
    check_escapes(text)?;
    let spaced: Cow<'_, str> = if text.contains('+') { text.replace('+', " ").into() } else { text.into() };
    Ok(percent_decode_str(&spaced).decode_utf8_lossy().into_owned())
}

/// Decodes a path.
pub(crate) fn decode_path(path: &str) -> Result<Cow<'_, str>, Error> {
    check_escapes(path)?;
    Ok(percent_decode_str(path).decode_utf8_lossy())
}

fn check_escapes(text: &str) -> Result<(), Error> {
    for (at, _) in text.match_indices('%') {
        let escape = text.as_bytes().get(at..text.len().min(at + 3)).unwrap_or_default();
        if escape.len() < 3 || !escape[1..].iter().all(u8::is_ascii_hexdigit) {
            let shown = String::from_utf8_lossy(escape);
            return Err(Error::invalid(format!("invalid URL escape \"{shown}\"")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded() {
        let query = Query::parse("name=a%20b+c&t=5&x&all=1&x=2").unwrap();
        assert_eq!(query.text("name"), "a b c");
        assert_eq!(query.number::<i64>("t").unwrap(), Some(5));
        assert_eq!(query.number::<i64>("missing").unwrap(), None);
        assert_eq!(query.all("x").collect::<Vec<_>>(), ["", "2"]);
        assert!(query.flag("all"));
    }

    #[test]
    fn switches_are_read_as_docker_reads_them() {
        let flag = |value: &str| Query::parse(&format!("a={value}")).unwrap().flag("a");
        for on in ["1", "true", "True", "yes", "anything", "00"] {
            assert!(flag(on), "{on}");
        }
        for off in ["", "0", "no", "false", "FALSE", "none"] {
            assert!(!flag(off), "{off}");
        }
        assert!(Query::default().flag_or("a", true));
        assert!(!Query::parse("a=0").unwrap().flag_or("a", true));
    }

    #[test]
    fn bad_escapes_and_numbers_are_refused() {
        for text in ["a;b", "x=1&a=b;c=d", "a=%zz", "a=%4", "%=1", "a=%"] {
            assert!(Query::parse(text).is_err(), "{text}");
        }
        let error = Query::parse("t=x").unwrap().number::<i64>("t").unwrap_err();
        assert_eq!(error.to_string(), "strconv.Atoi: parsing \"x\": invalid syntax");
    }
}
