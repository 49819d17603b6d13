//! Saving of images: an archive that is a docker-archive and an OCI layout at once.
//!
//! ```text
//! oci-layout  index.json  manifest.json  repositories   what is in here, for either kind of reader
//! blobs/sha256/<hex>                          configurations and manifests, then layers
//! ```
//!
//! The documents come first, so that whoever reads the stream knows what it will hold. An image that came with a
//! manifest is saved with that manifest and the layers as they were then, byte for byte; another one gets a manifest
//! that only depends on its configuration. No time, name or order in here comes from this machine.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::sync::Arc;

use berth_oci::image::{Document, media_type};
use berth_oci::{Descriptor, Digest, Index, Manifest, Reference};

use super::archive::{
    ArchiveImage, BLOBS, IMAGE_NAME, INDEX_JSON, MANIFEST_JSON, OCI_LAYOUT, ORIGINAL, REF_NAME, REPOSITORIES,
};
use super::lookup::{Wanted, key};
use super::{Image, Images};
use crate::layer::{self, CHUNK, LayerRecord};
use crate::tar::{Entry, Kind, Writer};
use crate::{Error, digest_of};

/// An image that was asked for, and the name to save it under.
type Chosen = (Arc<Image>, Option<String>);

/// An image to be saved.
pub(super) struct Saved {
    pub(super) image: Arc<Image>,
    /// Whole references with tags.
    names: BTreeSet<String>,
    pub(super) config: Vec<u8>,
    pub(super) manifest: Vec<u8>,
    pub(super) manifest_type: String,
    /// The image came with this manifest.
    is_original: bool,
    /// What to write for each layer, base first.
    pub(super) layers: Vec<(Descriptor, LayerSource)>,
}

#[derive(Clone, PartialEq, Eq)]
pub(super) enum LayerSource {
    /// The blob that it came as.
    Blob,
    /// The tar, made again from the unpacked layer.
    Tar(Digest),
}

impl Images {
    /// Writes images as an archive that is both a docker-archive and an OCI layout. Blocking; streams. The same
    /// images make the same bytes. A name without a tag stands for all tags of its repository.
    ///
    /// Errors: an image is not there, before anything is written; a layer is damaged, and the archive is cut short.
    pub fn save(&self, names: &[String], writer: &mut dyn Write) -> Result<(), Error> {
        let mut chosen: BTreeMap<Digest, (Arc<Image>, BTreeSet<String>)> = BTreeMap::new();
        let mut order = Vec::new();
        for name in names {
            for (image, name) in self.chosen(name)? {
                let id = image.id.clone();
                let entry = chosen.entry(id.clone()).or_insert_with(|| (image, BTreeSet::new()));
                entry.1.extend(name);
                if !order.contains(&id) {
                    order.push(id);
                }
            }
        }
        // Nothing goes away while it is read: the ingest pins the layers.
        let pins = crate::ingest::Ingest::begin(&self.shared)?;
        let mut saved = Vec::with_capacity(order.len());
        for id in order {
            let Some((image, names)) = chosen.remove(&id) else { continue };
            for layer in &image.config.rootfs.diff_ids {
                pins.use_present(layer)?;
            }
            saved.push(self.prepare_save(image, names)?);
        }
        let mut archive = Writer::new(writer);
        self.write_documents(&saved, &mut archive).map_err(failed)?;
        let mut written = HashSet::new();
        for (descriptor, source) in saved.iter().flat_map(|saved| &saved.layers) {
            if written.insert(&descriptor.digest) {
                self.write_layer(descriptor, source, &mut archive)?;
            }
        }
        archive.finish().map_err(failed)?.flush().map_err(failed)
    }

    /// The images that a name stands for, with the names to save them under.
    fn chosen(&self, text: &str) -> Result<Vec<Chosen>, Error> {
        let index = self.shared.index();
        if let Wanted::Name(name) = Wanted::parse(text)? {
            if name.is_name_only() {
                let mut all: Vec<Chosen> = index
                    .names()
                    .filter(|(other, _)| {
                        Reference::parse(other).is_ok_and(|other| other.repository() == name.repository())
                    })
                    .filter_map(|(other, id)| Some((Arc::clone(&index.visible(id)?.image), tag_only(other))))
                    .collect();
                all.sort_by(|one, other| one.1.cmp(&other.1));
                if !all.is_empty() {
                    return Ok(all);
                }
            } else if let Some(held) = index.named(&key(&name)).and_then(|id| index.visible(id)) {
                return Ok(vec![(Arc::clone(&held.image), tag_only(&key(&name)))]);
            }
        }
        Ok(vec![(Arc::clone(&index.find(text)?.image), None)])
    }

    fn prepare_save(&self, image: Arc<Image>, names: BTreeSet<String>) -> Result<Saved, Error> {
        if let Some(saved) = self.original(&image, names.clone())? {
            return Ok(saved);
        }
        let config = self.shared.read_blob(&image.id)?;
        let mut layers = Vec::new();
        for diff_id in &image.config.rootfs.diff_ids {
            let layer = self.shared.open_layer(diff_id)?;
            let record = LayerRecord::read(layer.as_fd())
                .map_err(Error::io(format!("read the record of layer {diff_id}")))?;
            let descriptor = descriptor(media_type::LAYER, diff_id.clone(), record.tar_size);
            layers.push((descriptor, LayerSource::Tar(diff_id.clone())));
        }
        let manifest = Manifest {
            schema_version: 2,
            media_type: media_type::MANIFEST.to_owned(),
            config: descriptor(media_type::CONFIG, image.id.clone(), config.len() as u64),
            layers: layers.iter().map(|(descriptor, _)| descriptor.clone()).collect(),
            annotations: BTreeMap::new(),
            other: serde_json::Map::new(),
        };
        let manifest = json(&manifest)?;
        let manifest_type = media_type::MANIFEST.to_owned();
        Ok(Saved { image, names, config, manifest, manifest_type, is_original: false, layers })
    }

    /// An image as it came, if it came with a manifest and all of it can be written as it was.
    pub(super) fn original(
        &self,
        image: &Arc<Image>,
        names: BTreeSet<String>,
    ) -> Result<Option<Saved>, Error> {
        let Some(descriptor) = &image.manifest else { return Ok(None) };
        if let Ok(bytes) = self.shared.read_blob(&descriptor.digest)
            && let Ok(Document::Manifest(manifest)) = Document::parse(&bytes)
            && let Some(layers) = self.original_layers(image, &manifest)
        {
            let manifest_type = match (manifest.media_type.as_str(), descriptor.media_type.as_str()) {
                ("", "") => media_type::MANIFEST.to_owned(),
                ("", known) => known.to_owned(),
                (stated, _) => stated.to_owned(),
            };
            let config = self.shared.read_blob(&image.id)?;
            let image = Arc::clone(image);
            let saved =
                Saved { image, names, config, manifest: bytes, manifest_type, is_original: true, layers };
            return Ok(Some(saved));
        }
        Ok(None)
    }

    /// The layers of the manifest that an image came with, if all of them can be written as they were.
    fn original_layers(&self, image: &Image, manifest: &Manifest) -> Option<Vec<(Descriptor, LayerSource)>> {
        let diff_ids = &image.config.rootfs.diff_ids;
        if manifest.layers.len() != diff_ids.len() {
            return None;
        }
        let mut layers = Vec::new();
        for (descriptor, diff_id) in manifest.layers.iter().zip(diff_ids) {
            let source = if descriptor.digest == *diff_id {
                LayerSource::Tar(diff_id.clone())
            } else if self.shared.open_blob(&descriptor.digest).is_ok() {
                LayerSource::Blob
            } else {
                return None;
            };
            layers.push((descriptor.clone(), source));
        }
        Some(layers)
    }

    fn write_documents<W: Write>(&self, saved: &[Saved], archive: &mut Writer<W>) -> std::io::Result<()> {
        let document = |path: &str| file(path.as_bytes());
        archive.file(&document(OCI_LAYOUT), br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        let (index, manifests) = documents(saved);
        archive.file(&document(INDEX_JSON), &serde_json::to_vec(&index)?)?;
        archive.file(&document(MANIFEST_JSON), &serde_json::to_vec(&manifests)?)?;
        let repositories = repositories(saved);
        if !repositories.is_empty() {
            archive.file(&document(REPOSITORIES), &serde_json::to_vec(&repositories)?)?;
        }
        for path in ["blobs/", "blobs/sha256/"] {
            let directory = Entry { kind: Kind::Directory, mode: 0o755, ..file(path.as_bytes()) };
            archive.start(&directory)?;
        }
        let mut written = HashSet::new();
        for saved in saved {
            for bytes in [&saved.config, &saved.manifest] {
                let digest = digest_of(bytes);
                if written.insert(digest.clone()) {
                    archive.file(&blob(&digest), bytes)?;
                }
            }
        }
        Ok(())
    }

    fn write_layer<W: Write>(
        &self,
        descriptor: &Descriptor,
        source: &LayerSource,
        archive: &mut Writer<W>,
    ) -> Result<(), Error> {
        let damaged = |why: String| Error::Damaged { what: format!("layer {}", descriptor.digest), why };
        let mut stream: Box<dyn Read> = match source {
            LayerSource::Blob => Box::new(self.shared.open_blob(&descriptor.digest)?),
            LayerSource::Tar(diff_id) => {
                let layer = self.shared.open_layer(diff_id)?;
                Box::new(layer::open_tar(layer.as_fd()).map_err(|error| damaged(error.to_string()))?)
            }
        };
        let entry = Entry { size: descriptor.size, ..blob(&descriptor.digest) };
        archive.start(&entry).map_err(failed)?;
        let mut hash = <sha2::Sha256 as sha2::Digest>::new();
        let mut left = descriptor.size;
        let mut piece = vec![0; CHUNK];
        while left > 0 {
            let limit = usize::try_from(left).unwrap_or(usize::MAX).min(CHUNK);
            let read = stream.read(&mut piece[..limit]).map_err(|error| damaged(error.to_string()))?;
            if read == 0 {
                return Err(damaged("it is cut short".to_owned()));
            }
            sha2::Digest::update(&mut hash, &piece[..read]);
            archive.stream().write_all(&piece[..read]).map_err(failed)?;
            left -= read as u64;
        }
        let digest = Digest::from_sha256(&sha2::Digest::finalize(hash).into());
        if digest != descriptor.digest {
            return Err(damaged("it does not have its digest".to_owned()));
        }
        Ok(())
    }
}

/// `repositories`, for readers of old: tags by repository, each with the digits of its last layer.
fn repositories(saved: &[Saved]) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut repositories: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for saved in saved {
        let Some((layer, _)) = saved.layers.last() else { continue };
        for name in &saved.names {
            let familiar = super::index::familiar(name);
            let Some((repository, tag)) = familiar.rsplit_once(':') else { continue };
            let tags = repositories.entry(repository.to_owned()).or_default();
            tags.insert(tag.to_owned(), layer.digest.hex().to_owned());
        }
    }
    repositories
}

/// `index.json` and `manifest.json`.
fn documents(saved: &[Saved]) -> (Index, Vec<ArchiveImage>) {
    let mut manifests = Vec::new();
    let mut archived = Vec::new();
    for saved in saved {
        let mut manifest =
            descriptor(&saved.manifest_type, digest_of(&saved.manifest), saved.manifest.len() as u64);
        if saved.is_original {
            manifest.annotations.insert(ORIGINAL.to_owned(), "true".to_owned());
        }
        if saved.names.is_empty() {
            manifests.push(manifest.clone());
        }
        for name in &saved.names {
            let mut named = manifest.clone();
            named.annotations.insert(IMAGE_NAME.to_owned(), name.clone());
            if let Some(tag) = Reference::parse(name).ok().as_ref().and_then(Reference::tag) {
                named.annotations.insert(REF_NAME.to_owned(), tag.to_owned());
            }
            manifests.push(named);
        }
        let paths = saved.layers.iter().map(|(layer, _)| format!("{BLOBS}{}", layer.digest.hex())).collect();
        let diff_ids = saved.image.config.rootfs.diff_ids.iter().map(ToString::to_string);
        let sources = diff_ids.zip(saved.layers.iter().map(|(layer, _)| layer.clone())).collect();
        let tags: Vec<String> = saved.names.iter().map(|name| super::index::familiar(name)).collect();
        archived.push(ArchiveImage {
            config: format!("{BLOBS}{}", saved.image.id.hex()),
            repo_tags: (!tags.is_empty()).then_some(tags),
            layers: Some(paths),
            parent: saved.image.parent.as_ref().map(ToString::to_string).unwrap_or_default(),
            layer_sources: Some(sources),
        });
    }
    let index = Index {
        schema_version: 2,
        media_type: media_type::INDEX.to_owned(),
        manifests,
        annotations: BTreeMap::new(),
        other: serde_json::Map::new(),
    };
    (index, archived)
}

fn tag_only(name: &str) -> Option<String> {
    (!name.contains('@')).then(|| name.to_owned())
}

pub(super) fn descriptor(media_type: &str, digest: Digest, size: u64) -> Descriptor {
    Descriptor {
        media_type: media_type.to_owned(),
        digest,
        size,
        urls: Vec::new(),
        annotations: BTreeMap::new(),
        platform: None,
        other: serde_json::Map::new(),
    }
}

pub(super) fn json<T: serde::Serialize>(value: &T) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(value).map_err(|error| failed(error.into()))
}

fn file(path: &[u8]) -> Entry {
    Entry { path: path.to_vec(), mode: 0o644, ..Entry::default() }
}

fn blob(digest: &Digest) -> Entry {
    file(format!("{BLOBS}{}", digest.hex()).as_bytes())
}

fn failed(source: std::io::Error) -> Error {
    Error::Io { what: "write the image archive".to_owned(), source }
}
