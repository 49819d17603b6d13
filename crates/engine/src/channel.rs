//! Bytes between threads that block and connections that must not.

use std::io::{self, Read, Write};

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _};
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

/// What comes from the network, for a thread that reads.
pub(crate) struct ChannelReader {
    receiver: mpsc::Receiver<io::Result<Bytes>>,
    current: Bytes,
}

impl ChannelReader {
    /// Reads from this source in the background.
    pub(crate) fn new(mut source: impl AsyncRead + Send + Unpin + 'static) -> ChannelReader {
        let (sender, receiver) = mpsc::channel(CHUNKS);
        tokio::spawn(async move {
            loop {
                let mut buffer = BytesMut::with_capacity(CHUNK_BYTES);
                let chunk = match source.read_buf(&mut buffer).await {
                    Ok(0) => return,
                    Ok(_) => Ok(buffer.freeze()),
                    Err(error) => Err(error),
                };
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
        if self.current.is_empty() {
            match self.receiver.blocking_recv() {
                Some(chunk) => self.current = chunk?,
                None => return Ok(0),
            }
        }
        let length = self.current.len().min(buffer.len());
        self.current.copy_to_slice(&mut buffer[..length]);
        Ok(length)
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
