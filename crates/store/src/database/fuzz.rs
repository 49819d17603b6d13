//! What a journal may hold after a crash, or in the hands of a stranger.

use super::{journal, overlay};
use crate::fuzz::Row;

/// See `fuzz/targets`.
pub const TARGETS: &[Row] = &[
    ("journal", &["berthjnl\u{1}\0\0\0\0\0\0\0\u{1}\0\0\0\0\0\0\0ssssssssssssssss", ""], journal_file),
    ("journal-changes", &["\u{1}\0\0\0t\u{2}\0\0\0ke\u{1}\u{3}\0\0\0val"], changes),
];

fn journal_file(data: &[u8]) {
    let payloads = journal::payloads(data);
    assert!(payloads.iter().map(Vec::len).sum::<usize>() <= data.len(), "more was read than is there");
}

/// What is read is written as the same bytes.
fn changes(data: &[u8]) {
    if let Some(changes) = overlay::decode(data) {
        assert!(
            overlay::decode(&overlay::encode(&changes)).is_some_and(|again| again.len() == changes.len())
        );
    }
}
