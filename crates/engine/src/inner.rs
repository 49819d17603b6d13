//! What all parts of the engine share, and the small things each of them needs of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use berth_network::Network;
use berth_oci::Reference;
use berth_oci::container::HostConfig;
use berth_shim::client::Launcher;
use berth_store::image::Parts;
use berth_store::{Batch, Commit, Database, Image, Store};

use crate::config::{CgroupDriver, EngineConfig};
use crate::container::link::Links;
use crate::container::network::NetworkIds;
use crate::container::registry::Registry;
use crate::container::{Container, NetworkState, Record, State};
use crate::error::{Error, Result};
use crate::event::{Event, Events};
use crate::exec::Execs;
use crate::host::Host;
use crate::security::{self, Machine, Profile, Security};
use crate::time::Time;
use crate::trash::Trash;
use crate::volumes::{Volumes, database_error};

/// What all handles of an engine share.
pub(crate) struct Inner {
    pub(crate) config: EngineConfig,
    pub(crate) id: String,
    pub(crate) paths: Paths,
    pub(crate) events: Events,
    pub(crate) store: Store,
    pub(crate) network: Network,
    pub(crate) network_ids: NetworkIds,
    pub(crate) launcher: Launcher,
    pub(crate) registry: Registry,
    pub(crate) execs: Execs,
    pub(crate) links: Links,
    pub(crate) host: Host,
    pub(crate) machine: Machine,
    pub(crate) seccomp: Seccomp,
    pub(crate) volumes: Volumes,
    pub(crate) log_watches: crate::container::logs::Watches,
    pub(crate) trash: Arc<Trash>,
    /// Made when a registry is first asked for something.
    pub(crate) registry_client: std::sync::Mutex<Option<Arc<berth_distribution::Client>>>,
    /// Told whenever an image may have lost its name.
    pub(crate) images_changed: Arc<tokio::sync::Notify>,
    /// The program for `--init`.
    pub(crate) init_path: String,
    /// Held as long as the engine is open.
    pub(crate) _lock: crate::restore::Lock,
}

/// The engine's own seccomp profile, in place of the built-in one.
pub(crate) enum Seccomp {
    BuiltIn,
    Unconfined,
    Profile(Box<Profile>),
}

/// Where things are.
pub(crate) struct Paths {
    containers: PathBuf,
    shims: PathBuf,
    runtimes: PathBuf,
    /// The directory that roots are mounted at, as text for the spec.
    pub(crate) rootfs_text: String,
}

impl Paths {
    pub(crate) fn new(config: &EngineConfig) -> Paths {
        Paths {
            containers: config.data_root.join("containers"),
            shims: config.exec_root.join("shim"),
            runtimes: config.exec_root.join("runtimes"),
            rootfs_text: config.exec_root.join("rootfs").to_string_lossy().into_owned(),
        }
    }

    /// Where containers' directories are.
    pub(crate) fn containers(&self) -> &Path {
        &self.containers
    }

    /// Where shims' directories are.
    pub(crate) fn shims(&self) -> &Path {
        &self.shims
    }

    /// The empty directory that roots are mounted at, in mount namespaces of their own.
    pub(crate) fn rootfs(&self) -> PathBuf {
        PathBuf::from(&self.rootfs_text)
    }

    pub(crate) fn container(&self, id: &str) -> PathBuf {
        self.containers.join(id)
    }

    pub(crate) fn shim(&self, id: &str) -> PathBuf {
        self.shims.join(id)
    }
}

impl berth_store::Record for Record {
    const TABLE: &'static str = "containers";
    const VERSION: u32 = 1;
}

impl berth_store::Record for State {
    const TABLE: &'static str = "container-states";
    const VERSION: u32 = 1;
}

impl Inner {
    pub(crate) fn database(&self) -> &Database {
        self.store.database()
    }

    /// Writes a record; nobody waits for the disk.
    pub(crate) fn save_record(&self, record: &Record) -> Result<()> {
        drop(self.database().put(&record.id, record).map_err(database_error)?);
        Ok(())
    }

    /// Writes a state: it outlives the engine from now on, and the machine when the commit is done.
    pub(crate) fn save_state(&self, id: &str, state: &State) -> Result<Commit> {
        self.database().put(id, state).map_err(database_error)
    }

    /// Deletes a container's record and state in one.
    pub(crate) fn forget_record(&self, id: &str) -> Result<()> {
        let mut batch = Batch::default();
        batch.delete::<Record>(id);
        batch.delete::<State>(id);
        drop(self.database().write(batch).map_err(database_error)?);
        Ok(())
    }

    /// What a container may do, with the engine's own settings.
    pub(crate) fn security(&self, host: &HostConfig) -> Result<Security> {
        let mut security = security::decide(host, &self.machine)?;
        security.no_new_privileges |= self.config.no_new_privileges;
        let options = host.security_opt.as_deref().unwrap_or_default();
        let says_itself = host.privileged || options.iter().any(|option| option.starts_with("seccomp"));
        match &self.seccomp {
            Seccomp::Unconfined if !says_itself => security.seccomp = None,
            Seccomp::Profile(profile) if !says_itself => {
                let set = security::capabilities(host, &self.machine)?;
                security.seccomp = Some(profile.resolve(set, self.machine.kernel));
            }
            _ => {}
        }
        Ok(security)
    }

    /// The cgroup of a container, as its spec names it.
    pub(crate) fn cgroups_path(&self, record: &Record) -> String {
        let own = &record.host_config.resources.cgroup_parent;
        let parent = if own.is_empty() { &self.config.cgroup_parent } else { own };
        match self.config.cgroup_driver {
            CgroupDriver::Systemd => {
                let slice = if parent.ends_with(".slice") { parent } else { "system.slice" };
                format!("{slice}:berth:{}", record.id)
            }
            CgroupDriver::Cgroupfs => format!("/{}/{}", parent.trim_matches('/'), record.id),
        }
    }

    /// The runtime with this name.
    pub(crate) fn runtime(&self, name: &str) -> Result<berth_shim::Runtime> {
        match self.config.live.get().runtimes.get(name) {
            Some(runtime) => Ok(berth_shim::Runtime::Command {
                path: PathBuf::from(&runtime.path),
                args: runtime.arguments.clone(),
                root: self.paths.runtimes.join(name),
            }),
            None if crate::container::OWN_RUNTIMES.contains(&name) => Ok(berth_shim::Runtime::Linked),
            None => Err(Error::invalid(format!("unknown or invalid runtime name: {name}"))),
        }
    }

    /// Adds the embedded image if it is the one that was asked for; else the store's own refusal.
    pub(crate) fn add_embedded(&self, reference: &str, missing: berth_store::Error) -> Result<Arc<Image>> {
        let asked = Reference::parse(reference).ok().map(Reference::or_latest);
        let embedded = crate::embedded::hello_world();
        let Some((name, embedded)) =
            asked.zip(embedded).filter(|(name, embedded)| name.to_string() == embedded.reference)
        else {
            return Err(crate::image::error(missing));
        };
        let diff_id = berth_store::digest_of(&embedded.layer);
        let config = embedded.config(diff_id.as_str());
        let parts = Parts { config: &config, layers: &[&embedded.layer], names: &[name] };
        let images = self.store.images();
        let id = images.add(&parts).map_err(crate::image::error)?;
        images.by_id(&id).ok_or_else(|| Error::Internal(format!("image {id} is gone")))
    }

    /// Tells that something happened to a container.
    pub(crate) fn container_event<const N: usize>(
        &self,
        container: &Container,
        action: &str,
        attributes: [(&str, String); N],
    ) {
        let record = &container.record;
        let mut all = record.config.labels.clone().unwrap_or_default();
        all.insert("image".to_owned(), record.config.image.clone());
        all.insert("name".to_owned(), record.name.clone());
        all.extend(attributes.into_iter().map(|(name, value)| (name.to_owned(), value)));
        self.publish("container", action, &record.id, all);
    }

    /// Tells that a container was connected to its networks.
    pub(crate) fn network_event(&self, container: &Container, action: &str) {
        self.network_events(&container.record.id, &container.state.network, action);
    }

    /// Tells that a container that ended is no longer on the networks it was on.
    pub(crate) fn network_disconnect_event(&self, container: &Container, network: &NetworkState) {
        self.network_events(&container.record.id, network, "disconnect");
    }

    fn network_events(&self, container_id: &str, network: &NetworkState, action: &str) {
        for (name, settings) in &network.endpoints {
            let driver = if name == "none" { "null" } else { name };
            let attributes = [("container", container_id), ("name", name), ("type", driver)];
            let attributes = attributes.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
            self.publish("network", action, &settings.network_id, attributes.collect());
        }
    }

    /// Tells that something happened.
    pub(crate) fn publish(
        &self,
        kind: &'static str,
        action: &str,
        actor: &str,
        attributes: std::collections::BTreeMap<String, String>,
    ) {
        let time = Time::now();
        self.events.publish(Event {
            kind,
            action: action.to_owned(),
            actor: actor.to_owned(),
            attributes,
            time,
        });
    }
}
