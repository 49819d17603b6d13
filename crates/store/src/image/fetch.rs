//! Images that come from a registry: layers and documents as they arrive, each checked against its descriptor, and
//! shown all at once.

use std::io::{self, Read};

use berth_oci::image::{Document, media_type};
use berth_oci::{Descriptor, Digest, Reference};

use super::Images;
use crate::ingest::{Ingest, Keep, NewImage};
use crate::layer::{Compression, LayerError, gathered};
use crate::{Error, digest_of};

/// An image on its way into the store. Several threads may bring its layers at once. What was not published when it
/// is dropped is discarded.
pub struct Fetch {
    ingest: Ingest,
}

/// How much of a layer the store has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Present {
    /// The unpacked layer, and the stream that the descriptor names (or the layer is that stream).
    Whole,
    /// The unpacked layer only: the stream is wanted as a blob, so that the image leaves as it came.
    Unpacked,
    /// Nothing.
    Absent,
}

/// An image whose layers are all in a [`Fetch`] or in the store.
pub struct Fetched {
    /// The configuration, byte for byte.
    pub config: Vec<u8>,
    /// The media type of the manifest.
    pub manifest_type: String,
    /// The manifest, byte for byte.
    pub manifest: Vec<u8>,
    /// The names it gets.
    pub names: Vec<Reference>,
}

impl Images {
    /// Begins to fetch an image.
    ///
    /// Errors: the disk is full.
    pub fn fetch(&self) -> Result<Fetch, Error> {
        Ok(Fetch { ingest: Ingest::begin(&self.shared)? })
    }
}

impl Fetch {
    /// How much of a layer is here already; what is stays until this fetch is over.
    ///
    /// Errors: the store failed.
    pub fn present(&self, layer: &Descriptor, diff_id: &Digest) -> Result<Present, Error> {
        if !self.ingest.use_present(diff_id)? {
            return Ok(Present::Absent);
        }
        let whole = layer.digest == *diff_id || self.ingest.has_pair(&layer.digest, diff_id);
        Ok(if whole { Present::Whole } else { Present::Unpacked })
    }

    /// Unpacks a layer from the stream that its descriptor names, and keeps a compressed stream as a blob too.
    /// Blocking.
    ///
    /// Errors: [`Error::Invalid`] when length, digest or diff ID are not those promised, or the layer is refused;
    /// the stream failed; the disk is full. The fetch is then only good for being dropped.
    pub fn layer(&self, layer: &Descriptor, diff_id: &Digest, stream: impl Read + Send) -> Result<(), Error> {
        let mut exact = Exact::new(stream, layer.size);
        let new = self.ingest.layer(gathered(&mut exact), Keep::Compressed);
        if let Some(wrong) = exact.wrong(layer) {
            return Err(wrong);
        }
        let new = new.map_err(unregistered)?;
        let digest = match new.compression {
            Compression::None => &new.diff_id,
            _ => &new.stream.0,
        };
        is_promised(layer, diff_id, (digest, &new.diff_id))
    }

    /// Keeps the stream of a layer that is unpacked already. Blocking.
    ///
    /// Errors: as for [`Fetch::layer`].
    pub fn blob(&self, layer: &Descriptor, diff_id: &Digest, stream: impl Read + Send) -> Result<(), Error> {
        let mut exact = Exact::new(stream, layer.size);
        let found = self.ingest.layer_blob(diff_id, gathered(&mut exact));
        if let Some(wrong) = exact.wrong(layer) {
            return Err(wrong);
        }
        let (digest, unpacked) = found.map_err(unregistered)?;
        is_promised(layer, diff_id, (&digest, &unpacked))
    }

    /// Shows the image and gives it its names. Durable when this returns. Blocking.
    ///
    /// Errors: a document is malformed, or does not fit the other; a layer is missing; the disk is full. Nothing is
    /// visible then.
    pub fn publish(&self, image: Fetched) -> Result<Digest, Error> {
        let Document::Manifest(manifest) = Document::parse(&image.manifest)? else {
            return Err(Error::Invalid("an index is no manifest of an image".to_owned()));
        };
        let id = digest_of(&image.config);
        if id != manifest.config.digest {
            return Err(Error::Invalid(format!(
                "the manifest names configuration {}, not {id}",
                manifest.config.digest
            )));
        }
        let digest = self.ingest.blob(&image.manifest)?;
        let descriptor = Descriptor {
            media_type: match image.manifest_type.as_str() {
                "" => media_type::MANIFEST.to_owned(),
                _ => image.manifest_type,
            },
            digest,
            size: image.manifest.len() as u64,
            urls: Vec::new(),
            annotations: std::collections::BTreeMap::new(),
            platform: None,
            other: serde_json::Map::new(),
        };
        let blobs = manifest.layers.into_iter().map(|layer| layer.digest);
        let blobs = blobs.filter(|digest| self.ingest.has_blob(digest)).collect();
        let names = image.names.iter().map(super::lookup::key).collect();
        let image = NewImage {
            config: image.config,
            manifest: Some((descriptor, blobs)),
            parent: None,
            names,
            is_tagged: false,
        };
        self.ingest.publish(&[image])?;
        Ok(id)
    }
}

/// Whether a layer is what manifest and configuration say: by the digest of its stream, and of what that unpacks to.
fn is_promised(
    layer: &Descriptor,
    diff_id: &Digest,
    (digest, unpacked): (&Digest, &Digest),
) -> Result<(), Error> {
    if *digest != layer.digest {
        return Err(Error::Invalid(format!("layer {} has digest {digest}", layer.digest)));
    }
    if unpacked != diff_id {
        return Err(Error::Invalid(format!(
            "layer {} unpacks to {unpacked}, and not to {diff_id} as the image's configuration says",
            layer.digest
        )));
    }
    Ok(())
}

/// Docker's words where this machine could not take a layer.
fn unregistered(error: Error) -> Error {
    match error {
        Error::Layer(LayerError::Io { what, source }) => {
            Error::Layer(LayerError::Io { what: format!("failed to register layer: {what}"), source })
        }
        error => error,
    }
}

/// A stream that must have a certain length: it ends with an error where it goes on.
struct Exact<R> {
    stream: R,
    left: u64,
    too_long: bool,
}

impl<R: Read> Exact<R> {
    fn new(stream: R, length: u64) -> Self {
        Self { stream, left: length, too_long: false }
    }

    /// What is wrong with the length of what was read to its end.
    fn wrong(&self, what: &Descriptor) -> Option<Error> {
        let Descriptor { digest, size, .. } = what;
        self.too_long.then(|| {
            Error::Invalid(format!("{digest} is longer than the {size} bytes that its manifest says"))
        })
    }
}

impl<R: Read> Read for Exact<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.stream.read(buffer)?;
        match self.left.checked_sub(read as u64) {
            Some(left) => self.left = left,
            None => {
                self.too_long = true;
                return Err(io::Error::new(io::ErrorKind::InvalidData, "longer than its manifest says"));
            }
        }
        if read == 0 && self.left > 0 && !buffer.is_empty() {
            let why = format!("{} bytes are missing", self.left);
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, why));
        }
        Ok(read)
    }
}
