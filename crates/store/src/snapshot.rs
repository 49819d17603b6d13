//! Snapshots: the root filesystems of containers, as mounts that the runtime makes.

use berth_oci::{Digest, Mount};

use crate::Error;

/// The snapshots; clones share them.
#[derive(Clone)]
pub struct Snapshots {}

/// What a snapshot takes on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// The bytes of all files in the writable layer (`SizeRw`).
    pub bytes: u64,
    /// The number of files, directories and links in it.
    pub inodes: u64,
}

impl Snapshots {
    /// Makes a writable snapshot of an image and gives its mounts. If the snapshot is there, only gives its mounts.
    ///
    /// Neither the database nor the disk is waited for: a few directories are made. The image and its layers are
    /// kept as long as the snapshot is there, even if the image is removed meanwhile.
    ///
    /// `key` is the container's ID.
    ///
    /// Errors: [`Error::NotFound`] if there is no such image; the system refused.
    pub fn prepare(&self, key: &str, image: &Digest) -> Result<Vec<Mount>, Error> {
        let _ = image;
        Err(Error::NotImplemented(format!("snapshot {key} cannot be made yet")))
    }

    /// The mounts of a snapshot that is there.
    pub fn mounts(&self, key: &str) -> Result<Vec<Mount>, Error> {
        Err(Error::NotImplemented(format!("snapshot {key} cannot be read yet")))
    }

    /// The mounts for looking at an image without writing: read-only, no directory is made.
    pub fn view(&self, image: &Digest) -> Result<Vec<Mount>, Error> {
        Err(Error::NotImplemented(format!("image {image} cannot be viewed yet")))
    }

    /// Removes a snapshot. Its files go to the trash with one rename and are deleted in the background; removing
    /// what is not there is no error.
    ///
    /// Errors: the system refused.
    pub fn remove(&self, key: &str) -> Result<(), Error> {
        Err(Error::NotImplemented(format!("snapshot {key} cannot be removed yet")))
    }

    /// What the writable layer takes. Blocking: walks it.
    pub fn usage(&self, key: &str) -> Result<Usage, Error> {
        Err(Error::NotImplemented(format!("snapshot {key} cannot be measured yet")))
    }

    /// The writable layer's directory, for looking at what a container changed.
    pub fn upper(&self, key: &str) -> Result<std::path::PathBuf, Error> {
        Err(Error::NotImplemented(format!("snapshot {key} cannot be read yet")))
    }

    /// The keys of all snapshots that are there, with the images that they are of.
    pub fn list(&self) -> Vec<(String, Digest)> {
        Vec::new()
    }
}
