//! Push: what the registry lacks of an image, and the manifest last.

use std::sync::Arc;

use berth_oci::{Descriptor, Digest, Reference};
use berth_store::image::Outgoing;
use berth_store::{Images, digest_of};
use bytes::Bytes;
use hyper::Method;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::endpoint::Endpoint;
use crate::pull::blocking;
use crate::session::{Ask, Session};
use crate::upload::{Source, Upload};
use crate::{Client, Credentials, Error, OnUpdate, Update};

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
                Err(error) if session.endpoint.passes_on(&error) => last = Some(Error::or_last(last, error)),
                Err(error @ (Error::Transport { .. } | Error::Lie(_))) => return Err(error),
                // It is there. What it does not allow is told when it is asked for that.
                Err(_) => return Ok(Arc::new(session)),
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
        // One more waits, so that no processor is idle.
        let cores = Arc::new(Semaphore::new(cores + 1));
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
        let in_silence: OnUpdate = Arc::new(|_| {});
        steps.spawn(send(self.upload(blob, "", Source::Bytes(config), &in_silence)));
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
                    steps.spawn(send(self.upload(*layer, id, source, self.on_update)));
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
            sent: Arc::default(),
        }
    }
}

async fn send(upload: Upload) -> Result<Step, Error> {
    upload.run().await.map(|()| Step::Sent)
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
    if here.is_empty() || reference.digest().is_some() {
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
    match error {
        Error::Unconvinced { why, .. } => Error::Unauthorized(why),
        Error::Refused { status: 401 | 403, message, .. } => Error::Unauthorized(message),
        other => other,
    }
}
