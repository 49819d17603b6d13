//! Checking all that the store holds, byte for byte, and mending what can be mended.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use berth_oci::Digest;
use rustix::fs::RenameFlags;

use crate::image::Users;
use crate::image::index::familiar;
use crate::ingest::Ingest;
use crate::layer::{self, Hashed};
use crate::store::Shared;
use crate::{Error, Store, dir};

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// A blob is not there, or does not have its digest.
    Blob {
        /// The blob.
        digest: Digest,
        /// The images that need it.
        images: Vec<Digest>,
        /// What is wrong.
        why: String,
    },
    /// An unpacked layer is not there, or is no longer what was unpacked.
    Layer {
        /// The layer.
        diff_id: Digest,
        /// The images that need it.
        images: Vec<Digest>,
        /// What is wrong.
        why: String,
    },
    /// An image has a record but cannot be read, and is not shown.
    Image {
        /// Its ID, as its record has it.
        image: String,
        /// Its names, in familiar form.
        names: Vec<String>,
        /// What is wrong.
        why: String,
    },
    /// The database file is damaged.
    Database {
        /// What is wrong.
        why: String,
    },
    /// A directory that a stack of layers needs is not there.
    Fixup {
        /// The image.
        image: Digest,
        /// What is wrong.
        why: String,
    },
    /// Something that nothing needs.
    Orphan {
        /// Where it is: `blobs`, `layers`, `fixups`.
        place: &'static str,
        /// Its name there.
        name: String,
    },
}

/// What a check saw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// The images.
    pub images: u64,
    /// The layers, each read as the tar it came as.
    pub layers: u64,
    /// The blobs.
    pub blobs: u64,
    /// The bytes that were read.
    pub bytes: u64,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

impl Store {
    /// Reads all that images need and compares it with its digests; looks for what nothing needs. What is removed or
    /// added meanwhile is no finding. Blocking: as long as reading everything takes.
    ///
    /// Errors: the system refused to list a directory of the store.
    pub fn check(&self, on_progress: &dyn Fn(&str)) -> Result<Checked, Error> {
        let shared = self.shared();
        let pins = Ingest::begin(shared)?;
        let mut checked = Checked::default();
        if let Err(error) = shared.database.verify() {
            checked.findings.push(Finding::Database { why: words(&error) });
        }
        let mut layers = BTreeSet::new();
        let mut blobs = BTreeSet::new();
        let mut fixups = Vec::new();
        {
            let index = shared.index();
            checked.findings.extend(index.unreadable().iter().map(|it| Finding::Image {
                image: it.id.clone(),
                names: it.names.iter().map(|name| familiar(name)).collect(),
                why: it.why.clone(),
            }));
            for held in index.all() {
                checked.images += 1;
                layers.extend(held.image.config.rootfs.diff_ids.iter().map(text));
                blobs.extend(held.blobs().map(text));
                if let Some(chain) = held.chains.last().filter(|_| held.record.stack.fixup) {
                    fixups.push((held.image.id.clone(), chain.clone()));
                }
            }
        }
        for layer in layers.iter().filter_map(|layer| Digest::parse(layer).ok()) {
            // Not any more: then nobody needs it.
            if !pins.use_present(&layer)? {
                continue;
            }
            on_progress(layer.as_str());
            checked.layers += 1;
            match shared.verify_layer(&layer) {
                Ok(bytes) => checked.bytes += bytes,
                Err(why) => {
                    let images =
                        shared.images_with(|held| held.image.config.rootfs.diff_ids.contains(&layer));
                    checked.findings.push(Finding::Layer { diff_id: layer, images, why });
                }
            }
        }
        for blob in blobs.iter().filter_map(|blob| Digest::parse(blob).ok()) {
            on_progress(blob.as_str());
            checked.blobs += 1;
            match shared.verify_blob(&blob) {
                Ok(bytes) => checked.bytes += bytes,
                Err(why) if shared.index().has_blob(&blob) => {
                    let images = shared.images_with(|held| held.blobs().any(|other| *other == blob));
                    checked.findings.push(Finding::Blob { digest: blob, images, why });
                }
                Err(_) => {}
            }
        }
        for (image, chain) in fixups {
            let found = dir::open(&shared.dirs.fixups, layer::directory_name(&chain));
            if let Err(error) = found
                && shared.index().held(&image).is_some()
            {
                checked.findings.push(Finding::Fixup { image, why: error.to_string() });
            }
        }
        checked.findings.extend(shared.orphans()?);
        Ok(checked)
    }

    /// Discards what a check found that nothing needs. What is needed by now stays.
    ///
    /// Errors: the system refused.
    pub fn discard_orphans(&self) -> Result<u64, Error> {
        let shared = self.shared();
        // Nothing is published meanwhile.
        let _gate = shared.gate();
        let mut discarded = 0;
        for orphan in shared.orphans()? {
            let Finding::Orphan { place, name } = orphan else { continue };
            let directory = shared.place(place);
            shared.trash.discard(directory, &name).map_err(Error::io(format!("discard {place}/{name}")))?;
            discarded += 1;
        }
        Ok(discarded)
    }

    /// Unpacks a layer once more, from the stream it came as, and puts the result in the place of the damaged one.
    ///
    /// Errors: [`Error::Conflict`] if a running container stands on the layer; the stream is not that layer; the disk
    /// is full. The layer is as it was then.
    pub fn mend_layer(
        &self,
        diff_id: &Digest,
        stream: Box<dyn Read + Send + '_>,
        users: Users<'_>,
    ) -> Result<(), Error> {
        let shared = self.shared();
        let images = shared.images_with(|held| held.image.config.rootfs.diff_ids.contains(diff_id));
        let running = images.iter().flat_map(users).find(|user| user.running);
        if let Some(user) = running {
            return Err(Error::Conflict(format!(
                "layer {diff_id} is in use by running container {}: stop it first",
                user.container
            )));
        }
        let ingest = Ingest::begin(shared)?;
        let (target, name) = ingest.unpack_anew(diff_id, layer::gathered(stream))?;
        ingest.sync()?;
        let _gate = shared.gate();
        let place = layer::directory_name(diff_id);
        let fail = |error: rustix::io::Errno| Error::io(format!("replace layer {diff_id}"))(error.into());
        match rustix::fs::renameat_with(
            &target,
            name.as_str(),
            &shared.dirs.layers,
            place,
            RenameFlags::EXCHANGE,
        ) {
            Ok(()) => {}
            Err(rustix::io::Errno::NOENT) => {
                rustix::fs::renameat(&target, name.as_str(), &shared.dirs.layers, place).map_err(fail)?;
            }
            Err(error) => return Err(fail(error)),
        }
        dir::sync(&shared.dirs.layers).map_err(Error::io("sync a directory of the store"))
    }

    /// Writes a blob once more, from a stream of its bytes, in the place of the damaged one.
    ///
    /// Errors: the stream has another digest; the disk is full. The blob is as it was then.
    pub fn mend_blob(&self, digest: &Digest, stream: &mut dyn Read) -> Result<(), Error> {
        let shared = self.shared();
        let ingest = Ingest::begin(shared)?;
        let (target, name) = ingest.write_anew(digest, stream)?;
        ingest.sync()?;
        let _gate = shared.gate();
        rustix::fs::renameat(&target, name.as_str(), &shared.dirs.blobs, digest.hex())
            .map_err(|error| Error::io(format!("replace blob {digest}"))(error.into()))?;
        dir::sync(&shared.dirs.blobs).map_err(Error::io("sync a directory of the store"))
    }
}

/// An error with its cause.
fn words(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

fn text(digest: &Digest) -> String {
    digest.to_string()
}

impl Shared {
    fn images_with(&self, wanted: impl Fn(&crate::image::index::Held) -> bool) -> Vec<Digest> {
        let index = self.index();
        index.all().filter(|held| wanted(held)).map(|held| held.image.id.clone()).collect()
    }

    /// Reads an unpacked layer as the tar it came as.
    fn verify_layer(&self, diff_id: &Digest) -> Result<u64, String> {
        let opened = self.open_layer(diff_id).map_err(|error| words(&error))?;
        let tar = layer::open_tar(opened.as_fd()).map_err(|error| words(&error))?;
        let mut hashed = Hashed::new(io::BufReader::with_capacity(layer::CHUNK, tar));
        io::copy(&mut hashed, &mut io::sink()).map_err(|error| words(&error))?;
        match hashed.finish() {
            (found, bytes) if found == *diff_id => Ok(bytes),
            (found, _) => Err(format!("its files make {found}")),
        }
    }

    fn verify_blob(&self, digest: &Digest) -> Result<u64, String> {
        let file = self.open_blob(digest).map_err(|error| error.to_string())?;
        let mut hashed = Hashed::new(file);
        io::copy(&mut hashed, &mut io::sink()).map_err(|error| error.to_string())?;
        match hashed.finish() {
            (found, bytes) if found == *digest => Ok(bytes),
            (found, _) => Err(format!("it has digest {found}")),
        }
    }

    fn place(&self, place: &str) -> &OwnedFd {
        match place {
            "blobs" => &self.dirs.blobs,
            "layers" => &self.dirs.layers,
            _ => &self.dirs.fixups,
        }
    }

    /// What nothing needs. Listed first and looked up then, so that what is published meanwhile is none.
    fn orphans(&self) -> Result<Vec<Finding>, Error> {
        let mut found = Vec::new();
        for place in ["blobs", "layers", "fixups"] {
            let names =
                dir::names(self.place(place)).map_err(Error::io(format!("list {place} of the store")))?;
            let index = self.index();
            if index.is_incomplete() {
                return Ok(Vec::new());
            }
            let wanted = match place {
                "blobs" => index.blob_files(),
                "layers" => index.layer_directories(),
                _ => index.fixup_directories(),
            };
            for name in names {
                let name = String::from_utf8_lossy(name.as_bytes()).into_owned();
                if !wanted.contains(&name) {
                    found.push(Finding::Orphan { place, name });
                }
            }
        }
        Ok(found)
    }
}
