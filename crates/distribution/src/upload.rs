//! One blob on its way to a registry: asked for, mounted from elsewhere, or sent, and taken up again where it broke off.

use std::fs::File;
use std::io::{self, Read as _};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use berth_oci::{Descriptor, Reference};
use berth_store::image::Outgoing;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::header::{CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderName, LOCATION, RANGE};
use hyper::{Method, Response, StatusCode};
use tokio::sync::mpsc;

use crate::client::pause;
use crate::pull::mount_path;
use crate::session::{Ask, MakeBody, Session, encode, resolve};
use crate::{Client, Credentials, Error, OnUpdate, Update};

const PIECE: usize = 256 << 10;
const PIECES: usize = 4;
const PROGRESS_BYTES: u64 = 512 << 10;
const OCTETS: &str = "application/octet-stream";
/// How often patience may end before a registry takes the next piece: a slow line needs a while for it.
const STALL_PATIENCE: u32 = 4;
/// How often patience may end before a registry answers that has all bytes: it may copy or scan them first.
const ANSWER_PATIENCE: u32 = 20;
/// The lengths of chunks that are tried in turn where larger requests are refused: common bounds of proxies are 100 MB
/// and 1 MB.
const CHUNKS: [u64; 6] = [64 << 20, 16 << 20, 4 << 20, 1 << 20, 256 << 10, 64 << 10];

/// Where the bytes of an upload are.
#[derive(Clone)]
pub(crate) enum Source {
    Layer(Arc<Outgoing>, usize),
    Bytes(Bytes),
    File(Arc<File>),
    /// In another repository.
    Elsewhere(Arc<Elsewhere>),
}

/// A blob of another repository, and who asks there.
pub(crate) struct Elsewhere {
    pub(crate) client: Client,
    pub(crate) repository: Reference,
    pub(crate) blob: Descriptor,
    pub(crate) credentials: Option<Credentials>,
}

impl Source {
    /// The bytes from an offset on. Blocking.
    fn open(&self, offset: u64) -> io::Result<Box<dyn io::Read + Send>> {
        let failed = |error: &dyn std::fmt::Display| io::Error::other(error.to_string());
        Ok(match self {
            Self::Bytes(bytes) => {
                let mut cursor = io::Cursor::new(bytes.clone());
                cursor.set_position(offset);
                Box::new(cursor)
            }
            Self::Layer(outgoing, place) => outgoing.open(*place, offset).map_err(|error| failed(&error))?,
            Self::File(file) => Box::new(FileReader { file: Arc::clone(file), at: offset }),
            Self::Elsewhere(there) => {
                let Elsewhere { client, repository, blob, credentials } = &**there;
                let blob = client.blob(repository, blob, credentials.as_ref());
                let mut blob = blob.map_err(|error| failed(&error))?;
                io::copy(&mut (&mut blob).take(offset), &mut io::sink())?;
                Box::new(blob)
            }
        })
    }
}

/// Reads a file, whoever else reads it.
struct FileReader {
    file: Arc<File>,
    at: u64,
}

impl io::Read for FileReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// One blob on its way.
pub(crate) struct Upload {
    pub(crate) client: Client,
    pub(crate) session: Arc<Session>,
    pub(crate) repository: String,
    pub(crate) descriptor: Descriptor,
    /// What progress is told of.
    pub(crate) id: String,
    pub(crate) source: Source,
    /// Repositories that it may be mounted from.
    pub(crate) from: Vec<String>,
    pub(crate) on_update: OnUpdate,
    /// Up to where the bytes were taken.
    pub(crate) sent: Arc<AtomicU64>,
}

impl Upload {
    pub(crate) async fn run(self) -> Result<(), Error> {
        if self.is_there().await? {
            self.tell("Layer already exists", None);
            return Ok(());
        }
        let uploads = Arc::clone(&self.client.shared.uploads);
        let permit = match uploads.try_acquire() {
            Ok(permit) => permit,
            Err(_) => {
                self.tell("Waiting", None);
                uploads.acquire().await.map_err(|_| Error::Lie("no uploads are allowed".to_owned()))?
            }
        };
        let mut begun = None;
        for from in &self.from {
            let path = mount_path(&self.repository, &self.descriptor.digest, from);
            let ask = Ask::new(Method::POST, self.session.endpoint.url(&path)).reading(from);
            let answer = self.session.send(&ask).await;
            match answer {
                Ok(answer) if answer.status() == StatusCode::CREATED => {
                    self.tell(&format!("Mounted from {from}"), None);
                    return Ok(());
                }
                Ok(answer) => begun = Some(answer.headers().clone()),
                // A repository that may not be read is no place to mount from.
                Err(Error::Unconvinced { .. } | Error::Refused { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        self.send_all(begun).await?;
        drop(permit);
        self.tell("Pushed", None);
        Ok(())
    }

    fn tell(&self, status: &str, progress: Option<(u64, u64)>) {
        (self.on_update)(Update { id: self.id.clone(), status: status.to_owned(), progress });
    }

    async fn is_there(&self) -> Result<bool, Error> {
        let path = format!("{}/blobs/{}", self.repository, self.descriptor.digest);
        let ask = Ask::new(Method::HEAD, self.session.endpoint.url(&path));
        match self.client.patiently(true, || self.session.send(&ask)).await {
            Ok(_) => Ok(true),
            // Who may only write is told so where it writes.
            Err(error) if matches!(error.status(), 401 | 403 | 404) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Uploads the bytes: in one request, taken up again where the registry lost it, or in as many as it takes where
    /// so large a one is refused.
    async fn send_all(&self, begun: Option<HeaderMap>) -> Result<(), Error> {
        let mut at = match begun
            .as_ref()
            .and_then(|headers| location(self.session.endpoint.url("").as_str(), headers))
        {
            Some(at) => at,
            None => self.begin().await?,
        };
        let mut offset = 0;
        let mut attempt = 0;
        let mut chunk = None;
        loop {
            let sent = match chunk {
                // One request less than with PATCH, and as registries know it from most of their clients.
                None if offset == 0 => self.finish(&at, Some(self.body(0..self.descriptor.size))).await,
                _ => self.send_from(&at, offset, chunk).await,
            };
            let Err(error) = sent else { return Ok(()) };
            let blob = &self.descriptor.digest;
            if error.status() == 413 {
                chunk = Some(self.smaller(chunk).ok_or(error)?);
                tracing::info!(chunk, %blob, "an upload goes on in chunks, for the registry takes no larger ones");
                (at, offset) = self.resume(&at).await?;
                continue;
            }
            attempt += 1;
            let lost = error.status() == 404 || error.status() == 416;
            let wait = pause(&error, attempt)
                .filter(|_| (error.is_passing() || lost) && attempt < self.client.shared.options.attempts);
            let Some(wait) = wait else { return Err(error) };
            tracing::info!(%error, offset, %blob, "an upload goes on after a failure");
            tokio::time::sleep(wait).await;
            // What broke off may have been the answer only.
            if self.is_there().await? {
                return Ok(());
            }
            let before = offset;
            (at, offset) = self.resume(&at).await?;
            if offset > before {
                attempt = 0;
            }
        }
    }

    /// The length of chunks to try next.
    fn smaller(&self, chunk: Option<u64>) -> Option<u64> {
        let limit = chunk.unwrap_or(self.descriptor.size);
        CHUNKS.into_iter().find(|smaller| *smaller < limit)
    }

    async fn begin(&self) -> Result<String, Error> {
        let url = self.session.endpoint.url(&format!("{}/blobs/uploads/", self.repository));
        let ask = Ask::new(Method::POST, url.clone());
        let answer = self.client.patiently(true, || self.session.send(&ask)).await?;
        location(&url, answer.headers()).ok_or_else(|| ask.failed("the registry names no place to upload to"))
    }

    /// Where an upload stands; a new one if the registry has forgotten it.
    async fn resume(&self, at: &str) -> Result<(String, u64), Error> {
        let ask = Ask::new(Method::GET, at.to_owned());
        let Ok(answer) = self.session.send(&ask).await else { return Ok((self.begin().await?, 0)) };
        let received = answer.headers().get(RANGE).and_then(|value| value.to_str().ok());
        let last = received.and_then(|range| range.rsplit('-').next()?.parse::<u64>().ok());
        match (location(at, answer.headers()), last) {
            (Some(at), Some(last)) if last > 0 && last < self.descriptor.size => Ok((at, last + 1)),
            _ => Ok((self.begin().await?, 0)),
        }
    }

    /// Sends the bytes from an offset on, in chunks of this length, and completes the upload.
    async fn send_from(&self, at: &str, offset: u64, chunk: Option<u64>) -> Result<(), Error> {
        let size = self.descriptor.size;
        let mut at = at.to_owned();
        let mut offset = offset;
        while offset < size {
            let end = chunk.map_or(size, |chunk| size.min(offset.saturating_add(chunk)));
            let mut ask = Ask::new(Method::PATCH, at.clone())
                .header(CONTENT_TYPE, OCTETS)
                .header(CONTENT_RANGE, &format!("{offset}-{}", end.saturating_sub(1)));
            ask.body = Some(self.body(offset..end));
            let answer = self.send(&ask, end).await?;
            let next = location(&at, answer.headers());
            at = next.ok_or_else(|| ask.failed("the registry names no place to go on"))?;
            offset = end;
        }
        self.finish(&at, None).await
    }

    /// Completes an upload, with all that is to be uploaded or after it.
    async fn finish(&self, at: &str, body: Option<MakeBody>) -> Result<(), Error> {
        let mark = if at.contains('?') { '&' } else { '?' };
        let digest = &self.descriptor.digest;
        let mut ask = Ask::new(Method::PUT, format!("{at}{mark}digest={}", encode(digest.as_str())))
            .bytes(OCTETS, Bytes::new());
        ask.body = body.or(ask.body);
        let answer = self.send(&ask, self.descriptor.size).await?;
        let stated = HeaderName::from_static("docker-content-digest");
        match answer.headers().get(stated).and_then(|value| value.to_str().ok()) {
            Some(stated) if stated != digest.as_str() => {
                Err(Error::Lie(format!("the registry took {digest} for {stated}")))
            }
            _ => Ok(()),
        }
    }

    /// Sends a request with bytes up to `end`, as long as the registry takes any, and waits for the answer: what it
    /// does with them then can take a while.
    async fn send(&self, ask: &Ask, end: u64) -> Result<Response<Incoming>, Error> {
        let patience = self.client.shared.options.patience;
        let answer = self.session.send(ask);
        tokio::pin!(answer);
        let (mut before, mut waited) = (self.sent.load(Ordering::Relaxed), Duration::ZERO);
        loop {
            tokio::select! {
                answer = &mut answer => return answer,
                () = tokio::time::sleep(patience) => {}
            }
            let sent = self.sent.load(Ordering::Relaxed);
            if sent != before {
                (before, waited) = (sent, Duration::ZERO);
                continue;
            }
            waited += patience;
            if sent < end && waited >= STALL_PATIENCE * patience {
                return Err(ask.failed(format!("nothing was taken for {waited:?}")));
            }
            if waited >= ANSWER_PATIENCE * patience {
                return Err(ask.failed("net/http: timeout awaiting response headers"));
            }
        }
    }

    /// A part of the bytes.
    fn body(&self, part: Range<u64>) -> MakeBody {
        let (source, sent) = (self.source.clone(), Arc::clone(&self.sent));
        let (on_update, id, size) = (Arc::clone(&self.on_update), self.id.clone(), self.descriptor.size);
        Arc::new(move || {
            let (sender, receiver) = mpsc::channel(PIECES);
            let (source, feeding) = (source.clone(), part.clone());
            tokio::task::spawn_blocking(move || feed(&source, feeding, &sender));
            let (on_update, id, part) = (Arc::clone(&on_update), id.clone(), part.clone());
            sent.store(part.start, Ordering::Relaxed);
            let sent = Arc::clone(&sent);
            Outflow { receiver, told: part.start, part, sent, size, id, on_update }.boxed_unsync()
        })
    }
}

/// Reads a part of a source and hands the pieces over. Ends where nobody takes them any more.
fn feed(source: &Source, part: Range<u64>, to: &mpsc::Sender<io::Result<Bytes>>) {
    let mut stream = match source.open(part.start) {
        Ok(stream) => stream.take(part.end - part.start),
        Err(error) => {
            to.blocking_send(Err(error)).ok();
            return;
        }
    };
    loop {
        let mut piece = Vec::with_capacity(PIECE);
        let read = (&mut stream).take(PIECE as u64).read_to_end(&mut piece);
        let piece = match read {
            Ok(0) => return,
            Ok(_) => Ok(piece.into()),
            Err(error) => Err(error),
        };
        let failed = piece.is_err();
        if to.blocking_send(piece).is_err() || failed {
            return;
        }
    }
}

/// The place that an answer names.
fn location(base: &str, headers: &HeaderMap) -> Option<String> {
    resolve(base, headers.get(LOCATION)?.to_str().ok()?)
}

/// A body of known length that tells how far it is.
struct Outflow {
    receiver: mpsc::Receiver<io::Result<Bytes>>,
    /// What is still to be sent.
    part: Range<u64>,
    /// How far that is, for who watches.
    sent: Arc<AtomicU64>,
    told: u64,
    size: u64,
    id: String,
    on_update: OnUpdate,
}

impl Outflow {
    fn left(&self) -> u64 {
        self.part.end - self.part.start
    }
}

impl hyper::body::Body for Outflow {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let piece = match self.receiver.poll_recv(context) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(None) if self.left() > 0 => {
                return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into())));
            }
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error))),
            Poll::Ready(Some(Ok(piece))) => piece,
        };
        let length = piece.len() as u64;
        if length > self.left() {
            return Poll::Ready(Some(Err(io::Error::other("the blob is longer than it was"))));
        }
        self.part.start += length;
        let sent = self.part.start;
        self.sent.store(sent, Ordering::Relaxed);
        if sent - self.told >= PROGRESS_BYTES || self.left() == 0 {
            self.told = sent;
            let progress = Some((sent, self.size));
            (self.on_update)(Update { id: self.id.clone(), status: "Pushing".to_owned(), progress });
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left())
    }
}
