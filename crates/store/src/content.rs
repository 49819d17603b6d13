//! Blobs by digest: manifests, configurations, compressed layers.

use std::fs::File;
use std::io::Read;
use std::sync::Arc;

use berth_oci::{Algorithm, Digest};
use rustix::fs::{Mode, OFlags};
use sha2::Digest as _;

use crate::Error;
use crate::store::Shared;

/// The content store; clones share it.
#[derive(Clone)]
pub struct Content {
    shared: Arc<Shared>,
}

impl Content {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// The whole of a small blob, checked against its digest.
    ///
    /// Errors: [`Error::NotFound`]; [`Error::Damaged`].
    pub fn read(&self, digest: &Digest) -> Result<Vec<u8>, Error> {
        self.shared.read_blob(digest)
    }

    /// A blob opened for reading, not checked.
    ///
    /// Errors: [`Error::NotFound`].
    pub fn open(&self, digest: &Digest) -> Result<File, Error> {
        self.shared.open_blob(digest)
    }

    /// Whether the blob is here.
    pub fn contains(&self, digest: &Digest) -> bool {
        self.shared.open_blob(digest).is_ok()
    }
}

impl Shared {
    pub(crate) fn open_blob(&self, digest: &Digest) -> Result<File, Error> {
        if digest.algorithm() != Algorithm::Sha256 {
            return Err(Error::NotFound(format!("blob {digest} not found")));
        }
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        match rustix::fs::openat(&self.dirs.blobs, digest.hex(), flags, Mode::empty()) {
            Ok(fd) => Ok(File::from(fd)),
            Err(rustix::io::Errno::NOENT) => Err(Error::NotFound(format!("blob {digest} not found"))),
            Err(error) => Err(Error::io(format!("open blob {digest}"))(error.into())),
        }
    }

    /// The length of a blob; 0 of one that is not there.
    pub(crate) fn blob_size(&self, digest: &Digest) -> u64 {
        let stat = rustix::fs::statat(&self.dirs.blobs, digest.hex(), rustix::fs::AtFlags::SYMLINK_NOFOLLOW);
        stat.map_or(0, |stat| u64::try_from(stat.st_size).unwrap_or(0))
    }

    pub(crate) fn read_blob(&self, digest: &Digest) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        self.open_blob(digest)?.read_to_end(&mut bytes).map_err(Error::io(format!("read blob {digest}")))?;
        if digest_of(&bytes) != *digest {
            let why = "it does not have its digest".to_owned();
            return Err(Error::Damaged { what: format!("blob {digest}"), why });
        }
        Ok(bytes)
    }
}

/// The SHA-256 digest of bytes.
pub fn digest_of(bytes: &[u8]) -> Digest {
    Digest::from_sha256(&sha2::Sha256::digest(bytes).into())
}
