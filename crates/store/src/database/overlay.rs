//! Changes that are in the journal but not in the database file yet.

use std::collections::BTreeMap;
use std::sync::Arc;

const PUT: u8 = 1;
const DELETE: u8 = 2;

/// A value: version and JSON.
pub(super) type Value = Arc<[u8]>;

/// One change. `value` is `None` for a deletion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) table: Arc<str>,
    pub(super) key: Arc<str>,
    pub(super) value: Option<Value>,
}

/// The latest change of each key.
#[derive(Clone, Default)]
pub(super) struct Overlay {
    tables: BTreeMap<Arc<str>, BTreeMap<Arc<str>, Option<Value>>>,
}

impl Overlay {
    pub(super) fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }

    pub(super) fn apply(&mut self, change: Change) {
        self.tables.entry(change.table).or_default().insert(change.key, change.value);
    }

    /// The latest change of a key: `None` if there is none, `Some(None)` if it is a deletion.
    pub(super) fn get(&self, table: &str, key: &str) -> Option<Option<Value>> {
        self.tables.get(table)?.get(key).cloned()
    }

    /// The changes of a table whose keys start with `prefix`.
    pub(super) fn range<'a>(
        &'a self,
        table: &str,
        prefix: &'a str,
    ) -> impl Iterator<Item = (&'a Arc<str>, &'a Option<Value>)> {
        let bounds = (std::ops::Bound::Included(prefix), std::ops::Bound::Unbounded);
        self.tables
            .get(table)
            .into_iter()
            .flat_map(move |table| table.range::<str, _>(bounds))
            .take_while(move |(key, _)| key.starts_with(prefix))
    }

    /// All tables with their changes.
    pub(super) fn tables(&self) -> impl Iterator<Item = (&Arc<str>, &BTreeMap<Arc<str>, Option<Value>>)> {
        self.tables.iter()
    }
}

/// Writes changes as a journal payload.
pub(super) fn encode(changes: &[Change]) -> Vec<u8> {
    let size =
        changes.iter().map(|c| 16 + c.table.len() + c.key.len() + c.value.as_ref().map_or(0, |v| v.len()));
    let mut bytes = Vec::with_capacity(size.sum());
    for change in changes {
        bytes.push(if change.value.is_some() { PUT } else { DELETE });
        for part in [change.table.as_bytes(), change.key.as_bytes()] {
            push(&mut bytes, part);
        }
        if let Some(value) = &change.value {
            push(&mut bytes, value);
        }
    }
    bytes
}

fn push(bytes: &mut Vec<u8>, part: &[u8]) {
    // Records are bounded far below 4 GiB by the journal.
    let length = u32::try_from(part.len()).unwrap_or(u32::MAX);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(part);
}

/// Reads a journal payload; `None` if it is none.
pub(super) fn decode(mut bytes: &[u8]) -> Option<Vec<Change>> {
    let mut changes = Vec::new();
    while let Some((kind, rest)) = bytes.split_first() {
        bytes = rest;
        let table = std::str::from_utf8(take(&mut bytes)?).ok()?.into();
        let key = std::str::from_utf8(take(&mut bytes)?).ok()?.into();
        let value = match *kind {
            PUT => Some(take(&mut bytes)?.into()),
            DELETE => None,
            _ => return None,
        };
        changes.push(Change { table, key, value });
    }
    Some(changes)
}

fn take<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = bytes.split_at_checked(4)?;
    let length = u32::from_le_bytes(length.try_into().ok()?) as usize;
    let (part, rest) = rest.split_at_checked(length)?;
    *bytes = rest;
    Some(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(key: &str, value: Option<&[u8]>) -> Change {
        Change { table: "t".into(), key: key.into(), value: value.map(Into::into) }
    }

    #[test]
    fn what_is_written_is_read() {
        let changes = [change("a", Some(b"{}")), change("b", None), change("", Some(b""))];
        let bytes = encode(&changes);
        assert_eq!(decode(&bytes).unwrap(), changes);
        for cut in 1..bytes.len() {
            assert_ne!(decode(&bytes[..cut]).as_deref(), Some(&changes[..]), "cut at {cut}");
        }
    }

    #[test]
    fn the_last_change_counts() {
        let mut overlay = Overlay::default();
        for c in
            [change("a", Some(b"1")), change("ab", Some(b"2")), change("b", Some(b"3")), change("a", None)]
        {
            overlay.apply(c);
        }
        assert_eq!(overlay.get("t", "a"), Some(None));
        assert_eq!(overlay.get("t", "c"), None);
        let keys: Vec<&str> = overlay.range("t", "a").map(|(key, _)| &**key).collect();
        assert_eq!(keys, ["a", "ab"]);
        assert_eq!(overlay.range("other", "").count(), 0);
    }
}
