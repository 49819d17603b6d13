//! Images that go to a registry: the documents and layers to send, byte for byte as they came, or made once and kept.

use std::collections::BTreeMap;
use std::io::Read;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use berth_oci::image::media_type;
use berth_oci::{Descriptor, Digest, Manifest, Reference};

use super::save::{LayerSource, Saved, descriptor, json};
use super::{Image, Images};
use crate::ingest::{Ingest, NewImage};
use crate::store::Shared;
use crate::{Error, layer};

/// An image to be sent. Its layers stay in the store while this is held.
pub struct Outgoing {
    shared: Arc<Shared>,
    _pins: Ingest,
    saved: Saved,
}

impl Images {
    /// Prepares to send the image with this name or ID. An image that came with a manifest leaves with that
    /// manifest; another one gets its layers compressed and a manifest of Docker's schema 2, which it keeps, so that
    /// it leaves with the same digest each time. Blocking: compressing takes every core there is.
    ///
    /// Errors: [`Error::NotFound`]; a layer is damaged; the disk is full.
    pub fn outgoing(&self, name: &Reference) -> Result<Outgoing, Error> {
        let image = self.get(&name.to_string())?;
        let pins = Ingest::begin(&self.shared)?;
        for layer in &image.config.rootfs.diff_ids {
            pins.use_present(layer)?;
        }
        if let Some(saved) = self.original(&image, std::collections::BTreeSet::new())? {
            return Ok(Outgoing { shared: Arc::clone(&self.shared), _pins: pins, saved });
        }
        self.give_manifest(&image)?;
        let image = self.get(image.id.as_str())?;
        match self.original(&image, std::collections::BTreeSet::new())? {
            Some(saved) => Ok(Outgoing { shared: Arc::clone(&self.shared), _pins: pins, saved }),
            None => Err(Error::NotFound(format!("No such image: {}", image.id))),
        }
    }

    /// Compresses the layers of an image and records the manifest that names them.
    fn give_manifest(&self, image: &Image) -> Result<(), Error> {
        let ingest = Ingest::begin(&self.shared)?;
        let diff_ids = &image.config.rootfs.diff_ids;
        for layer in diff_ids {
            ingest.use_present(layer)?;
        }
        let layers = compress_all(&ingest, diff_ids)?;
        let config = self.shared.read_blob(&image.id)?;
        let manifest = Manifest {
            schema_version: 2,
            media_type: media_type::DOCKER_MANIFEST.to_owned(),
            config: descriptor(media_type::DOCKER_CONFIG, image.id.clone(), config.len() as u64),
            layers,
            annotations: BTreeMap::new(),
            other: serde_json::Map::new(),
        };
        let bytes = json(&manifest)?;
        let digest = ingest.blob(&bytes)?;
        let manifest_descriptor = descriptor(media_type::DOCKER_MANIFEST, digest, bytes.len() as u64);
        let blobs = manifest.layers.into_iter().map(|layer| layer.digest).collect();
        let image = NewImage {
            config,
            manifest: Some((manifest_descriptor, blobs)),
            parent: None,
            names: Vec::new(),
        };
        ingest.publish(&[image]).map(drop)
    }
}

/// Compresses layers, as many at once as there are cores.
fn compress_all(ingest: &Ingest, diff_ids: &[Digest]) -> Result<Vec<Descriptor>, Error> {
    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(diff_ids.len());
    let work = || -> Result<Vec<(usize, Descriptor)>, Error> {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(diff_id) = diff_ids.get(index) else { return Ok(done) };
            let (digest, size) = ingest.compressed(diff_id)?;
            done.push((index, descriptor(media_type::DOCKER_LAYER_GZIP, digest, size)));
        }
    };
    let mut layers = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let mut all = Vec::with_capacity(diff_ids.len());
        for thread in running {
            let done = thread.join().unwrap_or_else(|_| Err(Error::Invalid("compressing panicked".into())));
            all.extend(done?);
        }
        Ok::<_, Error>(all)
    })?;
    layers.sort_by_key(|(index, _)| *index);
    Ok(layers.into_iter().map(|(_, layer)| layer).collect())
}

impl Outgoing {
    /// The image's ID.
    pub fn id(&self) -> &Digest {
        &self.saved.image.id
    }

    /// The configuration, byte for byte.
    pub fn config(&self) -> &[u8] {
        &self.saved.config
    }

    /// The manifest, byte for byte, and its media type.
    pub fn manifest(&self) -> (&[u8], &str) {
        (&self.saved.manifest, &self.saved.manifest_type)
    }

    /// The layers as the manifest names them, base first, each with its diff ID.
    pub fn layers(&self) -> impl Iterator<Item = (&Descriptor, &Digest)> {
        let diff_ids = &self.saved.image.config.rootfs.diff_ids;
        self.saved.layers.iter().map(|(descriptor, _)| descriptor).zip(diff_ids)
    }

    /// The bytes of a layer, by its place in [`Outgoing::layers`]. Reading blocks.
    ///
    /// Errors: there is no such layer; it is damaged.
    pub fn open(&self, place: usize) -> Result<Box<dyn Read + Send>, Error> {
        let Some((descriptor, source)) = self.saved.layers.get(place) else {
            return Err(Error::NotFound(format!("the image has no layer {place}")));
        };
        match source {
            LayerSource::Blob => Ok(Box::new(self.shared.open_blob(&descriptor.digest)?)),
            LayerSource::Tar(diff_id) => {
                let layer = self.shared.open_layer(diff_id)?;
                let tar =
                    layer::open_tar(layer.as_fd()).map_err(Error::io(format!("open layer {diff_id}")))?;
                Ok(Box::new(tar))
            }
        }
    }
}
