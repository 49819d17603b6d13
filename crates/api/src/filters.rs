//! The `filters` parameter of lists, prunes and events.

use std::collections::BTreeMap;

use berth_oci::json::Node;

/// Filters: for each key the values asked for.
pub type Filters = BTreeMap<String, Vec<String>>;

/// The text is not a set of filters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid filter")]
pub struct InvalidFilter;

/// Reads both forms that clients send: `{"key":{"value":true}}` and, older, `{"key":["value"]}`. Empty text and
/// `null` are no filter. A value that is turned off by `false` is kept, as Docker keeps it.
///
/// Errors: [`InvalidFilter`], which is Docker's text.
pub fn parse(text: &str) -> Result<Filters, InvalidFilter> {
    if text.is_empty() {
        return Ok(Filters::new());
    }
    let entries = match Node::parse(text.as_bytes()) {
        Ok(Node::Object(entries)) => entries,
        Ok(Node::Null) => Vec::new(),
        _ => return Err(InvalidFilter),
    };
    // Docker reads the whole text in one form or the other, never in both.
    let values = |node: Node| match node {
        Node::Object(values) if values.iter().all(|(_, on)| matches!(on, Node::Bool(_) | Node::Null)) => {
            Some((true, values.into_iter().map(|(value, _)| value).collect::<Vec<_>>()))
        }
        Node::Array(values) => {
            let text = |node| match node {
                Node::String(text) => Some(text),
                Node::Null => Some(String::new()),
                _ => None,
            };
            Some((false, values.into_iter().map(text).collect::<Option<Vec<_>>>()?))
        }
        _ => None,
    };
    let mut filters = Filters::new();
    let mut form = None;
    for (key, node) in entries {
        if node == Node::Null {
            filters.entry(key).or_default();
            continue;
        }
        let (is_new, mut list) = values(node).ok_or(InvalidFilter)?;
        if *form.get_or_insert(is_new) != is_new {
            return Err(InvalidFilter);
        }
        list.sort();
        list.dedup();
        filters.insert(key, list);
    }
    Ok(filters)
}

/// Writes the form that all servers since 1.22 read.
pub fn to_text(filters: &Filters) -> String {
    let tree: BTreeMap<&String, BTreeMap<&String, bool>> = filters
        .iter()
        .map(|(key, values)| (key, values.iter().map(|value| (value, true)).collect()))
        .collect();
    serde_json::to_string(&tree).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filters(entries: &[(&str, &[&str])]) -> Filters {
        let list = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect();
        entries.iter().map(|(key, values)| ((*key).to_owned(), list(values))).collect()
    }

    #[test]
    fn both_forms_are_read() {
        let expect = filters(&[("label", &["a=b", "c"]), ("status", &["exited"])]);
        assert_eq!(parse(r#"{"label":{"c":true,"a=b":true},"status":{"exited":true}}"#), Ok(expect.clone()));
        assert_eq!(parse(r#"{"label":["c","a=b","c"],"status":["exited"]}"#), Ok(expect.clone()));
        assert_eq!(parse(&to_text(&expect)), Ok(expect));
        assert_eq!(parse(""), Ok(Filters::new()));
        assert_eq!(parse("{}"), Ok(Filters::new()));
        assert_eq!(parse(r#"{"label":{}}"#), Ok(filters(&[("label", &[])])));
    }

    #[test]
    fn everything_else_is_refused() {
        for text in [
            "bad",
            "[]",
            "\"x\"",
            r#"{"a":"b"}"#,
            r#"{"a":[1]}"#,
            r#"{"a":{"b":"c"}}"#,
            r#"{"a":["b"],"c":{"d":true}}"#,
        ] {
            assert_eq!(parse(text), Err(InvalidFilter), "{text}");
        }
    }
}
