//! Images: records by ID, their names, and all that is done with them.
//!
//! The ID of an image is the digest of its configuration, as Docker's classic store has it. A name (`repository:tag`
//! or `repository@digest`) means one image; an image may have any number of them, or none.

mod archive;
mod changes;
mod commit;
mod fetch;
mod import;
pub(crate) mod index;
mod instruction;
mod load;
mod lookup;
mod outgoing;
mod save;

use std::sync::Arc;

use berth_oci::{Descriptor, Digest, ImageConfig, Platform, Reference};

pub use commit::Child;
pub use fetch::{Fetch, Fetched, Present};
pub use instruction::apply_changes;
pub use lookup::DiskUsage;
pub use outgoing::Outgoing;

use crate::store::Shared;

/// The images; clones share them. Reads take no lock across input or output.
#[derive(Clone)]
pub struct Images {
    shared: Arc<Shared>,
}

impl Images {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

/// An image as it was when it was looked up; it never changes.
#[derive(Clone, Debug)]
pub struct Image {
    /// The image ID, the digest of its configuration.
    pub id: Digest,
    /// The configuration.
    pub config: ImageConfig,
    /// The manifest that it came with or was given; its digest and length hold for [`crate::Content`].
    pub manifest: Option<Descriptor>,
    /// The image that it was made from, if it was made here.
    pub parent: Option<Digest>,
    /// The bytes of the files of all layers.
    pub size: u64,
    /// The bytes of the files of each layer, base first.
    pub layer_sizes: Vec<u64>,
    /// When it was last given a name, in seconds since 1970.
    pub last_tagged: Option<i64>,
}

/// An image with its present names.
#[derive(Clone, Debug)]
pub struct Listed {
    /// The image.
    pub image: Arc<Image>,
    /// Its tags, in familiar form, sorted: `ubuntu:22.04`.
    pub tags: Vec<String>,
    /// Its digests, in familiar form, sorted: `ubuntu@sha256:…`.
    pub digests: Vec<String>,
    /// How many images were made from it.
    pub children: u64,
}

/// Who uses an image; the engine tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The container's ID.
    pub container: String,
    /// Whether it runs.
    pub running: bool,
}

/// Tells who uses an image.
pub type Users<'a> = &'a dyn Fn(&Digest) -> Vec<User>;

/// One line of the answer to a removal, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removed {
    /// A name was taken off: familiar form, and the image that had it.
    Untagged(String, Digest),
    /// An image was deleted.
    Image(Digest),
    /// A layer was deleted; its chain ID.
    Layer(Digest),
}

/// How to remove an image.
#[derive(Clone, Copy, Debug, Default)]
pub struct Remove {
    /// Take off names although containers use the image, and delete it although it has several names.
    pub force: bool,
    /// Delete parents without a name too.
    pub prune: bool,
}

/// What `load` did, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loaded {
    /// An image has this name now ("Loaded image: …"); familiar form.
    Name(String, Digest),
    /// An image without a name was loaded ("Loaded image ID: …").
    Id(Digest),
    /// The name was taken from another image ("The image … already exists, renaming the old one with ID … to
    /// empty string").
    Renamed(String, Digest),
}

/// How far the loading of a layer is.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// The layer: the first twelve digits of its diff ID.
    pub layer: &'a str,
    /// The bytes read so far.
    pub current: u64,
    /// The bytes there are.
    pub total: u64,
}

/// Where progress goes; called from several threads.
pub type OnProgress<'a> = &'a (dyn Fn(Progress<'_>) + Sync);

/// An image made from a tar of a root filesystem.
#[derive(Clone, Debug, Default)]
pub struct Import {
    /// The name it gets.
    pub name: Option<Reference>,
    /// The message for its history.
    pub message: String,
    /// Dockerfile instructions that change its configuration.
    pub changes: Vec<String>,
    /// Its platform, the host's if `None`.
    pub platform: Option<Platform>,
    /// The version of the engine.
    pub version: String,
}

/// An image in memory.
pub struct Parts<'a> {
    /// The configuration as JSON; its digest becomes the image ID.
    pub config: &'a [u8],
    /// The layers as plain or compressed tars, base first; they must fit the diff IDs of the configuration.
    pub layers: &'a [&'a [u8]],
    /// The names it gets.
    pub names: &'a [Reference],
}

/// One line of `docker history`, newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryEntry {
    /// The image ID, where one is known.
    pub id: Option<Digest>,
    /// When, seconds since 1970.
    pub created: i64,
    /// The command.
    pub created_by: String,
    /// The names of that image.
    pub tags: Vec<String>,
    /// The bytes of its layer.
    pub size: u64,
    /// A word about it.
    pub comment: String,
}

/// What `prune` did.
#[derive(Clone, Debug, Default)]
pub struct Pruned {
    /// What was removed, in order.
    pub removed: Vec<Removed>,
    /// The bytes won.
    pub space_reclaimed: u64,
}
