//! An image from a container.

use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use berth_oci::container::Config;
use berth_oci::image::RunConfig;
use berth_store::image::Child;
use rustix::fs::{Mode, OFlags, ResolveFlags};

use super::changes::{Change, ChangeKind, walk};
use super::pack::Packer;
use super::tree::{Item, Live};
use crate::Inner;
use crate::container::merge::merge;
use crate::container::{Record, Status, WaitCondition};
use crate::error::{Error, Result, chain};
use crate::image::{blocking, name_of};
use crate::rootfs::RootFs;

/// How soon the end of a container is known whose processes are gone.
const ENDED_WITHIN: Duration = Duration::from_secs(2);

/// How to make an image from a container.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    /// The name to give it; `None`: none.
    pub repository: Option<String>,
    /// Its tag; `None`: `latest`.
    pub tag: Option<String>,
    /// Who makes it.
    pub author: String,
    /// A word about it.
    pub comment: String,
    /// Dockerfile instructions that change its configuration.
    pub changes: Vec<String>,
    /// Hold the container while its files are read.
    pub pause: bool,
    /// A configuration to begin with, in place of the container's.
    pub config: Option<Config>,
}

impl Inner {
    /// Makes an image from a container. Answers with its id.
    pub(crate) async fn commit(self: &Arc<Self>, reference: &str, commit: Commit) -> Result<String> {
        let slot = self.registry.find(reference)?;
        let container = slot.get();
        if matches!(container.state.status, Status::Dead | Status::Removing) {
            let id = &container.record.id;
            let state = if container.state.status == Status::Dead { "Dead" } else { "being removed" };
            return Err(Error::Conflict(format!("You cannot commit container {id} which is {state}")));
        }
        let name = match commit.repository.as_deref().filter(|repository| !repository.is_empty()) {
            Some(repository) => Some(name_of(repository, commit.tag.as_deref())?),
            None => None,
        };
        let familiar = name.as_ref().map(berth_oci::Reference::familiar);
        let child = Child {
            name,
            config: configuration(&container.record, &commit)?,
            created_by: container.record.config.cmd.as_deref().unwrap_or_default().join(" "),
            container: container.record.id.clone(),
            container_config: serde_json::to_value(&container.record.config)
                .map_err(|error| Error::internal("configuration", &error))?,
            author: commit.author,
            comment: commit.comment.clone(),
            version: self.config.version.clone(),
        };
        let ended = slot.subscribe(WaitCondition::NotRunning);
        let mut paused = commit.pause && container.state.status == Status::Running;
        if paused && let Err(error) = self.pause(slot.id()).await {
            // What has just ended cannot be paused, and need not be.
            if tokio::time::timeout(ENDED_WITHIN, ended).await.is_err() {
                return Err(error);
            }
            paused = false;
        }
        let made = self.make_image(&container.record, child).await;
        if paused && let Err(error) = self.unpause(slot.id()).await {
            tracing::warn!(container.id = %slot.id(), "after a commit: {}", chain(&error));
        }
        let id = made?;
        if let Some(familiar) = &familiar {
            self.image_event("tag", &id, familiar);
        }
        let reference = familiar.unwrap_or_default();
        let attributes = [("comment", commit.comment), ("imageID", id.clone()), ("imageRef", reference)];
        self.container_event(&container, "commit", attributes);
        self.images_changed.notify_one();
        Ok(id)
    }

    async fn make_image(self: &Arc<Self>, record: &Record, child: Child) -> Result<String> {
        let (upper, lower) = self.layers_of(&record.id)?;
        let parent = record
            .image
            .parse()
            .map_err(|_| Error::Internal(format!("the image's id {:?} is no digest", record.image)))?;
        let images = self.store.images().clone();
        blocking(move || {
            let pack = |stream: &mut dyn Write| pack_changes(&upper, &lower, stream);
            let id = images.commit(&parent, pack, child).map_err(crate::image::error)?;
            Ok(id.to_string())
        })
        .await
    }
}

/// How a container of the new image runs.
fn configuration(record: &Record, commit: &Commit) -> Result<RunConfig> {
    let own = convert(&record.config)?;
    let mut config = match &commit.config {
        Some(config) => convert(config)?,
        None => own.clone(),
    };
    berth_store::image::apply_changes(&mut config, &commit.changes).map_err(crate::image::error)?;
    if commit.config.is_none() {
        return Ok(config);
    }
    // What was not said is the container's.
    let text = berth_oci::json::to_vec(&config).map_err(|error| Error::internal("configuration", &error))?;
    let mut merged: Config =
        serde_json::from_slice(&text).map_err(|error| Error::internal("configuration", &error))?;
    merge(&mut merged, &own);
    convert(&merged)
}

/// A container's configuration as an image has it: the same members by the same names.
fn convert(config: &Config) -> Result<RunConfig> {
    let failed = |error: serde_json::Error| Error::internal("configuration", &error);
    serde_json::from_value(serde_json::to_value(config).map_err(failed)?).map_err(failed)
}

/// Writes a container's own layer as the archive that images are made of.
fn pack_changes(upper: &OwnedFd, lower: &RootFs, stream: &mut dyn Write) -> io::Result<()> {
    let mut packer = Packer::new(io::BufWriter::with_capacity(128 << 10, stream));
    let device = rustix::fs::fstat(upper)?.st_dev;
    walk(upper, lower, &mut |change, item| pack_change(&mut packer, upper, device, &change, item))?;
    packer.finish()
}

fn pack_change<W: Write>(
    packer: &mut Packer<W>,
    upper: &OwnedFd,
    device: u64,
    change: &Change,
    item: Option<&Item<Live>>,
) -> io::Result<()> {
    let path = change.path.strip_prefix(b"/").unwrap_or(&change.path);
    if change.kind == ChangeKind::Deleted {
        let slash = path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
        let (directory, name) = path.split_at(slash);
        return packer.mark([directory, b".wh.", name].concat());
    }
    match item {
        Some(Item::Directory(directory)) => packer.directory(directory, path),
        Some(Item::Other(fd, stat)) => packer.other(fd, stat, path),
        // A directory in which something changed.
        None => {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
            let directory = rustix::fs::openat2(upper, path, flags, Mode::empty(), resolve)?;
            packer.directory(&Live::open(&directory, device)?, path)
        }
    }
}
