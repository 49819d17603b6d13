//! Reading a container's log: the plain, rotated and compressed files of the `json-file` driver, from some line on,
//! and then, if asked for, whatever is added while the container runs.
//!
//! ```text
//! <log>.2.gz ─► <log>.1 ─► <log> ─► wait for more (inotify) ─┐
//!                            ▲       the file was rotated: ──┤
//!                            └───────────────────────────────┘  the container ended and all is read: done
//! ```
//!
//! A slow reader holds only itself up: a bounded channel is between the files and the client.

mod files;
pub(crate) mod line;
mod raw;
mod watch;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use self::files::Cursor;
use self::line::Printer;
use super::{Container, Logs, LogsOptions, Status, WaitCondition, WaitResult, log_config};
use crate::Inner;
use crate::error::{Error, Result};
use crate::time::Time;

pub(crate) use files::Place;
pub(crate) use raw::{RawChunk, follow};
pub(crate) use watch::Watches;

/// Chunks that may wait for a slow client.
const CHUNKS: usize = 4;
/// Chunks are about so large.
const CHUNK_BYTES: usize = 64 << 10;

impl Inner {
    pub(crate) fn logs(self: &Arc<Self>, reference: &str, options: LogsOptions) -> Result<Logs> {
        let slot = self.registry.find(reference)?;
        if !options.stdout && !options.stderr {
            return Err(Error::invalid("Bad parameters: you must choose at least one stream"));
        }
        // Before the state is looked at: an end in between is not missed.
        let ended = slot.subscribe(WaitCondition::NotRunning);
        let container = slot.get();
        if matches!(container.state.status, Status::Removing | Status::Dead) {
            let text = "can not get logs from container which is dead or marked for removal";
            return Err(Error::Conflict(text.to_owned()));
        }
        let follow = options.follow && container.state.status.is_running();
        self.read_log(&container, options, follow.then_some(ended))
    }

    /// All that a container wrote so far.
    pub(crate) fn logs_so_far(
        self: &Arc<Self>,
        container: &Container,
        stdout: bool,
        stderr: bool,
    ) -> Result<Logs> {
        self.read_log(container, LogsOptions { stdout, stderr, ..LogsOptions::default() }, None)
    }

    fn read_log(
        self: &Arc<Self>,
        container: &Container,
        options: LogsOptions,
        ended: Option<oneshot::Receiver<WaitResult>>,
    ) -> Result<Logs> {
        let record = &container.record;
        let Some(file) = log_config::log_file(record)?.filter(|_| log_config::is_readable(record)) else {
            let text = "configured logging driver does not support reading";
            return Err(Error::NotImplemented(text.to_owned()));
        };
        // Before the answer: a client may remove the container while it has not read the log yet.
        let mut current = files::open(&file.path);
        if matches!(current, Ok(None)) && ended.is_some() {
            // Nothing is written yet. The supervisor appends to what it finds.
            current = files::create(&file.path).map(Some);
        }
        let current = current.map_err(|source| unreadable(&file.path, source))?;
        let current = current.map(Cursor::plain);
        let (sender, receiver) = mpsc::channel(CHUNKS);
        let tty = record.config.tty;
        let lines = Printer::new(&options, tty);
        let open = open_tail(current, file.path.clone(), options.tail);
        let reading = Reading { path: file.path, lines, sender, until: options.until };
        tokio::spawn(reading.run(self.clone(), open, ended));
        Ok(Logs { tty, receiver })
    }
}

fn unreadable(path: &Path, source: std::io::Error) -> Error {
    Error::Io { what: format!("cannot read {}", path.display()), source }
}

/// What becomes of the lines that are read.
trait Lines: Sized + Send + 'static {
    /// What their reader gets of them at a time.
    type Chunk: Send + 'static;

    /// Takes one more line.
    fn take(&mut self, raw: &[u8], out: &mut Vec<u8>);
    /// So many bytes that come next are not there any more.
    fn skip(&mut self, _bytes: u64) {}
    /// Whether no more are wanted.
    fn is_past_end(&self) -> bool;
    /// A chunk of what was taken up to the cursor's place.
    fn chunk(&mut self, out: Vec<u8>, cursor: &Cursor) -> Self::Chunk;
}

impl Lines for Printer {
    type Chunk = Bytes;

    fn take(&mut self, raw: &[u8], out: &mut Vec<u8>) {
        self.print(raw, out);
    }

    fn is_past_end(&self) -> bool {
        Printer::is_past_end(self)
    }

    fn chunk(&mut self, out: Vec<u8>, _: &Cursor) -> Bytes {
        out.into()
    }
}

/// The files to read: those that are not written any more, oldest first, and the one that is.
type Opened = (Vec<Cursor>, Option<Cursor>);

/// Opens the files for whoever wants the last lines. The current one may be open already.
fn open_tail(
    current: Option<Cursor>,
    path: PathBuf,
    tail: Option<u64>,
) -> impl FnOnce(&mut Printer) -> std::io::Result<Opened> + Send {
    move |_| files::open_rest(current, &path, tail)
}

/// A log that is being read.
struct Reading<L: Lines> {
    path: PathBuf,
    lines: L,
    sender: mpsc::Sender<Result<L::Chunk>>,
    until: Option<Time>,
}

impl<L: Lines> Reading<L> {
    async fn run(
        self,
        engine: Arc<Inner>,
        open: impl FnOnce(&mut L) -> std::io::Result<Opened> + Send + 'static,
        ended: Option<oneshot::Receiver<WaitResult>>,
    ) {
        let Reading { path, mut lines, sender, until } = self;
        // Begun before the first look at the files: nothing that is added later is missed.
        let mut watch = if ended.is_some() { engine.log_watches.watch(&path).ok() } else { None };
        let opened = blocking(move || open(&mut lines).map(|files| (files, lines))).await;
        let ((old, mut current), mut lines) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                let _ = sender.send(Err(unreadable(&path, error))).await;
                return;
            }
        };
        let mut newest = None;
        for cursor in old {
            match pump(cursor, lines, &sender).await {
                Some((cursor, back)) => (newest, lines) = (Some(cursor), back),
                None => return,
            }
        }
        // While it is rotated there is no current one, for a moment.
        current = current.or(newest);
        let mut ended = ended;
        let mut is_over = false;
        loop {
            // Looked at before the files are: what was written before the end is then in them.
            is_over = is_over || ended.as_mut().is_none_or(|ended| ended.try_recv().is_ok());
            if let Some(cursor) = current.take() {
                match pump(cursor, lines, &sender).await {
                    Some((cursor, back)) => (current, lines) = (Some(cursor), back),
                    None => return,
                }
            }
            let look = path.clone();
            let cursor = current.take();
            let Ok((cursor, moved)) = blocking(move || Ok(files::look(cursor, &look))).await else { return };
            current = cursor;
            if moved {
                // What was added before the rotation was perhaps not there yet when the file was read.
                if let Some(cursor) = current.take() {
                    match pump(cursor, lines, &sender).await {
                        Some((cursor, back)) => (current, lines) = (Some(cursor), back),
                        None => return,
                    }
                }
                let next = path.clone();
                let cursor = current.take();
                let Ok((cursor, lost)) = blocking(move || Ok(files::next(cursor, &next))).await else {
                    return;
                };
                lines.skip(lost);
                current = cursor;
                continue;
            }
            if is_over || lines.is_past_end() {
                return;
            }
            match wait(&mut ended, watch.as_mut(), &sender, until).await {
                Waited::Changed => {}
                Waited::Ended => is_over = true,
                Waited::Enough => return,
            }
        }
    }
}

/// Sends all that a file has now. Answers with the cursor behind it; nothing if the client is gone or all it wants is
/// sent.
async fn pump<L: Lines>(
    cursor: Cursor,
    lines: L,
    sender: &mpsc::Sender<Result<L::Chunk>>,
) -> Option<(Cursor, L)> {
    let sender = sender.clone();
    let work = move || {
        let (mut cursor, mut lines) = (cursor, lines);
        let mut out = Vec::with_capacity(CHUNK_BYTES + (CHUNK_BYTES >> 2));
        loop {
            let more = cursor.read_lines(|line| lines.take(line, &mut out));
            let is_done = !matches!(more, Ok(true)) || lines.is_past_end();
            if out.len() >= CHUNK_BYTES || (is_done && !out.is_empty()) {
                let chunk = std::mem::replace(&mut out, Vec::with_capacity(CHUNK_BYTES));
                let chunk = lines.chunk(chunk, &cursor);
                sender.blocking_send(Ok(chunk)).map_err(|_| std::io::ErrorKind::BrokenPipe)?;
            }
            more?;
            if is_done {
                return Ok((cursor, lines));
            }
        }
    };
    blocking(work).await.ok()
}

/// What a wait ended with.
enum Waited {
    /// There may be more.
    Changed,
    /// The container ended: there may be more once.
    Ended,
    /// The client is gone, or no more is wanted.
    Enough,
}

/// Waits until there may be more.
async fn wait(
    ended: &mut Option<oneshot::Receiver<WaitResult>>,
    watch: Option<&mut watch::Watch>,
    sender: &mpsc::Sender<Result<impl Send>>,
    until: Option<Time>,
) -> Waited {
    let Some(ended) = ended else { return Waited::Enough };
    let changed = async {
        match watch {
            Some(watch) => watch.changed().await,
            // Without inotify (its instances are used up) a look now and then has to do.
            None => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    };
    let deadline = async {
        match until {
            Some(until) => tokio::time::sleep(until.since(Time::now())).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = changed => Waited::Changed,
        _ = ended => Waited::Ended,
        () = sender.closed() => Waited::Enough,
        () = deadline => Waited::Enough,
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(std::io::Error::other)?
}

#[cfg(test)]
mod tests;
