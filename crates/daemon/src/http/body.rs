//! Bodies of requests and answers.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use futures_util::Stream;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use tokio::io::{AsyncRead, ReadBuf};

/// The largest JSON body that is read. Docker has no limit; nothing real comes near this one.
const JSON_MAX: usize = 16 << 20;

/// The body of a request.
#[derive(Debug)]
pub(crate) enum RequestBody {
    /// Still to be read from the connection.
    Incoming(Incoming),
    /// Read already.
    Read(Bytes),
}

/// Why a body could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("http: request body too large")]
    TooLarge,
    #[error("unexpected EOF")]
    Cut,
}

impl RequestBody {
    /// Says whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Incoming(body) => body.is_end_stream() || body.size_hint().exact() == Some(0),
            Self::Read(bytes) => bytes.is_empty(),
        }
    }

    /// The whole of it.
    pub(crate) async fn read(self) -> Result<Bytes, ReadError> {
        match self {
            Self::Read(bytes) => Ok(bytes),
            Self::Incoming(body) => match Limited::new(body, JSON_MAX).collect().await {
                Ok(body) => Ok(body.to_bytes()),
                Err(error) if error.is::<LengthLimitError>() => Err(ReadError::TooLarge),
                Err(_) => Err(ReadError::Cut),
            },
        }
    }

    /// The body as something to read from.
    pub(crate) fn into_reader(self) -> BodyReader {
        let (body, ahead) = match self {
            Self::Incoming(body) => (Some(body), Bytes::new()),
            Self::Read(bytes) => (None, bytes),
        };
        BodyReader { body, ahead }
    }
}

/// Reads a body as it arrives.
#[derive(Debug)]
pub(crate) struct BodyReader {
    body: Option<Incoming>,
    ahead: Bytes,
}

impl AsyncRead for BodyReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            if !self.ahead.is_empty() {
                let size = self.ahead.len().min(into.remaining());
                into.put_slice(&self.ahead[..size]);
                self.ahead.advance(size);
                return Poll::Ready(Ok(()));
            }
            let Some(body) = &mut self.body else { return Poll::Ready(Ok(())) };
            match std::task::ready!(Pin::new(body).poll_frame(context)) {
                None => self.body = None,
                Some(Ok(frame)) => self.ahead = frame.into_data().unwrap_or_default(),
                Some(Err(error)) => {
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::UnexpectedEof, error)));
                }
            }
        }
    }
}

/// The body of an answer.
pub(crate) enum Body {
    /// Known at once.
    Whole(Bytes),
    /// Produced as it is sent; an error cuts the connection, so that the client sees that something is missing.
    Stream(Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>),
}

impl Body {
    pub(crate) fn empty() -> Self {
        Self::Whole(Bytes::new())
    }

    /// A body that is produced as it is sent.
    pub(crate) fn stream(stream: impl Stream<Item = io::Result<Bytes>> + Send + 'static) -> Self {
        Self::Stream(Box::pin(stream))
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.get_mut() {
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Stream(stream) => {
                stream.as_mut().poll_next(context).map(|next| next.map(|item| item.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Stream(_) => SizeHint::default(),
        }
    }
}
