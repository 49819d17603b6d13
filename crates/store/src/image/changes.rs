//! Naming, removal and pruning of images, by Docker's rules and with its answers.

use std::sync::Arc;

use berth_oci::{Digest, ImageConfig, Reference};
use jiff::Timestamp;

use super::index::{Held, ImageRecord, Index, NameRecord, familiar};
use super::lookup::{Wanted, key};
use super::{Images, Listed, Pruned, Remove, Removed, Users};
use crate::database::Batch;
use crate::layer;
use crate::{Error, store};

impl Images {
    /// Gives an image another name, taking it from whoever had it.
    ///
    /// Errors: there is no such image; a name with a digest cannot be given.
    pub fn tag(&self, id: &Digest, name: &Reference) -> Result<(), Error> {
        if name.digest().is_some() {
            return Err(Error::Invalid("refusing to create a tag with a digest reference".to_owned()));
        }
        self.give_name(id, &name.clone().or_latest().to_string())
    }

    /// Names an image after what a registry calls it: `repository@digest`.
    ///
    /// Errors: there is no such image; the disk is full.
    pub fn name_by_digest(&self, id: &Digest, repository: &Reference, digest: &Digest) -> Result<(), Error> {
        self.give_name(id, &super::lookup::key(&repository.with_digest(digest.clone())))
    }

    fn give_name(&self, id: &Digest, name: &str) -> Result<(), Error> {
        let _gate = self.shared.gate();
        let mut record = match self.shared.index().visible(id) {
            Some(held) => held.record.clone(),
            None => return Err(Error::NotFound(format!("No such image: {id}"))),
        };
        record.last_tagged = Some(Timestamp::now().as_second());
        let mut batch = Batch::default();
        batch.put(name, &NameRecord { image: id.clone() })?;
        batch.put(id.as_str(), &record)?;
        let commit = self.shared.database.write(batch)?;
        {
            let mut index = self.shared.index_mut();
            if let Some(held) = index.held(id) {
                let config = held.image.config.clone();
                index.insert(id, config, record);
            }
            index.name(name, id);
        }
        Ok(commit.wait()?)
    }

    /// Removes a name, or an image, by Docker's rules.
    ///
    /// Errors: [`Error::NotFound`]; [`Error::Conflict`] with Docker's text. What was untagged before a conflict
    /// showed stays untagged, as with Docker.
    pub fn remove(&self, reference: &str, how: Remove, users: Users<'_>) -> Result<Vec<Removed>, Error> {
        let _gate = self.shared.gate();
        let mut removal = Removal::new(&self.shared, users);
        let id = self.shared.index().find(reference)?.image.id.clone();
        let result = removal.remove(reference, &id, how);
        let done = removal.finish()?;
        result.map(|()| done)
    }

    /// Removes images without a name that nobody uses; with `all`, those with a name too. `keep` spares images.
    ///
    /// Errors: the system refused. Images in use are passed over.
    pub fn prune(
        &self,
        all: bool,
        users: Users<'_>,
        keep: &dyn Fn(&Listed) -> bool,
    ) -> Result<Pruned, Error> {
        let _gate = self.shared.gate();
        let before = self.shared_sizes().1;
        let mut removal = Removal::new(&self.shared, users);
        for listed in self.list(true) {
            let is_dangling = listed.tags.is_empty() && listed.digests.is_empty();
            let is_wanted = if all { !users(&listed.image.id).is_empty() } else { !is_dangling };
            if is_wanted || removal.index().children(&listed.image.id) > 0 || keep(&listed) {
                continue;
            }
            let id = listed.image.id.clone();
            let names: Vec<String> = match removal.index().visible(&id) {
                Some(held) => held.names.iter().cloned().collect(),
                None => continue,
            };
            for name in names {
                removal.untag(&name, &id)?;
            }
            match removal.delete(&id, false, true, true) {
                Ok(()) | Err(Error::Conflict(_)) => {}
                Err(error) => return Err(error),
            }
        }
        let removed = removal.finish()?;
        let space_reclaimed = before.saturating_sub(self.shared_sizes().1);
        Ok(Pruned { removed, space_reclaimed })
    }
}

/// A removal in progress: what it did so far, and what is free to be deleted once the records are on the disk.
struct Removal<'a> {
    shared: &'a Arc<store::Shared>,
    users: Users<'a>,
    done: Vec<Removed>,
    commit: Option<crate::Commit>,
    free: Vec<Freed>,
}

/// Something that no record names any more.
enum Freed {
    Layer(Digest),
    Fixup(String),
    Blob(Digest),
}

/// Why an image cannot be deleted; those that `force` does not override are hard.
struct Obstacle {
    message: String,
    hard: bool,
    in_use: bool,
}

/// Which obstacles count.
#[derive(Clone, Copy)]
struct Mind {
    names: bool,
    stopped: bool,
}

impl<'a> Removal<'a> {
    fn new(shared: &'a Arc<store::Shared>, users: Users<'a>) -> Self {
        Self { shared, users, done: Vec::new(), commit: None, free: Vec::new() }
    }

    fn index(&self) -> std::sync::RwLockReadGuard<'a, Index> {
        self.shared.index()
    }

    fn names(&self, id: &Digest) -> Vec<String> {
        self.index().visible(id).map(|held| held.names.iter().cloned().collect()).unwrap_or_default()
    }

    fn remove(&mut self, reference: &str, id: &Digest, how: Remove) -> Result<(), Error> {
        let names = self.names(id);
        if is_prefix_of(id, reference) {
            if is_single(&names) {
                let mind = Mind { names: false, stopped: !how.force };
                if let Some(obstacle) = self.obstacle(id, mind) {
                    return Err(obstacle.error(id));
                }
                for name in &names {
                    self.untag(name, id)?;
                }
            }
            return self.delete(id, how.force, how.prune, false);
        }
        if !how.force
            && is_single(&names)
            && let Some(user) = (self.users)(id).first()
        {
            // The image would be left without a name; who wants that must say so.
            let container = short(&user.container);
            let image = id.short();
            return Err(Error::Conflict(format!(
                "conflict: unable to remove repository reference \"{reference}\" (must force) - container \
                 {container} is using its referenced image {image}"
            )));
        }
        let Wanted::Name(name) = Wanted::parse(reference)? else {
            return Err(Error::NotFound(format!("No such image: {reference}")));
        };
        self.untag(&key(&name), id)?;
        self.untag_digests(&name, id)?;
        if !self.names(id).is_empty() {
            return Ok(());
        }
        self.delete(id, how.force, how.prune, true)
    }

    /// When the last tag of a repository is gone, its digests go too.
    fn untag_digests(&mut self, name: &Reference, id: &Digest) -> Result<(), Error> {
        if name.digest().is_some() {
            return Ok(());
        }
        let names = self.names(id);
        let repository = name.repository();
        let same = |other: &str| Reference::parse(other).is_ok_and(|other| other.repository() == repository);
        if names.iter().any(|other| !other.contains('@') && same(other)) {
            return Ok(());
        }
        for digest in names.iter().filter(|other| other.contains('@') && same(other)) {
            self.untag(digest, id)?;
        }
        Ok(())
    }

    fn untag(&mut self, name: &str, id: &Digest) -> Result<(), Error> {
        let mut batch = Batch::default();
        batch.delete::<NameRecord>(name);
        self.commit = Some(self.shared.database.write(batch)?);
        self.shared.index_mut().unname(name);
        self.done.push(Removed::Untagged(familiar(name), id.clone()));
        Ok(())
    }

    /// Deletes an image, and with `prune` those that it was made from. With `quiet`, whoever is in the way is passed
    /// over: but for an image without a name and without users, that is told all the same.
    fn delete(&mut self, id: &Digest, force: bool, prune: bool, quiet: bool) -> Result<(), Error> {
        let (mut id, mut force, mut quiet) = (id.clone(), force, quiet);
        loop {
            let mind = Mind { names: !force, stopped: !force };
            if let Some(obstacle) = self.obstacle(&id, mind) {
                let is_dangling = self.names(&id).is_empty() && self.index().children(&id) == 0;
                if quiet && (!is_dangling || obstacle.in_use) {
                    return Ok(());
                }
                return Err(obstacle.error(&id));
            }
            for name in self.names(&id) {
                self.untag(&name, &id)?;
            }
            let parent = self.delete_record(&id)?;
            let Some(parent) = parent.filter(|_| prune) else { return Ok(()) };
            (id, force, quiet) = (parent, false, true);
            if !self.names(&id).is_empty() || self.index().visible(&id).is_none() {
                return Ok(());
            }
        }
    }

    /// Takes the record of an image away, or hides it if a snapshot needs the layers; gives its parent.
    fn delete_record(&mut self, id: &Digest) -> Result<Option<Digest>, Error> {
        let Some((config, record, chains)) = self.hide(id) else { return Ok(None) };
        // Hidden, it gets no new snapshots; one that came before it was hidden is seen here.
        let is_mounted = self.shared.snapshots.uses(id);
        let hidden = ImageRecord { removed: true, manifest: None, blobs: Vec::new(), ..record.clone() };
        let mut batch = Batch::default();
        if is_mounted {
            batch.put(id.as_str(), &hidden)?;
        } else {
            batch.delete::<ImageRecord>(id.as_str());
        }
        let written = self.shared.database.write(batch);
        let mut index = self.shared.index_mut();
        match written {
            Ok(commit) => self.commit = Some(commit),
            Err(error) => {
                index.insert(id, config, record);
                return Err(error.into());
            }
        }
        // As it was before, so that what it had is counted as freed.
        index.insert(id, config.clone(), record.clone());
        let removed = index.remove(id);
        if is_mounted {
            index.insert(id, config, hidden);
        }
        if let Some(held) = removed {
            self.free.extend(freed(&index, &held));
        }
        self.done.push(Removed::Image(id.clone()));
        let gone = chains.iter().rev().filter(|chain| index.chain_count(chain) == 0);
        self.done.extend(gone.map(|chain| Removed::Layer(chain.clone())));
        Ok(record.parent)
    }

    /// Makes an image invisible.
    fn hide(&self, id: &Digest) -> Option<(ImageConfig, ImageRecord, Vec<Digest>)> {
        let mut index = self.shared.index_mut();
        let held = index.visible(id)?;
        let (config, record) = (held.image.config.clone(), held.record.clone());
        let chains = held.chains.clone();
        index.insert(id, config.clone(), ImageRecord { removed: true, ..record.clone() });
        Some((config, record, chains))
    }

    /// What is in the way of deleting an image.
    fn obstacle(&self, id: &Digest, mind: Mind) -> Option<Obstacle> {
        let hard = |message: String, in_use| Some(Obstacle { message, hard: true, in_use });
        let soft = |message: String, in_use| Some(Obstacle { message, hard: false, in_use });
        if self.index().children(id) > 0 {
            return hard("image has dependent child images".to_owned(), false);
        }
        let users = (self.users)(id);
        if let Some(user) = users.iter().find(|user| user.running) {
            let container = short(&user.container);
            return hard(format!("image is being used by running container {container}"), true);
        }
        if mind.names && !self.names(id).is_empty() {
            return soft("image is referenced in multiple repositories".to_owned(), false);
        }
        if mind.stopped
            && let Some(user) = users.iter().find(|user| !user.running)
        {
            let container = short(&user.container);
            return soft(format!("image is being used by stopped container {container}"), true);
        }
        None
    }

    /// Waits until the records are on the disk, then lets go of what no record names.
    fn finish(mut self) -> Result<Vec<Removed>, Error> {
        if let Some(commit) = self.commit.take() {
            commit.wait()?;
        }
        self.shared.discard(std::mem::take(&mut self.free));
        Ok(self.done)
    }
}

/// What nobody needs after an image was taken out of the index.
fn freed(index: &Index, held: &Held) -> Vec<Freed> {
    let layers = held.image.config.rootfs.diff_ids.iter().filter(|layer| !index.has_layer(layer));
    let mut freed: Vec<Freed> = layers.cloned().map(Freed::Layer).collect();
    let manifest = held.record.manifest.iter().map(|manifest| &manifest.digest);
    let blobs = std::iter::once(&held.image.id).chain(manifest).chain(&held.record.blobs);
    freed.extend(blobs.filter(|blob| !index.has_blob(blob)).cloned().map(Freed::Blob));
    if held.record.stack.fixup
        && let Some(chain) = held.chains.last()
        && index.chain_count(chain) == 0
    {
        freed.push(Freed::Fixup(layer::directory_name(chain).to_owned()));
    }
    freed
}

impl store::Shared {
    /// Lets go of what no record names. What cannot be discarded now is when the store is next opened.
    fn discard(&self, freed: Vec<Freed>) {
        for one in freed {
            let (directory, name) = match &one {
                Freed::Layer(layer) => (&self.dirs.layers, layer::directory_name(layer)),
                Freed::Fixup(name) => (&self.dirs.fixups, name.as_str()),
                Freed::Blob(blob) => (&self.dirs.blobs, blob.hex()),
            };
            if let Err(error) = self.trash.discard(directory, name) {
                tracing::warn!(%error, name, "part of an image cannot be discarded");
            }
        }
    }

    /// Lets go of a removed image when its last snapshot is gone.
    pub(crate) fn forget_removed(&self, id: &Digest) -> Result<(), Error> {
        let _gate = self.gate();
        let is_removed = self.index().held(id).is_some_and(|held| held.record.removed);
        if !is_removed || self.snapshots.uses(id) {
            return Ok(());
        }
        let mut batch = Batch::default();
        batch.delete::<ImageRecord>(id.as_str());
        let commit = self.database.write(batch)?;
        let freed = {
            let mut index = self.index_mut();
            let held = index.remove(id);
            held.map(|held| freed(&index, &held)).unwrap_or_default()
        };
        commit.wait()?;
        self.discard(freed);
        Ok(())
    }
}

impl Obstacle {
    fn error(&self, id: &Digest) -> Error {
        let force = if self.hard { "cannot be forced" } else { "must be forced" };
        Error::Conflict(format!("conflict: unable to delete {} ({force}) - {}", id.short(), self.message))
    }
}

/// Whether a text is an image ID or the start of one, with or without its algorithm.
fn is_prefix_of(id: &Digest, text: &str) -> bool {
    id.as_str().starts_with(text) || id.hex().starts_with(text)
}

/// Whether all names are one tag, and digests of the same repository.
fn is_single(names: &[String]) -> bool {
    if names.len() <= 1 {
        return true;
    }
    let repository = |name: &str| Reference::parse(name).map(|name| name.repository()).unwrap_or_default();
    let tags: Vec<&String> = names.iter().filter(|name| !name.contains('@')).collect();
    let mut repositories: Vec<String> =
        names.iter().filter(|name| name.contains('@')).map(|name| repository(name)).collect();
    repositories.sort();
    repositories.dedup();
    let single = match tags.as_slice() {
        [] => repository(&names[0]),
        [tag] => repository(tag),
        _ => return false,
    };
    repositories == [single]
}

fn short(container: &str) -> &str {
    container.get(..12).unwrap_or(container)
}
