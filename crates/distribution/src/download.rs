//! The download of one blob: taken up again where it broke off, at the next endpoint if need be.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use berth_oci::Descriptor;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::header::{ACCEPT, CONTENT_RANGE, RANGE};
use hyper::{Method, Response, StatusCode};
use tokio::sync::mpsc;

use crate::client::pause;
use crate::endpoint::Endpoint;
use crate::session::{Ask, Session};
use crate::{Client, Error, OnUpdate, Update};

/// What a registry must bring of a layer as long as patience lasts, or it is asked again: a drip is no download.
const DRIP_BYTES_MIN: u64 = 16 << 10;
/// Pieces between the socket and the unpacking of a layer.
pub(crate) const PIECES: usize = 8;
/// How often progress is told, in bytes.
const PROGRESS_BYTES: u64 = 512 << 10;

/// A blob that has to be fetched.
pub(crate) struct Download {
    pub(crate) client: Client,
    pub(crate) sessions: Vec<Arc<Session>>,
    /// Its place below `/v2/`.
    pub(crate) path: String,
    pub(crate) descriptor: Descriptor,
    pub(crate) on_update: OnUpdate,
}

impl Download {
    pub(crate) fn tell(&self, status: &str, progress: Option<(u64, u64)>) {
        let id = self.descriptor.digest.short().to_owned();
        (self.on_update)(Update { id, status: status.to_owned(), progress });
    }

    /// Brings the bytes, going on where a connection broke off, at the next endpoint if one is not to be had.
    pub(crate) async fn run(&self, to: &mpsc::Sender<io::Result<Bytes>>) -> Result<(), Error> {
        let mut offset = 0;
        let mut first_error = None;
        for (place, session) in self.sessions.iter().enumerate() {
            let url = session.endpoint.url(&self.path);
            match self.download_from(session, &url, &mut offset, to).await {
                Ok(()) => return Ok(()),
                Err(error) => {
                    let is_last = place + 1 == self.sessions.len();
                    if is_last && error.status() == 404 && self.descriptor.is_foreign() {
                        return self.fetch_abroad(error, &mut offset, to).await;
                    }
                    if is_last || !session.endpoint.passes_on(&error) {
                        return Err(match first_error {
                            Some(first) => Error::or_telling(first, error),
                            None => error,
                        });
                    }
                    first_error = first_error.or(Some(error));
                }
            }
        }
        Err(Error::NotFound(format!("no endpoint for {}", self.descriptor.digest)))
    }

    /// Brings a layer that no registry may hand on from the places that its manifest names. They are told nothing of
    /// who asks.
    async fn fetch_abroad(
        &self,
        mut error: Error,
        offset: &mut u64,
        to: &mpsc::Sender<io::Result<Bytes>>,
    ) -> Result<(), Error> {
        for url in &self.descriptor.urls {
            let Some(endpoint) = Endpoint::stranger(url) else { continue };
            let session = Session::new(Arc::clone(&self.client.shared), endpoint, Vec::new(), None);
            match self.download_from(&session, url, offset, to).await {
                Ok(()) => return Ok(()),
                Err(other) => error = other,
            }
        }
        Err(error)
    }

    async fn download_from(
        &self,
        session: &Session,
        url: &str,
        offset: &mut u64,
        to: &mpsc::Sender<io::Result<Bytes>>,
    ) -> Result<(), Error> {
        let mut attempt = 0;
        loop {
            let before = *offset;
            let error = match self.stream(session, url, offset, to).await {
                Err(error) if error.is_passing() => error,
                result => return result,
            };
            // Whoever drips must not be asked for ever.
            attempt = if *offset - before >= DRIP_BYTES_MIN { 1 } else { attempt + 1 };
            let wait = pause(&error, attempt).filter(|_| attempt < self.client.shared.options.attempts);
            let Some(wait) = wait else { return Err(error) };
            tracing::info!(%error, offset, layer = %self.descriptor.digest, "a download goes on after a failure");
            self.tell(&format!("Retrying in {} seconds", wait.as_secs().max(1)), None);
            tokio::time::sleep(wait).await;
        }
    }

    /// One request for what is still missing.
    async fn stream(
        &self,
        session: &Session,
        url: &str,
        offset: &mut u64,
        to: &mpsc::Sender<io::Result<Bytes>>,
    ) -> Result<(), Error> {
        let total = self.descriptor.size;
        let mut ask = Ask::new(Method::GET, url.to_owned()).header(ACCEPT, "*/*");
        if *offset > 0 {
            ask = ask.header(RANGE, &format!("bytes={offset}-"));
        }
        let answer = session.send(&ask).await?;
        let mut skip = to_skip(&ask, &answer, *offset)?;
        let mut body = answer.into_body();
        let mut told = *offset;
        let mut flow =
            Flow { patience: self.client.shared.options.patience, waited: Duration::ZERO, bytes: 0 };
        while let Some(mut piece) = flow.next(&ask, &mut body).await? {
            if skip > 0 {
                let dropped = skip.min(piece.len() as u64);
                skip -= dropped;
                // No more than the piece is long.
                piece = piece.slice(usize::try_from(dropped).unwrap_or(piece.len())..);
            }
            if *offset + piece.len() as u64 > total {
                return Err(Error::Lie(format!(
                    "layer {} is longer than the {total} bytes that its manifest says",
                    self.descriptor.digest
                )));
            }
            *offset += piece.len() as u64;
            if !piece.is_empty() && to.send(Ok(piece)).await.is_err() {
                return Err(Error::Lie(String::new()));
            }
            if *offset - told >= PROGRESS_BYTES {
                told = *offset;
                self.tell("Downloading", Some((told, total)));
            }
        }
        if *offset < total {
            return Err(ask.failed("unexpected EOF"));
        }
        Ok(())
    }
}

/// How much of an answer is known already: an endpoint without ranges sends all from the start.
fn to_skip(ask: &Ask, answer: &Response<Incoming>, offset: u64) -> Result<u64, Error> {
    match answer.status() {
        StatusCode::PARTIAL_CONTENT if offset > 0 => {
            let range = answer.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
            match range.and_then(range_start) {
                Some(start) if start == offset => Ok(0),
                _ => Err(ask.failed(format!("asked for bytes from {offset}, got {range:?}"))),
            }
        }
        StatusCode::OK => Ok(offset),
        other => Err(ask.failed(format!("received unexpected HTTP status: {other}"))),
    }
}

/// Where the bytes of a `Content-Range` begin.
pub(crate) fn range_start(range: &str) -> Option<u64> {
    range.strip_prefix("bytes ")?.split('-').next()?.parse().ok()
}

/// What comes in the time in which nothing else is done: that which unpacking takes does not count against the registry.
struct Flow {
    patience: Duration,
    waited: Duration,
    bytes: u64,
}

impl Flow {
    async fn next(&mut self, ask: &Ask, body: &mut Incoming) -> Result<Option<Bytes>, Error> {
        loop {
            let began = tokio::time::Instant::now();
            let frame = match tokio::time::timeout(self.patience, body.frame()).await {
                Ok(Some(Ok(frame))) => frame,
                Ok(Some(Err(error))) => return Err(ask.failed(error)),
                Ok(None) => return Ok(None),
                Err(_) => return Err(ask.failed(format!("nothing came for {:?}", self.patience))),
            };
            self.waited += began.elapsed();
            let Ok(piece) = frame.into_data() else { continue };
            self.bytes += piece.len() as u64;
            if self.waited > self.patience {
                if self.bytes < DRIP_BYTES_MIN {
                    return Err(ask.failed(format!("only {} bytes in {:?}", self.bytes, self.patience)));
                }
                (self.waited, self.bytes) = (Duration::ZERO, 0);
            }
            return Ok(Some(piece));
        }
    }
}

/// What comes from the socket, for a thread that blocks.
pub(crate) struct Pieces {
    receiver: mpsc::Receiver<io::Result<Bytes>>,
    piece: Bytes,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.receiver.blocking_recv() {
                Some(piece) => self.piece = piece?,
                None => return Ok(0),
            }
        }
        let length = buffer.len().min(self.piece.len());
        buffer[..length].copy_from_slice(&self.piece.split_to(length));
        Ok(length)
    }
}

impl Pieces {
    pub(crate) fn new(receiver: mpsc::Receiver<io::Result<Bytes>>) -> Self {
        Self { receiver, piece: Bytes::new() }
    }
}
