//! What is asked of volumes: making, looking at, removing and pruning them, mounting them for a container, and the events
//! of all that.

use std::collections::{BTreeMap, HashSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{ANONYMOUS, CreateVolume, Taken, Volume, database_error};
use crate::Inner;
use crate::container::{Container, Patterns, Pruned, Record};
use crate::error::{Error, Result};
use crate::filters::Filters;
use crate::time::Time;

/// A volume.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VolumeView {
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created: Time,
    /// Its labels, if any were given.
    pub labels: Option<BTreeMap<String, String>>,
    /// Options of its driver, if any were given.
    pub options: Option<BTreeMap<String, String>>,
    /// Where its content is.
    pub mountpoint: String,
    /// How many containers use it.
    pub users: usize,
}

impl VolumeView {
    /// Whether it has options of its driver: then it is neither measured nor pruned, as in Docker.
    pub fn has_options(&self) -> bool {
        self.options.as_ref().is_some_and(|options| !options.is_empty())
    }
}

impl Inner {
    /// Makes a volume, or finds it. Its record is durable when this returns.
    pub(crate) async fn volume_create(&self, wanted: CreateVolume) -> Result<VolumeView> {
        let Taken { volume, is_new, commit, .. } = self.volumes.take(wanted, None)?;
        commit.await.map_err(database_error)?;
        if is_new {
            self.volume_event(&volume.name, "create", []);
        }
        Ok(self.view(volume, 0))
    }

    pub(crate) fn volume(&self, name: &str) -> Result<VolumeView> {
        let found = self.volumes.get(name)?;
        found.map(|volume| self.view(volume, 0)).ok_or_else(|| missing(name))
    }

    /// The volumes that fit `name label driver dangling`, by name.
    pub(crate) fn volume_list(&self, filters: &Filters) -> Result<Vec<VolumeView>> {
        filters.validate(&["dangling", "driver", "label", "name"])?;
        let dangling =
            filters.contains("dangling").then(|| filters.boolean("dangling", false)).transpose()?;
        let names = Patterns::new(filters.get("name"));
        let mut views = self.all_volumes()?;
        views.retain(|view| {
            names.fit(&view.name)
                && filters.exact("driver", "local")
                && fits_labels(filters, view)
                && dangling.is_none_or(|dangling| dangling == (view.users == 0))
        });
        Ok(views)
    }

    /// Removes a volume. Gone for good when this returns.
    pub(crate) async fn volume_remove(&self, name: &str, force: bool) -> Result<()> {
        match self.volumes.discard(name)? {
            Some(commit) => {
                commit.await.map_err(database_error)?;
                self.volume_event(name, "destroy", []);
                Ok(())
            }
            None if force => Ok(()),
            None => Err(missing(name)),
        }
    }

    /// Removes the volumes that nobody uses and that fit `label label! all`: only those without a name, unless all.
    pub(crate) async fn volume_prune(self: &Arc<Self>, filters: &Filters) -> Result<Pruned> {
        if self.volumes.pruning.swap(true, Ordering::AcqRel) {
            return Err(Error::Conflict("a prune operation is already running".to_owned()));
        }
        let engine = self.clone();
        let filters = filters.clone();
        let pruned = tokio::task::spawn_blocking(move || engine.prune_volumes(&filters)).await;
        self.volumes.pruning.store(false, Ordering::Release);
        let pruned = pruned.map_err(|error| Error::internal("pruning", &error))??;
        // All removals are on the disk when the last write is.
        let last = self.database().write(berth_store::Batch::default()).map_err(database_error)?;
        last.await.map_err(database_error)?;
        let reclaimed = ("reclaimed".to_owned(), pruned.space_reclaimed.to_string());
        self.publish("volume", "prune", "", BTreeMap::from([reclaimed]));
        Ok(pruned)
    }

    fn prune_volumes(&self, filters: &Filters) -> Result<Pruned> {
        filters.validate(&["label", "label!", "all"])?;
        let all = wants_all(filters)?;
        let mut pruned = Pruned::default();
        for view in self.all_volumes()? {
            let anonymous = view.labels.as_ref().is_some_and(|labels| labels.contains_key(ANONYMOUS));
            if view.users > 0 || view.has_options() || !(all || anonymous) || !fits_labels(filters, &view) {
                continue;
            }
            let size = size(Path::new(&view.mountpoint));
            match self.volumes.remove_unused(&view.name) {
                Ok(true) => {
                    self.volume_event(&view.name, "destroy", []);
                    pruned.space_reclaimed += size;
                    pruned.deleted.push(view.name);
                }
                // Somebody began to use it, or removed it.
                Ok(false) => {}
                Err(error) => tracing::warn!("pruning volume {}: {error}", view.name),
            }
        }
        Ok(pruned)
    }

    pub(crate) fn all_volumes(&self) -> Result<Vec<VolumeView>> {
        let all = self.volumes.list()?;
        Ok(all.into_iter().map(|(volume, users)| self.view(volume, users)).collect())
    }

    fn view(&self, volume: Volume, users: usize) -> VolumeView {
        VolumeView {
            labels: volume.shown_labels(),
            mountpoint: self.volumes.data(&volume.name).to_string_lossy().into_owned(),
            name: volume.name,
            created: volume.created,
            options: volume.options,
            users,
        }
    }

    /// Tells that something happened to a volume.
    pub(crate) fn volume_event<const N: usize>(
        &self,
        name: &str,
        action: &str,
        attributes: [(&str, &str); N],
    ) {
        let attributes = [("driver", "local")].into_iter().chain(attributes);
        let attributes = attributes.map(|(name, value)| (name.to_owned(), value.to_owned()));
        self.publish("volume", action, name, attributes.collect());
    }

    /// Tells that a container that starts has its volumes now.
    pub(crate) fn volumes_mounted(&self, container: &Container) {
        let record = &container.record;
        for (point, name) in volumes_of(record) {
            let writable = if point.writable { "true" } else { "false" };
            let attributes = [
                ("container", record.id.as_str()),
                ("destination", &point.destination),
                ("propagation", &point.propagation),
                ("read/write", writable),
            ];
            self.volume_event(name, "mount", attributes);
        }
    }

    /// Tells that a container that ended no longer has its volumes.
    pub(crate) fn volumes_unmounted(&self, container: &Container) {
        for (_, name) in volumes_of(&container.record) {
            self.volume_event(name, "unmount", [("container", &container.record.id)]);
        }
    }

    /// Mounts the volumes of a container that need it, for a user of them. Costs nothing where there are none.
    ///
    /// Errors: Docker's text; nothing is mounted.
    pub(crate) async fn mount_volumes(
        self: &Arc<Self>,
        record: &Arc<Record>,
        user: String,
    ) -> Result<Option<Mounted>> {
        if !record.mounts.iter().any(|point| point.needs_mount) {
            return Ok(None);
        }
        let (engine, record) = (self.clone(), record.clone());
        let mounted = tokio::task::spawn_blocking(move || {
            // What has been mounted before something fails is unmounted with this.
            let mut mounted = Mounted { engine, user, names: Vec::new() };
            for (_, name) in volumes_of(&record).filter(|(point, _)| point.needs_mount) {
                mounted.add(name)?;
            }
            Ok(mounted)
        });
        mounted.await.map_err(|error| Error::internal("mounting volumes", &error))?.map(Some)
    }

    /// Unmounts, for a container that ended, what was [kept](Mounted::keep) mounted for it.
    pub(crate) async fn unmount_volumes(self: &Arc<Self>, record: &Arc<Record>) {
        let points = volumes_of(record).filter(|(point, _)| point.needs_mount);
        let names: Vec<String> = points.map(|(_, name)| name.to_owned()).collect();
        if names.is_empty() {
            return;
        }
        let mounted = Mounted { engine: self.clone(), user: record.id.clone(), names };
        if tokio::task::spawn_blocking(move || drop(mounted)).await.is_err() {
            tracing::error!(container.id = %record.id, "unmounting its volumes failed");
        }
    }
}

/// Volumes that are mounted for somebody, until this is dropped.
pub(crate) struct Mounted {
    engine: Arc<Inner>,
    user: String,
    names: Vec<String>,
}

impl Mounted {
    /// Nothing yet, for this user.
    pub(crate) fn nothing(engine: Arc<Inner>, user: String) -> Mounted {
        Mounted { engine, user, names: Vec::new() }
    }

    /// Mounts one more. Blocking.
    ///
    /// Errors: Docker's text.
    pub(crate) fn add(&mut self, name: &str) -> Result<()> {
        let volumes = &self.engine.volumes;
        let path = volumes.data(name);
        let options = volumes.get(name)?.ok_or_else(|| missing(name))?.options.unwrap_or_default();
        let explain = |text: String| {
            Error::Refused(format!("error while mounting volume '{}': {text}", path.display()))
        };
        // A container may have it in two places.
        if !self.names.iter().any(|known| known == name) {
            volumes.active.enter(name, &self.user, &options, &path).map_err(explain)?;
            self.names.push(name.to_owned());
        }
        Ok(())
    }

    /// Leaves them mounted, for [`Inner::unmount_volumes`] to end.
    pub(crate) fn keep(mut self) {
        self.names.clear();
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let volumes = &self.engine.volumes;
        for name in &self.names {
            volumes.active.leave(name, &self.user, &volumes.data(name));
        }
    }
}

/// The places of a container where volumes are, with their names.
fn volumes_of(record: &Record) -> impl Iterator<Item = (&crate::MountPoint, &str)> {
    let volumes = record.mounts.iter().filter(|point| point.kind == "volume");
    volumes.filter_map(|point| Some((point, point.name.as_deref()?)))
}

fn missing(name: &str) -> Error {
    Error::NotFound(format!("get {name}: no such volume"))
}

fn fits_labels(filters: &Filters, view: &VolumeView) -> bool {
    let none = BTreeMap::new();
    let labels = view.labels.as_ref().unwrap_or(&none);
    filters.labels("label", labels) && !(filters.contains("label!") && filters.labels("label!", labels))
}

/// The filter `all`, as Go reads a boolean.
fn wants_all(filters: &Filters) -> Result<bool> {
    match filters.get("all") {
        [] => Ok(false),
        [value] => match value.as_str() {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
            other => Err(Error::invalid(format!(
                "invalid filter 'all': strconv.ParseBool: parsing {other:?}: invalid syntax"
            ))),
        },
        values => Err(Error::invalid(format!(
            "invalid filter 'all=[{}]': only one value is expected",
            values.join(" ")
        ))),
    }
}

/// The bytes of the files below a directory, each file once.
pub(crate) fn size(path: &Path) -> u64 {
    let mut seen = HashSet::new();
    let mut bytes = 0;
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                folders.push(entry.path());
            } else if metadata.nlink() == 1 || seen.insert((metadata.dev(), metadata.ino())) {
                bytes += metadata.len();
            }
        }
    }
    bytes
}
