//! Bytes between threads that block and connections that must not.

use std::io::{self, BufRead, Read, Write};

use bytes::{Buf as _, Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _};
use tokio::sync::mpsc;

use crate::error::Result;

/// Chunks on their way.
const CHUNKS: usize = 8;
/// Chunks are about so large.
const CHUNK_BYTES: usize = 256 << 10;

/// A channel for what a [`ChannelWriter`] writes; what is on its way is bounded.
pub(crate) fn chunks() -> (mpsc::Sender<Result<Bytes>>, mpsc::Receiver<Result<Bytes>>) {
    mpsc::channel(CHUNKS)
}

/// What a client sends, in the pieces in which it comes.
pub trait Upload: Stream<Item = io::Result<Bytes>> + Send + Unpin + 'static {}

impl<T: Stream<Item = io::Result<Bytes>> + Send + Unpin + 'static> Upload for T {}

/// What comes from the network, for a thread that reads. Nothing is copied on the way.
pub(crate) struct ChannelReader {
    receiver: mpsc::Receiver<io::Result<Bytes>>,
    current: Bytes,
}

impl ChannelReader {
    /// Reads from this source in the background.
    pub(crate) fn new(mut source: impl Upload) -> ChannelReader {
        let (sender, receiver) = mpsc::channel(CHUNKS);
        tokio::spawn(async move {
            while let Some(chunk) = source.next().await {
                let is_last = chunk.is_err();
                if sender.send(chunk).await.is_err() || is_last {
                    return;
                }
            }
        });
        ChannelReader { receiver, current: Bytes::new() }
    }
}

impl Read for ChannelReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.fill_buf()?.len().min(buffer.len());
        self.current.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}

impl BufRead for ChannelReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.current.is_empty() {
            match self.receiver.blocking_recv() {
                Some(chunk) => self.current = chunk?,
                None => break,
            }
        }
        Ok(&self.current)
    }

    fn consume(&mut self, bytes: usize) {
        self.current.advance(bytes);
    }
}

/// What a thread writes, for the network.
pub(crate) struct ChannelWriter {
    sender: mpsc::Sender<Result<Bytes>>,
    buffer: BytesMut,
}

impl ChannelWriter {
    pub(crate) fn new(sender: mpsc::Sender<Result<Bytes>>) -> ChannelWriter {
        ChannelWriter { sender, buffer: BytesMut::new() }
    }
}

impl Write for ChannelWriter {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(data);
        if self.buffer.len() >= CHUNK_BYTES {
            self.flush()?;
        }
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let chunk = self.buffer.split().freeze();
        self.sender.blocking_send(Ok(chunk)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}
