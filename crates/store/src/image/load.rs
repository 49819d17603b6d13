//! Loading of image archives: docker-archives and OCI layouts, in one pass over the stream.
//!
//! What an archive holds is known only when its last document has been read, and in most archives that comes last.
//! So every file that could be a layer is unpacked as it comes by, each in a thread of its own while the next one is
//! read; what no image turns out to need is discarded.

use std::collections::{BTreeMap, HashMap};
use std::io::BufRead;
use std::sync::mpsc::SyncSender;
use std::thread::{Scope, ScopedJoinHandle};

use berth_oci::image::{DOCUMENT_BYTES_MAX, Document};
use berth_oci::{Descriptor, Digest, ImageConfig, Manifest, Platform, Reference};
use sha2::Digest as _;

use super::archive::{
    ArchiveImage, BLOBS, IMAGE_NAME, INDEX_JSON, MANIFEST_JSON, ORIGINAL, REF_NAME, clean, follow,
};
use super::{Images, Loaded, OnProgress, Progress};
use crate::error::Kind as Class;
use crate::ingest::{Ingest, Keep, NewImage, NewLayer};
use crate::layer::{self, CHUNK, Compression, Decoder, Piece, Promise};
use crate::tar::{BLOCK, Entry, Kind, Reader};
use crate::{Error, digest_of};

/// All documents of an archive together.
const DOCUMENTS_BYTES_MAX: usize = 64 << 20;
/// The number of files in an archive.
const FILES_MAX: usize = 100_000;

impl Images {
    /// Loads a docker-archive or an OCI layout, plain or compressed. Blocking; streams.
    ///
    /// Errors: the archive is malformed or refused; the disk is full. No image of the archive is there then.
    pub fn load(&self, reader: impl BufRead + Send, progress: OnProgress<'_>) -> Result<Vec<Loaded>, Error> {
        let ingest = Ingest::begin(&self.shared)?;
        let contents = std::thread::scope(|scope| {
            let mut scan =
                Scan { ingest: &ingest, scope, progress, running: Vec::new(), contents: Contents::default() };
            scan.run(reader)?;
            scan.finish()
        })?;
        let images = contents.images(self, &ingest)?;
        let published = ingest.publish(&images)?;
        let mut loaded = Vec::new();
        let mut ids = Vec::new();
        for (image, published) in images.iter().zip(published) {
            ids.push(Loaded::Id(published.id.clone()));
            for name in &image.names {
                let familiar = super::index::familiar(name);
                if let Some((_, old)) = published.taken.iter().find(|(taken, _)| taken == name) {
                    loaded.push(Loaded::Renamed(familiar.clone(), old.clone()));
                }
                loaded.push(Loaded::Name(familiar, published.id.clone()));
            }
        }
        // As Docker: IDs are told only if there is no name at all.
        Ok(if loaded.is_empty() { ids } else { loaded })
    }
}

/// What an archive turned out to hold.
#[derive(Default)]
struct Contents {
    documents: HashMap<String, Vec<u8>>,
    documents_bytes: usize,
    layers: HashMap<String, Result<NewLayer, Error>>,
    links: HashMap<String, String>,
    files: usize,
}

/// The pass over an archive.
struct Scan<'scope, 'env> {
    ingest: &'env Ingest,
    scope: &'scope Scope<'scope, 'env>,
    progress: OnProgress<'env>,
    /// Layers that are being unpacked.
    running: Vec<(String, ScopedJoinHandle<'scope, Result<NewLayer, Error>>)>,
    contents: Contents,
}

impl<'scope, 'env> Scan<'scope, 'env> {
    fn run(&mut self, stream: impl BufRead + Send) -> Result<(), Error> {
        let decoder = layer::begun(stream).and_then(Decoder::new).map_err(layer::reading)?;
        let mut reader = Reader::new(decoder);
        let mut entry = Entry::default();
        while reader.next(&mut entry).map_err(layer::LayerError::from)? {
            self.contents.files += 1;
            if self.contents.files > FILES_MAX {
                return Err(Error::Invalid(format!("archive has more than {FILES_MAX} files")));
            }
            let path = String::from_utf8_lossy(&entry.path).into_owned();
            let path = clean(&path)?;
            match entry.kind {
                Kind::File if entry.segments.is_none() => self.file(path, &entry, &mut reader)?,
                Kind::Symlink => {
                    let target = follow(&path, &String::from_utf8_lossy(&entry.link))?;
                    self.contents.links.insert(path, target);
                }
                Kind::HardLink => {
                    let target = clean(&String::from_utf8_lossy(&entry.link))?;
                    self.contents.links.insert(path, target);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn file<R: BufRead>(&mut self, path: String, entry: &Entry, reader: &mut Reader<R>) -> Result<(), Error> {
        let head = head(reader)?;
        match classify(&head, entry.size) {
            Content::Document => {
                let mut document = head;
                let rest = reader.read_small(DOCUMENT_BYTES_MAX as u64).map_err(layer::LayerError::from)?;
                document.extend_from_slice(&rest);
                self.contents.documents_bytes += document.len();
                if self.contents.documents_bytes > DOCUMENTS_BYTES_MAX {
                    return Err(Error::Invalid("archive has too many documents".to_owned()));
                }
                self.contents.documents.insert(path, document);
                Ok(())
            }
            Content::Layer => self.layer(path, head, entry.size, reader),
            Content::Other => Ok(()),
        }
    }

    /// Unpacks a layer while the archive is read on.
    fn layer<R: BufRead>(
        &mut self,
        path: String,
        head: Vec<u8>,
        size: u64,
        reader: &mut Reader<R>,
    ) -> Result<(), Error> {
        let stated = path.strip_prefix(BLOBS).and_then(|hex| Digest::parse(&format!("sha256:{hex}")).ok());
        let is_plain = Compression::detect(&head).is_ok_and(|compression| compression == Compression::None);
        if let Some(diff_id) = stated.filter(|_| is_plain)
            && self.ingest.use_present(&diff_id)?
        {
            // What the archive has under this name is not even looked at: ours is known to be right.
            let stream = (diff_id.clone(), size);
            let layer = NewLayer { diff_id, stream, compression: Compression::None };
            self.contents.layers.insert(path, Ok(layer));
            return Ok(());
        }
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        if self.running.len() > threads {
            self.join_one()?;
        }
        let (sender, pieces) = layer::channel();
        let ingest = self.ingest;
        // This thread has the time to hash, and the pieces in its cache.
        let promise = is_plain.then(Promise::default);
        let promised = promise.clone();
        let unpack = move || ingest.hashed_layer(Box::new(pieces), Keep::Compressed, promised.as_ref());
        let handle = self.scope.spawn(unpack);
        self.running.push((path.clone(), handle));
        self.feed(&path, head, size, reader, (&sender, promise))
    }

    fn feed<R: BufRead>(
        &mut self,
        path: &str,
        head: Vec<u8>,
        size: u64,
        reader: &mut Reader<R>,
        (to, promise): (&SyncSender<Piece>, Option<Promise>),
    ) -> Result<(), Error> {
        let name = layer_name(path);
        let mut hash = sha2::Sha256::new();
        let mut current = 0;
        let mut piece = head;
        piece.reserve(CHUNK - piece.len());
        loop {
            while piece.len() < CHUNK {
                let data = reader.data().map_err(layer::LayerError::from)?;
                if data.is_empty() {
                    break;
                }
                let usable = data.len().min(CHUNK - piece.len());
                piece.extend_from_slice(&data[..usable]);
                reader.consume(usable);
            }
            let length = piece.len();
            match &promise {
                Some(promise) if length == 0 => {
                    drop(promise.set(Digest::from_sha256(&std::mem::take(&mut hash).finalize().into())));
                }
                Some(_) => hash.update(&piece),
                None => {}
            }
            if to.send(Ok(std::mem::take(&mut piece))).is_err() {
                // The layer was refused, which matters only if an image needs it; a full disk matters now.
                return self.join_failed(path);
            }
            if length == 0 {
                return Ok(());
            }
            current += length as u64;
            (self.progress)(Progress { layer: &name, current, total: size });
            piece = Vec::with_capacity(CHUNK);
        }
    }

    fn join_failed(&mut self, path: &str) -> Result<(), Error> {
        match self.running.iter().position(|(running, _)| running == path) {
            Some(position) => self.join(position),
            None => Ok(()),
        }
    }

    fn join_one(&mut self) -> Result<(), Error> {
        if self.running.is_empty() { Ok(()) } else { self.join(0) }
    }

    fn join(&mut self, position: usize) -> Result<(), Error> {
        let (path, handle) = self.running.remove(position);
        let result =
            handle.join().unwrap_or_else(|_| Err(Error::Invalid(format!("unpacking of {path} panicked"))));
        match result {
            Err(error) if error.kind() == Class::Internal => Err(error),
            result => {
                self.contents.layers.insert(path, result);
                Ok(())
            }
        }
    }

    fn finish(mut self) -> Result<Contents, Error> {
        while !self.running.is_empty() {
            self.join_one()?;
        }
        Ok(self.contents)
    }
}

/// The first block of a file, or all of a shorter one.
fn head<R: BufRead>(reader: &mut Reader<R>) -> Result<Vec<u8>, Error> {
    let mut head = Vec::with_capacity(BLOCK);
    while head.len() < BLOCK {
        let data = reader.data().map_err(layer::LayerError::from)?;
        if data.is_empty() {
            break;
        }
        let usable = data.len().min(BLOCK - head.len());
        head.extend_from_slice(&data[..usable]);
        reader.consume(usable);
    }
    Ok(head)
}

enum Content {
    Document,
    Layer,
    Other,
}

/// Tells what a file of an archive is by its first block.
fn classify(head: &[u8], size: u64) -> Content {
    if !matches!(Compression::detect(head), Ok(Compression::None)) {
        return Content::Layer;
    }
    let is_tar = head.len() == BLOCK && (head.iter().all(|b| *b == 0) || crate::tar::is_header(head));
    if is_tar {
        return Content::Layer;
    }
    let first = head.iter().find(|b| !b.is_ascii_whitespace());
    match first {
        Some(b'{' | b'[') if size <= DOCUMENT_BYTES_MAX as u64 => Content::Document,
        _ => Content::Other,
    }
}

/// What progress calls a layer: the first digits of the digest in its path.
fn layer_name(path: &str) -> String {
    let is_digest = |part: &&str| part.len() >= 12 && part.bytes().all(|b| b.is_ascii_hexdigit());
    let parts = path.split(['/', '.']);
    let name = parts.rev().find(is_digest).unwrap_or(path);
    name.chars().take(12).collect()
}

impl Contents {
    /// The images of the archive.
    fn images(&self, images: &Images, ingest: &Ingest) -> Result<Vec<NewImage>, Error> {
        let manifests = self.manifests()?;
        if let Some(document) = self.documents.get(MANIFEST_JSON) {
            let archived: Vec<ArchiveImage> = serde_json::from_slice(document)
                .map_err(|error| Error::Invalid(format!("{MANIFEST_JSON} is malformed: {error}")))?;
            return archived.iter().map(|image| self.archived(image, &manifests, images, ingest)).collect();
        }
        if manifests.is_empty() {
            let what = "no image found in archive: neither manifest.json nor index.json";
            return Err(Error::Invalid(what.to_owned()));
        }
        let mut found: BTreeMap<String, NewImage> = BTreeMap::new();
        for (descriptor, bytes, manifest) in &manifests {
            let config = self.blob(&manifest.config)?;
            let name = name(descriptor)?;
            let key = digest_of(&config).to_string();
            if !found.contains_key(&key) {
                let layers = self.layer_ids(
                    &config,
                    |index| {
                        let layer = manifest.layers.get(index)?;
                        Some(format!("{BLOBS}{}", layer.digest.hex()))
                    },
                    manifest.layers.len(),
                    ingest,
                )?;
                let manifest = self.attach(descriptor, bytes, manifest, &layers, ingest)?;
                let image = NewImage { config, manifest, parent: None, names: Vec::new(), is_tagged: false };
                found.insert(key.clone(), image);
            }
            if let Some(image) = found.get_mut(&key) {
                image.names.extend(name);
            }
        }
        Ok(found.into_values().collect())
    }

    /// One image of `manifest.json`.
    fn archived(
        &self,
        image: &ArchiveImage,
        manifests: &[(Descriptor, Vec<u8>, Manifest)],
        images: &Images,
        ingest: &Ingest,
    ) -> Result<NewImage, Error> {
        let path = self.resolve(&clean(&image.config)?)?;
        let config = self
            .documents
            .get(&path)
            .ok_or_else(|| Error::Invalid(format!("archive has no image configuration {}", image.config)))?;
        let paths = image.layers.clone().unwrap_or_default();
        let layers = self.layer_ids(config, |index| paths.get(index).cloned(), paths.len(), ingest)?;
        let id = digest_of(config);
        let mut names = Vec::new();
        for tag in image.repo_tags.iter().flatten() {
            let name = Reference::parse(tag).map_err(|error| Error::Invalid(error.to_string()))?;
            if name.tag().is_none() || name.digest().is_some() {
                return Err(Error::Invalid(format!("invalid tag \"{tag}\"")));
            }
            names.push(name.to_string());
        }
        // `docker save` makes a manifest of layers that are not compressed. Whoever pushes wants them compressed, so
        // only one that the image came with is kept then.
        let is_plain = layers.iter().flatten().all(|layer| layer.compression == Compression::None);
        let own = manifests.iter().find(|(_, _, manifest)| manifest.config.digest == id);
        let manifest = match own {
            Some((descriptor, bytes, manifest))
                if !is_plain || descriptor.annotations.contains_key(ORIGINAL) =>
            {
                self.attach(descriptor, bytes, manifest, &layers, ingest)?
            }
            _ => None,
        };
        let parent = Digest::parse(&image.parent).ok().filter(|parent| images.by_id(parent).is_some());
        Ok(NewImage { config: config.clone(), manifest, parent, names, is_tagged: false })
    }

    /// Checks that the layers of an image are those its configuration names, and gives them.
    fn layer_ids(
        &self,
        config: &[u8],
        path: impl Fn(usize) -> Option<String>,
        count: usize,
        ingest: &Ingest,
    ) -> Result<Vec<Option<&NewLayer>>, Error> {
        let config = ImageConfig::parse(config)?;
        if !config.os.is_empty() && config.os != "linux" {
            return Err(Error::Invalid(format!("cannot load {} image on linux", config.os)));
        }
        let diff_ids = &config.rootfs.diff_ids;
        if diff_ids.len() != count {
            return Err(Error::Invalid(format!(
                "invalid manifest, layers length mismatch: expected {}, got {count}",
                diff_ids.len()
            )));
        }
        let mut layers = Vec::with_capacity(count);
        for (index, diff_id) in diff_ids.iter().enumerate() {
            let path = self.resolve(&clean(&path(index).unwrap_or_default())?)?;
            let layer = match self.layers.get(&path) {
                Some(Ok(layer)) => layer,
                Some(Err(error)) => return Err(error.again()),
                None if ingest.use_present(diff_id)? => {
                    layers.push(None);
                    continue;
                }
                None => return Err(Error::Invalid(format!("archive has no layer {path}"))),
            };
            if layer.diff_id != *diff_id {
                return Err(Error::Invalid(format!(
                    "invalid diffID for layer {index}: expected \"{diff_id}\", got \"{}\"",
                    layer.diff_id
                )));
            }
            layers.push(Some(layer));
        }
        Ok(layers)
    }

    /// Follows links of the archive.
    fn resolve(&self, path: &str) -> Result<String, Error> {
        let mut path = path.to_owned();
        for _ in 0..8 {
            match self.links.get(&path) {
                Some(target) => path.clone_from(target),
                None => return Ok(path),
            }
        }
        Err(Error::Invalid(format!("too many links in archive at {path}")))
    }

    /// A document blob, checked against its descriptor.
    fn blob(&self, descriptor: &Descriptor) -> Result<Vec<u8>, Error> {
        let path = format!("{BLOBS}{}", descriptor.digest.hex());
        let bytes = self
            .documents
            .get(&path)
            .ok_or_else(|| Error::Invalid(format!("archive has no blob {}", descriptor.digest)))?;
        if digest_of(bytes) != descriptor.digest || bytes.len() as u64 != descriptor.size {
            return Err(Error::Invalid(format!(
                "blob {} of the archive does not have its digest and size",
                descriptor.digest
            )));
        }
        Ok(bytes.clone())
    }

    /// The manifests that `index.json` names, one for each name; of several platforms that of this host.
    fn manifests(&self) -> Result<Vec<(Descriptor, Vec<u8>, Manifest)>, Error> {
        let Some(document) = self.documents.get(INDEX_JSON) else { return Ok(Vec::new()) };
        let Document::Index(index) = Document::parse(document)? else {
            return Err(Error::Invalid(format!("{INDEX_JSON} is no index")));
        };
        let mut manifests = Vec::new();
        for descriptor in &index.manifests {
            if let Some((bytes, manifest, chosen)) = self.choose(descriptor, 0)? {
                let annotations = descriptor.annotations.clone();
                manifests.push((Descriptor { annotations, ..chosen }, bytes, manifest));
            }
        }
        Ok(manifests)
    }

    fn choose(
        &self,
        descriptor: &Descriptor,
        depth: u32,
    ) -> Result<Option<(Vec<u8>, Manifest, Descriptor)>, Error> {
        if depth > 4 {
            return Err(Error::Invalid("indexes of the archive are nested too deeply".to_owned()));
        }
        let bytes = match self.documents.contains_key(&format!("{BLOBS}{}", descriptor.digest.hex())) {
            true => self.blob(descriptor)?,
            // An archive need not hold all platforms of an index.
            false if depth > 0 => return Ok(None),
            false => return Err(Error::Invalid(format!("archive has no blob {}", descriptor.digest))),
        };
        match Document::parse(&bytes)? {
            Document::Manifest(manifest) => Ok(Some((bytes, *manifest, descriptor.clone()))),
            Document::Index(index) => {
                let host = Platform::host();
                let rank = |d: &Descriptor| d.platform.as_ref().map_or(Some(u32::MAX), |p| host.rank(p));
                let mut candidates: Vec<_> =
                    index.manifests.iter().filter_map(|d| Some((rank(d)?, d))).collect();
                candidates.sort_by_key(|(rank, _)| *rank);
                for (_, candidate) in candidates {
                    if let Some(found) = self.choose(candidate, depth + 1)? {
                        return Ok(Some(found));
                    }
                }
                Ok(None)
            }
        }
    }

    /// Keeps a manifest with its image, so that its digest lives on. One that does not fit the layers is left out.
    fn attach(
        &self,
        descriptor: &Descriptor,
        bytes: &[u8],
        manifest: &Manifest,
        layers: &[Option<&NewLayer>],
        ingest: &Ingest,
    ) -> Result<Option<(Descriptor, Vec<Digest>)>, Error> {
        if manifest.layers.len() != layers.len() {
            return Ok(None);
        }
        let mut blobs = Vec::new();
        for (wanted, layer) in manifest.layers.iter().zip(layers) {
            let Some(layer) = layer else { return Ok(None) };
            if layer.stream.0 != wanted.digest {
                return Err(Error::Invalid(format!(
                    "layer of the archive has digest {} instead of {}",
                    layer.stream.0, wanted.digest
                )));
            }
            if layer.compression != Compression::None {
                blobs.push(wanted.digest.clone());
            }
        }
        ingest.blob(bytes)?;
        let kept = Descriptor {
            annotations: BTreeMap::new(),
            platform: None,
            other: serde_json::Map::new(),
            ..descriptor.clone()
        };
        Ok(Some((kept, blobs)))
    }
}

/// The name that an index gives to an image.
fn name(descriptor: &Descriptor) -> Result<Option<String>, Error> {
    let annotation = |key: &str| descriptor.annotations.get(key).filter(|value| !value.is_empty());
    let name = match (annotation(IMAGE_NAME), annotation(REF_NAME)) {
        (Some(name), _) => name,
        // Often only a tag, which names nothing.
        (None, Some(name)) if name.contains(['/', ':']) => name,
        _ => return Ok(None),
    };
    let reference = Reference::parse(name).map_err(|error| Error::Invalid(error.to_string()))?;
    Ok(Some(reference.or_latest().to_string()))
}
