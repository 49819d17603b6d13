//! The log of a container: a `json-file`, bounded, never in the container's way.
//!
//! ```text
//! output ── up to 256 KiB ─► encode ──► few writes ─► <path>
//!                                                      │ reached its size: renamed
//!                                                      ▼
//!                                                     <path>.1 ── gzip, a process of its own ──► <path>.1.gz
//! ```
//!
//! A full disk does not stop the container: lines that cannot be written are dropped and counted, and a line says so
//! once there is space again. A file never ends in half a line.

pub(crate) mod compress;
mod encode;
mod rotate;
pub mod start;

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Access, Mode, OFlags};
use rustix::io::Errno;

use crate::time;
use crate::types::LogFile;
use encode::{PIECE_MAX, Taken};
use rotate::Rotation;

/// A write is this long at least when there is enough to write.
const BATCH: usize = 256 * 1024;
/// Names of the streams, by index.
const STREAMS: [&str; 2] = ["stdout", "stderr"];

/// An open log.
#[derive(Debug)]
pub(crate) struct Log {
    file: Option<OwnedFd>,
    size: u64,
    /// Bytes of the log before the current file.
    start: u64,
    rotation: Rotation,
    attrs: String,
    lines: [Line; 2],
    out: Vec<u8>,
    tail: Vec<u8>,
    dropped: Dropped,
}

/// The line a stream is in the middle of.
#[derive(Debug, Default)]
struct Line {
    /// What has come of it since its last piece.
    begun: Vec<u8>,
    /// When its first piece was written, if it is so long that it comes in pieces.
    since: Option<u64>,
}

/// What could not be written.
#[derive(Debug, Default)]
struct Dropped {
    lines: u64,
    why: Option<Errno>,
}

impl Log {
    /// Opens a log to append to. One that is not there yet is made with its first line: many containers never say
    /// anything.
    ///
    /// # Errors
    /// The file cannot be opened, or not be made.
    pub(crate) fn open(config: LogFile) -> io::Result<Log> {
        let file = match open(&config.path, OFlags::empty()) {
            Ok(file) => Some(file),
            Err(Errno::NOENT) => {
                let directory = config.path.parent().unwrap_or(std::path::Path::new("/"));
                rustix::fs::access(directory, Access::WRITE_OK | Access::EXEC_OK)?;
                None
            }
            Err(error) => return Err(error.into()),
        };
        let size = file.as_ref().map(rustix::fs::fstat).transpose()?.map_or(0, |stat| stat.st_size);
        Ok(Log {
            size: u64::try_from(size).unwrap_or(0),
            start: file.as_ref().map_or(0, start::of),
            file,
            rotation: Rotation::new(config.path, config.max_size_bytes, config.max_files, config.compress),
            attrs: config.attrs,
            lines: [Line::default(), Line::default()],
            out: Vec::new(),
            tail: Vec::new(),
            dropped: Dropped::default(),
        })
    }

    /// Logs what came from a stream: 0 is standard output, 1 standard error.
    pub(crate) fn write(&mut self, stream: usize, data: &[u8]) {
        let now = time::now_nanos();
        self.stamp(stream, now);
        let mut rest = data;
        if !self.lines[stream].begun.is_empty() {
            rest = self.continue_line(stream, rest, now);
        }
        while !rest.is_empty() {
            let piece = &rest[..rest.len().min(PIECE_MAX)];
            let taken = self.entry(stream, piece, now);
            if taken == 0 {
                self.lines[stream].begun.extend_from_slice(piece);
                break;
            }
            rest = &rest[taken..];
            if self.out.len() >= BATCH {
                self.flush();
            }
        }
        self.flush();
    }

    /// A stream has ended: what is left of its last line is logged as it is.
    pub(crate) fn end(&mut self, stream: usize) {
        let begun = std::mem::take(&mut self.lines[stream].begun);
        if !begun.is_empty() {
            let now = time::now_nanos();
            self.stamp(stream, now);
            self.rotate_if_due();
            encode::begin(&mut self.out);
            encode::text(&mut self.out, &begun);
            self.out.extend_from_slice(&self.tail);
            self.flush();
        }
        self.lines[stream] = Line::default();
    }

    /// Frees what a burst of output needed. Says whether there was something to free.
    pub(crate) fn shrink(&mut self) -> bool {
        let large = self.out.capacity() > 4096;
        self.out = Vec::new();
        large
    }

    /// A child of the shim has ended; says whether it was the log's compressor.
    pub(crate) fn reaped(&mut self, pid: u32, success: bool) -> bool {
        self.rotation.reaped(pid, success)
    }

    /// Ends the compressor, if one runs, and removes its half file.
    pub(crate) fn close(&mut self) {
        self.rotation.stop();
    }

    /// Fills up the line that was begun by earlier output; gives what is left.
    fn continue_line<'a>(&mut self, stream: usize, data: &'a [u8], now: u64) -> &'a [u8] {
        let mut begun = std::mem::take(&mut self.lines[stream].begun);
        let room = PIECE_MAX - begun.len();
        let more = &data[..data.len().min(room)];
        let taken = more.iter().position(|&byte| byte == b'\n').map_or(more.len(), |at| at + 1);
        begun.extend_from_slice(&more[..taken]);
        if self.entry(stream, &begun, now) == 0 {
            self.lines[stream].begun = begun;
        }
        &data[taken..]
    }

    /// Encodes one entry from the beginning of `source`, which is a line, a piece of one, or too little of it: then
    /// nothing is encoded. All pieces of a line carry the time of the first. Gives how many bytes it took.
    fn entry(&mut self, stream: usize, source: &[u8], now: u64) -> usize {
        self.rotate_if_due();
        let start = self.out.len();
        encode::begin(&mut self.out);
        match encode::text(&mut self.out, source) {
            Taken::Line(taken) => {
                self.out.extend_from_slice(&self.tail);
                if self.lines[stream].since.take().is_some_and(|since| since != now) {
                    self.stamp(stream, now);
                }
                taken
            }
            Taken::All if source.len() == PIECE_MAX => {
                self.lines[stream].since.get_or_insert(now);
                self.out.extend_from_slice(&self.tail);
                source.len()
            }
            Taken::All => {
                self.out.truncate(start);
                0
            }
        }
    }

    fn stamp(&mut self, stream: usize, now: u64) {
        let at = self.lines[stream].since.unwrap_or(now);
        encode::tail(&mut self.tail, STREAMS[stream], &self.attrs, at);
    }

    /// A file takes one entry more once it has reached its size, never two: that is when it is rotated.
    fn rotate_if_due(&mut self) {
        if self.rotation.is_due(self.size + self.out.len() as u64) {
            self.flush();
            if self.rotation.is_due(self.size) {
                let length = self.file.take().map_or(0, |file| length(&file));
                match self.rotation.rotate() {
                    Ok(()) => {
                        self.start += length;
                        self.reopen();
                    }
                    Err(_) => self.reopen(),
                }
            }
        }
    }

    fn reopen(&mut self) {
        let path = self.rotation.path();
        let is_there = rustix::fs::access(path, Access::EXISTS).is_ok();
        let file = match self.start {
            1.. if !is_there => start::create(path, self.start).or_else(|_| open(path, OFlags::CREATE)),
            _ => open(path, OFlags::CREATE),
        };
        match file {
            Ok(file) => {
                self.size = length(&file);
                self.rotation.opened(self.size);
                self.file = Some(file);
            }
            Err(error) => self.dropped.why = Some(error),
        }
    }

    /// Writes what is encoded, after a note on what was dropped before it.
    fn flush(&mut self) {
        if self.out.is_empty() {
            return;
        }
        if self.file.is_none() {
            self.reopen();
        }
        if self.dropped.lines > 0 {
            let mut note = self.dropped.note(&self.attrs);
            if self.append(&mut note) {
                self.dropped = Dropped::default();
            }
        }
        let mut out = std::mem::take(&mut self.out);
        if self.dropped.lines > 0 || !self.append(&mut out) {
            self.dropped.lines += out.iter().filter(|&&byte| byte == b'\n').count() as u64;
        }
        out.clear();
        self.out = out;
    }

    /// Appends whole entries to the file. Those that could not be written are left in `entries`.
    fn append(&mut self, entries: &mut Vec<u8>) -> bool {
        let Some(file) = &self.file else { return false };
        let mut written = 0;
        let error = loop {
            match rustix::io::write(file, &entries[written..]) {
                Err(Errno::INTR) => {}
                Err(error) => break error,
                Ok(0) => break Errno::NOSPC,
                Ok(more) => written += more,
            }
            if written == entries.len() {
                self.size += written as u64;
                return true;
            }
        };
        let whole = entries[..written].iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        if whole < written {
            cut(file, (written - whole) as u64);
        }
        self.size += whole as u64;
        self.dropped.why = Some(error);
        entries.drain(..whole);
        false
    }
}

impl Dropped {
    fn note(&self, attrs: &str) -> Vec<u8> {
        let why = self.why.map(|errno| format!(": {}", io::Error::from(errno))).unwrap_or_default();
        let mut entry = Vec::new();
        encode::begin(&mut entry);
        encode::text(&mut entry, format!("berth: {} log lines were dropped{why}\n", self.lines).as_bytes());
        let mut tail = Vec::new();
        encode::tail(&mut tail, STREAMS[1], attrs, time::now_nanos());
        entry.extend_from_slice(&tail);
        entry
    }
}

/// Cuts the half entry off the end of the file. Its length is asked for: somebody else may have truncated it.
fn cut(file: &OwnedFd, excess: u64) {
    if let Ok(stat) = rustix::fs::fstat(file) {
        let length = u64::try_from(stat.st_size).unwrap_or(0).saturating_sub(excess);
        // If even that fails, the half entry stays and a reader skips it.
        let _ = rustix::fs::ftruncate(file.as_fd(), length);
    }
}

fn length(file: &OwnedFd) -> u64 {
    rustix::fs::fstat(file).map_or(0, |stat| u64::try_from(stat.st_size).unwrap_or(0))
}

fn open(path: &std::path::Path, more: OFlags) -> Result<OwnedFd, Errno> {
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CLOEXEC | OFlags::NOFOLLOW | more;
    rustix::fs::open(path, flags, Mode::from_raw_mode(0o640))
}

#[cfg(test)]
mod tests;
