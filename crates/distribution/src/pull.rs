//! Pull: a name's manifest for this platform, its configuration, and its layers side by side into the store.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use berth_oci::image::{Document, media_type};
use berth_oci::{Descriptor, Digest, ImageConfig, Index, Manifest, Platform, Reference};
use berth_store::image::{Fetch, Fetched, Present};
use berth_store::{Images, digest_of};
use bytes::Bytes;
use hyper::Method;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::client::pull_words;
use crate::download::{Download, PIECES, Pieces};
use crate::session::{Ask, Session, encode, resolve};
use crate::{Client, Credentials, Error, OnUpdate, Resolved, Update};

/// The number of tags that are pulled with `--all-tags`, and the pages they come in.
const TAGS_MAX: usize = 100_000;
const TAGS_BYTES_MAX: usize = 4 << 20;
/// Indexes in indexes.
const INDEX_DEPTH_MAX: u32 = 4;

/// What to pull.
#[derive(Clone, Debug)]
pub struct Pull {
    /// The image; a name without tag and digest means `latest`, or all tags.
    pub reference: Reference,
    /// All tags of the repository.
    pub all_tags: bool,
    /// The platform; the host's if `None`.
    pub platform: Option<Platform>,
    /// Who asks.
    pub credentials: Option<Credentials>,
}

/// A pulled image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulled {
    /// Its ID.
    pub id: Digest,
    /// The name it was pulled by.
    pub reference: Reference,
    /// The digest of what the name stands for.
    pub digest: Digest,
    /// Whether the name meant the same image before.
    pub up_to_date: bool,
}

impl Client {
    /// Pulls images into the store, telling progress in Docker's terms, the last word included. Dropping the future
    /// ends the pull and leaves nothing behind.
    ///
    /// Errors: as [`Client::resolve`]; no image for the platform; a layer is refused; the disk is full. Images pulled
    /// before, with `all_tags`, stay.
    pub async fn pull(
        &self,
        images: &Images,
        pull: &Pull,
        on_update: &OnUpdate,
    ) -> Result<Vec<Pulled>, Error> {
        let end = |pulled: Vec<Pulled>| {
            let is_new = pulled.iter().any(|pulled| !pulled.up_to_date);
            let what = if is_new { "Downloaded newer image for" } else { "Image is up to date for" };
            let name = match &*pulled {
                [one] if !pull.all_tags => one.reference.familiar(),
                _ => pull.reference.familiar_repository(),
            };
            on_update(Update { status: format!("Status: {what} {name}"), ..Update::default() });
            pulled
        };
        if !pull.all_tags {
            let reference = pull.reference.clone().or_latest();
            let pulled = end(vec![self.pull_one(images, pull, &reference, on_update).await?]);
            if let Some(platform) = &pull.platform {
                check_platform(images, &pulled[0], platform)?;
            }
            return Ok(pulled);
        }
        if !pull.reference.is_name_only() {
            return Err(Error::Invalid("tag can't be used with --all-tags/-a".to_owned()));
        }
        let mut pulled = Vec::new();
        for tag in self.tags(&pull.reference, pull.credentials.as_ref()).await? {
            let reference =
                pull.reference.with_tag(&tag).map_err(|error| Error::Lie(format!("tag {tag:?}: {error}")))?;
            pulled.push(self.pull_one(images, pull, &reference, on_update).await?);
        }
        Ok(end(pulled))
    }

    /// The tags of a repository, sorted.
    ///
    /// Errors: as [`Client::resolve`].
    pub async fn tags(
        &self,
        repository: &Reference,
        credentials: Option<&Credentials>,
    ) -> Result<Vec<String>, Error> {
        #[derive(serde::Deserialize)]
        struct Page {
            #[serde(default)]
            tags: Option<Vec<String>>,
        }
        let mut last = None;
        for endpoint in crate::endpoint::Endpoint::all(&self.shared.options, repository)? {
            let session = self.session(endpoint, repository, "pull", credentials);
            let mut tags = BTreeSet::new();
            let mut url = session.endpoint.url(&format!("{}/tags/list", repository.path()));
            loop {
                let ask = Ask::new(Method::GET, url.clone());
                let read = self.patiently(true, || session.read(&ask, TAGS_BYTES_MAX)).await;
                let (headers, body) = match read {
                    Ok(read) => read,
                    Err(error) if session.endpoint.passes_on(&error) => {
                        last = last.or(Some(error));
                        break;
                    }
                    Err(error) => return Err(pull_words(error, repository)),
                };
                let page: Page = serde_json::from_slice(&body)
                    .map_err(|error| Error::Lie(format!("{url}: the list of tags is malformed: {error}")))?;
                let before = tags.len();
                tags.extend(page.tags.unwrap_or_default());
                let next = headers.get("link").and_then(|link| link.to_str().ok()).and_then(next_page);
                let next = next.and_then(|target| resolve(&url, target));
                match next {
                    // A page that brings nothing new would bring nothing new for ever.
                    Some(next) if tags.len() > before && tags.len() < TAGS_MAX => url = next,
                    _ => return Ok(tags.into_iter().collect()),
                }
            }
        }
        Err(last.unwrap_or_else(|| Error::NotFound(format!("no endpoint for {}", repository.familiar()))))
    }

    /// A blob of a repository, to be read by a thread that may block. Neither its length nor its digest is checked.
    ///
    /// Errors: a mirror is no URL. What goes wrong later is an error of the stream.
    pub fn blob(
        &self,
        repository: &Reference,
        descriptor: &Descriptor,
        credentials: Option<&Credentials>,
    ) -> Result<impl std::io::Read + Send + use<>, Error> {
        let download = Download {
            client: self.clone(),
            sessions: self.sessions(repository, credentials)?,
            path: format!("{}/blobs/{}", repository.path(), descriptor.digest),
            descriptor: descriptor.clone(),
            on_update: Arc::new(|_| {}),
        };
        let (sender, receiver) = mpsc::channel(PIECES);
        tokio::spawn(async move {
            if let Err(error) = download.run(&sender).await {
                sender.send(Err(io::Error::other(error.to_string()))).await.ok();
            }
        });
        Ok(Pieces::new(receiver))
    }

    /// The configuration that a manifest names, from where the manifest came from.
    ///
    /// Errors: as [`Client::resolve`]; the manifest is not of an image.
    pub async fn image_config(
        &self,
        reference: &Reference,
        manifest: &Manifest,
        credentials: Option<&Credentials>,
    ) -> Result<ImageConfig, Error> {
        let sessions = self.sessions(reference, credentials)?;
        let config = self.config(&sessions, reference, manifest).await?;
        Ok(ImageConfig::parse(&config)?)
    }

    async fn pull_one(
        &self,
        images: &Images,
        pull: &Pull,
        reference: &Reference,
        on_update: &OnUpdate,
    ) -> Result<Pulled, Error> {
        let mut sessions = self.sessions(reference, pull.credentials.as_ref())?;
        loop {
            let (top, left) =
                self.resolve_from(sessions, reference).await.map_err(|error| pull_words(error, reference))?;
            let error = match self.pull_from(images, pull, reference, (top, &left), on_update).await {
                // A mirror that lies is no reason to go without the image: the others are asked for all of it.
                Err(error) if error.is_lie() && left.len() > 1 && left[0].endpoint.is_mirror => error,
                done => return done,
            };
            let mirror = &left[0].endpoint.host;
            tracing::warn!(%error, mirror, image = reference.familiar(), "a mirror lies: it is left out");
            let status = format!("Mirror {mirror} is left out: {error}");
            on_update(Update { status, ..Update::default() });
            sessions = left[1..].to_vec();
        }
    }

    async fn pull_from(
        &self,
        images: &Images,
        pull: &Pull,
        reference: &Reference,
        (top, sessions): (Resolved, &[Arc<Session>]),
        on_update: &OnUpdate,
    ) -> Result<Pulled, Error> {
        let tell = |id: &str, status: String| {
            on_update(Update { id: id.to_owned(), status, progress: None });
        };
        let what = match reference.digest() {
            Some(digest) => format!("{}@{digest}", reference.repository()),
            None => reference.tag().unwrap_or_default().to_owned(),
        };
        tell(&what, format!("Pulling from {}", short_path(reference)));
        let wanted = pull.platform.clone().unwrap_or_else(Platform::host);
        let (manifest, bytes) = self.for_platform(sessions, reference, &top, &wanted).await?;
        let mut names = vec![reference.clone()];
        if reference.digest().is_none() {
            names.push(reference.with_digest(top.digest.clone()));
        }
        let before = images.get(&reference.to_string()).ok().map(|image| image.id.clone());
        let id = manifest.config.digest.clone();
        let up_to_date = before.as_ref() == Some(&id);
        // Of the layers of an image that is here already there is nothing to tell.
        let in_silence: OnUpdate = Arc::new(|_| {});
        let on_layers = if images.by_id(&id).is_some() { &in_silence } else { on_update };
        let job = Job { client: self, sessions, reference, on_update: on_layers, images };
        job.run(manifest, bytes, names).await?;
        tell("", format!("Digest: {}", top.digest));
        Ok(Pulled { id, reference: reference.clone(), digest: top.digest, up_to_date })
    }

    /// The manifest for a platform, going through indexes.
    async fn for_platform(
        &self,
        sessions: &[Arc<Session>],
        reference: &Reference,
        top: &Resolved,
        wanted: &Platform,
    ) -> Result<(Manifest, Bytes), Error> {
        let mut bytes = top.document.clone();
        for _ in 0..INDEX_DEPTH_MAX {
            let index = match Document::parse(&bytes)? {
                Document::Manifest(manifest) => return Ok((*manifest, bytes)),
                Document::Index(index) => index,
            };
            let chosen = choose(&index, wanted).ok_or_else(|| {
                Error::NotFound(format!("no matching manifest for {wanted} in the manifest list entries"))
            })?;
            let by_digest = reference.with_digest(chosen.digest.clone());
            let resolved = self
                .manifest_of_any(sessions, &by_digest)
                .await
                .map_err(|error| pull_words(error, reference))?;
            if resolved.document.len() as u64 != chosen.size {
                return Err(Error::Lie(format!(
                    "manifest {} has {} bytes, and not {} as its index says",
                    chosen.digest,
                    resolved.document.len(),
                    chosen.size
                )));
            }
            bytes = resolved.document;
        }
        Err(Error::Lie(format!(
            "{}: more than {INDEX_DEPTH_MAX} indexes in each other",
            reference.familiar()
        )))
    }

    /// A manifest from the first session that has it.
    async fn manifest_of_any(
        &self,
        sessions: &[Arc<Session>],
        reference: &Reference,
    ) -> Result<Resolved, Error> {
        let mut last = None;
        for session in sessions {
            match self.manifest(session, reference, true).await {
                Err(error) if session.endpoint.passes_on(&error) => last = last.or(Some(error)),
                result => return result,
            }
        }
        Err(last.unwrap_or_else(|| Error::NotFound("no endpoint".to_owned())))
    }

    /// A small blob from the first session that has it.
    async fn blob_of_any(&self, sessions: &[Arc<Session>], path: &str, limit: usize) -> Result<Bytes, Error> {
        let mut last = None;
        for session in sessions {
            let ask = Ask::new(Method::GET, session.endpoint.url(path));
            match self.patiently(true, || session.read(&ask, limit)).await {
                Ok((_, bytes)) => return Ok(bytes),
                Err(error) if session.endpoint.passes_on(&error) => last = last.or(Some(error)),
                Err(error) => return Err(error),
            }
        }
        Err(last.unwrap_or_else(|| Error::NotFound("no endpoint".to_owned())))
    }

    /// The configuration that a manifest names, checked.
    async fn config(
        &self,
        sessions: &[Arc<Session>],
        reference: &Reference,
        manifest: &Manifest,
    ) -> Result<Bytes, Error> {
        let config = &manifest.config;
        let image = matches!(config.media_type.as_str(), media_type::CONFIG | media_type::DOCKER_CONFIG | "");
        if !image {
            return Err(Error::Invalid(not_an_image(reference, manifest)));
        }
        let limit = berth_oci::image::DOCUMENT_BYTES_MAX;
        if config.size > limit as u64 {
            return Err(Error::Lie(format!("configuration {} has {} bytes", config.digest, config.size)));
        }
        let path = format!("{}/blobs/{}", reference.path(), config.digest);
        let bytes = self.blob_of_any(sessions, &path, limit).await?;
        if bytes.len() as u64 != config.size || digest_of(&bytes) != config.digest {
            return Err(Error::Lie(format!(
                "image config verification failed for digest {}: what came has digest {}",
                config.digest,
                digest_of(&bytes)
            )));
        }
        Ok(bytes)
    }
}

/// Whether an image is for the platform that was asked for by hand. It stays either way, as with Docker.
fn check_platform(images: &Images, pulled: &Pulled, wanted: &Platform) -> Result<(), Error> {
    let Some(image) = images.by_id(&pulled.id) else { return Ok(()) };
    let actual = image.config.platform();
    if wanted.accepts(&actual) {
        return Ok(());
    }
    let name = pulled.reference.familiar();
    Err(Error::NotFound(format!(
        "image with reference {name} was found but does not match the specified platform: wanted {wanted}, actual: {actual}"
    )))
}

/// The best manifest of an index for a platform.
fn choose<'a>(index: &'a Index, wanted: &Platform) -> Option<&'a Descriptor> {
    let ranked = index.manifests.iter().filter_map(|manifest| {
        let platform = manifest.platform.as_ref()?;
        Some((wanted.rank(platform)?, manifest))
    });
    let best = ranked.min_by_key(|(rank, _)| *rank).map(|(_, manifest)| manifest);
    // An index of one manifest that says nothing of platforms means that one.
    best.or_else(|| match index.manifests.as_slice() {
        [only] if only.platform.is_none() => Some(only),
        _ => None,
    })
}

/// The target of `rel="next"` in a `Link` header.
pub(crate) fn next_page(link: &str) -> Option<&str> {
    let (target, rest) = link.trim().strip_prefix('<')?.split_once('>')?;
    rest.contains("next").then_some(target)
}

/// What is said of a manifest that is none of an image.
fn not_an_image(reference: &Reference, manifest: &Manifest) -> String {
    let kind = manifest.other.get("artifactType").and_then(serde_json::Value::as_str);
    let kind = kind.filter(|kind| !kind.is_empty()).unwrap_or(&manifest.config.media_type);
    let name = reference.familiar();
    format!(
        "{name} is no image but an artifact: unsupported media type {kind}; 'berth artifact pull {name}' fetches its files"
    )
}

/// What Docker calls a repository here: `library/busybox`, without its registry.
fn short_path(reference: &Reference) -> &str {
    reference.path()
}

/// One image on its way.
struct Job<'a> {
    client: &'a Client,
    sessions: &'a [Arc<Session>],
    reference: &'a Reference,
    on_update: &'a OnUpdate,
    images: &'a Images,
}

/// A layer that has to be fetched.
struct Layer {
    download: Download,
    diff_id: Digest,
    present: Present,
    fetch: Arc<Fetch>,
}

impl Job<'_> {
    async fn run(self, manifest: Manifest, bytes: Bytes, names: Vec<Reference>) -> Result<(), Error> {
        let config = self.client.config(self.sessions, self.reference, &manifest).await?;
        let diff_ids = ImageConfig::parse(&config)?.rootfs.diff_ids;
        if diff_ids.len() != manifest.layers.len() {
            return Err(Error::Lie(format!(
                "invalid manifest, layers length mismatch: expected {}, got {}",
                diff_ids.len(),
                manifest.layers.len()
            )));
        }
        let images = self.images.clone();
        let fetch = Arc::new(blocking(move || images.fetch()).await?);
        let mut layers: Vec<(Descriptor, Digest)> = Vec::new();
        for (descriptor, diff_id) in manifest.layers.iter().zip(&diff_ids) {
            check_layer(descriptor)?;
            if !layers.iter().any(|(known, _)| known.digest == descriptor.digest) {
                layers.push((descriptor.clone(), diff_id.clone()));
            }
        }
        for (descriptor, diff_id) in &layers {
            let status = match fetch.present(descriptor, diff_id)? {
                Present::Whole => "Already exists",
                _ => "Pulling fs layer",
            };
            self.tell(descriptor, status);
        }
        // In one order for all, so that no two pulls wait for each other.
        layers.sort_by(|(one, _), (other, _)| one.digest.as_str().cmp(other.digest.as_str()));
        let mut running = JoinSet::new();
        let mut locks = Vec::new();
        for (descriptor, diff_id) in layers {
            if fetch.present(&descriptor, &diff_id)? == Present::Whole {
                continue;
            }
            let lock = self.client.under_way(&descriptor.digest);
            locks.push(match Arc::clone(&lock).try_lock_owned() {
                Ok(held) => held,
                Err(_) => {
                    self.tell(&descriptor, "Waiting");
                    self.wait_for(&mut running, lock).await?
                }
            });
            // Another pull may have brought it meanwhile.
            let present = fetch.present(&descriptor, &diff_id)?;
            if present == Present::Whole {
                self.tell(&descriptor, "Already exists");
                continue;
            }
            let layer = self.layer(descriptor, diff_id, present, &fetch);
            running.spawn(layer.run());
        }
        while let Some(done) = running.join_next().await {
            finished(done)?;
        }
        let manifest_type = manifest.media_type;
        let image = Fetched { config: config.to_vec(), manifest_type, manifest: bytes.to_vec(), names };
        blocking(move || fetch.publish(image)).await?;
        Ok(())
    }

    /// Waits for a layer that another pull fetches, while our own go on.
    async fn wait_for(
        &self,
        running: &mut JoinSet<Result<(), Error>>,
        lock: Arc<tokio::sync::Mutex<()>>,
    ) -> Result<tokio::sync::OwnedMutexGuard<()>, Error> {
        let held = lock.lock_owned();
        tokio::pin!(held);
        loop {
            tokio::select! {
                guard = &mut held => return Ok(guard),
                Some(done) = running.join_next(), if !running.is_empty() => finished(done)?,
            }
        }
    }

    fn layer(&self, descriptor: Descriptor, diff_id: Digest, present: Present, fetch: &Arc<Fetch>) -> Layer {
        let download = Download {
            client: self.client.clone(),
            sessions: self.sessions.to_vec(),
            path: format!("{}/blobs/{}", self.reference.path(), descriptor.digest),
            descriptor,
            on_update: Arc::clone(self.on_update),
        };
        Layer { download, diff_id, present, fetch: Arc::clone(fetch) }
    }

    fn tell(&self, layer: &Descriptor, status: &str) {
        let id = layer.digest.short().to_owned();
        (self.on_update)(Update { id, status: status.to_owned(), progress: None });
    }
}

fn finished(done: Result<Result<(), Error>, tokio::task::JoinError>) -> Result<(), Error> {
    done.unwrap_or_else(|error| Err(Error::Lie(format!("a layer's task ended: {error}"))))
}

/// Runs what blocks.
pub(crate) async fn blocking<T: Send + 'static>(
    action: impl FnOnce() -> Result<T, berth_store::Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(action).await {
        Ok(result) => Ok(result?),
        Err(error) => Err(Error::Lie(format!("a task of the store ended: {error}"))),
    }
}

/// Refuses what is no layer that we can unpack.
fn check_layer(layer: &Descriptor) -> Result<(), Error> {
    let kind = layer.media_type.as_str();
    let is_layer = kind.contains("tar") && !kind.ends_with("+encrypted");
    match kind {
        "" => Ok(()),
        _ if is_layer => Ok(()),
        _ => Err(Error::Invalid(format!("layer {} has unsupported media type {kind}", layer.digest))),
    }
}

impl Layer {
    async fn run(self) -> Result<(), Error> {
        let downloads = Arc::clone(&self.download.client.shared.downloads);
        let permit = match downloads.try_acquire() {
            Ok(permit) => permit,
            Err(_) => {
                self.download.tell("Waiting", None);
                downloads.acquire().await.map_err(|_| Error::Lie("no downloads are allowed".to_owned()))?
            }
        };
        let (sender, receiver) = mpsc::channel(PIECES);
        let fetch = Arc::clone(&self.fetch);
        let (descriptor, diff_id, present) =
            (self.download.descriptor.clone(), self.diff_id.clone(), self.present);
        let unpacking = tokio::task::spawn_blocking(move || {
            let stream = Pieces::new(receiver);
            match present {
                Present::Absent => fetch.layer(&descriptor, &diff_id, stream),
                _ => fetch.blob(&descriptor, &diff_id, stream),
            }
        });
        let downloaded = self.download.run(&sender).await;
        if let Err(error) = &downloaded {
            // Where the unpacking has ended already, its own error tells why.
            sender.send(Err(io::Error::other(error.to_string()))).await.ok();
        }
        drop(sender);
        drop(permit);
        if downloaded.is_ok() {
            self.download.tell("Verifying Checksum", None);
            self.download.tell("Download complete", None);
        }
        let unpacked = unpacking.await.map_err(|error| Error::Lie(format!("unpacking ended: {error}")))?;
        match (downloaded, unpacked) {
            (Ok(()), Ok(())) => {
                self.download.tell("Pull complete", None);
                Ok(())
            }
            // The receiver went away because the unpacking failed.
            (Err(Error::Lie(why)), Err(error)) if why.is_empty() => Err(error.into()),
            (Err(error), _) => Err(error),
            (Ok(()), Err(error)) => Err(error.into()),
        }
    }
}

/// The path of a blob upload that mounts a blob of another repository.
pub(crate) fn mount_path(repository: &str, digest: &Digest, from: &str) -> String {
    format!("{repository}/blobs/uploads/?mount={}&from={}", encode(digest.as_str()), encode(from))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(os: &str, architecture: &str, variant: &str) -> Descriptor {
        let digest = digest_of(format!("{os}{architecture}{variant}").as_bytes());
        serde_json::from_value(serde_json::json!({
            "mediaType": media_type::MANIFEST, "digest": digest.to_string(), "size": 1,
            "platform": {"os": os, "architecture": architecture, "variant": variant},
        }))
        .unwrap()
    }

    #[test]
    fn the_best_platform_of_an_index() {
        let manifests = vec![
            entry("windows", "amd64", ""),
            entry("linux", "arm", "v6"),
            entry("linux", "arm", "v7"),
            entry("linux", "amd64", ""),
            entry("unknown", "unknown", ""),
        ];
        let index: Index = serde_json::from_value(serde_json::json!({
            "schemaVersion": 2, "manifests": manifests,
        }))
        .unwrap();
        let pick = |platform: &str| {
            let platform = Platform::parse(platform).unwrap();
            choose(&index, &platform).and_then(|found| found.platform.clone()).map(|p| p.to_string())
        };
        assert_eq!(pick("linux/amd64").as_deref(), Some("linux/amd64"));
        assert_eq!(pick("linux/arm/v7").as_deref(), Some("linux/arm/v7"));
        assert_eq!(pick("linux/arm/v6").as_deref(), Some("linux/arm/v6"));
        assert_eq!(pick("linux/s390x"), None);
    }

    #[test]
    fn pages_are_followed_by_their_links() {
        assert_eq!(
            next_page(r#"</v2/a/tags/list?last=x&n=2>; rel="next""#),
            Some("/v2/a/tags/list?last=x&n=2")
        );
        assert_eq!(next_page("<x>; rel=prev"), None);
        assert_eq!(next_page("x"), None);
    }
}
