//! Images: records by ID, their names, and all that is done with them.

use std::io::{Read, Write};
use std::sync::Arc;

use berth_oci::{Descriptor, Digest, ImageConfig, Platform, Reference};

use crate::Error;

/// The images; clones share them. Reads take no lock across input or output.
#[derive(Clone)]
pub struct Images {}

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

fn not_yet<T>(what: &str) -> Result<T, Error> {
    Err(Error::NotImplemented(format!("{what} is not there yet")))
}

impl Images {
    /// The image that a name, digest, ID or unambiguous ID prefix means.
    ///
    /// Errors: [`Error::NotFound`] "No such image: …"; [`Error::Invalid`] when the text can be no reference.
    pub fn get(&self, reference: &str) -> Result<Arc<Image>, Error> {
        let _ = reference;
        not_yet("lookup of images")
    }

    /// The image with this ID, also if it was removed and only a snapshot keeps it.
    pub fn by_id(&self, id: &Digest) -> Option<Arc<Image>> {
        let _ = id;
        None
    }

    /// The image with its present names.
    pub fn listed(&self, id: &Digest) -> Option<Listed> {
        let _ = id;
        None
    }

    /// All images, newest first. `all` includes those without a name that others were made from.
    pub fn list(&self, all: bool) -> Vec<Listed> {
        let _ = all;
        Vec::new()
    }

    /// For each image the bytes that it shares with others, and the bytes of all layers together.
    pub fn shared_sizes(&self) -> (Vec<(Digest, u64)>, u64) {
        (Vec::new(), 0)
    }

    /// The steps an image was made in, newest first.
    pub fn history(&self, image: &Image) -> Vec<HistoryEntry> {
        let _ = image;
        Vec::new()
    }

    /// The configuration, byte for byte as it came.
    pub fn config_bytes(&self, id: &Digest) -> Result<Vec<u8>, Error> {
        let _ = id;
        not_yet("reading of configurations")
    }

    /// Gives an image another name, taking it from whoever had it.
    pub fn tag(&self, id: &Digest, name: &Reference) -> Result<(), Error> {
        let _ = (id, name);
        not_yet("tagging")
    }

    /// Removes a name, or an image, by Docker's rules.
    ///
    /// Errors: [`Error::NotFound`]; [`Error::Conflict`] with Docker's text.
    pub fn remove(&self, reference: &str, how: Remove, users: Users<'_>) -> Result<Vec<Removed>, Error> {
        let _ = (reference, how, users);
        not_yet("removal of images")
    }

    /// Removes images without a name that nobody uses; with `all`, those with a name too. `keep` spares images.
    pub fn prune(
        &self,
        all: bool,
        users: Users<'_>,
        keep: &dyn Fn(&Listed) -> bool,
    ) -> Result<Pruned, Error> {
        let _ = (all, users, keep);
        not_yet("pruning of images")
    }

    /// Loads a docker-archive or an OCI layout, plain or compressed. Blocking; streams.
    ///
    /// Errors: the archive is malformed or refused; the disk is full. Nothing of a failed image stays.
    pub fn load(
        &self,
        reader: &mut (dyn Read + Send),
        progress: OnProgress<'_>,
    ) -> Result<Vec<Loaded>, Error> {
        let _ = (reader, progress);
        not_yet("loading of images")
    }

    /// Writes images as an archive that is both a docker-archive and an OCI layout. Blocking; streams. The same
    /// images make the same bytes. A name without a tag stands for all tags of its repository.
    pub fn save(&self, names: &[String], writer: &mut dyn Write) -> Result<(), Error> {
        let _ = (names, writer);
        not_yet("saving of images")
    }

    /// Makes an image of one layer from a tar of a root filesystem, plain or compressed. Blocking; streams.
    pub fn import(&self, reader: &mut (dyn Read + Send), how: &Import) -> Result<Digest, Error> {
        let _ = (reader, how);
        not_yet("importing of images")
    }

    /// Adds an image from parts in memory. An image that is there already only gets the names.
    pub fn add(&self, parts: &Parts<'_>) -> Result<Digest, Error> {
        let _ = parts;
        not_yet("adding of images")
    }
}
