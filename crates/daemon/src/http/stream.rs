//! An accepted connection as bytes both ways, whatever it came over.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use tokio::io::WriteHalf;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf, Ready};
use tokio::net::{TcpStream, UnixStream, tcp, unix};
use tokio_rustls::server::TlsStream;

/// How long a client that does not read the head of its answer is waited for.
const READ_WITHIN: Duration = Duration::from_secs(2);

/// A connection, and bytes that were read from it already.
#[derive(Debug)]
pub(crate) struct Stream {
    ahead: Bytes,
    socket: Socket,
}

/// What connections come over.
#[derive(Debug)]
pub(crate) enum Socket {
    Unix(UnixStream),
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    pub(crate) fn new(socket: Socket) -> Self {
        Self { ahead: Bytes::new(), socket }
    }

    /// Puts bytes in front of what is read next.
    pub(crate) fn unread(mut self, bytes: Bytes) -> Self {
        self.ahead =
            if self.ahead.is_empty() { bytes } else { [bytes.as_ref(), self.ahead.as_ref()].concat().into() };
        self
    }

    /// [`Writer::is_read`] before the directions are split.
    pub(crate) async fn is_read(&self) {
        match &self.socket {
            Socket::Unix(socket) => is_read(socket).await,
            Socket::Tcp(_) | Socket::Tls(_) => {}
        }
    }

    /// The two directions, to be used at the same time.
    pub(crate) fn into_split(self) -> (Reader, Writer) {
        let (half, writer) = match self.socket {
            Socket::Unix(socket) => {
                let (reader, writer) = socket.into_split();
                (ReadHalf::Unix(reader), Writer::Unix(writer))
            }
            Socket::Tcp(socket) => {
                let (reader, writer) = socket.into_split();
                (ReadHalf::Tcp(reader), Writer::Tcp(writer))
            }
            Socket::Tls(socket) => {
                let (reader, writer) = tokio::io::split(*socket);
                (ReadHalf::Tls(reader), Writer::Tls(writer))
            }
        };
        (Reader { ahead: self.ahead, half }, writer)
    }
}

/// What comes from the peer.
#[derive(Debug)]
pub(crate) struct Reader {
    ahead: Bytes,
    half: ReadHalf,
}

#[derive(Debug)]
enum ReadHalf {
    Unix(unix::OwnedReadHalf),
    Tcp(tcp::OwnedReadHalf),
    Tls(tokio::io::ReadHalf<TlsStream<TcpStream>>),
}

/// What goes to the peer. Dropping it ends that direction. What was written is on its way after a flush.
#[derive(Debug)]
pub(crate) enum Writer {
    Unix(unix::OwnedWriteHalf),
    Tcp(tcp::OwnedWriteHalf),
    Tls(WriteHalf<TlsStream<TcpStream>>),
}

impl Reader {
    /// Says whether the peer has closed both directions. A peer that only stopped writing is still there.
    ///
    /// Only a unix socket tells; over TCP a peer is gone when writing to it fails.
    pub(crate) async fn is_abandoned(&self) -> bool {
        match &self.half {
            ReadHalf::Unix(half) => half.ready(Interest::WRITABLE).await.is_ok_and(Ready::is_write_closed),
            ReadHalf::Tcp(_) | ReadHalf::Tls(_) => false,
        }
    }
}

impl Writer {
    /// Waits until the peer has read what was written so far, for a moment at most.
    ///
    /// Some clients read the head of an answer through a buffer and what follows from the socket itself. What came with
    /// the head is lost to them, so the first output waits until the head is read. Over TCP nobody tells.
    pub(crate) async fn is_read(&self) {
        match self {
            Self::Unix(half) => is_read(half.as_ref()).await,
            Self::Tcp(_) | Self::Tls(_) => {}
        }
    }
}

async fn is_read(socket: &UnixStream) {
    let start = Instant::now();
    while berth_sys::net::unread_by_peer(socket).is_ok_and(|size| size > 0) {
        match start.elapsed() {
            short if short < Duration::from_micros(200) => tokio::task::yield_now().await,
            long if long < READ_WITHIN => tokio::time::sleep(Duration::from_millis(1)).await,
            _ => return,
        }
    }
}

impl AsyncRead for Reader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            take_ahead(&mut self.ahead, into);
            return Poll::Ready(Ok(()));
        }
        match &mut self.half {
            ReadHalf::Unix(half) => Pin::new(half).poll_read(context, into),
            ReadHalf::Tcp(half) => Pin::new(half).poll_read(context, into),
            ReadHalf::Tls(half) => Pin::new(half).poll_read(context, into),
        }
    }
}

impl AsyncWrite for Writer {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Unix(half) => Pin::new(half).poll_write(context, from),
            Self::Tcp(half) => Pin::new(half).poll_write(context, from),
            Self::Tls(half) => Pin::new(half).poll_write(context, from),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(_) | Self::Tcp(_) => Poll::Ready(Ok(())),
            Self::Tls(half) => Pin::new(half).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(half) => Pin::new(half).poll_shutdown(context),
            Self::Tcp(half) => Pin::new(half).poll_shutdown(context),
            Self::Tls(half) => Pin::new(half).poll_shutdown(context),
        }
    }
}

fn take_ahead(ahead: &mut Bytes, into: &mut ReadBuf<'_>) {
    let size = ahead.len().min(into.remaining());
    into.put_slice(&ahead[..size]);
    ahead.advance(size);
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            take_ahead(&mut self.ahead, into);
            return Poll::Ready(Ok(()));
        }
        match &mut self.socket {
            Socket::Unix(socket) => Pin::new(socket).poll_read(context, into),
            Socket::Tcp(socket) => Pin::new(socket).poll_read(context, into),
            Socket::Tls(socket) => Pin::new(socket.as_mut()).poll_read(context, into),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        from: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.socket {
            Socket::Unix(socket) => Pin::new(socket).poll_write(context, from),
            Socket::Tcp(socket) => Pin::new(socket).poll_write(context, from),
            Socket::Tls(socket) => Pin::new(socket.as_mut()).poll_write(context, from),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        from: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.socket {
            Socket::Unix(socket) => Pin::new(socket).poll_write_vectored(context, from),
            Socket::Tcp(socket) => Pin::new(socket).poll_write_vectored(context, from),
            Socket::Tls(socket) => Pin::new(socket.as_mut()).poll_write_vectored(context, from),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.socket {
            Socket::Unix(_) | Socket::Tcp(_) => Poll::Ready(Ok(())),
            Socket::Tls(socket) => Pin::new(socket.as_mut()).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.socket {
            Socket::Unix(socket) => Pin::new(socket).poll_shutdown(context),
            Socket::Tcp(socket) => Pin::new(socket).poll_shutdown(context),
            Socket::Tls(socket) => Pin::new(socket.as_mut()).poll_shutdown(context),
        }
    }
}
