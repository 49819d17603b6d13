//! What a URL gives that belongs to no registry: the archive of an import.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;
use http_body_util::{BodyExt as _, Limited};
use hyper::Method;
use hyper::body::{Body as _, Incoming};
use hyper::ext::ReasonPhrase;

use crate::endpoint::Endpoint;
use crate::session::{Ask, Session};
use crate::{Client, Error, OnUpdate, Update};

/// So much of a refusal's text is told.
const REFUSAL_BYTES_MAX: usize = 1 << 20;
const PROGRESS_BYTES: u64 = 512 << 10;

/// The body of an answer as it comes. An end before the length that was announced is an error.
pub struct Fetched {
    body: Incoming,
    current: u64,
    told: u64,
    total: u64,
    on_update: OnUpdate,
}

impl Client {
    /// Asks for what is at a URL; one without a scheme is of `http`. Redirects are followed, but not from TLS to plain
    /// text. Says "Downloading from …" when the answer has begun, then "Importing" with how much has been read.
    ///
    /// Errors: the URL is malformed; its host cannot be reached or refuses, in the words of Docker.
    pub async fn fetch(&self, url: &str, on_update: &OnUpdate) -> Result<Fetched, Error> {
        let url = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
        let ask = Ask::new(Method::GET, url.clone());
        let scheme = url.split("://").next().unwrap_or_default();
        if !matches!(scheme, "http" | "https") {
            return Err(ask.failed(format!("unsupported protocol scheme {scheme:?}")));
        }
        let host = Endpoint::stranger(&url).filter(|endpoint| !endpoint.host.is_empty());
        let endpoint = host.ok_or_else(|| {
            // In Go's form, which has no slashes before a host that is not there.
            let told = if url.ends_with("://") { url.trim_end_matches('/') } else { &url };
            Ask::new(Method::GET, told.to_owned()).failed("http: no Host in request URL")
        })?;
        let session = Session::new(self.shared.clone(), endpoint, Vec::new(), None);
        let answer = session.try_once(&ask).await?;
        let status = answer.status();
        if status.is_client_error() || status.is_server_error() {
            let reason = answer.extensions().get::<ReasonPhrase>().map(ReasonPhrase::as_bytes);
            let reason = reason.map_or(status.canonical_reason().unwrap_or_default().into(), |reason| {
                String::from_utf8_lossy(reason).into_owned()
            });
            let code = status.as_u16();
            let body = Limited::new(answer.into_body(), REFUSAL_BYTES_MAX).collect().await;
            let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
            let text = String::from_utf8_lossy(&body);
            let message = format!("failed to GET {url} with status {code} {reason}: {}", text.trim());
            return Err(match code {
                404 => Error::NotFound(message),
                400 => Error::Invalid(message),
                401 | 407 => Error::Unauthorized(message),
                status => Error::Refused { status, code: String::new(), message, retry_after: None },
            });
        }
        on_update(Update { status: format!("Downloading from {url}"), ..Update::default() });
        let body = answer.into_body();
        let total = body.size_hint().exact().unwrap_or(0);
        let on_update = OnUpdate::clone(on_update);
        Ok(Fetched { body, current: 0, told: 0, total, on_update })
    }
}

impl Fetched {
    fn tell(&mut self, is_end: bool) {
        if self.current - self.told >= PROGRESS_BYTES || (is_end && self.told < self.current) {
            self.told = self.current;
            (self.on_update)(Update {
                status: "Importing".to_owned(),
                progress: Some((self.current, self.total)),
                ..Update::default()
            });
        }
    }
}

impl Stream for Fetched {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        Poll::Ready(match std::task::ready!(Pin::new(&mut self.body).poll_frame(context)) {
            None => {
                self.tell(true);
                None
            }
            Some(Ok(frame)) => {
                let piece = frame.into_data().unwrap_or_default();
                self.current += piece.len() as u64;
                self.tell(false);
                Some(Ok(piece))
            }
            Some(Err(error)) => Some(Err(io::Error::new(io::ErrorKind::UnexpectedEof, error))),
        })
    }
}
