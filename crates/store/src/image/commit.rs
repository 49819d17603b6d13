//! Images made from a container: its image, a layer of what it changed, and a configuration.

use std::io::{self, Write};

use berth_oci::image::{History, RunConfig};
use berth_oci::{Digest, Reference};
use jiff::Timestamp;

use super::Images;
use crate::ingest::{Ingest, Keep, NewImage};
use crate::{Error, digest_of, tar};

/// What an image that is made from a container is told.
#[derive(Clone, Debug, Default)]
pub struct Child {
    /// The name it gets.
    pub name: Option<Reference>,
    /// Who made it.
    pub author: String,
    /// A word about it.
    pub comment: String,
    /// What ran in the container.
    pub created_by: String,
    /// How a container of it runs.
    pub config: RunConfig,
    /// The id of the container.
    pub container: String,
    /// What the container was made with, as Docker writes it.
    pub container_config: serde_json::Value,
    /// The version of the engine.
    pub version: String,
}

impl Images {
    /// Makes an image out of another and a further layer, which `pack` writes as a plain tar. Blocking. A tar without
    /// entries makes no layer.
    ///
    /// Errors: [`Error::NotFound`]; what `pack` failed with; the disk is full. Nothing is left then.
    pub fn commit(
        &self,
        parent: &Digest,
        pack: impl FnOnce(&mut dyn Write) -> io::Result<()> + Send,
        child: Child,
    ) -> Result<Digest, Error> {
        let missing = || Error::NotFound(format!("No such image: {parent}"));
        let mut config =
            self.by_id(parent).or_else(|| self.removed(parent)).ok_or_else(missing)?.config.clone();
        let ingest = Ingest::begin(&self.shared)?;
        // The layers of the parent stay at least until the child is there.
        for layer in &config.rootfs.diff_ids {
            if !ingest.use_present(layer)? {
                return Err(missing());
            }
        }
        let diff_id = layer(&ingest, pack)?;
        let empty_layer = diff_id == digest_of(&[0; 2 * tar::BLOCK]);
        if !empty_layer {
            config.rootfs.diff_ids.push(diff_id);
        }
        let created = Some(Timestamp::now().to_string());
        config.history.get_or_insert_default().push(History {
            created: created.clone(),
            created_by: child.created_by,
            author: child.author.clone(),
            comment: child.comment.clone(),
            empty_layer,
            ..History::default()
        });
        config.created = created;
        config.author = child.author;
        config.comment = child.comment;
        config.docker_version = child.version;
        config.config = Some(child.config);
        config.container = child.container;
        config.parent.clear();
        config.other.insert("container_config".to_owned(), child.container_config);
        let config = serde_json::to_vec(&config)
            .map_err(|error| Error::io("write an image configuration")(error.into()))?;
        let names = child.name.iter().map(|name| name.clone().or_latest().to_string()).collect();
        let is_tagged = child.name.is_some();
        let image = NewImage { config, manifest: None, parent: Some(parent.clone()), names, is_tagged };
        Ok(ingest.publish(&[image])?.swap_remove(0).id)
    }

    /// An image that was removed while a container still has its layers.
    fn removed(&self, id: &Digest) -> Option<std::sync::Arc<super::Image>> {
        self.shared.index().held(id).map(|held| held.image.clone())
    }
}

/// Unpacks what is packed at the same time.
fn layer(
    ingest: &Ingest,
    pack: impl FnOnce(&mut dyn Write) -> io::Result<()> + Send,
) -> Result<Digest, Error> {
    let fail = || Error::io("pack the changes of a container");
    let (reader, mut writer) = io::pipe().map_err(fail())?;
    std::thread::scope(|scope| {
        let packing = scope.spawn(move || pack(&mut writer));
        let layer = ingest.layer(crate::layer::gathered(reader), Keep::Unpacked);
        let packed = packing.join().unwrap_or_else(|_| Err(io::Error::other("packing panicked")));
        match (packed, layer) {
            // The reader went first: its reason is the one to tell.
            (Err(error), Err(layer)) if error.kind() == io::ErrorKind::BrokenPipe => Err(layer),
            (Err(error), _) => Err(fail()(error)),
            (Ok(()), layer) => Ok(layer?.diff_id),
        }
    })
}
