//! The images in memory: what is looked up, and what is counted so that nothing in use is removed.
//!
//! The database is the truth; this is read from it when the store is opened and follows each change to it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use berth_oci::{Descriptor, Digest, ImageConfig, Reference};
use serde::{Deserialize, Serialize};

use super::Image;
use crate::database::Record;
use crate::layer::{self, Stack};
use crate::store::Shared;
use crate::{Error, digest_of};

/// An image in the database; its key is its ID.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ImageRecord {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) manifest: Option<Descriptor>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) parent: Option<Digest>,
    /// The bytes of the files of each layer.
    pub(crate) layer_sizes: Vec<u64>,
    /// The blobs that the manifest names, besides the configuration.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) blobs: Vec<Digest>,
    pub(crate) stack: Stack,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) last_tagged: Option<i64>,
    /// Removed, and only kept for the snapshots that are made of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) removed: bool,
}

impl Record for ImageRecord {
    const TABLE: &'static str = "images";
    const VERSION: u32 = 1;
}

/// A name in the database; its key is the whole reference.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct NameRecord {
    pub(crate) image: Digest,
}

impl Record for NameRecord {
    const TABLE: &'static str = "image-names";
    const VERSION: u32 = 1;
}

/// An image with all that is derived from it.
pub(crate) struct Held {
    pub(crate) image: Arc<Image>,
    pub(crate) record: ImageRecord,
    /// The chain IDs of its layers, base first.
    pub(crate) chains: Vec<Digest>,
    /// Its names: whole references.
    pub(crate) names: BTreeSet<String>,
}

impl Held {
    /// The blobs that the image needs.
    pub(crate) fn blobs(&self) -> impl Iterator<Item = &Digest> {
        blobs(&self.image.id, &self.record)
    }
}

/// All images.
#[derive(Default)]
pub(crate) struct Index {
    /// By the text of their IDs.
    images: BTreeMap<Box<str>, Held>,
    names: HashMap<String, Digest>,
    /// How many images have a layer, by diff ID, and how many unfinished ones.
    layers: HashMap<Digest, u64>,
    chains: HashMap<Digest, u64>,
    blobs: HashMap<Digest, u64>,
    /// How many images were made from an image.
    children: HashMap<Digest, u64>,
    /// Images that could not be read, so nobody knows what they need.
    unreadable: Vec<Unreadable>,
}

/// An image that has a record but cannot be read.
#[derive(Clone, Debug)]
pub(crate) struct Unreadable {
    /// Its ID, as its record has it.
    pub(crate) id: String,
    /// Its names: whole references.
    pub(crate) names: Vec<String>,
    /// Why it cannot be read.
    pub(crate) why: String,
}

impl Index {
    /// Reads all records. An image that cannot be read is left alone, with a word in the log.
    pub(crate) fn load(shared: &Shared) -> Result<Self, Error> {
        let mut index = Self::default();
        for (id, record) in shared.database.scan_each::<ImageRecord>("")? {
            let held = record.map_err(Error::from).and_then(|record| {
                let id = Digest::parse(&id).map_err(|why| Error::Damaged {
                    what: format!("record of image {id}"),
                    why: why.to_string(),
                })?;
                let config = ImageConfig::parse(&shared.read_blob(&id)?)?;
                Ok((id, config, record))
            });
            match held {
                Ok((id, config, record)) => index.insert(&id, config, record),
                Err(error) => {
                    tracing::error!(image = id, %error, "image cannot be read and is not shown");
                    index.unreadable.push(Unreadable { id, names: Vec::new(), why: error.to_string() });
                }
            }
        }
        for (name, record) in shared.database.scan_each::<NameRecord>("")? {
            match record {
                Ok(record) if index.images.contains_key(record.image.as_str()) => {
                    index.name(&name, &record.image);
                }
                Ok(record) => {
                    let of_it = |it: &&mut Unreadable| it.id == record.image.as_str();
                    if let Some(unreadable) = index.unreadable.iter_mut().find(of_it) {
                        unreadable.names.push(name);
                        continue;
                    }
                    tracing::error!(name, image = %record.image, "name of an image that is not there");
                }
                Err(error) => tracing::error!(name, %error, "name of an image cannot be read"),
            }
        }
        Ok(index)
    }

    /// Adds an image, or replaces its record.
    pub(crate) fn insert(&mut self, id: &Digest, config: ImageConfig, record: ImageRecord) {
        let names = match self.remove(id) {
            Some(held) => held.names,
            None => BTreeSet::new(),
        };
        let chains = chain_ids(&config.rootfs.diff_ids);
        for layer in &config.rootfs.diff_ids {
            *self.layers.entry(layer.clone()).or_default() += 1;
        }
        for chain in &chains {
            *self.chains.entry(chain.clone()).or_default() += 1;
        }
        for blob in blobs(id, &record) {
            *self.blobs.entry(blob.clone()).or_default() += 1;
        }
        if let Some(parent) = record.parent.as_ref().filter(|_| !record.removed) {
            *self.children.entry(parent.clone()).or_default() += 1;
        }
        for name in &names {
            self.names.insert(name.clone(), id.clone());
        }
        let image = Arc::new(Image {
            id: id.clone(),
            size: record.layer_sizes.iter().sum(),
            layer_sizes: record.layer_sizes.clone(),
            manifest: record.manifest.clone(),
            parent: record.parent.clone(),
            last_tagged: record.last_tagged,
            config,
        });
        self.images.insert(id.as_str().into(), Held { image, record, chains, names });
        // It came again: what it was called, and nobody else is called since, it is called again.
        if let Some(place) = self.unreadable.iter().position(|it| it.id == id.as_str()) {
            for name in self.unreadable.swap_remove(place).names {
                if !self.names.contains_key(&name) {
                    self.name(&name, id);
                }
            }
        }
    }

    /// Takes an image out, with its names.
    pub(crate) fn remove(&mut self, id: &Digest) -> Option<Held> {
        let held = self.images.remove(id.as_str())?;
        for layer in &held.image.config.rootfs.diff_ids {
            release(&mut self.layers, layer);
        }
        for chain in &held.chains {
            release(&mut self.chains, chain);
        }
        for blob in blobs(id, &held.record) {
            release(&mut self.blobs, blob);
        }
        for name in &held.names {
            self.names.remove(name);
        }
        if let Some(parent) = held.record.parent.as_ref().filter(|_| !held.record.removed) {
            release(&mut self.children, parent);
        }
        Some(held)
    }

    /// Gives a name to an image, taking it from whoever had it; tells who that was.
    pub(crate) fn name(&mut self, name: &str, id: &Digest) -> Option<Digest> {
        let previous = self.unname(name);
        if let Some(held) = self.images.get_mut(id.as_str()) {
            held.names.insert(name.to_owned());
            self.names.insert(name.to_owned(), id.clone());
        }
        previous
    }

    /// Takes a name away.
    pub(crate) fn unname(&mut self, name: &str) -> Option<Digest> {
        let id = self.names.remove(name)?;
        if let Some(held) = self.images.get_mut(id.as_str()) {
            held.names.remove(name);
        }
        Some(id)
    }

    /// The image with this name.
    pub(crate) fn named(&self, name: &str) -> Option<&Digest> {
        self.names.get(name)
    }

    /// All names, in no order.
    pub(crate) fn names(&self) -> impl Iterator<Item = (&String, &Digest)> {
        self.names.iter()
    }

    /// The image with this ID, removed ones too.
    pub(crate) fn held(&self, id: &Digest) -> Option<&Held> {
        self.images.get(id.as_str())
    }

    /// The image with this ID, unless it was removed.
    pub(crate) fn visible(&self, id: &Digest) -> Option<&Held> {
        self.held(id).filter(|held| !held.record.removed)
    }

    /// The one image whose ID starts with `prefix`, which has the algorithm in front.
    pub(crate) fn by_prefix(&self, prefix: &str) -> Option<&Held> {
        let bounds = (std::ops::Bound::Included(prefix), std::ops::Bound::Unbounded);
        let mut found = self
            .images
            .range::<str, _>(bounds)
            .take_while(|(id, _)| id.starts_with(prefix))
            .map(|(_, held)| held)
            .filter(|held| !held.record.removed);
        let first = found.next()?;
        found.next().is_none().then_some(first)
    }

    /// All images that were not removed.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Held> {
        self.images.values().filter(|held| !held.record.removed)
    }

    /// All images, removed ones too.
    pub(crate) fn held_all(&self) -> impl Iterator<Item = &Held> {
        self.images.values()
    }

    /// Images that were removed and are only kept for their snapshots.
    pub(crate) fn removed(&self) -> Vec<Digest> {
        let removed = self.images.values().filter(|held| held.record.removed);
        removed.map(|held| held.image.id.clone()).collect()
    }

    /// How many images were made from this one.
    pub(crate) fn children(&self, id: &Digest) -> u64 {
        self.children.get(id).copied().unwrap_or(0)
    }

    /// Whether there is an image whose needs are not known.
    pub(crate) fn is_incomplete(&self) -> bool {
        !self.unreadable.is_empty()
    }

    /// Images that have a record but cannot be read.
    pub(crate) fn unreadable(&self) -> &[Unreadable] {
        &self.unreadable
    }

    /// How many images have this chain of layers.
    pub(crate) fn chain_count(&self, chain: &Digest) -> u64 {
        self.chains.get(chain).copied().unwrap_or(0)
    }

    /// Whether an image or an unfinished one has this layer.
    pub(crate) fn has_layer(&self, diff_id: &Digest) -> bool {
        self.layers.contains_key(diff_id)
    }

    /// Whether an image has this blob.
    pub(crate) fn has_blob(&self, digest: &Digest) -> bool {
        self.blobs.contains_key(digest)
    }

    /// Keeps a layer although no image has it yet; false if it is not there.
    pub(crate) fn pin(&mut self, diff_id: &Digest) -> bool {
        match self.layers.get_mut(diff_id) {
            Some(count) => {
                *count += 1;
                true
            }
            None => false,
        }
    }

    /// Takes back a pin; true if nothing needs the layer any more.
    pub(crate) fn unpin(&mut self, diff_id: &Digest) -> bool {
        release(&mut self.layers, diff_id);
        !self.layers.contains_key(diff_id)
    }

    /// The names of the directories of all layers.
    pub(crate) fn layer_directories(&self) -> HashSet<String> {
        self.layers.keys().map(|layer| layer::directory_name(layer).to_owned()).collect()
    }

    /// The names of all fixup directories.
    pub(crate) fn fixup_directories(&self) -> HashSet<String> {
        let fixed = self.images.values().filter(|held| held.record.stack.fixup);
        fixed.filter_map(|held| Some(layer::directory_name(held.chains.last()?).to_owned())).collect()
    }

    /// The names of the files of all blobs.
    pub(crate) fn blob_files(&self) -> HashSet<String> {
        self.blobs.keys().map(|digest| digest.hex().to_owned()).collect()
    }
}

fn blobs<'a>(id: &'a Digest, record: &'a ImageRecord) -> impl Iterator<Item = &'a Digest> {
    let manifest = record.manifest.as_ref().map(|manifest| &manifest.digest);
    std::iter::once(id).chain(manifest).chain(&record.blobs)
}

fn release(counts: &mut HashMap<Digest, u64>, key: &Digest) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

/// The chain IDs of layers: the name of a layer with all that are below it.
///
/// Source: OCI image-spec, `config.md`, "Layer ChainID".
pub(crate) fn chain_ids(diff_ids: &[Digest]) -> Vec<Digest> {
    let mut chains: Vec<Digest> = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        let chain = match chains.last() {
            None => diff_id.clone(),
            Some(below) => digest_of(format!("{below} {diff_id}").as_bytes()),
        };
        chains.push(chain);
    }
    chains
}

/// The familiar form of a whole reference.
pub(crate) fn familiar(name: &str) -> String {
    Reference::parse(name).map_or_else(|_| name.to_owned(), |reference| reference.familiar())
}
