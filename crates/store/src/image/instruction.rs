//! Dockerfile instructions that change an image's configuration without running anything.
use crate::Error;
use berth_oci::image::RunConfig;
pub(super) fn apply(config: &mut RunConfig, changes: &[String]) -> Result<(), Error> {
    let _ = config;
    if changes.is_empty() { Ok(()) } else { Err(Error::NotImplemented("changes".into())) }
}
