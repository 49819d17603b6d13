//! `/dev`: device nodes and the links that programs expect.

use std::os::fd::{AsFd, OwnedFd};

use berth_oci::runtime::LinuxDevice;
use rustix::fs::{
    AtFlags, CWD, Dev, FileType, Gid, Mode, OFlags, Uid, chownat, fstat, major, makedev, minor, mknodat,
    openat, statat, symlinkat,
};
use rustix::io::Errno;

use super::plan::What;
use super::{RootPlan, attach, bind};
use crate::Error;
use crate::error::{init, text};
use crate::options::Bind;
use crate::path::{RootDir, remove_file};

/// Devices that every container has: name, major, minor. All can be read and written by anybody.
///
/// Source: runtime-spec, `config-linux.md`, "Default Devices".
const DEFAULT: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("tty", 5, 0), ("random", 1, 8), ("urandom", 1, 9)];

const LINKS: [(&str, &str); 4] = [
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
];

/// A node to make.
struct Node<'a> {
    path: &'a str,
    name: &'a str,
    kind: FileType,
    device: Dev,
    mode: u32,
    owner: (u32, u32),
}

impl RootPlan<'_> {
    /// Makes the nodes and links, unless `/dev` is somebody else's directory.
    pub(super) fn make_devices(&self, root: RootDir<'_>) -> Result<(), Error> {
        let is_dev = |path: &str| path.trim_end_matches('/') == "/dev";
        let bound = |what| matches!(what, What::Bind(_));
        if self.mounts.iter().any(|plan| is_dev(&plan.mount.destination) && bound(plan.what)) {
            return Ok(());
        }
        let dev = root.make_dir("/dev").map_err(|errno| init("open /dev", errno))?;
        for (name, major, minor) in DEFAULT {
            if self.devices.iter().any(|device| device.path.strip_prefix("/dev/") == Some(name)) {
                continue;
            }
            let device = makedev(major, minor);
            let kind = FileType::CharacterDevice;
            self.make_node(&dev, &Node { path: name, name, kind, device, mode: 0o666, owner: (0, 0) })?;
        }
        for device in self.devices {
            self.make_device(root, &dev, device)?;
        }
        self.make_links(&dev)
    }

    fn make_device(&self, root: RootDir<'_>, dev: &OwnedFd, device: &LinuxDevice) -> Result<(), Error> {
        let failed = |errno| init(format!("make device {:?}", device.path), errno);
        let path = device.path.as_str();
        if !path.starts_with('/') {
            return Err(failed(Errno::INVAL));
        }
        let kind = match device.kind.as_str() {
            "c" | "u" => FileType::CharacterDevice,
            "b" => FileType::BlockDevice,
            "p" => FileType::Fifo,
            _ => return Err(failed(Errno::INVAL)),
        };
        let number = |number| u32::try_from(number).map_err(|_| failed(Errno::INVAL));
        let numbers =
            if kind == FileType::Fifo { 0 } else { makedev(number(device.major)?, number(device.minor)?) };
        let mode = device.file_mode.unwrap_or(0o666) & 0o7777;
        let owner = (device.uid.unwrap_or(0), device.gid.unwrap_or(0));
        match path
            .strip_prefix("/dev/")
            .filter(|name| !name.contains('/') && !name.is_empty() && *name != "..")
        {
            // pts/ptmx is what /dev/ptmx has to be.
            Some("ptmx") => Ok(()),
            Some(name) => self.make_node(dev, &Node { path, name, kind, device: numbers, mode, owner }),
            None => {
                let (parent, name) = root.make_parent(path).map_err(failed)?;
                self.make_node(&parent, &Node { path, name, kind, device: numbers, mode, owner })
            }
        }
    }

    fn make_node(&self, parent: &OwnedFd, node: &Node<'_>) -> Result<(), Error> {
        let failed = |errno| init(format!("make device {:?}", node.path), errno);
        if self.user_namespace && node.kind != FileType::Fifo {
            return bind_node(parent, node).map_err(failed);
        }
        match mknodat(parent, node.name, node.kind, Mode::from_raw_mode(node.mode), node.device) {
            Ok(()) if node.owner == (0, 0) => Ok(()),
            Ok(()) => {
                let (uid, gid) = (Uid::from_raw(node.owner.0), Gid::from_raw(node.owner.1));
                chownat(parent, node.name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).map_err(failed)
            }
            Err(Errno::EXIST) => check_node(parent, node),
            // The device rules of the cgroup, or of a machine that is a container itself.
            Err(Errno::PERM) => bind_node(parent, node).map_err(failed),
            Err(errno) => Err(failed(errno)),
        }
    }

    fn make_links(&self, dev: &OwnedFd) -> Result<(), Error> {
        let failed = |name: &str, errno| init(format!("make link /dev/{name}"), errno);
        for (target, name) in LINKS {
            link(dev, target, name).map_err(|errno| failed(name, errno))?;
        }
        if rustix::fs::access("/proc/kcore", rustix::fs::Access::EXISTS).is_ok() {
            link(dev, "/proc/kcore", "core").map_err(|errno| failed("core", errno))?;
        }
        match symlinkat("pts/ptmx", dev, "ptmx") {
            Err(Errno::EXIST) => remove_file(dev, "ptmx")
                .and_then(|()| symlinkat("pts/ptmx", dev, "ptmx"))
                .map_err(|errno| failed("ptmx", errno)),
            result => result.map_err(|errno| failed("ptmx", errno)),
        }
    }
}

fn link(dev: &OwnedFd, target: &str, name: &str) -> Result<(), Errno> {
    match symlinkat(target, dev, name) {
        // An image that brings its own is taken at its word, as other runtimes do.
        Err(Errno::EXIST) => Ok(()),
        result => result,
    }
}

/// A node that is there already has to be the same one.
fn check_node(parent: &OwnedFd, node: &Node<'_>) -> Result<(), Error> {
    let failed = |errno| init(format!("make device {:?}", node.path), errno);
    let stat = statat(parent, node.name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    if kind == node.kind && (kind == FileType::Fifo || stat.st_rdev == node.device) {
        return Ok(());
    }
    if kind == FileType::RegularFile {
        // Left from a start in a user namespace, where nodes are bound over empty files.
        return bind_node(parent, node).map_err(failed);
    }
    let message = format!("make device {:?}: {} and another file is there", node.path, text(Errno::EXIST));
    Err(Error::Init { message, errno: Some(Errno::EXIST) })
}

/// Puts the host's node in place, for those who cannot make one.
fn bind_node(parent: &OwnedFd, node: &Node<'_>) -> Result<(), Errno> {
    let path = if node.path.starts_with('/') { node.path.to_owned() } else { format!("/dev/{}", node.path) };
    let source = bind::clone(CWD, path.as_str(), Bind::One)?;
    let stat = fstat(&source)?;
    if FileType::from_raw_mode(stat.st_mode) != node.kind || stat.st_rdev != node.device {
        return Err(Errno::NODEV);
    }
    debug_assert_eq!((major(stat.st_rdev), minor(stat.st_rdev)), (major(node.device), minor(node.device)));
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(parent, node.name, flags, Mode::from_raw_mode(0o666))?;
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let target = openat(parent.as_fd(), node.name, flags, Mode::empty())?;
    attach(&source, &target)
}
