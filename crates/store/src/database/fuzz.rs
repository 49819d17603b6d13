//! What a journal may hold after a crash, or in the hands of a stranger.

use super::{journal, overlay};

pub(crate) fn journal_file(data: &[u8]) {
    let payloads = journal::payloads(data);
    assert!(payloads.iter().map(Vec::len).sum::<usize>() <= data.len(), "more was read than is there");
}

/// What is read is written as the same bytes.
pub(crate) fn changes(data: &[u8]) {
    if let Some(changes) = overlay::decode(data) {
        assert!(
            overlay::decode(&overlay::encode(&changes)).is_some_and(|again| again.len() == changes.len())
        );
    }
}
