//! Images that go to a registry: the documents and layers to send, byte for byte as they came, or made once and kept.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{Read, Seek as _, SeekFrom};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use berth_oci::image::media_type;
use berth_oci::{Descriptor, Digest, Manifest, Reference};

use super::save::{LayerSource, Saved, descriptor, json};
use super::{Image, Images};
use crate::ingest::{Ingest, NewImage};
use crate::store::Shared;
use crate::{Error, layer};

/// An image to be sent. Its layers stay in the store while this is held.
///
/// An image that came with a manifest leaves with that manifest. Another one gets its layers compressed, each when it
/// is asked for, so that one is on its way while the next is being compressed; and once all are, a manifest of
/// Docker's schema 2. It keeps both, so that it leaves with the same digests each time.
pub struct Outgoing {
    shared: Arc<Shared>,
    ingest: Ingest,
    image: Arc<Image>,
    config: Vec<u8>,
    layers: Vec<Mutex<Option<Ready>>>,
    /// A layer is compressed by one, and by those that no other layer has.
    cores: layer::Cores,
    /// The blobs that other images have for these layers.
    known: HashMap<Digest, Ready>,
    manifest: Mutex<Option<(Vec<u8>, String)>>,
}

/// A layer as the manifest names it, and where its bytes are.
#[derive(Clone)]
struct Ready {
    descriptor: Descriptor,
    source: LayerSource,
}

impl Images {
    /// Prepares to send the image with this name or ID. Reads documents only.
    ///
    /// Errors: [`Error::NotFound`]; the image is damaged.
    pub fn outgoing(&self, name: &Reference) -> Result<Outgoing, Error> {
        let image = self.get(&name.to_string())?;
        let ingest = Ingest::begin(&self.shared)?;
        let diff_ids = &image.config.rootfs.diff_ids;
        for layer in diff_ids {
            ingest.use_present(layer)?;
        }
        let shared = Arc::clone(&self.shared);
        if let Some(saved) = self.original(&image, BTreeSet::new())? {
            let Saved { config, manifest, manifest_type, layers, .. } = saved;
            let layers = layers.into_iter().map(|(descriptor, source)| Ready { descriptor, source });
            let layers = layers.map(|ready| Mutex::new(Some(ready))).collect();
            let manifest = Mutex::new(Some((manifest, manifest_type)));
            let known = HashMap::new();
            let cores = layer::Cores::new();
            return Ok(Outgoing { shared, ingest, image, config, layers, cores, known, manifest });
        }
        let config = self.shared.read_blob(&image.id)?;
        let known = self.known_blobs(&image);
        let layers = diff_ids.iter().map(|_| Mutex::default()).collect();
        let (cores, manifest) = (layer::Cores::new(), Mutex::default());
        Ok(Outgoing { shared, ingest, image, config, layers, cores, known, manifest })
    }

    /// The layers of an image that other images came or went with, compressed: they need not be compressed again, and
    /// registries know them by their digests.
    fn known_blobs(&self, image: &Image) -> HashMap<Digest, Ready> {
        let wanted = &image.config.rootfs.diff_ids;
        let shares = |other: &Image| other.config.rootfs.diff_ids.iter().any(|layer| wanted.contains(layer));
        let mut others: Vec<_> = self
            .shared
            .index()
            .all()
            .filter(|held| held.image.manifest.is_some() && shares(&held.image))
            .map(|held| Arc::clone(&held.image))
            .collect();
        // Whatever the order of the index, the same blob is taken.
        others.sort_by(|one, other| one.id.as_str().cmp(other.id.as_str()));
        let mut known = HashMap::new();
        for other in others {
            for (layer, diff_id) in self.shared.pairs(&other) {
                let usable = wanted.contains(&diff_id)
                    && [media_type::DOCKER_LAYER_GZIP, media_type::LAYER_GZIP].contains(&&*layer.media_type)
                    && layer.digest != diff_id
                    && self.shared.open_blob(&layer.digest).is_ok();
                if usable {
                    known.entry(diff_id).or_insert_with(|| Ready::gzip(layer.digest, layer.size));
                }
            }
        }
        known
    }
}

impl Ready {
    /// A layer that is a compressed blob.
    fn gzip(digest: Digest, size: u64) -> Self {
        let descriptor = descriptor(media_type::DOCKER_LAYER_GZIP, digest, size);
        Self { descriptor, source: LayerSource::Blob }
    }
}

impl Outgoing {
    /// The image's ID.
    pub fn id(&self) -> &Digest {
        &self.image.id
    }

    /// The configuration, byte for byte.
    pub fn config(&self) -> &[u8] {
        &self.config
    }

    /// The diff IDs of the layers, base first.
    pub fn diff_ids(&self) -> &[Digest] {
        &self.image.config.rootfs.diff_ids
    }

    /// A layer as the manifest names it, by its place in [`Outgoing::diff_ids`]. Blocking: one that was never sent
    /// is compressed now. Several threads may ask for several layers.
    ///
    /// Errors: there is no such layer; it is damaged; the disk is full.
    pub fn layer(&self, place: usize) -> Result<Descriptor, Error> {
        self.ready(place).map(|ready| ready.descriptor)
    }

    fn ready(&self, place: usize) -> Result<Ready, Error> {
        let missing = || Error::NotFound(format!("the image has no layer {place}"));
        let mut layer = held(self.layers.get(place).ok_or_else(missing)?);
        if let Some(ready) = &*layer {
            return Ok(ready.clone());
        }
        let diff_id = self.diff_ids().get(place).ok_or_else(missing)?;
        // A layer that is there twice is compressed once.
        let first = self.diff_ids().iter().position(|other| other == diff_id);
        let ready = match first.filter(|first| *first < place) {
            Some(first) => self.ready(first)?,
            None => match self.known.get(diff_id) {
                Some(known) => known.clone(),
                None => {
                    let (digest, size) = self.ingest.compressed(diff_id, &self.cores)?;
                    Ready::gzip(digest, size)
                }
            },
        };
        Ok(layer.insert(ready).clone())
    }

    /// The bytes of a layer from an offset on, by its place. Reading blocks, and so does this if the layer is not
    /// compressed yet.
    ///
    /// Errors: those of [`Outgoing::layer`].
    pub fn open(&self, place: usize, offset: u64) -> Result<Box<dyn Read + Send>, Error> {
        let Ready { descriptor, source } = self.ready(place)?;
        let fail = |error| Error::io(format!("read layer {}", descriptor.digest))(error);
        match source {
            LayerSource::Blob => {
                let mut blob = self.ingest.open_blob(&descriptor.digest)?;
                blob.seek(SeekFrom::Start(offset)).map_err(fail)?;
                Ok(Box::new(blob))
            }
            LayerSource::Tar(diff_id) => {
                let layer = self.shared.open_layer(&diff_id)?;
                let mut tar = layer::open_tar(layer.as_fd()).map_err(fail)?;
                std::io::copy(&mut (&mut tar).take(offset), &mut std::io::sink()).map_err(fail)?;
                Ok(Box::new(tar))
            }
        }
    }

    /// The manifest, byte for byte, and its media type. Blocking: an image that had none keeps it from now on, with
    /// its compressed layers, all on the disk.
    ///
    /// Errors: those of [`Outgoing::layer`].
    pub fn manifest(&self) -> Result<(Vec<u8>, String), Error> {
        let mut manifest = held(&self.manifest);
        if let Some(manifest) = &*manifest {
            return Ok(manifest.clone());
        }
        Ok(manifest.insert((self.make_manifest()?, media_type::DOCKER_MANIFEST.to_owned())).clone())
    }

    fn make_manifest(&self) -> Result<Vec<u8>, Error> {
        let layers: Vec<_> =
            (0..self.layers.len()).map(|place| self.layer(place)).collect::<Result<_, _>>()?;
        let blobs = layers.iter().map(|layer| layer.digest.clone()).collect();
        let config = self.config.clone();
        let manifest = Manifest {
            schema_version: 2,
            media_type: media_type::DOCKER_MANIFEST.to_owned(),
            config: descriptor(media_type::DOCKER_CONFIG, self.id().clone(), config.len() as u64),
            layers,
            annotations: BTreeMap::new(),
            other: serde_json::Map::new(),
        };
        let bytes = json(&manifest)?;
        let digest = self.ingest.blob(&bytes)?;
        let manifest = descriptor(media_type::DOCKER_MANIFEST, digest, bytes.len() as u64);
        let image = NewImage {
            config,
            manifest: Some((manifest, blobs)),
            parent: None,
            names: Vec::new(),
            is_tagged: false,
        };
        self.ingest.publish(&[image])?;
        Ok(bytes)
    }
}

fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}
