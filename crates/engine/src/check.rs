//! Checking the store, and fetching anew what is damaged.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;

use berth_distribution::{OnUpdate, Pull};
use berth_oci::image::Document;
use berth_oci::{Descriptor, Digest, Manifest, Reference};
use berth_store::check::Finding;
use tokio::sync::mpsc;

use crate::Inner;
use crate::error::{Error, Result, chain};
use crate::image::Produced;
use crate::image::registry::RegistryCredentials;

/// Who asks at registries, by their domains.
pub type RegistryLogins = BTreeMap<String, RegistryCredentials>;

/// A word about a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckProgress {
    /// This layer or blob is read now.
    Reading(String),
    /// Something is wrong.
    Found {
        /// What, in a line.
        what: String,
        /// What was done about it; `None` if nothing was asked for.
        mended: Option<std::result::Result<String, String>>,
    },
    /// The end of it.
    Done {
        /// The images.
        images: u64,
        /// The layers.
        layers: u64,
        /// The blobs.
        blobs: u64,
        /// The bytes that were read.
        bytes: u64,
        /// What is wrong and stays wrong.
        faults: u64,
    },
}

impl Inner {
    /// Checks the store; with `repair`, mends what can be mended, as who is known to registries.
    pub(crate) fn store_check(self: &Arc<Self>, repair: Option<RegistryLogins>) -> Produced<CheckProgress> {
        let (sender, receiver) = mpsc::channel(64);
        let engine = self.clone();
        let mending = repair.map(|who| Mending { engine: self.clone(), who });
        let runtime = tokio::runtime::Handle::current();
        tokio::task::spawn_blocking(move || {
            // Downloads of blobs are tasks of the runtime, though this thread blocks.
            let _inside = runtime.enter();
            let reading = |what: &str| drop(sender.try_send(Ok(CheckProgress::Reading(what.to_owned()))));
            let checked = match engine.store.check(&reading) {
                Ok(checked) => checked,
                Err(error) => {
                    let _ = sender.blocking_send(Err(crate::image::error(error)));
                    return;
                }
            };
            let mut faults = 0;
            for finding in &checked.findings {
                let mended = mending.as_ref().map(|it| it.mend(finding).map_err(|error| error.to_string()));
                faults += u64::from(!matches!(mended, Some(Ok(_))));
                let what = words(finding);
                tracing::warn!(what, ?mended, "the store has a fault");
                if sender.blocking_send(Ok(CheckProgress::Found { what, mended })).is_err() {
                    return;
                }
            }
            let berth_store::check::Checked { images, layers, blobs, bytes, .. } = checked;
            let _ = sender.blocking_send(Ok(CheckProgress::Done { images, layers, blobs, bytes, faults }));
        });
        Produced { receiver }
    }
}

/// Mends what was found.
struct Mending {
    engine: Arc<Inner>,
    /// Who asks, by the domain of the registry.
    who: RegistryLogins,
}

impl Mending {
    fn who(&self, name: &Reference) -> Option<&RegistryCredentials> {
        self.who.get(name.domain())
    }

    fn mend(&self, finding: &Finding) -> Result<String> {
        match finding {
            Finding::Orphan { .. } => {
                self.engine.store.discard_orphans().map_err(crate::image::error)?;
                Ok("discarded".to_owned())
            }
            Finding::Blob { digest, images, .. } => self.mend_blob(digest, images),
            Finding::Layer { diff_id, images, .. } => self.mend_layer(diff_id, images),
            Finding::Image { names, .. } => self.pull_anew(names),
            Finding::Database { .. } => Err(Error::Conflict(
                "it cannot be had from elsewhere: save the images and copy the volumes that are needed, stop the \
                 engine, and start it with a new data root"
                    .to_owned(),
            )),
            Finding::Fixup { image, .. } => {
                Err(Error::Conflict(format!("remove image {image} and load or pull it again")))
            }
        }
    }

    /// Pulls an image that cannot be read, by the first of its digests that a registry has.
    fn pull_anew(&self, names: &[String]) -> Result<String> {
        let mut last = None;
        for name in names.iter().filter(|name| name.contains('@')) {
            let Ok(reference) = Reference::parse(name) else { continue };
            let credentials = self.who(&reference).cloned();
            let pull = Pull { reference, all_tags: false, platform: None, credentials };
            let quiet: OnUpdate = Arc::new(|_| {});
            let client = self.engine.registry_client();
            let pulled = client.pull(self.engine.store.images(), &pull, &quiet);
            match tokio::runtime::Handle::current().block_on(pulled) {
                Ok(_) => return Ok(format!("pulled anew as {name}")),
                Err(error) => last = Some(Error::Internal(chain(&error))),
            }
        }
        Err(last.unwrap_or_else(|| {
            let name = names.first().map_or("the image", String::as_str);
            Error::NotFound(format!("it is known from no registry: load or pull {name} again"))
        }))
    }

    /// Fetches a manifest by its digest.
    fn fetch_manifest(&self, digest: &Digest, images: &[Digest]) -> Result<String> {
        let mut last = None;
        for name in images
            .iter()
            .filter_map(|image| self.engine.store.images().listed(image))
            .flat_map(|it| it.digests)
        {
            let Ok(reference) = Reference::parse(&name) else { continue };
            let reference = reference.with_digest(digest.clone());
            let client = self.engine.registry_client();
            let resolved = client.resolve(&reference, self.who(&reference));
            match tokio::runtime::Handle::current().block_on(resolved) {
                Ok(resolved) => {
                    let written = self.engine.store.mend_blob(digest, &mut &resolved.document[..]);
                    return written
                        .map(|()| format!("fetched anew from {name}"))
                        .map_err(crate::image::error);
                }
                Err(error) => last = Some(Error::Internal(chain(&error))),
            }
        }
        Err(last.unwrap_or_else(unknown_elsewhere))
    }

    fn mend_blob(&self, digest: &Digest, images: &[Digest]) -> Result<String> {
        let by_id = |image: &Digest| self.engine.store.images().by_id(image);
        let manifests = images.iter().filter_map(by_id).filter_map(|image| image.manifest.clone());
        if manifests.map(|manifest| manifest.digest).any(|manifest| manifest == *digest) {
            return self.fetch_manifest(digest, images);
        }
        self.ask_registries(images, |mending, name, manifest| {
            let wanted = manifest.layers.iter().chain([&manifest.config]).find(|it| it.digest == *digest)?;
            Some(mending.fetched(name, wanted).and_then(|mut stream| {
                mending.engine.store.mend_blob(digest, &mut stream).map_err(crate::image::error)
            }))
        })
    }

    fn mend_layer(&self, diff_id: &Digest, images: &[Digest]) -> Result<String> {
        let users = |image: &Digest| self.engine.users_of(image);
        // The stream that it came as may be here, and right.
        for image in images {
            let Some((place, manifest)) =
                self.manifest_of(image).and_then(|manifest| Some((self.place_of(image, diff_id)?, manifest)))
            else {
                continue;
            };
            let Some(layer) = manifest.layers.get(place) else { continue };
            let Ok(blob) = self.engine.store.content().open(&layer.digest) else { continue };
            match self.engine.store.mend_layer(diff_id, Box::new(blob), &users) {
                Ok(()) => return Ok(format!("unpacked anew from blob {}", layer.digest)),
                Err(error) if error.kind() == berth_store::Kind::Conflict => {
                    return Err(crate::image::error(error));
                }
                Err(_) => {}
            }
        }
        self.ask_registries(images, |mending, name, manifest| {
            let image = images.iter().find(|image| mending.place_of(image, diff_id).is_some())?;
            let layer = manifest.layers.get(mending.place_of(image, diff_id)?)?;
            Some(mending.fetched(name, layer).and_then(|stream| {
                mending
                    .engine
                    .store
                    .mend_layer(diff_id, Box::new(stream), &users)
                    .map_err(crate::image::error)
            }))
        })
    }

    /// Tries the registries that the images came from, one after the other.
    fn ask_registries(
        &self,
        images: &[Digest],
        action: impl Fn(&Self, &Reference, &Manifest) -> Option<Result<()>>,
    ) -> Result<String> {
        let mut last = None;
        for image in images {
            let Some(manifest) = self.manifest_of(image) else { continue };
            let names =
                self.engine.store.images().listed(image).map(|listed| listed.digests).unwrap_or_default();
            for name in names {
                let Ok(reference) = Reference::parse(&name) else { continue };
                match action(self, &reference, &manifest) {
                    Some(Ok(())) => return Ok(format!("fetched anew from {name}")),
                    Some(Err(error)) => last = Some(error),
                    None => {}
                }
            }
        }
        Err(last.unwrap_or_else(unknown_elsewhere))
    }

    fn manifest_of(&self, image: &Digest) -> Option<Manifest> {
        let descriptor = self.engine.store.images().by_id(image)?.manifest.clone()?;
        let bytes = self.engine.store.content().read(&descriptor.digest).ok()?;
        match Document::parse(&bytes) {
            Ok(Document::Manifest(manifest)) => Some(*manifest),
            _ => None,
        }
    }

    fn place_of(&self, image: &Digest, diff_id: &Digest) -> Option<usize> {
        let image = self.engine.store.images().by_id(image)?;
        image.config.rootfs.diff_ids.iter().position(|other| other == diff_id)
    }

    fn fetched(&self, name: &Reference, blob: &Descriptor) -> Result<impl Read + Send + use<>> {
        let stream = self.engine.registry_client().blob(name, blob, self.who(name));
        stream.map_err(|error| Error::Internal(chain(&error)))
    }
}

fn unknown_elsewhere() -> Error {
    Error::NotFound("it is known from nowhere else: load or pull the image again".to_owned())
}

fn words(finding: &Finding) -> String {
    match finding {
        Finding::Image { image, names, why } => match names.as_slice() {
            [] => format!("image {image} cannot be read: {why}"),
            names => format!("image {image} ({}) cannot be read: {why}", names.join(", ")),
        },
        Finding::Database { why } => why.clone(),
        Finding::Blob { digest, why, .. } => format!("blob {digest}: {why}"),
        Finding::Layer { diff_id, why, .. } => format!("layer {diff_id}: {why}"),
        Finding::Fixup { image, why } => format!("what the layers of image {image} need is missing: {why}"),
        Finding::Orphan { place, name } => format!("{place}/{name}: needed by nothing"),
    }
}
