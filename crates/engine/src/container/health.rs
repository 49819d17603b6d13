//! Health checks: a container's own word on whether it is well.

use std::sync::Arc;

use berth_oci::container::Config;

use super::Health;
use super::registry::Slot;
use crate::Inner;

/// The health of a container that has just been started; `None` without a check.
pub(crate) fn initial(config: &Config) -> Option<Health> {
    let test = config.healthcheck.as_ref()?.test.as_deref().unwrap_or_default();
    match test.first().map(String::as_str) {
        None | Some("NONE") => None,
        Some(_) => Some(Health { status: "starting".to_owned(), ..Health::default() }),
    }
}

/// Begins to check a container that runs.
pub(crate) fn watch(_engine: &Arc<Inner>, _slot: &Arc<Slot>) {}
