//! A layer's tar, made again, and whether it is what came.

use std::io::{self, Read};
use std::os::fd::BorrowedFd;

use berth_oci::Digest;
use sha2::Digest as _;
use twox_hash::XxHash3_128;

use super::{LayerRecord, RecipeReader, open_tar, tar_of};

/// XXH3 with 128 bits: shows what a disk or an accident damaged, at a tenth of a digest's cost. Whoever can write to
/// the store can forge it.
pub(crate) struct Checksum(XxHash3_128);

impl Checksum {
    pub(super) fn new() -> Self {
        Self(XxHash3_128::new())
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
    }

    /// The checksum of the bytes so far, in hexadecimal.
    pub(super) fn text(&self) -> String {
        format!("{:032x}", self.0.finish_128())
    }
}

/// Reads a layer's tar and compares it with what came.
pub(crate) struct Checked {
    tar: RecipeReader,
    proof: Proof,
}

enum Proof {
    Checksum(Box<Checksum>, String),
    Digest(sha2::Sha256, Digest),
}

impl Checked {
    /// Opens the tar of a layer, to be compared by the checksum in the layer's record; a layer of a former version,
    /// which has none, is compared by its digest.
    ///
    /// Errors: the layer is damaged.
    pub(crate) fn open(layer: BorrowedFd<'_>, diff_id: &Digest) -> io::Result<Self> {
        let record = LayerRecord::read(layer)?;
        let tar = tar_of(layer, &record)?;
        let digest = || Proof::Digest(sha2::Sha256::new(), diff_id.clone());
        let checksum = |expect| Proof::Checksum(Box::new(Checksum::new()), expect);
        Ok(Self { tar, proof: record.checksum.map_or_else(digest, checksum) })
    }

    /// The same, compared by the layer's digest.
    ///
    /// Errors: the layer is damaged.
    pub(crate) fn by_digest(layer: BorrowedFd<'_>, diff_id: &Digest) -> io::Result<Self> {
        Ok(Self { tar: open_tar(layer)?, proof: Proof::Digest(sha2::Sha256::new(), diff_id.clone()) })
    }

    /// What is wrong with the tar, which was read to its end.
    pub(crate) fn finish(self) -> Result<(), String> {
        let (kind, found, expect) = match self.proof {
            Proof::Checksum(checksum, expect) => ("checksum", checksum.text(), expect),
            Proof::Digest(hash, expect) => {
                let found = Digest::from_sha256(&hash.finalize().into());
                ("digest", found.to_string(), expect.to_string())
            }
        };
        if found == expect { Ok(()) } else { Err(format!("its tar has {kind} {found}")) }
    }
}

impl Read for Checked {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let read = self.tar.read(to)?;
        match &mut self.proof {
            Proof::Checksum(checksum, _) => checksum.update(&to[..read]),
            Proof::Digest(hash, _) => hash.update(&to[..read]),
        }
        Ok(read)
    }
}
