//! Paths that are hidden or read-only, by descriptor: what was looked at is what is covered.

use std::os::fd::{AsFd, OwnedFd};

use berth_sys::mount::{
    Attributes, MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY,
};
use rustix::fs::{CWD, FileType, OFlags, fstat, major, minor};
use rustix::io::Errno;

use super::{RootPlan, attach, bind, change};
use crate::Error;
use crate::error::init;
use crate::options::{Bind, MountOptions};
use crate::path::RootDir;

impl RootPlan<'_> {
    /// The host's `/dev/null` as a mount, before the host is out of sight. The container's own could be anything.
    pub(super) fn open_null(&self) -> Result<Option<OwnedFd>, Error> {
        if self.masked_paths.is_empty() {
            return Ok(None);
        }
        let failed = |errno| init("open /dev/null to mask paths with", errno);
        let null = bind::clone(CWD, "/dev/null", Bind::One).map_err(failed)?;
        let stat = fstat(&null).map_err(failed)?;
        let is_null = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
            && (major(stat.st_rdev), minor(stat.st_rdev)) == (1, 3);
        if is_null { Ok(Some(null)) } else { Err(failed(Errno::NODEV)) }
    }
}

/// Covers files with `/dev/null` and directories with an empty read-only tmpfs. What is not there need not be hidden.
pub(super) fn hide(root: RootDir<'_>, paths: &[String], null: Option<&OwnedFd>) -> Result<(), Error> {
    // One of each is made; what more are needed are clones of it, which the kernel allows once it is attached.
    let mut null = null.map(|fd| Cover { mount: fd, attached: false, clone: None });
    let mut empty: Option<OwnedFd> = None;
    for path in paths {
        let failed = |errno| init(format!("mask path {path:?}"), errno);
        let Some(target) = find(root, path).map_err(failed)? else { continue };
        let stat = fstat(&target).map_err(failed)?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            match &empty {
                Some(mount) => cover_again(mount, &target).map_err(failed)?,
                None => empty = Some(cover_with_empty(root, path, &target).map_err(failed)?),
            }
        } else if let Some(null) = &mut null {
            null.put(&target).map_err(failed)?;
        }
    }
    Ok(())
}

/// A mount that covers one place after the other.
struct Cover<'fd> {
    mount: &'fd OwnedFd,
    attached: bool,
    clone: Option<OwnedFd>,
}

impl Cover<'_> {
    fn put(&mut self, target: &OwnedFd) -> Result<(), Errno> {
        if self.attached {
            let clone = bind::clone_fd(self.mount, Bind::One)?;
            attach(&clone, target)?;
            self.clone = Some(clone);
        } else {
            attach(self.mount, target)?;
            self.attached = true;
        }
        Ok(())
    }
}

fn cover_with_empty(root: RootDir<'_>, path: &str, target: &OwnedFd) -> Result<OwnedFd, Errno> {
    let text: [String; 2] = ["nr_blocks=1".to_owned(), "nr_inodes=1".to_owned()];
    let mut options = MountOptions::parse("tmpfs", &text);
    options.attributes.set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
    let system = super::FileSystem { kind: "tmpfs", source: "tmpfs", options: &options, label: "" };
    match system.mount(target)? {
        super::Mounted::Detached(mount) => attach(&mount, target).map(|()| mount),
        super::Mounted::Attached => root.open(path, OFlags::PATH | OFlags::DIRECTORY),
    }
}

fn cover_again(mount: &OwnedFd, target: &OwnedFd) -> Result<(), Errno> {
    attach(&bind::clone_fd(mount, Bind::One)?, target)
}

/// Makes trees read-only where they are: a clone of each is put over it.
pub(super) fn make_read_only(root: RootDir<'_>, paths: &[String]) -> Result<(), Error> {
    for path in paths {
        let failed = |errno| init(format!("make {path:?} read-only"), errno);
        let Some(target) = find(root, path).map_err(failed)? else { continue };
        let mount = bind::clone_fd(target.as_fd(), Bind::Tree).map_err(failed)?;
        let attributes = Attributes { set: MOUNT_ATTR_RDONLY, ..Attributes::default() };
        let early = bind::can_change_detached();
        if early {
            change(&mount, false, attributes).map_err(failed)?;
        }
        attach(&mount, &target).map_err(failed)?;
        if !early {
            change(&mount, false, attributes).map_err(failed)?;
        }
    }
    Ok(())
}

fn find(root: RootDir<'_>, path: &str) -> Result<Option<OwnedFd>, Errno> {
    match root.open(path, OFlags::PATH) {
        Ok(target) => Ok(Some(target)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(errno) => Err(errno),
    }
}
