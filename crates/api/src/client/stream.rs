//! Answers that go on: bodies in pieces, JSON values one after the other, hijacked connections.

use std::marker::PhantomData;

use bytes::{Buf, Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use tokio::io::{ReadHalf, WriteHalf};

use super::connection::Connection;
use super::error::Error;
use super::transport::Transport;

/// A response body that is read piece by piece.
#[derive(Debug)]
pub struct Body {
    incoming: Incoming,
    /// Dropping the sender would end the connection under the body.
    _connection: Connection,
    /// The response's `Content-Type`.
    pub content_type: String,
}

impl Body {
    pub(crate) fn new(incoming: Incoming, connection: Connection, content_type: String) -> Self {
        Self { incoming, _connection: connection, content_type }
    }

    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// [`Error::Http`] when the connection breaks.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        while let Some(frame) = self.incoming.frame().await {
            if let Ok(data) = frame?.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }

    /// All that is left.
    pub(crate) async fn whole(&mut self) -> Result<Bytes, Error> {
        let mut bytes = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes.into())
    }

    /// Whether log bytes in it carry the eight-byte headers of stdout and stderr; the engine's answer, if it gave one.
    pub fn is_multiplexed(&self) -> Option<bool> {
        multiplexed(&self.content_type)
    }
}

fn multiplexed(content_type: &str) -> Option<bool> {
    match content_type {
        "application/vnd.docker.multiplexed-stream" => Some(true),
        // Engines before API 1.42 answer `raw-stream` for both kinds; the caller then asks whether there is a tty.
        _ => None,
    }
}

/// A body of JSON values, one after the other (`events`, `stats`, progress).
#[derive(Debug)]
pub struct JsonStream<T> {
    body: Body,
    buffer: BytesMut,
    ended: bool,
    value: PhantomData<T>,
}

impl<T: DeserializeOwned> JsonStream<T> {
    /// Reads values from `body`.
    pub fn new(body: Body) -> Self {
        Self { body, buffer: BytesMut::new(), ended: false, value: PhantomData }
    }

    /// The next value; `None` at the end.
    ///
    /// # Errors
    /// [`Error::Http`] when the connection breaks, [`Error::Json`] for a value that does not fit `T`.
    pub async fn next(&mut self) -> Result<Option<T>, Error> {
        match self.next_text().await? {
            Some(text) => super::decode(text.as_bytes()).map(Some),
            None => Ok(None),
        }
    }

    /// The next value as the engine wrote it.
    ///
    /// # Errors
    /// As [`JsonStream::next`], for a value that is no JSON.
    pub async fn next_text(&mut self) -> Result<Option<String>, Error> {
        loop {
            let mut values = serde_json::Deserializer::from_slice(&self.buffer)
                .into_iter::<&serde_json::value::RawValue>();
            match values.next() {
                Some(Ok(value)) => {
                    let text = value.get().to_owned();
                    let read = values.byte_offset();
                    self.buffer.advance(read);
                    return Ok(Some(text));
                }
                Some(Err(error)) if !error.is_eof() || self.ended => return Err(error.into()),
                None if self.ended => return Ok(None),
                Some(Err(_)) | None => {}
            }
            match self.body.chunk().await? {
                // RFC 7464 puts a record separator before each value; to a JSON parser it is not even blank.
                Some(chunk) => self.buffer.extend(chunk.iter().copied().filter(|&byte| byte != 0x1e)),
                None => self.ended = true,
            }
        }
    }
}

/// A connection that has stopped being HTTP: bytes both ways.
#[derive(Debug)]
pub struct Hijacked {
    /// What the engine sends.
    pub reader: HijackedReader,
    /// What we send; shutting it down is the end of the container's input, the other direction stays open.
    pub writer: HijackedWriter,
    content_type: String,
}

impl Hijacked {
    pub(crate) fn new(transport: Transport, read_ahead: Bytes, content_type: String) -> Self {
        let (reader, writer) = tokio::io::split(transport);
        let reader = HijackedReader { read_ahead, reader };
        Self { reader, writer: HijackedWriter(writer), content_type }
    }

    /// See [`Body::is_multiplexed`].
    pub fn is_multiplexed(&self) -> Option<bool> {
        multiplexed(&self.content_type)
    }
}

/// The reading half of a [`Hijacked`] connection.
#[derive(Debug)]
pub struct HijackedReader {
    /// Bytes that came with the response's headers.
    read_ahead: Bytes,
    reader: ReadHalf<Transport>,
}

impl HijackedReader {
    /// Reads into `buffer`; 0 is the end.
    ///
    /// # Errors
    /// What the socket says.
    pub async fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.read_ahead.has_remaining() {
            let size = self.read_ahead.remaining().min(buffer.len());
            self.read_ahead.copy_to_slice(&mut buffer[..size]);
            return Ok(size);
        }
        tokio::io::AsyncReadExt::read(&mut self.reader, buffer).await
    }
}

/// The writing half of a [`Hijacked`] connection.
#[derive(Debug)]
pub struct HijackedWriter(WriteHalf<Transport>);

impl HijackedWriter {
    /// Sends all of `bytes`.
    ///
    /// # Errors
    /// What the socket says.
    pub async fn write_all(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        tokio::io::AsyncWriteExt::write_all(&mut self.0, bytes).await
    }

    /// Ends this direction: the container reads end of file.
    ///
    /// # Errors
    /// What the socket says.
    pub async fn shutdown(&mut self) -> std::io::Result<()> {
        tokio::io::AsyncWriteExt::shutdown(&mut self.0).await
    }
}
