//! Copying out of and into a container, and its whole root file system as one archive.

use std::sync::Arc;

use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use super::kernel;
use super::pack::Packer;
use super::path::{PathStat, absolute, base, describe, lookup};
use super::place::{Place, is_in_volume};
use super::tree::Live;
use super::unpack::Unpack;
use crate::Inner;
use crate::channel::{self, ChannelReader, ChannelWriter, Upload};
use crate::container::registry::Slot;
use crate::error::{Error, Result, errno_text};
use crate::image::Archive;
use crate::rootfs::{Found, RootFs};
use crate::user;

/// What is at a path, and an archive of it.
pub struct CopyOut {
    /// What is there.
    pub stat: PathStat,
    /// The archive; its names begin with the last part of the path.
    pub archive: Archive,
}

/// How to copy into a container.
#[derive(Clone, Debug, Default)]
pub struct CopyIn {
    /// The directory to unpack in.
    pub path: String,
    /// A directory is not replaced by anything else, nor anything else by a directory.
    pub keep_kinds: bool,
    /// What is made belongs to the container's user.
    pub own: bool,
}

/// Something of a container that was found.
struct Target {
    place: Place,
    path: String,
    fd: std::os::fd::OwnedFd,
    stat: Stat,
}

impl Inner {
    /// What is at a path of a container.
    pub(crate) async fn path_stat(self: &Arc<Self>, reference: &str, path: &str) -> Result<PathStat> {
        let slot = self.registry.find(reference)?;
        let found = self.find_path(&slot, reference, path).await?;
        Ok(describe(found.place.root(), &found.path, &found.stat))
    }

    /// Packs what is at a path of a container.
    pub(crate) async fn copy_out(self: &Arc<Self>, reference: &str, path: &str) -> Result<CopyOut> {
        let slot = self.registry.find(reference)?;
        let found = self.find_path(&slot, reference, path).await?;
        let stat = describe(found.place.root(), &found.path, &found.stat);
        let (sender, receiver) = channel::chunks();
        tokio::task::spawn_blocking(move || {
            let packed = pack(&found, ChannelWriter::new(sender.clone()));
            // A client that left needs no answer.
            if let Err(error) = packed {
                let _ = sender.blocking_send(Err(Error::io(format!("cannot pack {}", found.path))(error)));
            }
        });
        self.container_event(&slot.get(), "archive-path", []);
        Ok(CopyOut { stat, archive: Archive { receiver } })
    }

    async fn find_path(self: &Arc<Self>, slot: &Arc<Slot>, reference: &str, path: &str) -> Result<Target> {
        let place = Place::open(self, slot).await?;
        let absolute = absolute(path);
        let missing = || Error::NotFound(format!("Could not find the file {path} in container {reference}"));
        let fd = lookup(place.root(), absolute.as_bytes(), false).map_err(|error| match error {
            Errno::NOENT => missing(),
            error => Error::Internal(format!("lstat {absolute}: {}", errno_text(&error.into()))),
        })?;
        let stat = rustix::fs::fstat(&fd).map_err(|error| Error::Internal(error.to_string()))?;
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if !is_directory && kernel::is_made_up(&fd) {
            return Err(missing());
        }
        Ok(Target { place, path: absolute, fd, stat })
    }

    /// Unpacks an archive in a directory of a container.
    pub(crate) async fn copy_in(
        self: &Arc<Self>,
        reference: &str,
        how: CopyIn,
        archive: impl Upload,
    ) -> Result<()> {
        let slot = self.registry.find(reference)?;
        let place = Place::open(self, &slot).await?;
        let target = absolute(&how.path);
        let directory = lookup(place.root(), target.as_bytes(), true).map_err(|error| match error {
            Errno::NOENT => {
                let path = &how.path;
                Error::NotFound(format!("Could not find the file {path} in container {reference}"))
            }
            error => Error::Internal(format!("lstat {target}: {}", errno_text(&error.into()))),
        })?;
        self.check_target(&slot, &target, &directory)?;
        let owner = self.owner(&slot, how.own)?;
        let reader = ChannelReader::new(archive);
        let unpacked = tokio::task::spawn_blocking(move || {
            let unpack = Unpack { root: place.root(), target: &target, keep_kinds: how.keep_kinds, owner };
            unpack.run(reader)
        });
        unpacked.await.map_err(|error| Error::internal("unpacking", &error))??;
        self.container_event(&slot.get(), "extract-to-dir", []);
        Ok(())
    }

    /// Refuses what is no directory, or cannot be written.
    fn check_target(&self, slot: &Slot, target: &str, directory: &std::os::fd::OwnedFd) -> Result<()> {
        let failed = |error: Errno| Error::Internal(format!("stat {target}: {}", errno_text(&error.into())));
        let stat = rustix::fs::fstat(directory).map_err(failed)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return Err(Error::Refused("extraction point is not a directory".to_owned()));
        }
        let system = rustix::fs::fstatvfs(directory).map_err(failed)?;
        if system.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY) {
            let is_volume = is_in_volume(&slot.get().record, target);
            let what = if is_volume { "mounted volume" } else { "container rootfs" };
            return Err(Error::Refused(format!("{what} is marked read-only")));
        }
        Ok(())
    }

    /// The container's user, if what is copied is to be the user's.
    fn owner(&self, slot: &Slot, own: bool) -> Result<Option<(u32, u32)>> {
        let container = slot.get();
        let name = &container.record.config.user;
        if !own || name.is_empty() {
            return Ok(None);
        }
        let mounts = self.store.snapshots().mounts(slot.id()).map_err(crate::image::error)?;
        let identity = user::resolve(&RootFs::of_mounts(&mounts), name, &[])?;
        Ok(Some((identity.uid, identity.gid)))
    }

    /// Packs the whole root file system, without what is mounted over it.
    pub(crate) fn export(self: &Arc<Self>, reference: &str) -> Result<Archive> {
        let slot = self.registry.find(reference)?;
        let mounts = self.store.snapshots().mounts(slot.id()).map_err(crate::image::error)?;
        let rootfs = RootFs::of_mounts(&mounts);
        let (sender, receiver) = channel::chunks();
        let id = slot.id().to_owned();
        tokio::task::spawn_blocking(move || {
            let packed = pack_rootfs(&rootfs, ChannelWriter::new(sender.clone()));
            if let Err(error) = packed {
                let _ = sender.blocking_send(Err(Error::io(format!("cannot export {id}"))(error)));
            }
        });
        self.container_event(&slot.get(), "export", []);
        Ok(Archive { receiver })
    }
}

fn pack(found: &Target, writer: ChannelWriter) -> std::io::Result<()> {
    let name = base(&found.path);
    let mut packer = Packer::new(writer);
    if FileType::from_raw_mode(found.stat.st_mode) == FileType::Directory {
        let root = rustix::fs::fstat(found.place.root())?.st_dev;
        let directory = Live::open(&found.fd, root)?;
        packer.directory(&directory, name.as_bytes())?;
        let prefix = if name == "/" { "/".to_owned() } else { format!("{name}/") };
        packer.content(&directory, prefix.as_bytes(), 0)?;
    } else {
        packer.other(&found.fd, &found.stat, name.as_bytes())?;
    }
    packer.finish()
}

fn pack_rootfs(rootfs: &RootFs, writer: ChannelWriter) -> std::io::Result<()> {
    let mut packer = Packer::new(writer);
    if let Some(Found::Directory(root)) = rootfs.find("/")? {
        packer.content(&root, b"", 0)?;
    }
    packer.finish()
}
