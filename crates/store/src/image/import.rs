//! Images made here: from a tar of a root filesystem, or from parts in memory.

use std::io::Read;

use berth_oci::image::{History, RootFs, RunConfig};
use berth_oci::{Digest, ImageConfig, Platform};
use jiff::Timestamp;

use super::{Images, Import, Parts, instruction};
use crate::Error;
use crate::ingest::{Ingest, Keep, NewImage};
use crate::layer::gathered;

impl Images {
    /// Makes an image of one layer from a tar of a root filesystem, plain or compressed. Blocking; streams.
    ///
    /// Errors: a change is not acceptable, before anything is read; the tar is malformed or refused; the disk is
    /// full. Nothing is left then.
    pub fn import(&self, reader: &mut (dyn Read + Send), how: &Import) -> Result<Digest, Error> {
        if how.name.as_ref().is_some_and(|name| name.digest().is_some()) {
            return Err(Error::Invalid("cannot import digest reference".to_owned()));
        }
        let mut run_config = RunConfig::default();
        instruction::apply_changes(&mut run_config, &how.changes)?;
        let platform = how.platform.clone().unwrap_or_else(Platform::host).normalized();
        if platform.os != "linux" {
            return Err(Error::Invalid(format!("operating system {:?} is not supported", platform.os)));
        }
        let ingest = Ingest::begin(&self.shared)?;
        let layer = ingest.layer(gathered(reader), Keep::Unpacked)?;
        let created = Some(Timestamp::now().to_string());
        let comment = if how.message.is_empty() { "Imported from -".to_owned() } else { how.message.clone() };
        let config = ImageConfig {
            architecture: platform.architecture,
            os: platform.os,
            variant: platform.variant,
            created: created.clone(),
            comment: comment.clone(),
            docker_version: how.version.clone(),
            config: Some(run_config),
            rootfs: RootFs { kind: "layers".to_owned(), diff_ids: vec![layer.diff_id] },
            history: Some(vec![History { created, comment, ..History::default() }]),
            ..ImageConfig::default()
        };
        let config = serde_json::to_vec(&config)
            .map_err(|error| Error::io("write an image configuration")(error.into()))?;
        let names = how.name.iter().map(|name| name.clone().or_latest().to_string()).collect();
        let is_tagged = how.name.is_some();
        let image = NewImage { config, manifest: None, parent: None, names, is_tagged };
        Ok(ingest.publish(&[image])?.swap_remove(0).id)
    }

    /// Adds an image from parts in memory. An image that is there already only gets the names.
    ///
    /// Errors: a layer does not have its diff ID; the disk is full.
    pub fn add(&self, parts: &Parts<'_>) -> Result<Digest, Error> {
        let config = ImageConfig::parse(parts.config)?;
        let diff_ids = &config.rootfs.diff_ids;
        if diff_ids.len() != parts.layers.len() {
            return Err(Error::Invalid(format!(
                "invalid manifest, layers length mismatch: expected {}, got {}",
                diff_ids.len(),
                parts.layers.len()
            )));
        }
        let ingest = Ingest::begin(&self.shared)?;
        for (index, (diff_id, bytes)) in diff_ids.iter().zip(parts.layers).enumerate() {
            if ingest.use_present(diff_id)? {
                continue;
            }
            let layer = ingest.layer(Box::new(*bytes), Keep::Unpacked)?;
            if layer.diff_id != *diff_id {
                return Err(Error::Invalid(format!(
                    "invalid diffID for layer {index}: expected \"{diff_id}\", got \"{}\"",
                    layer.diff_id
                )));
            }
        }
        let names = parts.names.iter().map(|name| name.clone().or_latest().to_string()).collect();
        let image =
            NewImage { config: parts.config.to_vec(), manifest: None, parent: None, names, is_tagged: false };
        Ok(ingest.publish(&[image])?.swap_remove(0).id)
    }
}
