//! A container's root by descriptor: of the running container its own, else one that is mounted for a visit.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use berth_store::{Bind, Visit, VisitOptions};
use rustix::fs::{Mode, OFlags};
use tokio::sync::OwnedMutexGuard;

use crate::Inner;
use crate::container::registry::Slot;
use crate::container::{Container, Record};
use crate::error::{Error, Result, chain};
use crate::files;
use crate::volumes::Mounted;

/// A container's root. While it is held and the container does not run, it does not start.
pub(super) struct Place {
    root: Root,
    _volumes: Option<Mounted>,
    _held: Option<OwnedMutexGuard<()>>,
}

enum Root {
    Live(OwnedFd),
    Visited(Visit),
}

impl Place {
    /// Opens the root of a container, whatever its state.
    pub(super) async fn open(engine: &Arc<Inner>, slot: &Arc<Slot>) -> Result<Place> {
        if let Some(root) = live_root(slot) {
            return Ok(Place { root: Root::Live(root), _volumes: None, _held: None });
        }
        // Nobody else mounts the snapshot as long as this is held.
        let held = slot.files.clone().lock_owned().await;
        if let Some(root) = live_root(slot) {
            return Ok(Place { root: Root::Live(root), _volumes: None, _held: None });
        }
        let container = slot.get();
        let user = format!("visit to {}", container.record.id);
        let volumes = engine.mount_volumes(&container.record, user).await?;
        let options = options(engine, &container)?;
        let snapshots = engine.store.snapshots().clone();
        let id = container.record.id.clone();
        let visit = tokio::task::spawn_blocking(move || snapshots.visit(&id, &options)).await;
        let visit = visit.map_err(|error| Error::internal("mounting", &error))?;
        let visit = visit.map_err(|error| Error::Internal(chain(&error)))?;
        Ok(Place { root: Root::Visited(visit), _volumes: volumes, _held: Some(held) })
    }

    /// The root, opened with `O_PATH`.
    pub(super) fn root(&self) -> BorrowedFd<'_> {
        match &self.root {
            Root::Live(root) => root.as_fd(),
            Root::Visited(visit) => visit.root(),
        }
    }
}

/// The root of the first process, if there is one.
fn live_root(slot: &Slot) -> Option<OwnedFd> {
    let container = slot.get();
    if !container.state.status.has_process() || container.state.pid == 0 {
        return None;
    }
    let pid = container.state.pid;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(format!("/proc/{pid}/root"), flags, Mode::empty()).ok()?;
    // The process may have ended a moment ago, and its number be another's: the root of the host must never get out.
    let own = rustix::fs::stat("/").ok()?;
    let found = rustix::fs::fstat(&root).ok()?;
    let is_own = (own.st_dev, own.st_ino) == (found.st_dev, found.st_ino);
    let now = slot.get();
    (!is_own && now.state.pid == pid && now.state.status.has_process()).then_some(root)
}

fn options(engine: &Inner, container: &Container) -> Result<VisitOptions> {
    let record = &container.record;
    let mut binds: Vec<Bind> = record.mounts.iter().filter_map(bind).collect();
    let own = files::mounts(engine, record).unwrap_or_default();
    // A mount of the user's in the same place is over ours.
    let own = own.into_iter().filter(|(inside, _)| binds.iter().all(|bind| bind.destination != *inside));
    let own: Vec<Bind> = own
        .map(|(inside, source)| Bind {
            source: PathBuf::from(source),
            destination: inside.to_owned(),
            writable: true,
        })
        .collect();
    binds.extend(own);
    binds.sort_by_key(|bind| bind.destination.split('/').filter(|name| !name.is_empty()).count());
    Ok(VisitOptions { binds, read_only: record.host_config.readonly_rootfs, at: engine.paths.rootfs() })
}

fn bind(point: &crate::MountPoint) -> Option<Bind> {
    let is_ours = matches!(point.kind.as_str(), "bind" | "volume");
    // A part of a volume is resolved inside the volume when the container starts; here it is left out.
    (is_ours && point.subpath.is_none()).then(|| Bind {
        source: PathBuf::from(&point.source),
        destination: point.destination.clone(),
        writable: point.writable,
    })
}

/// Whether a path is in a volume or bind mount of the container.
pub(super) fn is_in_volume(record: &Record, path: &str) -> bool {
    let mounts = record.mounts.iter().filter(|point| matches!(point.kind.as_str(), "bind" | "volume"));
    mounts.into_iter().any(|point| Path::new(path).starts_with(&point.destination))
}
