//! Push: what the registry lacks of an image, and the manifest last.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use berth_oci::{Descriptor, Digest, Reference};
use berth_store::image::Outgoing;
use berth_store::{Images, digest_of};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::header::{CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderName, LOCATION, RANGE};
use hyper::{Method, Response, StatusCode};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use crate::client::pause;
use crate::endpoint::Endpoint;
use crate::pull::{blocking, mount_path};
use crate::session::{Ask, MakeBody, Session, encode, resolve};
use crate::{Client, Credentials, Error, OnUpdate, Update};

const PIECE: usize = 256 << 10;
const PIECES: usize = 4;
const PROGRESS_BYTES: u64 = 512 << 10;

/// What to push.
#[derive(Clone, Debug)]
pub struct Push {
    /// The image's name, which says where it goes; without a tag it means `latest`, or all tags.
    pub reference: Reference,
    /// All tags of the repository that are here.
    pub all_tags: bool,
    /// Who asks.
    pub credentials: Option<Credentials>,
}

/// A pushed image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// Its ID.
    pub id: Digest,
    /// The tag it has there.
    pub tag: String,
    /// The digest of its manifest.
    pub digest: Digest,
    /// The length of its manifest.
    pub size: u64,
}

impl Client {
    /// Pushes images, telling progress in Docker's terms, the last word included.
    ///
    /// Errors: no such image; the registry refuses, in Docker's words; a layer is damaged.
    pub async fn push(
        &self,
        images: &Images,
        push: &Push,
        on_update: &OnUpdate,
    ) -> Result<Vec<Pushed>, Error> {
        if push.reference.digest().is_some() {
            return Err(Error::Invalid("cannot push a digest reference".to_owned()));
        }
        let repository = push.reference.repository();
        on_update(Update {
            status: format!("The push refers to repository [{repository}]"),
            ..Update::default()
        });
        let references = wanted(images, push)?;
        let session = self.session_for_push(&push.reference, push.credentials.as_ref()).await?;
        let mut pushed = Vec::new();
        for reference in references {
            pushed.push(self.push_one(images, &session, &reference, on_update).await?);
        }
        Ok(pushed)
    }

    /// The endpoint that answers.
    pub(crate) async fn session_for_push(
        &self,
        reference: &Reference,
        credentials: Option<&Credentials>,
    ) -> Result<Arc<Session>, Error> {
        let mut last = None;
        for endpoint in Endpoint::own(&self.shared.options, reference.domain()) {
            let session = self.session(endpoint, reference, "pull,push", credentials);
            let ping = Ask::new(Method::GET, session.endpoint.url(""));
            match session.send(&ping).await {
                Ok(_) => return Ok(Arc::new(session)),
                Err(error) if session.endpoint.passes_on(&error) => last = last.or(Some(error)),
                Err(error) => return Err(push_words(error)),
            }
        }
        Err(last.unwrap_or_else(|| Error::NotFound("no endpoint".to_owned())))
    }

    async fn push_one(
        &self,
        images: &Images,
        session: &Arc<Session>,
        reference: &Reference,
        on_update: &OnUpdate,
    ) -> Result<Pushed, Error> {
        let here = images.get(&reference.to_string())?;
        for diff_id in &here.config.rootfs.diff_ids {
            on_update(Update {
                id: diff_id.short().to_owned(),
                status: "Preparing".to_owned(),
                progress: None,
            });
        }
        let (for_store, name) = (images.clone(), reference.clone());
        let outgoing = Arc::new(blocking(move || for_store.outgoing(&name)).await?);
        let uploads = Uploads {
            client: self,
            session,
            repository: reference.path(),
            from: mount_sources(images, reference, outgoing.id()),
            on_update,
        };
        let (manifest, kind) = uploads.run(&outgoing).await.map_err(push_words)?;
        self.push_manifest(images, session, reference, &outgoing, (manifest.into(), &kind), on_update).await
    }

    async fn push_manifest(
        &self,
        images: &Images,
        session: &Session,
        reference: &Reference,
        outgoing: &Outgoing,
        (manifest, kind): (Bytes, &str),
        on_update: &OnUpdate,
    ) -> Result<Pushed, Error> {
        let digest = digest_of(&manifest);
        let size = manifest.len() as u64;
        let tag = reference.tag().unwrap_or("latest").to_owned();
        let url = session.endpoint.url(&format!("{}/manifests/{tag}", reference.path()));
        let ask = Ask::new(Method::PUT, url).bytes(kind, manifest);
        self.patiently(true, || session.send(&ask)).await.map_err(push_words)?;
        let (id, repository, named) = (outgoing.id().clone(), reference.clone(), digest.clone());
        let for_store = images.clone();
        let for_id = id.clone();
        blocking(move || for_store.name_by_digest(&for_id, &repository, &named)).await?;
        on_update(Update { status: format!("{tag}: digest: {digest} size: {size}"), ..Update::default() });
        Ok(Pushed { id, tag, digest, size })
    }
}

/// The uploads of one image.
struct Uploads<'a> {
    client: &'a Client,
    session: &'a Arc<Session>,
    repository: &'a str,
    /// Repositories that layers may be mounted from.
    from: Vec<String>,
    on_update: &'a OnUpdate,
}

/// What was done of a push.
enum Step {
    /// The layer at this place is ready to be sent.
    Ready(usize, Box<Descriptor>),
    Sent,
    /// The manifest, and its media type.
    Sealed(Vec<u8>, String),
}

impl Uploads<'_> {
    /// Sends the configuration and each layer as soon as it is compressed; the manifest that is to follow, with its
    /// media type.
    async fn run(&self, outgoing: &Arc<Outgoing>) -> Result<(Vec<u8>, String), Error> {
        let mut steps: JoinSet<Result<Step, Error>> = JoinSet::new();
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let cores = Arc::new(Semaphore::new(cores));
        for place in 0..outgoing.diff_ids().len() {
            let (outgoing, cores) = (Arc::clone(outgoing), Arc::clone(&cores));
            steps.spawn(async move {
                let _core = cores.acquire().await;
                let layer = blocking(move || outgoing.layer(place)).await?;
                Ok(Step::Ready(place, Box::new(layer)))
            });
        }
        let config = Bytes::copy_from_slice(outgoing.config());
        let blob = descriptor(digest_of(&config), config.len() as u64);
        steps.spawn(self.upload(blob, "", Source::Bytes(config), &(Arc::new(|_| {}) as OnUpdate)).sent());
        let mut seen: Vec<Digest> = Vec::new();
        let mut unready = outgoing.diff_ids().len();
        let mut manifest = None;
        if unready == 0 {
            steps.spawn(seal(Arc::clone(outgoing)));
        }
        while let Some(done) = steps.join_next().await {
            match done.unwrap_or_else(|error| Err(Error::Lie(format!("an upload ended: {error}"))))? {
                Step::Sent => {}
                Step::Sealed(bytes, kind) => manifest = Some((bytes, kind)),
                Step::Ready(place, layer) => {
                    unready -= 1;
                    if unready == 0 {
                        steps.spawn(seal(Arc::clone(outgoing)));
                    }
                    if seen.contains(&layer.digest) {
                        continue;
                    }
                    seen.push(layer.digest.clone());
                    let id = outgoing.diff_ids().get(place).map_or("", |diff_id| diff_id.short());
                    if layer.is_foreign() {
                        let (id, status) = (id.to_owned(), "Skipped foreign layer".to_owned());
                        (self.on_update)(Update { id, status, progress: None });
                        continue;
                    }
                    let source = Source::Layer(Arc::clone(outgoing), place);
                    steps.spawn(self.upload(*layer, id, source, self.on_update).sent());
                }
            }
        }
        manifest.ok_or_else(|| Error::Lie("a push ended without a manifest".to_owned()))
    }

    fn upload(&self, descriptor: Descriptor, id: &str, source: Source, on_update: &OnUpdate) -> Upload {
        Upload {
            client: self.client.clone(),
            session: Arc::clone(self.session),
            repository: self.repository.to_owned(),
            descriptor,
            id: id.to_owned(),
            source,
            from: self.from.clone(),
            on_update: Arc::clone(on_update),
        }
    }
}

/// Has the store keep what was compressed.
async fn seal(outgoing: Arc<Outgoing>) -> Result<Step, Error> {
    let (manifest, kind) = blocking(move || outgoing.manifest()).await?;
    Ok(Step::Sealed(manifest, kind))
}

/// The names that a push means.
fn wanted(images: &Images, push: &Push) -> Result<Vec<Reference>, Error> {
    let reference = &push.reference;
    let familiar = reference.familiar_repository();
    let mut here: Vec<Reference> = images
        .list(true)
        .iter()
        .flat_map(|listed| listed.tags.clone())
        .filter_map(|tag| Reference::parse(&tag).ok())
        .filter(|other| other.repository() == reference.repository())
        .collect();
    if here.is_empty() {
        return Err(Error::NotFound(format!("An image does not exist locally with the tag: {familiar}")));
    }
    if push.all_tags {
        if reference.tag().is_some() {
            return Err(Error::Invalid("tag can't be used with --all-tags/-a".to_owned()));
        }
        here.sort_by_key(ToString::to_string);
        return Ok(here);
    }
    let wanted = reference.clone().or_latest();
    if here.iter().any(|other| other.tag() == wanted.tag()) {
        return Ok(vec![wanted]);
    }
    Err(Error::NotFound(format!("tag does not exist: {}", wanted.familiar())))
}

/// Other repositories of the same registry that had this image before: its layers may be mounted from there.
fn mount_sources(images: &Images, reference: &Reference, id: &Digest) -> Vec<String> {
    let mut sources: Vec<String> = images
        .list(true)
        .iter()
        .filter(|listed| shares_layers(images, &listed.image.id, id))
        .flat_map(|listed| listed.digests.clone())
        .filter_map(|name| Reference::parse(&name).ok())
        .filter(|other| other.domain() == reference.domain() && other.path() != reference.path())
        .map(|other| other.path().to_owned())
        .collect();
    sources.sort();
    sources.dedup();
    // Each is a question to the registry.
    sources.truncate(3);
    sources
}

fn shares_layers(images: &Images, one: &Digest, other: &Digest) -> bool {
    let (Some(one), Some(other)) = (images.by_id(one), images.by_id(other)) else { return false };
    one.config.rootfs.diff_ids.iter().any(|layer| other.config.rootfs.diff_ids.contains(layer))
}

pub(crate) fn descriptor(digest: Digest, size: u64) -> Descriptor {
    Descriptor {
        media_type: String::new(),
        digest,
        size,
        urls: Vec::new(),
        annotations: std::collections::BTreeMap::new(),
        platform: None,
        other: serde_json::Map::new(),
    }
}

/// A refused push in Docker's words.
pub(crate) fn push_words(error: Error) -> Error {
    match error.code() {
        "DENIED" => Error::Unauthorized(error.to_string()),
        _ => error,
    }
}

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
    /// The bytes from their start on. Blocking.
    fn open(&self) -> io::Result<Box<dyn io::Read + Send>> {
        let failed = |error: &dyn std::fmt::Display| io::Error::other(error.to_string());
        Ok(match self {
            Self::Bytes(bytes) => Box::new(io::Cursor::new(bytes.clone())),
            Self::Layer(outgoing, place) => outgoing.open(*place).map_err(|error| failed(&error))?,
            Self::File(file) => Box::new(FileReader { file: Arc::clone(file), at: 0 }),
            Self::Elsewhere(there) => {
                let Elsewhere { client, repository, blob, credentials } = &**there;
                Box::new(client.blob(repository, blob, credentials.as_ref()).map_err(|error| failed(&error))?)
            }
        })
    }
}

/// Reads a file from its start, whoever else reads it.
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
            let answer = self.session.send(&Ask::new(Method::POST, self.session.endpoint.url(&path))).await;
            match answer {
                Ok(answer) if answer.status() == StatusCode::CREATED => {
                    self.tell(&format!("Mounted from {from}"), None);
                    return Ok(());
                }
                Ok(answer) => begun = Some(answer.headers().clone()),
                // A repository that may not be read is no place to mount from.
                Err(Error::Unauthorized(_) | Error::Refused { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        self.send_all(begun).await?;
        drop(permit);
        self.tell("Pushed", None);
        Ok(())
    }

    async fn sent(self) -> Result<Step, Error> {
        self.run().await.map(|()| Step::Sent)
    }

    fn tell(&self, status: &str, progress: Option<(u64, u64)>) {
        (self.on_update)(Update { id: self.id.clone(), status: status.to_owned(), progress });
    }

    async fn is_there(&self) -> Result<bool, Error> {
        let path = format!("{}/blobs/{}", self.repository, self.descriptor.digest);
        let ask = Ask::new(Method::HEAD, self.session.endpoint.url(&path));
        match self.client.patiently(true, || self.session.send(&ask)).await {
            Ok(_) => Ok(true),
            Err(error) if error.status() == 404 => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Uploads the bytes: one stream, taken up again where the registry lost it.
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
        loop {
            let error = match self.send_from(&at, offset).await {
                Ok(after) => return self.finish(&after).await,
                Err(error) => error,
            };
            attempt += 1;
            let lost = error.status() == 404 || error.status() == 416;
            let wait = pause(&error, attempt)
                .filter(|_| (error.is_passing() || lost) && attempt < self.client.shared.options.attempts);
            let Some(wait) = wait else { return Err(error) };
            tracing::info!(%error, offset, blob = %self.descriptor.digest, "an upload goes on after a failure");
            tokio::time::sleep(wait).await;
            (at, offset) = self.resume(&at).await?;
        }
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

    /// Sends the bytes from an offset on; where to go on from there.
    async fn send_from(&self, at: &str, offset: u64) -> Result<String, Error> {
        let size = self.descriptor.size;
        let sent = Arc::new(AtomicU64::new(offset));
        let mut ask = Ask::new(Method::PATCH, at.to_owned())
            .header(CONTENT_TYPE, "application/octet-stream")
            .header(CONTENT_RANGE, &format!("{offset}-{}", size.saturating_sub(1)));
        ask.body = Some(self.body(offset, &sent));
        let answer: Response<Incoming> = self.session.send(&ask).await?;
        location(at, answer.headers()).ok_or_else(|| ask.failed("the registry names no place to go on"))
    }

    async fn finish(&self, at: &str) -> Result<(), Error> {
        let mark = if at.contains('?') { '&' } else { '?' };
        let digest = &self.descriptor.digest;
        let ask = Ask::new(Method::PUT, format!("{at}{mark}digest={}", encode(digest.as_str())))
            .bytes("application/octet-stream", Bytes::new());
        let answer = self.session.send(&ask).await?;
        let stated = HeaderName::from_static("docker-content-digest");
        match answer.headers().get(stated).and_then(|value| value.to_str().ok()) {
            Some(stated) if stated != digest.as_str() => {
                Err(Error::Lie(format!("the registry took {digest} for {stated}")))
            }
            _ => Ok(()),
        }
    }

    fn body(&self, offset: u64, sent: &Arc<AtomicU64>) -> MakeBody {
        let (source, sent) = (self.source.clone(), Arc::clone(sent));
        let (on_update, id, size) = (Arc::clone(&self.on_update), self.id.clone(), self.descriptor.size);
        Arc::new(move || {
            sent.store(offset, Ordering::Relaxed);
            let (sender, receiver) = mpsc::channel(PIECES);
            let source = source.clone();
            tokio::task::spawn_blocking(move || feed(&source, offset, &sender));
            let told = offset;
            let on_update = Arc::clone(&on_update);
            Outflow {
                receiver,
                left: size - offset,
                sent: Arc::clone(&sent),
                told,
                size,
                id: id.clone(),
                on_update,
            }
            .boxed_unsync()
        })
    }
}

/// Reads a source from an offset on and hands the pieces over. Ends where nobody takes them any more.
fn feed(source: &Source, offset: u64, to: &mpsc::Sender<io::Result<Bytes>>) {
    let mut stream = match source.open() {
        Ok(stream) => stream,
        Err(error) => {
            to.blocking_send(Err(error)).ok();
            return;
        }
    };
    if offset > 0
        && let Err(error) = io::copy(&mut (&mut stream).take(offset), &mut io::sink())
    {
        to.blocking_send(Err(error)).ok();
        return;
    }
    loop {
        let mut piece = BytesMut::zeroed(PIECE);
        match stream.read(&mut piece) {
            Ok(0) => return,
            Ok(read) => {
                piece.truncate(read);
                if to.blocking_send(Ok(piece.freeze())).is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                to.blocking_send(Err(error)).ok();
                return;
            }
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
    left: u64,
    sent: Arc<AtomicU64>,
    told: u64,
    size: u64,
    id: String,
    on_update: OnUpdate,
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
            Poll::Ready(None) if self.left > 0 => {
                return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into())));
            }
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error))),
            Poll::Ready(Some(Ok(piece))) => piece,
        };
        let length = piece.len() as u64;
        let Some(left) = self.left.checked_sub(length) else {
            return Poll::Ready(Some(Err(io::Error::other("the blob is longer than it was"))));
        };
        self.left = left;
        let sent = self.sent.fetch_add(length, Ordering::Relaxed) + length;
        if sent - self.told >= PROGRESS_BYTES || left == 0 {
            self.told = sent;
            let progress = Some((sent, self.size));
            (self.on_update)(Update { id: self.id.clone(), status: "Pushing".to_owned(), progress });
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
