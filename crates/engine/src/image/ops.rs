//! What is asked of images: the store does it, the engine says who uses them and tells of changes.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Arc;

use berth_oci::{Digest, Mount, Platform, Reference};
use berth_store::image::{Import, Listed, Loaded, Remove, Removed, User};
use berth_store::{Image as Stored, Kind};
use tokio::sync::mpsc;

use super::{
    Archive, GraphDriver, HistoryItem, Image, ImageDeleted, ImageImport, ImageListOptions, ImageSummary,
    LoadProgress, Produced, glob,
};
use crate::Inner;
use crate::channel::{self, ChannelReader, ChannelWriter, Upload};
use crate::container::parse_until;
use crate::error::{Error, Result, chain};
use crate::filters::Filters;
use crate::time::Time;

/// The class and text of a store's error.
#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
pub(crate) fn error(error: berth_store::Error) -> Error {
    let text = chain(&error);
    match error.kind() {
        Kind::NotFound => Error::NotFound(text),
        Kind::Conflict => Error::Conflict(text),
        Kind::Invalid => Error::InvalidParameter(text),
        Kind::NotImplemented => Error::NotImplemented(text),
        Kind::Internal => Error::Internal(text),
    }
}

/// Refuses an image that is not for the platform asked for.
pub(crate) fn check_platform(reference: &str, image: &Stored, wanted: &str) -> Result<()> {
    let platform = Platform::parse(wanted).map_err(|error| Error::invalid(error.to_string()))?;
    if platform.accepts(&image.config.platform()) {
        return Ok(());
    }
    let actual = format!("{}/{}", image.config.os, image.config.architecture);
    Err(Error::NotFound(format!(
        "image with reference {reference} was found but does not match the specified platform: wanted {wanted}, \
         actual: {actual}"
    )))
}

impl Inner {
    pub(crate) async fn image_list(self: &Arc<Self>, options: ImageListOptions) -> Result<Vec<ImageSummary>> {
        let engine = self.clone();
        blocking(move || engine.image_list_now(&options)).await
    }

    fn image_list_now(&self, options: &ImageListOptions) -> Result<Vec<ImageSummary>> {
        let filters = &options.filters;
        filters.validate(&["before", "dangling", "label", "reference", "since", "until"])?;
        let wanted = Wanted::new(self, filters)?;
        let images = self.store.images();
        let shared: BTreeMap<Digest, u64> =
            if options.shared_size { images.shared_sizes().0.into_iter().collect() } else { BTreeMap::new() };
        let list = images.list(options.all).into_iter();
        Ok(list
            .filter_map(|listed| wanted.narrow(listed))
            .map(|listed| {
                let mut summary = summary(&listed);
                if let Some(size) = shared.get(&listed.image.id) {
                    summary.shared_size = i64::try_from(*size).unwrap_or(i64::MAX);
                }
                summary
            })
            .collect())
    }

    pub(crate) fn image(&self, reference: &str) -> Result<Image> {
        let images = self.store.images();
        let image = images.get(reference).map_err(error)?;
        let listed = images.listed(&image.id);
        let (repo_tags, repo_digests) =
            listed.map_or_else(Default::default, |listed| (listed.tags, listed.digests));
        Ok(Image {
            id: image.id.to_string(),
            repo_tags,
            repo_digests,
            parent: image.parent.as_ref().map(ToString::to_string).unwrap_or_default(),
            config: image.config.clone(),
            size: image.size,
            graph_driver: graph_driver(&self.store.snapshots().view(&image.id).map_err(error)?),
            last_tagged: image
                .last_tagged
                .map_or(Time::NEVER, |seconds| Time::from_unix_nanos(seconds * 1_000_000_000)),
        })
    }

    pub(crate) fn image_history(&self, reference: &str) -> Result<Vec<HistoryItem>> {
        let images = self.store.images();
        let image = images.get(reference).map_err(error)?;
        let item = |entry: berth_store::image::HistoryEntry| HistoryItem {
            id: entry.id.map_or_else(|| "<missing>".to_owned(), |id| id.to_string()),
            created: Time::from_unix_nanos(entry.created.saturating_mul(1_000_000_000)),
            created_by: entry.created_by,
            tags: entry.tags,
            size: entry.size,
            comment: entry.comment,
        };
        Ok(images.history(&image).into_iter().map(item).collect())
    }

    pub(crate) fn image_tag(&self, reference: &str, repository: &str, tag: &str) -> Result<()> {
        let images = self.store.images();
        let image = images.get(reference).map_err(error)?;
        let name = name_of(repository, Some(tag))?;
        images.tag(&image.id, &name).map_err(error)?;
        self.image_event("tag", image.id.as_str(), &name.familiar());
        Ok(())
    }

    pub(crate) async fn image_remove(
        self: &Arc<Self>,
        reference: String,
        force: bool,
        no_prune: bool,
    ) -> Result<Vec<ImageDeleted>> {
        let engine = self.clone();
        blocking(move || {
            let how = Remove { force, prune: !no_prune };
            let users = |id: &Digest| engine.users_of(id);
            let removed = engine.store.images().remove(&reference, how, &users).map_err(error)?;
            Ok(engine.tell_removed(removed))
        })
        .await
    }

    pub(crate) async fn image_prune(self: &Arc<Self>, filters: Filters) -> Result<(Vec<ImageDeleted>, u64)> {
        filters.validate(&["dangling", "label", "label!", "until"])?;
        let all = !filters.boolean("dangling", true)?;
        let until = filters.get("until").first().map(|text| parse_until(text)).transpose()?;
        let engine = self.clone();
        blocking(move || {
            let keep = |listed: &Listed| {
                let labels = labels_of(listed);
                until.is_some_and(|until| created_at(&listed.image) >= until)
                    || !filters.labels("label", &labels)
                    || (filters.contains("label!") && filters.labels("label!", &labels))
            };
            let users = |id: &Digest| engine.users_of(id);
            let pruned = engine.store.images().prune(all, &users, &keep).map_err(error)?;
            let space = pruned.space_reclaimed;
            let removed = engine.tell_removed(pruned.removed);
            let attributes = [("reclaimed".to_owned(), space.to_string())];
            engine.publish("image", "prune", "", attributes.into());
            Ok((removed, space))
        })
        .await
    }

    pub(crate) fn image_load(self: &Arc<Self>, archive: impl Upload, quiet: bool) -> Produced<LoadProgress> {
        let (sender, receiver) = mpsc::channel(64);
        let reader = ChannelReader::new(archive);
        let engine = self.clone();
        tokio::task::spawn_blocking(move || {
            let progress = |progress: berth_store::image::Progress<'_>| {
                if !quiet {
                    let (id, current, total) = (progress.layer.to_owned(), progress.current, progress.total);
                    // A client that is slow misses some of it, and the load does not wait.
                    let _ = sender.try_send(Ok(LoadProgress::Layer { id, current, total }));
                }
            };
            let loaded = engine.store.images().load(reader, &progress);
            match loaded {
                Ok(loaded) => loaded.into_iter().for_each(|loaded| {
                    let text = engine.tell_loaded(&loaded);
                    let _ = sender.blocking_send(Ok(LoadProgress::Stream(text)));
                }),
                Err(failure) => {
                    let _ = sender.blocking_send(Err(error(failure)));
                }
            }
        });
        Produced { receiver }
    }

    pub(crate) fn image_save(self: &Arc<Self>, names: Vec<String>) -> Result<Archive> {
        let images = self.store.images();
        let find = |name: &String| match images.get(name) {
            // Docker tells this name as it was written.
            Err(missing) if missing.kind() == Kind::NotFound => Err(Error::NoSuchImage(name.clone())),
            found => found.map_err(error),
        };
        let found = names.iter().map(find).collect::<Result<Vec<_>>>()?;
        let (sender, receiver) = channel::chunks();
        let engine = self.clone();
        tokio::task::spawn_blocking(move || {
            let mut writer = ChannelWriter::new(sender.clone());
            let saved = engine.store.images().save(&names, &mut writer).map_err(error);
            let saved = saved.and_then(|()| writer.flush().map_err(Error::io("cannot write the archive")));
            match saved {
                Ok(()) => found.iter().for_each(|image| engine.image_event("save", image.id.as_str(), "")),
                // A client that left needs no answer.
                Err(error) => drop(sender.blocking_send(Err(error))),
            }
        });
        Ok(Archive { receiver })
    }

    pub(crate) async fn image_import(
        self: &Arc<Self>,
        archive: impl Upload,
        import: ImageImport,
    ) -> Result<String> {
        let name = match import.repository.as_deref().filter(|repository| !repository.is_empty()) {
            Some(repository) => Some(name_of(repository, import.tag.as_deref())?),
            None => None,
        };
        let platform = import.platform.as_deref().filter(|platform| !platform.is_empty());
        let platform =
            platform.map(|text| Platform::parse(text).map_err(|error| Error::invalid(error.to_string())));
        let how = Import {
            name,
            message: import.message,
            changes: import.changes,
            platform: platform.transpose()?,
            version: self.config.version.clone(),
        };
        let mut reader = ChannelReader::new(archive);
        let engine = self.clone();
        blocking(move || {
            let id = engine.store.images().import(&mut reader, &how).map_err(error)?;
            engine.image_event(
                "import",
                id.as_str(),
                how.name.map_or(id.to_string(), |name| name.familiar()).as_str(),
            );
            Ok(id.to_string())
        })
        .await
    }

    /// Which containers were made of an image.
    pub(crate) fn users_of(&self, image: &Digest) -> Vec<User> {
        let containers = self.registry.all().into_iter().map(|slot| slot.get());
        containers
            .filter(|container| container.record.image == image.as_str())
            .map(|container| User {
                container: container.record.id.clone(),
                running: container.state.status.is_running(),
            })
            .collect()
    }

    pub(super) fn tell_removed(&self, removed: Vec<Removed>) -> Vec<ImageDeleted> {
        let tell = |removed: Removed| match removed {
            Removed::Untagged(name, id) => {
                self.image_event("untag", id.as_str(), &name);
                ImageDeleted::Untagged(name)
            }
            Removed::Image(id) => {
                self.image_event("delete", id.as_str(), id.as_str());
                ImageDeleted::Deleted(id.to_string())
            }
            Removed::Layer(id) => ImageDeleted::Deleted(id.to_string()),
        };
        removed.into_iter().map(tell).collect()
    }

    fn tell_loaded(&self, loaded: &Loaded) -> String {
        match loaded {
            Loaded::Name(name, id) => {
                self.image_event("load", id.as_str(), name);
                format!("Loaded image: {name}\n")
            }
            Loaded::Id(id) => {
                self.image_event("load", id.as_str(), id.as_str());
                format!("Loaded image ID: {id}\n")
            }
            Loaded::Renamed(name, id) => {
                format!(
                    "The image {name} already exists, renaming the old one with ID {id} to empty string\n"
                )
            }
        }
    }

    pub(crate) fn image_event(&self, action: &str, id: &str, name: &str) {
        let labels = id.parse().ok().and_then(|id: Digest| self.store.images().by_id(&id));
        let labels = labels.and_then(|image| image.config.config.clone()).and_then(|config| config.labels);
        let mut attributes = labels.unwrap_or_default();
        if !name.is_empty() {
            attributes.insert("name".to_owned(), name.to_owned());
        }
        self.publish("image", action, id, attributes);
        // Whatever gets a name may have taken it from another.
        if !matches!(action, "delete" | "untag") {
            self.images_changed.notify_one();
        }
    }
}

/// Filters of a list, read once.
struct Wanted<'a> {
    filters: &'a Filters,
    dangling: Option<bool>,
    before: Option<Time>,
    since: Option<Time>,
    until: Option<Time>,
}

impl<'a> Wanted<'a> {
    fn new(engine: &Inner, filters: &'a Filters) -> Result<Wanted<'a>> {
        let created = |key: &str| match filters.get(key).last() {
            Some(reference) => Ok(Some(created_at(&*engine.store.images().get(reference).map_err(error)?))),
            None => Ok::<_, Error>(None),
        };
        // Docker answers 500 to both.
        let refused = |error: Error| Error::Refused(error.to_string());
        if filters.get("reference").iter().any(|pattern| !glob::is_valid(pattern)) {
            return Err(Error::Refused("syntax error in pattern".to_owned()));
        }
        Ok(Wanted {
            dangling: filters.contains("dangling").then(|| filters.boolean("dangling", false)).transpose()?,
            before: created("before")?,
            since: created("since")?,
            until: filters.get("until").first().map(|text| parse_until(text)).transpose().map_err(refused)?,
            filters,
        })
    }

    /// The image with those of its names that are wanted; nothing if it is not wanted itself.
    fn narrow(&self, mut listed: Listed) -> Option<Listed> {
        let created = created_at(&listed.image);
        let is_dangling = listed.tags.is_empty();
        let fits = self.dangling.is_none_or(|dangling| dangling == is_dangling)
            && self.before.is_none_or(|before| created < before)
            && self.since.is_none_or(|since| created > since)
            && self.until.is_none_or(|until| created < until)
            && self.filters.labels("label", &labels_of(&listed));
        if !fits {
            return None;
        }
        let patterns = self.filters.get("reference");
        if !patterns.is_empty() {
            listed.tags.retain(|name| patterns.iter().any(|pattern| glob::reference(pattern, name)));
            listed.digests.retain(|name| patterns.iter().any(|pattern| glob::reference(pattern, name)));
            if listed.tags.is_empty() && listed.digests.is_empty() {
                return None;
            }
        }
        Some(listed)
    }
}

fn summary(listed: &Listed) -> ImageSummary {
    let image = &listed.image;
    ImageSummary {
        id: image.id.to_string(),
        parent_id: image.parent.as_ref().map(ToString::to_string).unwrap_or_default(),
        repo_tags: listed.tags.clone(),
        repo_digests: listed.digests.clone(),
        created: created_at(image),
        size: image.size,
        shared_size: -1,
        labels: labels_of(listed),
        containers: -1,
    }
}

fn labels_of(listed: &Listed) -> BTreeMap<String, String> {
    listed.image.config.config.as_ref().and_then(|config| config.labels.clone()).unwrap_or_default()
}

pub(super) fn created_at(image: &Stored) -> Time {
    image.config.created.as_deref().and_then(Time::parse_rfc3339).unwrap_or_default()
}

/// Where the layers are, as Docker's overlay driver shows them.
pub(crate) fn graph_driver(mounts: &[Mount]) -> GraphDriver {
    let mut data = BTreeMap::new();
    for mount in mounts {
        for option in &mount.options {
            for (prefix, name) in
                [("lowerdir=", "LowerDir"), ("upperdir=", "UpperDir"), ("workdir=", "WorkDir")]
            {
                if let Some(value) = option.strip_prefix(prefix) {
                    data.insert(name.to_owned(), value.to_owned());
                }
            }
        }
        if mount.is_bind() {
            data.insert("UpperDir".to_owned(), mount.source.clone());
        }
    }
    GraphDriver { name: "overlay2".to_owned(), data }
}

pub(crate) fn name_of(repository: &str, tag: Option<&str>) -> Result<Reference> {
    let invalid = |error: &dyn std::error::Error| Error::invalid(chain(error));
    let name = Reference::parse(repository).map_err(|error| invalid(&error))?;
    match tag.filter(|tag| !tag.is_empty()) {
        Some(tag) => name.with_tag(tag).map_err(|error| invalid(&error)),
        None => Ok(name.or_latest()),
    }
}

pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Error::internal("images", &error))?
}
