//! Which blob is which layer, compressed.
//!
//! A manifest names blobs, the configuration names layers, and either may say anything. What is here already is not
//! fetched again, so that an image could call any blob of the store any of its layers; pushes and saves of other images
//! that have the layer would then spread the wrong blob. So no image is published before each of its pairs was seen
//! to be true: when the layer was unpacked from the blob, or made into it, or by an earlier image that has the pair.

use std::io;
use std::os::fd::AsFd as _;
use std::sync::Arc;

use berth_oci::image::Document;
use berth_oci::{Descriptor, Digest, ImageConfig, Manifest};

use super::{Ingest, NewImage, Tee};
use crate::Error;
use crate::dir::Behind;
use crate::image::Image;
use crate::layer::{self, Decoder, Hashed, LayerRecord, Source};
use crate::store::Shared;

impl Ingest {
    /// Keeps the stream that a layer of the store comes as; its digest, and that of what it unpacks to. Blocking.
    ///
    /// Errors: the stream failed, is no layer, or is not `diff_id` by its length alone; the disk is full. Nothing stays.
    pub(crate) fn layer_blob(&self, diff_id: &Digest, stream: Source<'_>) -> Result<(Digest, Digest), Error> {
        let record = LayerRecord::read(self.open_layer(diff_id)?.as_fd())
            .map_err(Error::io(format!("read the record of layer {diff_id}")))?;
        let (file, name) = self.create()?;
        let kept = Tee(Some((file, Behind::at(0), self.path(&name))));
        let mut hashed = Hashed::with_tee(stream, kept);
        let unpacked = unpacked(Box::new(&mut hashed), record.tar_size);
        let digest = hashed.finish().0;
        let is_wanted = unpacked.is_ok() && !self.has_blob(&digest);
        if !is_wanted {
            self.discard(&name);
        }
        let found = unpacked.map_err(layer::reading)?;
        let mut state = self.state();
        state.pairs.insert((digest.clone(), found.clone()));
        if is_wanted {
            state.blobs.push((digest.clone(), name));
        }
        Ok((digest, found))
    }

    /// Whether this blob is here, or in the store, and known to be this layer.
    pub(crate) fn has_pair(&self, blob: &Digest, diff_id: &Digest) -> bool {
        self.has_blob(blob)
            && (self.state().pairs.contains(&(blob.clone(), diff_id.clone()))
                || self.shared.has_pair(blob, diff_id))
    }

    /// Refuses an image whose manifest calls a blob by the name of another layer.
    pub(super) fn check_pairs(&self, image: &NewImage, config: &ImageConfig) -> Result<(), Error> {
        let Some((descriptor, blobs)) = image.manifest.as_ref().filter(|(_, blobs)| !blobs.is_empty()) else {
            return Ok(());
        };
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut self.open_blob(&descriptor.digest)?, &mut bytes)
            .map_err(Error::io(format!("read manifest {}", descriptor.digest)))?;
        let Document::Manifest(manifest) = Document::parse(&bytes)? else {
            return Err(Error::Invalid(format!("{} is no manifest of an image", descriptor.digest)));
        };
        for (layer, diff_id) in manifest.layers.iter().zip(&config.rootfs.diff_ids) {
            if layer.digest != *diff_id
                && blobs.contains(&layer.digest)
                && !self.has_pair(&layer.digest, diff_id)
            {
                return Err(Error::Invalid(format!(
                    "layer {} is not {diff_id}, as the image's configuration says",
                    layer.digest
                )));
            }
        }
        Ok(())
    }
}

impl Shared {
    /// The layers that an image's manifest names, each with its diff ID; none if the image has no manifest that fits.
    pub(crate) fn pairs(&self, image: &Image) -> Vec<(Descriptor, Digest)> {
        let manifest = || -> Option<Manifest> {
            let bytes = self.read_blob(&image.manifest.as_ref()?.digest).ok()?;
            match Document::parse(&bytes).ok()? {
                Document::Manifest(manifest) => Some(*manifest),
                Document::Index(_) => None,
            }
        };
        let diff_ids = &image.config.rootfs.diff_ids;
        let layers = manifest().map(|manifest| manifest.layers).unwrap_or_default();
        if layers.len() != diff_ids.len() {
            return Vec::new();
        }
        layers.into_iter().zip(diff_ids.iter().cloned()).collect()
    }

    /// Whether an image of the store has this blob for this layer.
    pub(crate) fn has_pair(&self, blob: &Digest, diff_id: &Digest) -> bool {
        let images: Vec<Arc<Image>> = {
            let index = self.index();
            let with_both = index.all().filter(|held| {
                held.record.blobs.contains(blob) && held.image.config.rootfs.diff_ids.contains(diff_id)
            });
            with_both.map(|held| Arc::clone(&held.image)).collect()
        };
        let is_pair = |(layer, other): (Descriptor, Digest)| layer.digest == *blob && other == *diff_id;
        images.iter().any(|image| self.pairs(image).into_iter().any(is_pair))
    }
}

/// The digest of what a stream unpacks to. One that unpacks to more than `length` bytes is not read to its end.
fn unpacked(stream: Source<'_>, length: u64) -> io::Result<Digest> {
    let mut decoder = Decoder::new(stream)?;
    let mut plain = Hashed::new(io::Read::take(&mut decoder, length.saturating_add(1)));
    io::copy(&mut plain, &mut io::sink())?;
    let (found, bytes) = plain.finish();
    if bytes > length {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it unpacks to more than the layer"));
    }
    decoder.drain()?;
    Ok(found)
}
