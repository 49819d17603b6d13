//! Looking images up: by name, digest, ID or prefix; lists, sizes and history.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use berth_oci::reference::is_identifier;
use berth_oci::{Digest, Reference};

use super::index::{Held, Index, familiar};
use super::{HistoryEntry, Image, Images, Listed};
use crate::Error;

/// What a text can mean where an image is asked for.
pub(super) enum Wanted {
    /// An ID, whole.
    Id(Digest),
    /// A name; it may be the start of an ID as well.
    Name(Reference),
}

impl Wanted {
    /// Understands what a user typed.
    ///
    /// Errors: [`Error::Invalid`] with Docker's text.
    pub(super) fn parse(text: &str) -> Result<Self, Error> {
        if is_identifier(text)
            && let Ok(id) = Digest::parse(&format!("sha256:{text}"))
        {
            return Ok(Self::Id(id));
        }
        if let Ok(id) = Digest::parse(text) {
            return Ok(Self::Id(id));
        }
        let name = Reference::parse(text).map_err(|error| Error::Invalid(error.to_string()))?;
        Ok(Self::Name(name))
    }

    /// The error for an image that is not there.
    fn missing(&self) -> Error {
        let name = match self {
            Self::Id(id) => id.to_string(),
            Self::Name(name) => name.clone().or_latest().familiar(),
        };
        Error::NotFound(format!("No such image: {name}"))
    }
}

/// The key of a name: a digest counts more than a tag beside it.
pub(super) fn key(name: &Reference) -> String {
    match name.digest() {
        Some(digest) if name.tag().is_some() => name.with_digest(digest.clone()).to_string(),
        _ => name.clone().or_latest().to_string(),
    }
}

/// What images take on the disk, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiskUsage {
    /// Each image with all that it needs, and how much of that others need as well.
    pub images: Vec<(Digest, u64, u64)>,
    /// All together, what is shared counted once; also what only containers of removed images still need.
    pub total: u64,
}

/// A layer or a blob.
struct Part {
    /// Known of a layer; that of a blob is asked of the disk.
    size: Option<u64>,
    /// How many images have it.
    images: u64,
}

impl Index {
    /// The image that a text means.
    pub(super) fn find(&self, text: &str) -> Result<&Held, Error> {
        let wanted = Wanted::parse(text)?;
        let found = match &wanted {
            Wanted::Id(id) => self.visible(id),
            Wanted::Name(name) => self.named(&key(name)).and_then(|id| self.visible(id)).or_else(|| {
                self.by_prefix(&format!("sha256:{}", text.strip_prefix("sha256:").unwrap_or(text)))
            }),
        };
        found.ok_or_else(|| wanted.missing())
    }

    fn listed(&self, held: &Held) -> Listed {
        let (mut tags, mut digests) = (Vec::new(), Vec::new());
        for name in &held.names {
            if name.contains('@') { &mut digests } else { &mut tags }.push(familiar(name));
        }
        tags.sort();
        digests.sort();
        let children = self.children(&held.image.id);
        Listed { image: Arc::clone(&held.image), tags, digests, children }
    }
}

impl Images {
    /// The image that a name, digest, ID or unambiguous ID prefix means.
    ///
    /// Errors: [`Error::NotFound`] "No such image: …"; [`Error::Invalid`] when the text can be no reference.
    pub fn get(&self, reference: &str) -> Result<Arc<Image>, Error> {
        Ok(Arc::clone(&self.shared.index().find(reference)?.image))
    }

    /// The image with this ID, also if it was removed and only a snapshot keeps it.
    pub fn by_id(&self, id: &Digest) -> Option<Arc<Image>> {
        self.shared.index().held(id).map(|held| Arc::clone(&held.image))
    }

    /// The image with its present names.
    pub fn listed(&self, id: &Digest) -> Option<Listed> {
        let index = self.shared.index();
        Some(index.listed(index.visible(id)?))
    }

    /// All images, newest first. `all` includes those without a name that others were made from.
    pub fn list(&self, all: bool) -> Vec<Listed> {
        let index = self.shared.index();
        let mut listed: Vec<Listed> = index
            .all()
            .map(|held| index.listed(held))
            .filter(|listed| {
                all || listed.children == 0 || !listed.tags.is_empty() || !listed.digests.is_empty()
            })
            .collect();
        drop(index);
        listed.sort_by_cached_key(|listed| {
            (std::cmp::Reverse(listed.image.created_seconds()), listed.image.id.clone())
        });
        listed
    }

    /// For each image the bytes that it shares with others, and the bytes of all layers together.
    pub fn shared_sizes(&self) -> (Vec<(Digest, u64)>, u64) {
        let index = self.shared.index();
        let mut layers: HashMap<&Digest, u64> = HashMap::new();
        let mut shared = Vec::new();
        for held in index.all() {
            let mut size = 0;
            for (chain, layer) in held.chains.iter().zip(&held.image.layer_sizes) {
                layers.insert(chain, *layer);
                if index.chain_count(chain) > 1 {
                    size += layer;
                }
            }
            shared.push((held.image.id.clone(), size));
        }
        (shared, layers.values().sum())
    }

    /// What images take on the disk: their layers, and their documents and compressed layers. Blocking.
    pub fn disk_usage(&self) -> DiskUsage {
        let index = self.shared.index();
        let mut parts: HashMap<Digest, Part> = HashMap::new();
        let mut images = Vec::new();
        for held in index.held_all() {
            let visible = u64::from(!held.record.removed);
            let layers = held.image.config.rootfs.diff_ids.iter().zip(&held.image.layer_sizes);
            let layers = layers.map(|(layer, size)| (layer, Some(*size)));
            let mut own = HashSet::new();
            for (digest, size) in layers.chain(held.blobs().map(|blob| (blob, None))) {
                if own.insert(digest.clone()) {
                    let part = parts.entry(digest.clone()).or_insert(Part { size, images: 0 });
                    part.images += visible;
                }
            }
            if visible > 0 {
                images.push((held.image.id.clone(), own));
            }
        }
        drop(index);
        let size = |digest: &Digest, part: &Part| part.size.unwrap_or_else(|| self.shared.blob_size(digest));
        let sizes: HashMap<&Digest, (u64, bool)> =
            parts.iter().map(|(digest, part)| (digest, (size(digest, part), part.images > 1))).collect();
        let of = |own: &HashSet<Digest>, shared: bool| {
            let sizes = own.iter().filter_map(|digest| sizes.get(digest));
            sizes.filter(|(_, is_shared)| *is_shared || !shared).map(|(size, _)| size).sum()
        };
        let images = images.into_iter().map(|(id, own)| (id, of(&own, false), of(&own, true)));
        DiskUsage { images: images.collect(), total: sizes.values().map(|(size, _)| size).sum() }
    }

    /// The steps an image was made in, newest first.
    pub fn history(&self, image: &Image) -> Vec<HistoryEntry> {
        let mut entries = Vec::new();
        let mut sizes = image.layer_sizes.iter();
        for step in image.config.history.iter().flatten() {
            let size = if step.empty_layer { 0 } else { sizes.next().copied().unwrap_or(0) };
            entries.push(HistoryEntry {
                id: None,
                created: step.created.as_deref().map_or(0, seconds),
                created_by: step.created_by.clone(),
                tags: Vec::new(),
                size,
                comment: step.comment.clone(),
            });
        }
        entries.reverse();
        let index = self.shared.index();
        let mut next = Some(image.id.clone());
        for entry in &mut entries {
            let Some(held) = next.and_then(|id| index.visible(&id)) else { break };
            entry.id = Some(held.image.id.clone());
            entry.tags = index.listed(held).tags;
            next = held.image.parent.clone();
        }
        entries
    }

    /// The configuration, byte for byte as it came.
    ///
    /// Errors: [`Error::Damaged`].
    pub fn config_bytes(&self, id: &Digest) -> Result<Vec<u8>, Error> {
        self.shared.read_blob(id)
    }
}

impl Image {
    /// When the image was made, in seconds since 1970; 0 if it does not say.
    pub fn created_seconds(&self) -> i64 {
        self.config.created.as_deref().map_or(0, seconds)
    }
}

/// Seconds since 1970 of an RFC 3339 time; 0 if it is none, as Docker takes it.
fn seconds(time: &str) -> i64 {
    time.parse::<jiff::Timestamp>().map_or(0, jiff::Timestamp::as_second)
}
