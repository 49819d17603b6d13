//! Bodies of requests and answers.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use tokio::sync::oneshot;

/// The largest JSON body that is read. Docker has no limit; nothing real comes near this one.
const JSON_MAX: usize = 16 << 20;

/// The body of a request.
#[derive(Debug)]
pub(crate) enum RequestBody {
    /// Still to be read from the connection.
    Incoming(Returned),
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
            Self::Incoming(body) => body.get().is_none_or(|body| body.size_hint().exact() == Some(0)),
            Self::Read(bytes) => bytes.is_empty(),
        }
    }

    /// The whole of it.
    pub(crate) async fn read(self) -> Result<Bytes, ReadError> {
        match self {
            Self::Read(bytes) => Ok(bytes),
            Self::Incoming(mut body) => match Limited::new(&mut body, JSON_MAX).collect().await {
                Ok(body) => Ok(body.to_bytes()),
                Err(error) if error.is::<LengthLimitError>() => Err(ReadError::TooLarge),
                Err(_) => Err(ReadError::Cut),
            },
        }
    }

    /// The body as it arrives.
    pub(crate) fn into_pieces(self) -> Pieces {
        match self {
            Self::Incoming(body) => Pieces::Incoming(body),
            Self::Read(bytes) => Pieces::Read(Some(bytes)),
        }
    }
}

/// A body that goes back to its connection when it is dropped before its end.
///
/// A client that sends its body while it is being refused must be able to finish, or it sees a broken connection in
/// place of the answer.
#[derive(Debug)]
pub(crate) struct Returned {
    body: Option<Incoming>,
    back: Option<oneshot::Sender<Incoming>>,
}

impl Returned {
    /// The body, and where it comes back to.
    pub(crate) fn new(body: Incoming) -> (Self, oneshot::Receiver<Incoming>) {
        let (back, receiver) = oneshot::channel();
        (Self { body: (!body.is_end_stream()).then_some(body), back: Some(back) }, receiver)
    }

    fn get(&self) -> Option<&Incoming> {
        self.body.as_ref()
    }
}

impl Drop for Returned {
    fn drop(&mut self) {
        if let (Some(body), Some(back)) = (self.body.take(), self.back.take()) {
            let _ = back.send(body); // the connection may be gone
        }
    }
}

impl HttpBody for Returned {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = std::task::ready!(Pin::new(body).poll_frame(context));
        if frame.is_none() {
            self.body = None;
        }
        Poll::Ready(frame)
    }

    fn size_hint(&self) -> SizeHint {
        self.get().map_or(SizeHint::with_exact(0), HttpBody::size_hint)
    }

    fn is_end_stream(&self) -> bool {
        self.get().is_none_or(HttpBody::is_end_stream)
    }
}

/// For how long a body that nobody wanted is read on. The client has its answer by then: it reads while it writes.
const DRAIN_TIME: Duration = Duration::from_secs(2);

/// Reads the rest of a body that its handler left, while the answer is on its way. What is still unread at the end
/// breaks the connection.
pub(crate) async fn drain(returned: oneshot::Receiver<Incoming>) {
    // A handler's thread may let go of the body after the answer.
    let Ok(mut body) = returned.await else { return };
    let reading = async { while let Some(Ok(_)) = body.frame().await {} };
    let _ = tokio::time::timeout(DRAIN_TIME, reading).await;
}

/// The pieces of a body as they arrive.
#[derive(Debug)]
pub(crate) enum Pieces {
    Incoming(Returned),
    Read(Option<Bytes>),
}

impl Stream for Pieces {
    type Item = io::Result<Bytes>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        match self.get_mut() {
            Self::Read(bytes) => Poll::Ready(bytes.take().map(Ok)),
            Self::Incoming(body) => {
                let frame = std::task::ready!(Pin::new(body).poll_frame(context));
                Poll::Ready(frame.map(|frame| match frame {
                    Ok(frame) => Ok(frame.into_data().unwrap_or_default()),
                    Err(error) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, error)),
                }))
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
