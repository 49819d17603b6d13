//! A log as it is in its files, for who sends it elsewhere: every line once, from some place on.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::files::{self, Cursor, Place};
use super::line::time_of;
use super::{CHUNKS, Lines, Reading, WaitResult};
use crate::Inner;
use crate::error::Result;

/// Whole lines of a log.
pub(crate) struct RawChunk {
    /// Each with its newline.
    pub(crate) lines: Vec<u8>,
    /// Behind the last of them.
    pub(crate) place: Place,
    /// Bytes before them that were removed before they were read.
    pub(crate) lost: u64,
}

/// Reads a log from a place on, behind a line of the time `last`, until the container has ended and all is read; at once
/// to its end without `ended`.
pub(crate) fn follow(
    engine: &Arc<Inner>,
    path: PathBuf,
    place: Place,
    last: i64,
    ended: Option<oneshot::Receiver<WaitResult>>,
) -> mpsc::Receiver<Result<RawChunk>> {
    let (sender, receiver) = mpsc::channel(CHUNKS);
    let opening = path.clone();
    let open = move |raw: &mut Raw| {
        let is_last = |line: &[u8]| time_of(line) == Some(last);
        let (old, current, lost) = files::open_from(&opening, place, is_last)?;
        raw.known = if lost.is_some() { i64::MIN } else { last };
        raw.lost = lost.unwrap_or(0);
        Ok((old, current))
    };
    let reading = Reading { path, lines: Raw { known: i64::MIN, lost: 0 }, sender, until: None };
    tokio::spawn(reading.run(engine.clone(), open, ended));
    receiver
}

struct Raw {
    /// Lines up to this time are passed over.
    known: i64,
    /// Bytes that the next chunk tells of.
    lost: u64,
}

impl Lines for Raw {
    type Chunk = RawChunk;

    fn take(&mut self, raw: &[u8], out: &mut Vec<u8>) {
        if self.known != i64::MIN {
            if time_of(raw).is_some_and(|time| time <= self.known) {
                return;
            }
            self.known = i64::MIN;
        }
        out.extend_from_slice(raw);
        out.push(b'\n');
    }

    fn skip(&mut self, bytes: u64) {
        self.lost += bytes;
    }

    fn is_past_end(&self) -> bool {
        false
    }

    fn chunk(&mut self, out: Vec<u8>, cursor: &Cursor) -> RawChunk {
        RawChunk { lines: out, place: cursor.place(), lost: std::mem::take(&mut self.lost) }
    }
}
