//! The `filters` of list, prune and events requests.

use std::collections::BTreeMap;

use crate::error::{Error, Result};

/// Filters: for each key the values asked for. Values of one key are alternatives, keys must all fit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filters(pub BTreeMap<String, Vec<String>>);

impl Filters {
    /// No filters: everything fits.
    pub fn new() -> Filters {
        Filters::default()
    }

    /// Adds one value.
    pub fn add(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.0.entry(key.into()).or_default().push(value.into());
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.values().all(Vec::is_empty)
    }

    /// The values asked for, empty if the key is absent.
    pub fn get(&self, key: &str) -> &[String] {
        self.0.get(key).map_or(&[], Vec::as_slice)
    }

    /// Whether the key was given.
    pub fn contains(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// Refuses keys that are not among `accepted`, in Docker's words.
    pub fn validate(&self, accepted: &[&str]) -> Result<()> {
        match self.0.keys().find(|key| !accepted.contains(&key.as_str())) {
            Some(key) if key.is_empty() => Err(Error::invalid("invalid filter")),
            Some(key) => Err(Error::invalid(format!("invalid filter '{key}'"))),
            None => Ok(()),
        }
    }

    /// Whether `value` is one of the values, or the key is absent.
    pub fn exact(&self, key: &str, value: &str) -> bool {
        let wanted = self.get(key);
        wanted.is_empty() || wanted.iter().any(|want| want == value)
    }

    /// Whether every value of `key` (`name` or `name=value`) is met by `labels`, as Docker matches labels.
    pub fn labels(&self, key: &str, labels: &BTreeMap<String, String>) -> bool {
        self.get(key).iter().all(|want| has_label(want, labels))
    }

    /// A yes-or-no filter: absent is `default`.
    pub fn boolean(&self, key: &str, default: bool) -> Result<bool> {
        let values = self.get(key);
        let says = |texts: &[&str]| values.iter().any(|value| texts.contains(&value.as_str()));
        match (values.is_empty(), says(&["1", "true"]), says(&["0", "false"])) {
            (true, ..) => Ok(default),
            (_, true, false) => Ok(true),
            (_, false, true) => Ok(false),
            _ => {
                let list = values.join(" ");
                Err(Error::invalid(format!("invalid filter '{key}=[{list}]'")))
            }
        }
    }
}

/// Whether `labels` has `name` or `name=value`.
pub(crate) fn has_label(want: &str, labels: &BTreeMap<String, String>) -> bool {
    match want.split_once('=') {
        Some((name, value)) => labels.get(name).is_some_and(|have| have == value),
        None => labels.contains_key(want),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_fit_by_name_or_by_value() {
        let labels = BTreeMap::from([("a".to_owned(), "1".to_owned()), ("b".to_owned(), String::new())]);
        let check = |wants: &[&str], expect: bool| {
            let mut filters = Filters::new();
            wants.iter().for_each(|want| filters.add("label", *want));
            assert_eq!(filters.labels("label", &labels), expect, "{wants:?}");
        };
        check(&[], true);
        check(&["a"], true);
        check(&["a=1", "b="], true);
        check(&["a=2"], false);
        check(&["a", "c"], false);
    }

    #[test]
    fn unknown_keys_and_bad_booleans_are_refused() {
        let mut filters = Filters::new();
        filters.add("dangling", "perhaps");
        assert_eq!(
            filters.boolean("dangling", true).unwrap_err().to_string(),
            "invalid filter 'dangling=[perhaps]'"
        );
        assert_eq!(filters.validate(&["label"]).unwrap_err().to_string(), "invalid filter 'dangling'");
    }
}
