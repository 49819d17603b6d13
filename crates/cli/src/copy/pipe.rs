//! Archives between the connection, which is asynchronous, and the threads that pack and unpack.

use std::io::{self, Read, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use berth_api::client::Body;
use bytes::{Buf, Bytes};
use futures_util::Stream;
use tokio::sync::mpsc;

/// As many pieces wait for a slow reader.
const AHEAD: usize = 8;
/// How large a piece becomes before it is handed over.
const PIECE: usize = 64 << 10;

/// The end that a thread writes an archive into.
pub(crate) struct ArchiveWriter {
    sender: mpsc::Sender<Vec<u8>>,
    piece: Vec<u8>,
}

/// The end that the connection reads it from.
pub(crate) struct ArchiveReader {
    receiver: mpsc::Receiver<Vec<u8>>,
    count: Arc<AtomicU64>,
}

/// A pipe for an archive that is packed while it is sent, and how many bytes have passed.
pub(crate) fn archive_pipe() -> (ArchiveWriter, ArchiveReader, Arc<AtomicU64>) {
    let (sender, receiver) = mpsc::channel(AHEAD);
    let count = Arc::new(AtomicU64::new(0));
    let reader = ArchiveReader { receiver, count: Arc::clone(&count) };
    (ArchiveWriter { sender, piece: Vec::with_capacity(PIECE) }, reader, count)
}

impl Write for ArchiveWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE));
        self.sender.blocking_send(piece).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Stream for ArchiveReader {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        self.receiver.poll_recv(context).map(|piece| {
            let piece = Bytes::from(piece?);
            self.count.fetch_add(piece.len() as u64, Ordering::Relaxed);
            Some(Ok(piece))
        })
    }
}

/// A body as a thread reads it.
pub(crate) struct BodyReader {
    receiver: mpsc::Receiver<Result<Bytes, String>>,
    current: Bytes,
    count: Arc<AtomicU64>,
}

/// A reader of `body` for a thread, the work that feeds it, and how many bytes have come.
pub(crate) fn body_pipe(mut body: Body) -> (BodyReader, impl Future<Output = ()>, Arc<AtomicU64>) {
    let (sender, receiver) = mpsc::channel(AHEAD);
    let count = Arc::new(AtomicU64::new(0));
    let reader = BodyReader { receiver, current: Bytes::new(), count: Arc::clone(&count) };
    let feed = async move {
        loop {
            let piece = match body.chunk().await {
                Ok(None) => return,
                Ok(Some(bytes)) => Ok(bytes),
                Err(error) => Err(error.to_string()),
            };
            if sender.send(piece).await.is_err() {
                return;
            }
        }
    };
    (reader, feed, count)
}

impl Read for BodyReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.receiver.blocking_recv() {
                None => return Ok(0),
                Some(Ok(piece)) => self.current = piece,
                Some(Err(reason)) => return Err(io::Error::other(reason)),
            }
        }
        let size = self.current.len().min(buffer.len());
        buffer[..size].copy_from_slice(&self.current[..size]);
        self.current.advance(size);
        self.count.fetch_add(size as u64, Ordering::Relaxed);
        Ok(size)
    }
}
