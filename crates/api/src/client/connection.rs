//! One HTTP connection: hyper's two halves, the second driven by a task of its own.

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;

use super::error::Error;
use super::host::Host;
use super::tls::Tls;
use super::transport::Transport;

/// What a request carries.
pub(crate) type RequestBody = BoxBody<Bytes, std::io::Error>;

/// An open connection. It can carry one request at a time.
#[derive(Debug)]
pub(crate) struct Connection(SendRequest<RequestBody>);

impl Connection {
    /// Connects. Must run inside a tokio runtime: the connection's own task is spawned there.
    pub(crate) async fn open(host: &Host, tls: Option<&Tls>) -> Result<Self, Error> {
        let transport = Self::transport(host, tls).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(transport)).await?;
        tokio::spawn(async move {
            // An error here is also the error of the request that was under way, which reports it.
            let _ = connection.with_upgrades().await;
        });
        Ok(Self(sender))
    }

    /// Connects, and leaves it to the caller what is said.
    pub(crate) async fn transport(host: &Host, tls: Option<&Tls>) -> Result<Transport, Error> {
        Transport::connect(host, tls).await.map_err(|source| match source.kind() {
            std::io::ErrorKind::PermissionDenied => Error::Permission { host: host.to_string() },
            // What the handshake found: another certificate, or somebody who speaks no TLS.
            std::io::ErrorKind::InvalidData | std::io::ErrorKind::InvalidInput => {
                Error::Tls { host: host.to_string(), source }
            }
            _ => Error::Connect { host: host.to_string(), source },
        })
    }

    /// Sends a request and waits for the headers of its answer.
    pub(crate) async fn send(&mut self, request: Request<RequestBody>) -> Result<Response<Incoming>, Error> {
        self.0.ready().await?;
        Ok(self.0.send_request(request).await?)
    }

    /// Whether another request could be sent now.
    pub(crate) fn is_usable(&self) -> bool {
        !self.0.is_closed()
    }
}
