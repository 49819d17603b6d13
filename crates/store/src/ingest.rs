//! Ingests: layers and blobs on their way in, published together with the images that need them, or not at all.
//!
//! ```text
//! begin ──► layer, blob … (ingest/<n>/, any number of threads) ──► publish: sync ─► rename ─► sync ─► record
//!   │                                                                 │
//!   └──────────────── dropped, or failed at any step ◄────────────────┘   ingest/<n> goes to the trash
//! ```
//!
//! Nothing has its name before it is on the disk, and no record names anything that has not.

mod pairs;

use std::collections::HashSet;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use berth_oci::{Descriptor, Digest, ImageConfig};
use rustix::fs::{Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use crate::database::{Batch, Commit};
use crate::dir::{self, Behind};
use crate::image::index::{ImageRecord, NameRecord, chain_ids};
use crate::layer::{self, Checked, Compression, Cores, Hashed, Job, LayerRecord, Promise, Source, Stack};
use crate::store::Shared;
use crate::{Error, digest_of};

/// The number of files up to which a tree is synced file by file. Syncing the file system instead waits for all that
/// others have written to it, too.
const SYNC_FILES_MAX: u32 = 64;

/// One ingest. What was not published when it is dropped is discarded.
pub(crate) struct Ingest {
    shared: Arc<Shared>,
    name: String,
    dir: OwnedFd,
    next: AtomicU32,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Layers and the entries of this ingest that hold them.
    layers: Vec<(Digest, String)>,
    /// Blobs likewise.
    blobs: Vec<(Digest, String)>,
    fixups: Vec<(Digest, String)>,
    /// Blobs, each with the layer that it was seen to be.
    pairs: HashSet<(Digest, Digest)>,
    /// Layers of the store that must not go away meanwhile.
    pins: Vec<Digest>,
    files: u64,
}

/// A layer of an ingest, or one that was in the store already.
#[derive(Clone, Debug)]
pub(crate) struct NewLayer {
    pub(crate) diff_id: Digest,
    /// The digest and length of the stream that it came as.
    pub(crate) stream: (Digest, u64),
    pub(crate) compression: Compression,
}

/// How to keep the stream that a layer comes as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    /// Only unpacked.
    Unpacked,
    /// As a blob too, if it is compressed: it cannot be made again byte for byte.
    Compressed,
}

/// An image to be published.
pub(crate) struct NewImage {
    /// The configuration, which makes the ID.
    pub(crate) config: Vec<u8>,
    /// The manifest it came with, with the blobs that it names.
    pub(crate) manifest: Option<(Descriptor, Vec<Digest>)>,
    pub(crate) parent: Option<Digest>,
    /// Whole references.
    pub(crate) names: Vec<String>,
    /// A user gives it its names now, and it remembers when.
    pub(crate) is_tagged: bool,
}

/// What publishing an image did.
pub(crate) struct Published {
    pub(crate) id: Digest,
    /// Names that another image had, and that image.
    pub(crate) taken: Vec<(String, Digest)>,
}

impl Ingest {
    pub(crate) fn begin(shared: &Arc<Shared>) -> Result<Self, Error> {
        let name = format!("{:x}-{:x}", shared.salt, shared.ingests.fetch_add(1, Ordering::Relaxed));
        dir::make(&shared.dirs.ingest, &name, dir::PRIVATE)
            .map_err(Error::io(format!("write {}/ingest/{name}", shared.path.display())))?;
        let dir = dir::open(&shared.dirs.ingest, name.as_str())
            .map_err(Error::io(format!("write {}/ingest/{name}", shared.path.display())))?;
        Ok(Self { shared: Arc::clone(shared), name, dir, next: AtomicU32::new(0), state: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The path of something in this ingest, for messages.
    fn path(&self, name: &str) -> String {
        format!("{}/ingest/{}/{name}", self.shared.path.display(), self.name)
    }

    /// Wraps a failure to write something in this ingest.
    fn unwritten(&self, name: &str) -> impl FnOnce(std::io::Error) -> Error + use<> {
        Error::io(format!("write {}", self.path(name)))
    }

    fn fresh_name(&self) -> String {
        format!("{:x}", self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// Makes an empty file.
    fn create(&self) -> Result<(std::fs::File, String), Error> {
        let name = self.fresh_name();
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.dir, name.as_str(), flags, Mode::from_raw_mode(0o600))
            .map_err(|error| self.unwritten(&name)(error.into()))?;
        Ok((fd.into(), name))
    }

    /// Copies a stream into a file of this ingest; which of the two failed is told.
    fn copy(&self, from: &mut impl Read, to: &mut std::fs::File, name: &str) -> Result<(), Error> {
        let mut piece = vec![0; layer::CHUNK];
        loop {
            let read = match from.read(&mut piece) {
                Ok(0) => return Ok(()),
                Ok(read) => read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(layer::reading(error).into()),
            };
            to.write_all(&piece[..read]).map_err(self.unwritten(name))?;
        }
    }

    /// Adds a blob from memory.
    pub(crate) fn blob(&self, bytes: &[u8]) -> Result<Digest, Error> {
        let digest = digest_of(bytes);
        if self.has_blob(&digest) {
            return Ok(digest);
        }
        let (mut file, name) = self.create()?;
        file.write_all(bytes).map_err(self.unwritten(&name))?;
        self.state().blobs.push((digest.clone(), name));
        Ok(digest)
    }

    /// Compresses a layer of the store into a blob; its digest and length. The same layer makes the same bytes.
    /// Waits for a processor and takes those that are idle, too.
    ///
    /// Errors: the layer is not there or damaged; the disk is full.
    pub(crate) fn compressed(&self, diff_id: &Digest, cores: &Cores) -> Result<(Digest, u64), Error> {
        let layer = self.shared.open_layer(diff_id)?;
        let fail = |error| Error::io(format!("compress layer {diff_id}"))(error);
        let tar = Checked::open(layer.as_fd(), diff_id).map_err(fail)?;
        if let Ok(packed) = self.packed(tar, diff_id, cores)? {
            return Ok(packed);
        }
        // The checksum may be what is damaged: the digest has the last word.
        let tar = Checked::by_digest(layer.as_fd(), diff_id).map_err(fail)?;
        let damaged = |why| Error::Damaged { what: format!("layer {diff_id}"), why };
        self.packed(tar, diff_id, cores)?.map_err(damaged)
    }

    /// Compresses a tar into a blob; or what is wrong with the tar, and nothing stays.
    fn packed(
        &self,
        mut tar: Checked,
        diff_id: &Digest,
        cores: &Cores,
    ) -> Result<Result<(Digest, u64), String>, Error> {
        let (mut file, name) = self.create()?;
        let whole = layer::gzip(&mut tar, &mut file, cores).map(|packed| tar.finish().map(|()| packed));
        if let Ok(Ok((digest, _))) = &whole {
            self.state().pairs.insert((digest.clone(), diff_id.clone()));
        }
        match &whole {
            Ok(Ok((digest, _))) if !self.has_blob(digest) => {
                self.state().blobs.push((digest.clone(), name));
            }
            _ => self.discard(&name),
        }
        whole.map_err(Error::io(format!("compress layer {diff_id}")))
    }

    /// Opens a blob of this ingest or of the store, where those of this ingest are once it is published.
    pub(crate) fn open_blob(&self, digest: &Digest) -> Result<std::fs::File, Error> {
        let own = self.state().blobs.iter().find(|(other, _)| other == digest).map(|(_, name)| name.clone());
        if let Some(name) = own {
            let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            match rustix::fs::openat(&self.dir, name.as_str(), flags, Mode::empty()) {
                Ok(fd) => return Ok(fd.into()),
                Err(Errno::NOENT) => {}
                Err(error) => return Err(Error::io(format!("open {}", self.path(&name)))(error.into())),
            }
        }
        self.shared.open_blob(digest)
    }

    /// Whether a blob is in this ingest or in the store.
    pub(crate) fn has_blob(&self, digest: &Digest) -> bool {
        self.state().blobs.iter().any(|(other, _)| other == digest) || self.shared.index().has_blob(digest)
    }

    /// Unpacks a layer from a stream, plain or compressed. Several threads may do so at once.
    ///
    /// Errors: the layer is refused; the disk is full. Nothing stays.
    pub(crate) fn layer(&self, stream: Source<'_>, keep: Keep) -> Result<NewLayer, Error> {
        self.hashed_layer(stream, keep, None)
    }

    /// The same; one that is not compressed may be hashed by another thread.
    pub(crate) fn hashed_layer(
        &self,
        stream: Source<'_>,
        keep: Keep,
        promise: Option<&Promise>,
    ) -> Result<NewLayer, Error> {
        let name = self.fresh_name();
        dir::make(&self.dir, &name, dir::PRIVATE).map_err(self.unwritten(&name))?;
        let target =
            dir::open(&self.dir, name.as_str()).map_err(Error::io("open the directory of a layer"))?;
        let result = self.unpack(stream, &target, &name, keep, promise);
        match result {
            Ok((record, stream, compression, blob)) => {
                let diff_id = record.diff_id.clone().unwrap_or_else(|| stream.0.clone());
                let layer = NewLayer { diff_id: diff_id.clone(), stream, compression };
                let is_new = self.adopt(&diff_id, record.entries, &name)?;
                if !is_new {
                    self.discard(&name);
                }
                let mut state = self.state();
                if compression != Compression::None {
                    state.pairs.insert((layer.stream.0.clone(), diff_id));
                }
                if let Some(blob) = blob {
                    state.blobs.push((layer.stream.0.clone(), blob));
                }
                drop(state);
                Ok(layer)
            }
            Err(error) => {
                self.discard(&name);
                Err(error)
            }
        }
    }

    /// Unpacks a layer although the store has it; the directory and the entry in it that hold the result.
    pub(crate) fn unpack_anew(
        &self,
        diff_id: &Digest,
        stream: Source<'_>,
    ) -> Result<(OwnedFd, String), Error> {
        let name = self.fresh_name();
        dir::make(&self.dir, &name, dir::PRIVATE).map_err(self.unwritten(&name))?;
        let target =
            dir::open(&self.dir, name.as_str()).map_err(Error::io("open the directory of a layer"))?;
        let (record, ..) = self.unpack(stream, &target, &name, Keep::Unpacked, None)?;
        if record.diff_id.as_ref() != Some(diff_id) {
            return Err(Error::Invalid(format!("what came is not layer {diff_id}")));
        }
        // Whatever its size: all of it is synced.
        self.state().files = u64::from(SYNC_FILES_MAX) + 1;
        let dir = self.dir.try_clone().map_err(Error::io("open an ingest"))?;
        Ok((dir, name))
    }

    /// Writes a blob although the store has it; the directory and the entry in it.
    pub(crate) fn write_anew(
        &self,
        digest: &Digest,
        stream: &mut dyn Read,
    ) -> Result<(OwnedFd, String), Error> {
        let (mut file, name) = self.create()?;
        let mut hashed = Hashed::new(stream);
        self.copy(&mut hashed, &mut file, &name)?;
        if hashed.finish().0 != *digest {
            return Err(Error::Invalid(format!("what came is not blob {digest}")));
        }
        let dir = self.dir.try_clone().map_err(Error::io("open an ingest"))?;
        Ok((dir, name))
    }

    /// Takes note of an unpacked layer; false if there is one already.
    fn adopt(&self, diff_id: &Digest, entries: u64, name: &str) -> Result<bool, Error> {
        if self.use_present(diff_id)? {
            return Ok(false);
        }
        let mut state = self.state();
        if state.layers.iter().any(|(other, _)| other == diff_id) {
            return Ok(false);
        }
        state.layers.push((diff_id.clone(), name.to_owned()));
        state.files += entries;
        Ok(true)
    }

    /// Uses a layer that is in the store, if it is: it stays at least until this ingest is over.
    pub(crate) fn use_present(&self, diff_id: &Digest) -> Result<bool, Error> {
        if self.state().pins.contains(diff_id) {
            return Ok(true);
        }
        let _gate = self.shared.gate();
        let pinned = self.shared.index_mut().pin(diff_id);
        if pinned {
            self.state().pins.push(diff_id.clone());
        }
        Ok(pinned)
    }

    #[expect(clippy::type_complexity, reason = "taken apart at once by the only caller")]
    fn unpack(
        &self,
        mut stream: Source<'_>,
        target: &OwnedFd,
        name: &str,
        keep: Keep,
        promise: Option<&Promise>,
    ) -> Result<(LayerRecord, (Digest, u64), Compression, Option<String>), Error> {
        let start = stream.fill_buf().map_err(layer::reading)?;
        let compression = Compression::detect(start).map_err(layer::reading)?;
        let place = self.path(name);
        let job = |read: &Arc<AtomicU64>| Job {
            limits: &self.shared.limits,
            place: &place,
            read: Arc::clone(read),
            promise,
        };
        if compression == Compression::None {
            let record = layer::unpack(stream, target.as_fd(), &job(&Arc::default()))?;
            let digest =
                record.diff_id.clone().ok_or_else(|| Error::Invalid("layer without digest".into()))?;
            return Ok((record, (digest, 0), compression, None));
        }
        let (tee, blob) = match keep {
            Keep::Unpacked => (Tee(None), None),
            Keep::Compressed => {
                let (file, name) = self.create()?;
                let path = self.path(&name);
                (Tee(Some((file, Behind::at(0), path))), Some(name))
            }
        };
        let mut hashed = Hashed::with_tee(stream, tee);
        let counter = hashed.counter();
        let record = layer::unpack(Box::new(&mut hashed), target.as_fd(), &job(&counter))?;
        Ok((record, hashed.finish(), compression, blob))
    }

    fn discard(&self, name: &str) {
        if let Err(error) = self.shared.trash.discard(&self.dir, name) {
            tracing::warn!(%error, "part of an ingest cannot be discarded");
        }
    }

    /// Opens the directory of a layer of this ingest or of the store.
    fn open_layer(&self, diff_id: &Digest) -> Result<OwnedFd, Error> {
        let name =
            self.state().layers.iter().find(|(other, _)| other == diff_id).map(|(_, name)| name.clone());
        match name {
            Some(name) => {
                dir::open(&self.dir, name.as_str()).map_err(Error::io(format!("open layer {diff_id}")))
            }
            None => self.shared.open_layer(diff_id),
        }
    }

    /// Makes what these images need durable and visible, and gives them their names. What else came in is discarded.
    ///
    /// Errors: a layer of an image is missing, or another one than its manifest says; the disk is full. Nothing is
    /// visible then.
    pub(crate) fn publish(&self, images: &[NewImage]) -> Result<Vec<Published>, Error> {
        let mut prepared = Vec::with_capacity(images.len());
        for image in images {
            let config = ImageConfig::parse(&image.config)?;
            let id = self.blob(&image.config)?;
            let record = self.image_record(image, &config)?;
            self.check_pairs(image, &config)?;
            prepared.push((id, config, record));
        }
        self.keep_only(&prepared);
        self.sync()?;
        let _gate = self.shared.gate();
        let recorded = self.move_in().and_then(|()| self.record(&mut prepared, images));
        if recorded.is_err() {
            self.move_out();
        }
        let commit = recorded?;
        let published = self.show(prepared, images);
        // The records are written; a failure to sync them now is told, but leaves a store that is all of a piece.
        commit.wait()?;
        Ok(published)
    }

    /// Shows the images and their names to readers.
    fn show(&self, prepared: Vec<(Digest, ImageConfig, ImageRecord)>, images: &[NewImage]) -> Vec<Published> {
        let mut index = self.shared.index_mut();
        let mut published = Vec::with_capacity(prepared.len());
        for ((id, config, record), image) in prepared.into_iter().zip(images) {
            index.insert(&id, config, record);
            let mut taken = Vec::new();
            for name in &image.names {
                if let Some(previous) = index.name(name, &id).filter(|previous| *previous != id) {
                    taken.push((name.clone(), previous));
                }
            }
            published.push(Published { id, taken });
        }
        published
    }

    /// Discards layers and blobs that none of these images has.
    fn keep_only(&self, images: &[(Digest, ImageConfig, ImageRecord)]) {
        let mut state = self.state();
        let is_layer =
            |digest: &Digest| images.iter().any(|(_, config, _)| config.rootfs.diff_ids.contains(digest));
        let is_blob = |digest: &Digest| {
            images.iter().any(|(id, _, record)| {
                id == digest
                    || record.manifest.as_ref().is_some_and(|manifest| manifest.digest == *digest)
                    || record.blobs.contains(digest)
            })
        };
        let (layers, other) = std::mem::take(&mut state.layers).into_iter().partition(|(l, _)| is_layer(l));
        state.layers = layers;
        let (blobs, others) = std::mem::take(&mut state.blobs).into_iter().partition(|(b, _)| is_blob(b));
        state.blobs = blobs;
        drop(state);
        let unwanted: Vec<(Digest, String)> = others;
        for (_, name) in unwanted.iter().chain::<&Vec<(Digest, String)>>(&other) {
            self.discard(name);
        }
    }

    fn image_record(&self, image: &NewImage, config: &ImageConfig) -> Result<ImageRecord, Error> {
        let diff_ids = &config.rootfs.diff_ids;
        let mut sizes = Vec::with_capacity(diff_ids.len());
        let mut opened = Vec::with_capacity(diff_ids.len());
        for diff_id in diff_ids {
            let layer = self.open_layer(diff_id)?;
            let record = LayerRecord::read(layer.as_fd())
                .map_err(Error::io(format!("read the record of layer {diff_id}")))?;
            sizes.push(record.size);
            opened.push(layer);
        }
        let (manifest, blobs) = match &image.manifest {
            Some((manifest, blobs)) => (Some(manifest.clone()), blobs.clone()),
            None => (None, Vec::new()),
        };
        Ok(ImageRecord {
            manifest,
            parent: image.parent.clone(),
            layer_sizes: sizes,
            blobs,
            stack: self.stack(diff_ids, &opened)?,
            last_tagged: image.is_tagged.then(|| jiff::Timestamp::now().as_second()),
            removed: false,
        })
    }

    fn stack(&self, diff_ids: &[Digest], layers: &[OwnedFd]) -> Result<Stack, Error> {
        let layers: Vec<_> = layers.iter().map(AsFd::as_fd).collect();
        let name = self.fresh_name();
        let mut make_target = || {
            dir::make(&self.dir, &name, dir::PRIVATE)?;
            let fixup = dir::open(&self.dir, name.as_str())?;
            dir::make(&fixup, layer::DIFF, 0o755)?;
            dir::open(&fixup, layer::DIFF)
        };
        let stack = layer::stack(&layers, &mut make_target).map_err(|error| match error.kind() {
            std::io::ErrorKind::InvalidData => Error::Invalid(error.to_string()),
            _ => Error::io(format!("write {}", self.path(&name)))(error),
        })?;
        if stack.fixup
            && let Some(chain) = chain_ids(diff_ids).pop()
        {
            self.state().fixups.push((chain, name));
        }
        Ok(stack)
    }

    /// Writes all that came in to the disk.
    pub(crate) fn sync(&self) -> Result<(), Error> {
        let mut budget = SYNC_FILES_MAX;
        let few = self.state().files <= u64::from(SYNC_FILES_MAX);
        let synced =
            few && dir::sync_tree(self.dir.as_fd(), &mut budget).map_err(Error::io("sync an ingest"))?;
        if !synced {
            rustix::fs::syncfs(&self.dir)
                .map_err(|error| Error::io("sync the file system of the store")(error.into()))?;
        }
        Ok(())
    }

    /// Gives everything its name. Needs the gate.
    fn move_in(&self) -> Result<(), Error> {
        let state = self.state();
        let dirs = &self.shared.dirs;
        for (diff_id, name) in &state.layers {
            let fail = Error::io(format!("publish layer {diff_id}"));
            let target = layer::directory_name(diff_id);
            let moved = rustix::fs::renameat_with(
                &self.dir,
                name.as_str(),
                &dirs.layers,
                target,
                RenameFlags::NOREPLACE,
            );
            match moved {
                Ok(()) => {}
                // Another ingest was faster, or an image that could not be read has it.
                Err(Errno::EXIST) => {
                    self.shared.open_layer(diff_id)?;
                }
                Err(error) => return Err(fail(error.into())),
            }
        }
        for (chain, name) in &state.fixups {
            let target = layer::directory_name(chain);
            let flags = RenameFlags::NOREPLACE;
            match rustix::fs::renameat_with(&self.dir, name.as_str(), &dirs.fixups, target, flags) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(Error::io("publish what a stack of layers needs")(error.into())),
            }
        }
        for (digest, name) in &state.blobs {
            rustix::fs::renameat(&self.dir, name.as_str(), &dirs.blobs, digest.hex())
                .map_err(|error| Error::io(format!("publish blob {digest}"))(error.into()))?;
        }
        let touched = [
            (!state.layers.is_empty(), &dirs.layers),
            (!state.fixups.is_empty(), &dirs.fixups),
            (!state.blobs.is_empty(), &dirs.blobs),
        ];
        for (_, directory) in touched.iter().filter(|(touched, _)| *touched) {
            dir::sync(directory).map_err(Error::io("sync a directory of the store"))?;
        }
        Ok(())
    }

    /// Discards what was given its name, after a failure. What others need stays.
    fn move_out(&self) {
        let state = self.state();
        let index = self.shared.index();
        let dirs = &self.shared.dirs;
        if index.is_incomplete() {
            return;
        }
        let layers = state.layers.iter().filter(|(layer, _)| !index.has_layer(layer));
        let fixups = index.fixup_directories();
        let discard = |directory: &OwnedFd, name: &str| {
            if let Err(error) = self.shared.trash.discard(directory, name) {
                tracing::warn!(%error, "failed ingest cannot be discarded");
            }
        };
        for (layer, _) in layers {
            discard(&dirs.layers, layer::directory_name(layer));
        }
        for (chain, _) in &state.fixups {
            let name = layer::directory_name(chain);
            if !fixups.contains(name) {
                discard(&dirs.fixups, name);
            }
        }
        for (digest, _) in state.blobs.iter().filter(|(digest, _)| !index.has_blob(digest)) {
            discard(&dirs.blobs, digest.hex());
        }
    }

    /// Writes the records.
    fn record(
        &self,
        prepared: &mut [(Digest, ImageConfig, ImageRecord)],
        images: &[NewImage],
    ) -> Result<Commit, Error> {
        let mut batch = Batch::default();
        let new_blobs: Vec<Digest> = self.state().blobs.iter().map(|(digest, _)| digest.clone()).collect();
        let index = self.shared.index();
        for ((id, _, record), image) in prepared.iter_mut().zip(images) {
            // A blob that was there when this began may have gone with its last image since.
            record.blobs.retain(|blob| new_blobs.contains(blob) || index.has_blob(blob));
            // What is known of an image that is here already may be more than what came with it now.
            if let Some(held) = index.held(id) {
                *record = merge(&held.record, record);
            }
            batch.put(id.as_str(), record)?;
            for name in &image.names {
                batch.put(name, &NameRecord { image: id.clone() })?;
            }
        }
        drop(index);
        Ok(self.shared.database.write(batch)?)
    }
}

/// The record of an image that comes again: a manifest, parent or time that is known stays known.
fn merge(old: &ImageRecord, new: &ImageRecord) -> ImageRecord {
    let (manifest, blobs) = match (&old.manifest, &new.manifest) {
        (Some(_), None) => (old.manifest.clone(), old.blobs.clone()),
        _ => (new.manifest.clone(), new.blobs.clone()),
    };
    ImageRecord {
        manifest,
        blobs,
        parent: new.parent.clone().or_else(|| old.parent.clone()),
        last_tagged: new.last_tagged.or(old.last_tagged),
        ..new.clone()
    }
}

/// The blob that a layer's stream is kept as, if it is, and its path.
struct Tee(Option<(std::fs::File, Behind, String)>);

impl Write for Tee {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let Some((file, behind, path)) = &mut self.0 else { return Ok(bytes.len()) };
        let written = file.write(bytes).map_err(|source| {
            let kind = source.kind();
            std::io::Error::new(kind, layer::Unkept { path: path.clone(), source })
        })?;
        behind.more(&*file, written as u64);
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Drop for Ingest {
    fn drop(&mut self) {
        let state = std::mem::take(&mut *self.state());
        {
            let _gate = self.shared.gate();
            let free: Vec<Digest> = {
                let mut index = self.shared.index_mut();
                state.pins.into_iter().filter(|pin| index.unpin(pin)).collect()
            };
            for diff_id in free {
                let name = layer::directory_name(&diff_id);
                if let Err(error) = self.shared.trash.discard(&self.shared.dirs.layers, name) {
                    tracing::warn!(%error, layer = %diff_id, "layer cannot be discarded");
                }
            }
        }
        if let Err(error) = self.shared.trash.discard(&self.shared.dirs.ingest, &self.name) {
            tracing::warn!(%error, "ingest cannot be discarded");
        }
    }
}

impl Shared {
    /// Opens the directory of a layer, checking that it is that layer.
    pub(crate) fn open_layer(&self, diff_id: &Digest) -> Result<OwnedFd, Error> {
        let name = layer::directory_name(diff_id);
        let layer = match dir::open(&self.dirs.layers, name) {
            Ok(layer) => layer,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::NotFound(format!("layer {diff_id} not found")));
            }
            Err(error) => return Err(Error::io(format!("open layer {diff_id}"))(error)),
        };
        let record = LayerRecord::read(layer.as_fd())
            .map_err(|error| Error::Damaged { what: format!("layer {diff_id}"), why: error.to_string() })?;
        if record.diff_id.as_ref() != Some(diff_id) {
            return Err(Error::Conflict(format!(
                "layer {diff_id} collides with another one in directory {name}"
            )));
        }
        Ok(layer)
    }
}
