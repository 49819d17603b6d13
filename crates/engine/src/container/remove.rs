//! Removing a container: everything that is its own goes, in one stroke each.
//!
//! What is deleted for good is renamed away first, so that the name is free at once and a crash in the middle leaves
//! nothing half there; the files go in the background. The record goes first: without it the rest is nobody's, and
//! opening the engine again sweeps it up.

use super::{Container, RemoveOptions, Status};
use crate::Inner;
use crate::error::{Error, Result};

/// Whether a container may be removed now.
///
/// Errors: `Conflict` with Docker's text.
pub(crate) fn check(container: &Container) -> Result<()> {
    let name = &container.record.name;
    let status = container.state.status;
    match status {
        Status::Paused => Err(Error::Conflict(format!(
            "cannot remove container \"/{name}\": container is paused and must be unpaused first"
        ))),
        Status::Running | Status::Restarting => Err(Error::Conflict(format!(
            "cannot remove container \"/{name}\": container is {}: stop the container before removing or force remove",
            status.as_str()
        ))),
        Status::Removing => {
            let id = &container.record.id;
            Err(Error::Conflict(format!("removal of container {id} is already in progress")))
        }
        Status::Created | Status::Exited | Status::Dead => Ok(()),
    }
}

/// Removes all that a container has on disk.
pub(crate) fn remove(engine: &Inner, container: &Container, options: RemoveOptions) -> Result<()> {
    let record = &container.record;
    engine.forget_record(&record.id)?;
    engine.store.snapshots().remove(&record.id).map_err(crate::image::error)?;
    engine.trash.discard(&record.directory)?;
    for point in record.mounts.iter().filter(|point| point.kind == "volume") {
        let Some(name) = &point.name else { continue };
        engine.volumes.release(name, &record.id);
        if options.volumes && point.anonymous && engine.volumes.remove_unused(name)? {
            engine.volume_event(name, "destroy", []);
        }
    }
    Ok(())
}
