//! Creating a container: check everything, then make everything, then write the one record that makes it exist.
//!
//! Invariant: a record in the database means that the snapshot and the directory are there. What a crash leaves
//! without a record is nobody's and is swept up when the engine opens.

use std::collections::BTreeMap;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;

use berth_oci::container::{Config, EndpointSettings, HostConfig, NetworkMode, NetworkingConfig};
use berth_store::Image;

use super::registry::Slot;
use super::task::Task;
use super::{
    Container, ContainerCreated, CreateContainer, MountPoint, Record, State, adapt, copy_up, link, merge,
    mounts, network,
};
use crate::error::{Error, Result};
use crate::rootfs::{Found, RootFs};
use crate::time::Time;
use crate::volumes::{self, CreateVolume, Mounted, Taken};
use crate::{Inner, names};

/// Creates a container.
pub(crate) async fn create(engine: &Arc<Inner>, request: CreateContainer) -> Result<ContainerCreated> {
    let mut warnings = Vec::new();
    let record = decide(engine, request, &mut warnings)?;
    let mut made = Made { engine, name: None, snapshot: false, volumes: Vec::new(), record, kept: false };
    made.reserve_name()?;
    made.files()?;
    made.volumes().await?;
    made.commit().await?;
    let (id, container) = made.finish();
    engine.links.hold(&container.record);
    let (slot, commands) = Slot::new(container.clone());
    engine.registry.insert(slot.clone());
    Task::spawn(engine.clone(), slot, commands, None);
    engine.container_event(&container, "create", []);
    Ok(ContainerCreated { id, warnings })
}

/// Checks a request and makes the record of it.
fn decide(engine: &Inner, request: CreateContainer, warnings: &mut Vec<String>) -> Result<Record> {
    let CreateContainer { name, mut config, mut host_config, networking, platform } = request;
    let name = name.as_deref().map(names::check).transpose()?.unwrap_or_default().to_owned();
    merge::check(&mut config)?;
    adapt::adapt(&config, &mut host_config, &engine.config, &engine.host, &engine.machine, warnings)?;
    let endpoints = endpoints(&host_config, networking);
    network::check_endpoints(&endpoints, &engine.network)?;
    share_namespaces(engine, &mut host_config)?;
    let links = link::resolve(&engine.registry, &host_config)?;
    let image = engine.image_for(&config.image, platform.as_deref())?;
    if let Some(defaults) = &image.config.config {
        merge::merge(&mut config, defaults);
    }
    merge::finish(&mut config)?;
    let id = names::random_id()?;
    config.hostname = hostname(&config, &host_config, &id);
    let inherited = |other: &str| Ok(engine.registry.find(other)?.get().record.mounts.clone());
    let inherited = |other: &str| inherited(other).map_err(wrong_reference);
    let points = mounts::plan(&config, &host_config, inherited, |path| Path::new(path).exists())?;
    let (path, args) = merge::command(&config);
    Ok(Record {
        directory: engine.paths.container(&id),
        endpoints,
        platform: format!("{}/{}", image.config.os, image.config.architecture),
        created: Time::now(),
        image: image.id.to_string(),
        mounts: points,
        links,
        id,
        name,
        path,
        args,
        config,
        host_config,
    })
}

/// Replaces names of containers by their ids, so that a rename does not change what is shared.
fn share_namespaces(engine: &Inner, host: &mut HostConfig) -> Result<()> {
    for mode in [&mut host.pid_mode, &mut host.ipc_mode] {
        if let Some(other) = mode.strip_prefix("container:").filter(|other| !other.is_empty()) {
            *mode = format!("container:{}", engine.registry.find(other).map_err(wrong_reference)?.id());
        }
    }
    if let Some(other) = host.network_mode.strip_prefix("container:") {
        // Docker lets this one fail at the start only.
        if let Ok(slot) = engine.registry.find(other) {
            host.network_mode = format!("container:{}", slot.id());
        }
    }
    Ok(())
}

/// A container that a request refers to and that is not there makes the request wrong, as in Docker.
fn wrong_reference(error: Error) -> Error {
    match error {
        Error::NoSuchContainer(_) => Error::InvalidParameter(error.to_string()),
        other => other,
    }
}

fn hostname(config: &Config, host: &HostConfig, id: &str) -> String {
    if !config.hostname.is_empty() {
        return config.hostname.clone();
    }
    match host.network() {
        NetworkMode::Host => rustix::system::uname().nodename().to_string_lossy().into_owned(),
        _ => id[..12].to_owned(),
    }
}

/// The networks asked for by name, with what was asked of each.
fn endpoints(host: &HostConfig, networking: NetworkingConfig) -> BTreeMap<String, EndpointSettings> {
    let Some(name) = host.network().name() else { return BTreeMap::new() };
    let mut asked: BTreeMap<String, EndpointSettings> = BTreeMap::new();
    for (network, settings) in networking.endpoints_config.unwrap_or_default() {
        let network = if network == "default" { "bridge".to_owned() } else { network };
        asked.insert(network, settings.unwrap_or_default());
    }
    asked.entry(name.to_owned()).or_default();
    asked
}

/// What has been made so far. Dropped before it is [finished](Made::finish), it takes everything back.
struct Made<'a> {
    engine: &'a Arc<Inner>,
    record: Record,
    name: Option<String>,
    snapshot: bool,
    volumes: Vec<(String, bool)>,
    kept: bool,
}

impl Made<'_> {
    fn reserve_name(&mut self) -> Result<()> {
        let id = &self.record.id;
        if !self.record.name.is_empty() {
            self.engine.registry.reserve(&self.record.name, id)?;
            self.name = Some(self.record.name.clone());
            return Ok(());
        }
        for attempt in 0.. {
            let name = names::generate(names::random_bits()?, attempt);
            match self.engine.registry.reserve(&name, id) {
                Ok(()) => {
                    self.record.name.clone_from(&name);
                    self.name = Some(name);
                    break;
                }
                // After so many attempts something else is wrong.
                Err(error) if attempt > 1000 => return Err(error),
                Err(_) => {}
            }
        }
        Ok(())
    }

    fn files(&mut self) -> Result<()> {
        let directory = &self.record.directory;
        let failed = Error::io(format!("cannot create {}", directory.display()));
        volumes::make_directory(directory, 0o710).map_err(failed)?;
        self.snapshot = true;
        let image = self
            .record
            .image
            .parse()
            .map_err(|_| Error::Internal("the image's id is no digest".to_owned()))?;
        let snapshots = self.engine.store.snapshots();
        let mounts = snapshots.prepare(&self.record.id, &image).map_err(crate::image::error)?;
        let working_dir = self.record.config.working_dir.as_str();
        if !matches!(working_dir, "" | "/")
            && let Ok(Some(Found::Other(..))) = RootFs::of_mounts(&mounts).find(working_dir)
        {
            return Err(Error::Refused(format!("Cannot mkdir: {working_dir} is not a directory")));
        }
        // By this file programs know that they run in a container.
        let mark = snapshots.upper(&self.record.id).map_err(crate::image::error)?.join(".dockerenv");
        let options = std::fs::File::options().write(true).create_new(true).mode(0o755).open(&mark);
        options.map(drop).map_err(Error::io(format!("cannot create {}", mark.display())))
    }

    /// Makes the volumes and fills the empty ones from the image.
    async fn volumes(&mut self) -> Result<()> {
        let mut points = std::mem::take(&mut self.record.mounts);
        let volumes = points.iter_mut().filter(|point| point.kind == "volume");
        let mut fill = Vec::new();
        for point in volumes {
            self.volume(point)?;
            if point.copy_up {
                fill.push(point.clone());
            }
        }
        self.record.mounts = points;
        if fill.is_empty() {
            return Ok(());
        }
        let mounts = self.engine.store.snapshots().mounts(&self.record.id).map_err(crate::image::error)?;
        let rootfs = RootFs::of_mounts(&mounts);
        let mut mounted = Mounted::nothing(self.engine.clone(), format!("creation of {}", self.record.id));
        let copy = move || fill.iter().try_for_each(|point| fill_volume(&rootfs, point, &mut mounted));
        tokio::task::spawn_blocking(copy)
            .await
            .map_err(|error| Error::internal("copying to volumes", &error))?
    }

    fn volume(&mut self, point: &mut MountPoint) -> Result<()> {
        let id = &self.record.id;
        // Taken over from another container: it is there already.
        if !point.source.is_empty() {
            if let Some(name) = &point.name {
                self.engine.volumes.hold(name, id);
                self.volumes.push((name.clone(), false));
            }
            return Ok(());
        }
        let wanted = self.wanted(point);
        // Written behind: the container's own record makes it durable, or both are gone.
        let Taken { volume, path, is_new, needs_mount, .. } = self.engine.volumes.take(wanted, Some(id))?;
        if is_new {
            self.engine.volume_event(&volume.name, "create", []);
        }
        self.volumes.push((volume.name.clone(), point.anonymous));
        point.name = Some(volume.name);
        point.source = path.to_string_lossy().into_owned();
        point.needs_mount = needs_mount;
        Ok(())
    }

    /// The volume that is to be made if there is none: the long form says more of it.
    fn wanted(&self, point: &MountPoint) -> CreateVolume {
        let mounts = self.record.host_config.mounts.iter().flatten();
        let said = mounts
            .filter(|mount| mounts::clean(&mount.target) == point.destination)
            .find_map(|mount| mount.volume_options.as_ref());
        let driver = said.and_then(|said| said.driver_config.as_ref());
        CreateVolume {
            name: point.name.clone().unwrap_or_default(),
            driver: point.driver.clone().unwrap_or_default(),
            options: driver.and_then(|driver| driver.options.clone()),
            labels: said.and_then(|said| said.labels.clone()),
        }
    }

    /// The one write that is waited for.
    async fn commit(&self) -> Result<()> {
        let commit =
            self.engine.database().put(&self.record.id, &self.record).map_err(volumes::database_error)?;
        commit.await.map_err(volumes::database_error)
    }

    fn finish(mut self) -> (String, Container) {
        self.kept = true;
        let record = Arc::new(std::mem::take(&mut self.record));
        let id = record.id.clone();
        let network = network::at_rest(&record, |_| String::new(), false);
        let state = State { network, ..State::default() };
        (id, Container { record, state, exec_ids: Vec::new() })
    }
}

impl Drop for Made<'_> {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        let (engine, id) = (self.engine, &self.record.id);
        let mut failures = Vec::new();
        failures.extend(engine.forget_record(id).err());
        if self.snapshot {
            failures.extend(engine.store.snapshots().remove(id).map_err(crate::image::error).err());
        }
        failures.extend(engine.trash.discard(&self.record.directory).err());
        for (name, anonymous) in &self.volumes {
            engine.volumes.release(name, id);
            if *anonymous {
                match engine.volumes.remove_unused(name) {
                    Ok(true) => engine.volume_event(name, "destroy", []),
                    Ok(false) => {}
                    Err(error) => failures.push(error),
                }
            }
        }
        if let Some(name) = &self.name {
            engine.registry.release(name, id);
        }
        for failure in failures {
            tracing::warn!(container.id = %id, "undoing a creation: {failure}");
        }
    }
}

/// Copies what the image has at a volume's place, if the volume is empty.
fn fill_volume(rootfs: &RootFs, point: &MountPoint, mounted: &mut Mounted) -> Result<()> {
    let inside = point.destination.as_str();
    let failed = |error: &dyn std::error::Error| {
        Error::internal(format!("failed to copy {inside} to its volume"), error)
    };
    match rootfs.find(inside).map_err(|error| failed(&error))? {
        None => Ok(()),
        Some(Found::Directory(directory)) => {
            if let Some(name) = point.name.as_deref().filter(|_| point.needs_mount) {
                let explain = |error| Error::Refused(format!("failed to populate volume: {error}"));
                mounted.add(name).map_err(explain)?;
            }
            copy_up::copy_up(&directory, Path::new(&point.source)).map_err(|error| failed(&error))
        }
        Some(Found::Other(..)) => {
            Err(Error::Refused(format!("cannot mount volume over existing file, file exists {inside}")))
        }
    }
}

impl Inner {
    /// The image that a container is to be made of; the embedded one is added when it is asked for and missing.
    fn image_for(&self, reference: &str, platform: Option<&str>) -> Result<Arc<Image>> {
        if reference.is_empty() {
            return Err(Error::invalid("no command specified"));
        }
        let image = match self.store.images().get(reference) {
            Err(error) if error.kind() == berth_store::Kind::NotFound => {
                self.add_embedded(reference, error)?
            }
            other => other.map_err(crate::image::error)?,
        };
        if let Some(wanted) = platform.filter(|platform| !platform.is_empty()) {
            crate::image::check_platform(reference, &image, wanted)?;
        }
        Ok(image)
    }
}
