//! Visits: the root filesystem of a container that does not run, mounted where nobody else sees it.
//!
//! A thread makes a mount namespace of its own, mounts the snapshot and what belongs over it, and ends. What stays is
//! a descriptor of the root and one of the namespace; when both are closed the kernel takes all of it down. So a
//! crash leaves no mount behind, and nothing is ever mounted on the host.

use std::ffi::CString;
use std::os::fd::{AsFd as _, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use berth_oci::Mount;
use berth_sys::mount::{Attributes, MOUNT_ATTR_RDONLY, mount_setattr};
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, mount, mount_change, move_mount,
    open_tree,
};

use crate::{Error, Snapshots};

/// The thread does little.
const STACK_BYTES: usize = 128 << 10;

/// A file or directory of the host that belongs over a root filesystem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    /// Where it is on the host.
    pub source: PathBuf,
    /// Where it belongs inside.
    pub destination: String,
    /// Whether it can be written.
    pub writable: bool,
}

/// What to visit.
#[derive(Clone, Debug)]
pub struct VisitOptions {
    /// What belongs over the root, in the order in which it is mounted.
    pub binds: Vec<Bind>,
    /// The root itself cannot be written.
    pub read_only: bool,
    /// An empty directory of the host, to mount at; many visits may use the same.
    pub at: PathBuf,
}

/// A mounted root filesystem.
#[derive(Debug)]
pub struct Visit {
    root: OwnedFd,
    _namespace: OwnedFd,
}

impl Visit {
    /// The root, opened with `O_PATH`.
    pub fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }
}

impl Snapshots {
    /// Mounts a snapshot for a visit. Blocking, some milliseconds. Nobody else may have it mounted for writing.
    ///
    /// Errors: [`Error::NotFound`]; the system refused.
    pub fn visit(&self, key: &str, options: &VisitOptions) -> Result<Visit, Error> {
        let mounts = self.mounts(key)?;
        let base = self.layers_path();
        let thread = std::thread::Builder::new().name("visit".to_owned()).stack_size(STACK_BYTES);
        let options = options.clone();
        let fail = || format!("mount snapshot {key}");
        let visit = thread.spawn(move || enter(&mounts, &base, &options)).map_err(Error::io(fail()))?;
        match visit.join() {
            Ok(visit) => visit.map_err(Error::io(fail())),
            Err(_) => Err(Error::io(fail())(std::io::Error::other("the thread panicked"))),
        }
    }
}

/// Mounts everything in a namespace of this thread's own.
fn enter(mounts: &[Mount], base: &Path, options: &VisitOptions) -> std::io::Result<Visit> {
    berth_sys::supervisor::unshare_mounts()?;
    mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)?;
    let namespace =
        rustix::fs::open("/proc/thread-self/ns/mnt", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    // Paths of layers are told from here: 128 of them must fit into a page. A mount namespace of one's own comes with
    // a working directory of one's own.
    rustix::process::chdir(base)?;
    for snapshot in mounts {
        mount_snapshot(snapshot, base, &options.at)?;
    }
    let root =
        rustix::fs::open(&options.at, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    for bind in &options.binds {
        mount_bind(&root, bind)?;
    }
    if options.read_only {
        make_read_only(&root, false)?;
    }
    Ok(Visit { root, _namespace: namespace })
}

fn mount_snapshot(snapshot: &Mount, base: &Path, at: &Path) -> std::io::Result<()> {
    if snapshot.is_bind() {
        mount(snapshot.source.as_str(), at, "", MountFlags::BIND | MountFlags::REC, None)?;
        return Ok(());
    }
    let data: Vec<String> = snapshot.options.iter().map(|option| relative(option, base)).collect();
    let data = CString::new(data.join(",")).map_err(std::io::Error::other)?;
    mount(snapshot.source.as_str(), at, snapshot.kind.as_str(), MountFlags::empty(), data.as_c_str())?;
    Ok(())
}

/// An option of overlay with its paths told from the directory of the layers.
fn relative(option: &str, base: &Path) -> String {
    let (Some(base), Some(parent)) = (base.to_str(), base.parent().and_then(Path::to_str)) else {
        return option.to_owned();
    };
    let escape = |path: &str| path.replace('\\', "\\\\").replace(':', "\\:");
    match option.split_once('=') {
        Some(("lowerdir", paths)) => {
            let paths = paths.replace(&format!("{}/", escape(base)), "");
            format!("lowerdir={}", paths.replace(&format!("{}/", escape(parent)), "../"))
        }
        Some((name @ ("upperdir" | "workdir"), path)) => {
            format!("{name}={}", path.replacen(&format!("{parent}/"), "../", 1))
        }
        _ => option.to_owned(),
    }
}

/// Mounts a file or directory inside, links in its path followed inside the root only. What it is mounted over is made
/// if it is missing, as a start would.
fn mount_bind(root: &OwnedFd, bind: &Bind) -> std::io::Result<()> {
    let tree = match open_tree(
        CWD,
        &bind.source,
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE,
    ) {
        Ok(tree) => tree,
        // What is not there yet, or no longer, cannot be looked at.
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let stat = rustix::fs::fstat(&tree)?;
    let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    let target = mount_point(root, &bind.destination, is_directory)?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(&tree, "", &target, "", flags)?;
    if bind.writable { Ok(()) } else { make_read_only(&tree, true) }
}

/// Makes a mount read-only; before Linux 5.12 only the mount itself and not those below it.
fn make_read_only(root: &OwnedFd, recursive: bool) -> std::io::Result<()> {
    let attributes = Attributes { set: MOUNT_ATTR_RDONLY, ..Attributes::default() };
    match mount_setattr(root, recursive, attributes) {
        Err(Errno::NOSYS) => {
            let flags = MountFlags::BIND | MountFlags::RDONLY;
            Ok(rustix::mount::mount_remount(path_of(root.as_fd()), flags, "")?)
        }
        other => Ok(other?),
    }
}

fn mount_point(root: &OwnedFd, destination: &str, is_directory: bool) -> std::io::Result<OwnedFd> {
    let path = destination.trim_matches('/');
    let open = |path: &str| {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let path = if path.is_empty() { "." } else { path };
        rustix::fs::openat2(
            root,
            path,
            flags,
            Mode::empty(),
            ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
        )
    };
    if let Ok(target) = open(path) {
        return Ok(target);
    }
    let mut made = String::new();
    let names: Vec<&str> = path.split('/').filter(|name| !name.is_empty()).collect();
    for (index, name) in names.iter().enumerate() {
        let parent = open(&made)?;
        if index > 0 {
            made.push('/');
        }
        made.push_str(name);
        if open(&made).is_ok() {
            continue;
        }
        if is_directory || index + 1 < names.len() {
            rustix::fs::mkdirat(&parent, *name, Mode::from_raw_mode(0o755))?;
        } else {
            rustix::fs::mknodat(&parent, *name, FileType::RegularFile, Mode::from_raw_mode(0o644), 0)?;
        }
    }
    Ok(open(path)?)
}

/// A path that leads to an open file, for calls that take only paths.
pub fn path_of(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_layers_are_told_from_their_directory() {
        let base = Path::new("/var/lib/b:x/store/layers");
        let check = |option: &str, expect: &str| assert_eq!(relative(option, base), expect);
        check(
            "lowerdir=/var/lib/b\\:x/store/fixups/1/diff:/var/lib/b\\:x/store/layers/2/diff",
            "lowerdir=../fixups/1/diff:2/diff",
        );
        check("upperdir=/var/lib/b:x/store/snapshots/k/upper", "upperdir=../snapshots/k/upper");
        check("index=off", "index=off");
    }
}
