//! Sending a container's lines to where its log driver says: from the log that its supervisor keeps, line after line, in
//! their order.
//!
//! ```text
//! shim ──► <id>-json.log ──► follow ──► batches ──► syslog, journald, gelf, fluentd
//!             │                            │
//!             └─► `logs` reads it, too     └─► `forwarded`: how far it is
//! ```
//!
//! Neither a destination that is away nor the engine's own death loses a line that is still in the log's files; after
//! either, some lines may come twice.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use berth_logging::{Driver, Message, Partial, Writer};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::logs::line::Entry;
use super::logs::{self, Place, RawChunk};
use super::{Record, WaitResult, log_config};
use crate::Inner;
use crate::error::Result;

/// So many messages are sent at a time.
const BATCH: usize = 256;
/// A line that was cut into pieces has pieces of this many bytes.
const PIECE_BYTES: usize = 16 << 10;
/// How long a destination is waited for before it is asked again, at first and at most.
const PAUSE: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// How long a destination that is away is waited for once the container has ended. What was not sent then is sent when
/// the container or the engine starts again.
const PATIENCE: Duration = Duration::from_secs(5);
const NOT_ALL: &str = "not all of its log was sent; the rest is when it or the engine starts again";

/// Opens the way to a container's destination before it starts; nothing if its driver has none, or connects later.
///
/// Errors: Docker's text.
pub(crate) async fn connect(record: &Record) -> Result<Option<Writer>> {
    let config = &record.host_config.log_config;
    let Some(driver) = Driver::named(&config.kind) else { return Ok(None) };
    if berth_logging::connects_later(driver, config.config.as_ref().unwrap_or(&BTreeMap::new())) {
        return Ok(None);
    }
    let writer = Writer::connect(driver, &log_config::described(record)).await;
    writer.map(Some).map_err(|error| log_config::failed(&error.to_string()))
}

/// The lines of a run on their way.
pub(crate) struct Forwarder {
    task: JoinHandle<()>,
    id: String,
}

impl Forwarder {
    /// Begins to send, from where it was left; nothing if the container's driver does not send. `ended` tells the end of
    /// the run, twice; without it, what is in the log now is sent.
    pub(crate) fn begin(
        engine: &Arc<Inner>,
        record: &Arc<Record>,
        writer: Option<Writer>,
        ended: Option<[oneshot::Receiver<WaitResult>; 2]>,
    ) -> Option<Forwarder> {
        let driver = Driver::named(&record.host_config.log_config.kind)?;
        let file = log_config::log_file(record).ok()??;
        let state = Position::open(record.directory.join("forwarded"));
        let (reads, sends) = match ended {
            Some([reads, sends]) => (Some(reads), Some(sends)),
            None => (None, None),
        };
        let chunks = logs::follow(engine, file.path, state.place, state.last, reads);
        let give_up_at = if sends.is_none() { Some(Instant::now() + PATIENCE) } else { None };
        let sending = Sending {
            record: record.clone(),
            driver,
            writer,
            ended: sends,
            give_up_at,
            pieces: [None, None],
            state,
        };
        Some(Forwarder { task: tokio::spawn(sending.run(chunks)), id: record.id.clone() })
    }

    /// Waits until all is sent, but not long: one that takes nothing, or little, holds up neither a removal nor another
    /// start. The run must have ended.
    pub(crate) async fn finish(mut self) {
        if tokio::time::timeout(PATIENCE, &mut self.task).await.is_err() {
            self.task.abort();
            let _ = self.task.await;
            tracing::warn!(container.id = %self.id, "{NOT_ALL}");
        }
    }
}

/// How far a log is sent, kept beside it.
struct Position {
    path: PathBuf,
    file: Option<File>,
    place: Place,
    /// The time of the last line that was sent.
    last: i64,
    /// It could not be kept, and that was told.
    is_behind: bool,
}

impl Position {
    /// Reads what is kept. What is not there, or was not written whole by a machine that went down, is the beginning.
    fn open(path: PathBuf) -> Position {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let mut words = text.split_whitespace().map(str::parse::<i64>);
        let mut next = || words.next().and_then(std::result::Result::ok);
        let (place, last) = match (next(), next(), next()) {
            (Some(inode), Some(offset), Some(last)) => {
                let start = next().map(i64::unsigned_abs);
                (Place { inode: inode.unsigned_abs(), offset: offset.unsigned_abs(), start }, last)
            }
            _ => (Place::default(), i64::MIN),
        };
        Position { path, file: None, place, last, is_behind: false }
    }

    /// Keeps it, or says why it could not: what is sent now is sent again by the next engine then.
    fn keep(&mut self, place: Place, last: i64) -> io::Result<()> {
        (self.place, self.last) = (place, last);
        let file = match self.file.take() {
            Some(file) => file,
            None => File::options().write(true).create(true).truncate(false).mode(0o640).open(&self.path)?,
        };
        // Always of the same length: one write replaces all of it.
        let start = place.start.map_or_else(|| "-".to_owned(), |start| start.to_string());
        let text = format!("{:>20} {:>20} {last:>20} {start:>20}\n", place.inode, place.offset);
        self.file.insert(file).write_all_at(text.as_bytes(), 0)
    }

    /// As [`Position::keep`]; tells once that it fails, and once that it works again.
    fn keep_or_tell(&mut self, id: &str, place: Place, last: i64) {
        let was_behind = self.is_behind;
        let kept = self.keep(place, last);
        self.is_behind = kept.is_err();
        match kept {
            Err(error) if !was_behind => {
                let text = "how far its log was sent cannot be recorded; the next engine would send again what is \
                            sent from now on";
                tracing::warn!(container.id = %id, "{text}: {error}");
            }
            Ok(()) if was_behind => {
                tracing::info!(container.id = %id, "how far its log was sent is recorded again");
            }
            _ => {}
        }
    }
}

struct Sending {
    record: Arc<Record>,
    driver: Driver,
    writer: Option<Writer>,
    ended: Option<oneshot::Receiver<WaitResult>>,
    /// Set once the run has ended.
    give_up_at: Option<Instant>,
    /// The long line that each stream is in the middle of.
    pieces: [Option<Partial>; 2],
    state: Position,
}

impl Sending {
    async fn run(mut self, mut chunks: tokio::sync::mpsc::Receiver<Result<RawChunk>>) {
        while let Some(chunk) = chunks.recv().await {
            let chunk = match chunk {
                Ok(chunk) => chunk,
                Err(error) => {
                    tracing::error!(container.id = %self.record.id, "its log is not sent: {error}");
                    return;
                }
            };
            if chunk.lost > 0 {
                let text = "bytes of its log were rotated away before they were sent, and are lost to";
                let hint = "a larger cache-max-size or cache-max-file keeps more";
                let (lost, driver) = (chunk.lost, self.driver.name());
                tracing::warn!(container.id = %self.record.id, "{lost} {text} {driver}: {hint}");
            }
            let entries = chunk.lines.split(|byte| *byte == b'\n').filter_map(Entry::parse);
            let messages: Vec<Message> = entries.map(|entry| self.message(entry)).collect();
            for batch in messages.chunks(BATCH) {
                if !self.send(batch).await {
                    return;
                }
            }
            let last = messages.last().map_or(self.state.last, |message| message.nanos);
            self.state.keep_or_tell(&self.record.id, chunk.place, last);
        }
    }

    fn message(&mut self, entry: Entry) -> Message {
        let Entry { mut text, stderr, nanos } = entry;
        let ends = text.pop_if(|byte| *byte == b'\n').is_some();
        let last = ends || text.len() < PIECE_BYTES;
        let piece = &mut self.pieces[usize::from(stderr)];
        let partial = match piece.take() {
            None if last => None,
            None => berth_logging::partial_id().ok().map(|id| Partial { id, ordinal: 1, last }),
            Some(before) => Some(Partial { ordinal: before.ordinal + 1, last, ..before }),
        };
        *piece = partial.clone().filter(|_| !last);
        Message { line: text, stderr, nanos, partial }
    }

    /// Sends all of a batch; says whether it could, after however long.
    async fn send(&mut self, batch: &[Message]) -> bool {
        let mut done = 0;
        let mut pause = PAUSE;
        let mut told = false;
        while done < batch.len() {
            let reason = match self.try_send(&batch[done..]).await {
                (sent, None) => {
                    done += sent;
                    continue;
                }
                (sent, Some(reason)) => {
                    done += sent;
                    reason
                }
            };
            self.writer = None;
            if !told {
                tracing::warn!(container.id = %self.record.id, "{}: {reason}", self.driver.name());
                told = true;
            }
            if !self.wait(pause).await {
                tracing::warn!(container.id = %self.record.id, "{NOT_ALL}");
                return false;
            }
            pause = (pause * 3 / 2).min(PAUSE_MAX);
        }
        true
    }

    async fn try_send(&mut self, messages: &[Message]) -> (usize, Option<String>) {
        let writer = match self.writer.take() {
            Some(writer) => Ok(writer),
            None => Writer::connect(self.driver, &log_config::described(&self.record)).await,
        };
        match writer {
            Ok(writer) => {
                let (sent, error) = self.writer.insert(writer).send(messages).await;
                (sent, error.map(|error| error.to_string()))
            }
            Err(error) => (0, Some(error.to_string())),
        }
    }

    /// Waits before the next try, if there is to be one.
    async fn wait(&mut self, pause: Duration) -> bool {
        if let Some(ended) = &mut self.ended {
            tokio::select! {
                () = tokio::time::sleep(pause) => return true,
                _ = ended => {}
            }
            self.ended = None;
        }
        let give_up_at = *self.give_up_at.get_or_insert_with(|| Instant::now() + PATIENCE);
        tokio::time::sleep(pause.min(PAUSE)).await;
        Instant::now() < give_up_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_far_it_is_survives() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("forwarded");
        let mut position = Position::open(path.clone());
        assert_eq!((position.place, position.last), (Place::default(), i64::MIN));
        let place = Place { inode: 12, offset: 1 << 40, start: Some(7) };
        position.keep(place, 1_709_164_800_500_000_000).unwrap();
        position.keep(place, -5).unwrap();
        let again = Position::open(path.clone());
        assert_eq!((again.place, again.last), (place, -5));
        // As it was before files knew what came before them.
        std::fs::write(&path, "12 34 5\n").unwrap();
        let older = Position::open(path.clone());
        assert_eq!((older.place, older.last), (Place { inode: 12, offset: 34, start: None }, 5));
        std::fs::write(&path, "12 3").unwrap();
        assert_eq!(Position::open(path).last, i64::MIN);
    }

    #[test]
    fn what_cannot_be_kept_is_kept_later() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("away/forwarded");
        let mut position = Position::open(path.clone());
        let place = Place { inode: 12, offset: 5, start: Some(0) };
        position.keep_or_tell("abc", place, 1);
        assert!(position.is_behind);
        std::fs::create_dir(path.parent().unwrap()).unwrap();
        position.keep_or_tell("abc", place, 2);
        assert!(!position.is_behind);
        assert_eq!(Position::open(path).last, 2);
    }
}
