//! A look into a container's root file system without mounting it: the layers, topmost first, seen as one.
//!
//! Used before a container runs, for what Docker reads and copies on the host: `/etc/passwd`, `/etc/group`, the content
//! of image directories that become volumes. The layers are hostile: every step goes by descriptor and name, symbolic
//! links are followed by hand inside the root, and nothing but directories and regular files is ever opened for
//! reading.
//!
//! Source: kernel, Documentation/filesystems/overlayfs.rst (whiteouts, opaque directories).

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use berth_oci::Mount;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

/// Symbolic links that one lookup may pass, as in the kernel.
const LINKS_MAX: usize = 40;

/// A root file system: its layers, topmost first.
#[derive(Clone, Debug)]
pub(crate) struct RootFs {
    layers: Vec<PathBuf>,
}

/// What is at a path, topmost layer's view.
#[derive(Debug)]
pub(crate) enum Found {
    /// A directory: its parts, topmost first.
    Directory(Directory),
    /// Anything else, opened with `O_PATH`.
    Other(OwnedFd, Stat),
}

/// A directory of the merged view.
#[derive(Debug)]
pub(crate) struct Directory {
    /// The directories that make it up, topmost first; never empty.
    parts: Vec<OwnedFd>,
}

impl RootFs {
    /// The layers of the mounts that the store gives for a snapshot.
    pub(crate) fn of_mounts(mounts: &[Mount]) -> RootFs {
        let mut layers = Vec::new();
        for mount in mounts {
            if mount.is_bind() {
                layers.push(PathBuf::from(&mount.source));
            }
            let options =
                |name: &'static str| mount.options.iter().filter_map(move |option| option.strip_prefix(name));
            layers.extend(options("upperdir=").map(PathBuf::from));
            layers.extend(options("lowerdir=").flat_map(split_lower));
            layers.extend(options("lowerdir+=").map(PathBuf::from));
        }
        RootFs { layers }
    }

    /// The same without the layer that is written to.
    pub(crate) fn below(mounts: &[Mount]) -> RootFs {
        let mut mounts = mounts.to_vec();
        mounts.iter_mut().for_each(|mount| mount.options.retain(|option| !option.starts_with("upperdir=")));
        RootFs::of_mounts(&mounts)
    }

    /// What is at `path`, links followed inside the root.
    pub(crate) fn find(&self, path: &str) -> rustix::io::Result<Option<Found>> {
        let mut names: Vec<OsString> = components(path.as_bytes());
        let mut trail: Vec<Directory> = vec![self.root()?];
        let mut links = 0;
        while let Some(name) = names.pop() {
            if name == ".." {
                if trail.len() > 1 {
                    trail.pop();
                }
                continue;
            }
            let here = &trail[trail.len() - 1];
            match here.look(&name)? {
                None => return Ok(None),
                Some(Found::Directory(directory)) => trail.push(directory),
                Some(Found::Other(fd, stat))
                    if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink =>
                {
                    links += 1;
                    if links > LINKS_MAX {
                        return Err(Errno::LOOP);
                    }
                    let target = rustix::fs::readlinkat(&fd, "", Vec::new())?.into_bytes();
                    if target.first() == Some(&b'/') {
                        trail.truncate(1);
                    }
                    names.extend(components(&target));
                }
                Some(other) if names.is_empty() => return Ok(Some(other)),
                Some(_) => return Ok(None),
            }
        }
        Ok(trail.pop().map(Found::Directory))
    }

    /// The content of a regular file, at most `limit` bytes of it; `None` if there is no such file.
    pub(crate) fn read(&self, path: &str, limit: u64) -> rustix::io::Result<Option<Vec<u8>>> {
        let Some(Found::Other(fd, stat)) = self.find(path)? else { return Ok(None) };
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Ok(None);
        }
        let mut content = Vec::new();
        let file = reopen(&fd)?;
        file.take(limit)
            .read_to_end(&mut content)
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        Ok(Some(content))
    }

    fn root(&self) -> rustix::io::Result<Directory> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = |layer: &PathBuf| rustix::fs::open(layer, flags, Mode::empty());
        Ok(Directory { parts: self.layers.iter().map(open).collect::<Result<_, _>>()? })
    }
}

impl Directory {
    /// The entry with this name.
    pub(crate) fn look(&self, name: &OsStr) -> rustix::io::Result<Option<Found>> {
        let mut parts = Vec::new();
        for part in &self.parts {
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let fd = match rustix::fs::openat(part, name, flags, Mode::empty()) {
                Ok(fd) => fd,
                Err(Errno::NOENT | Errno::NOTDIR) => continue,
                Err(error) => return Err(error),
            };
            let stat = rustix::fs::fstat(&fd)?;
            if is_whiteout(&stat) {
                break;
            }
            if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
                // A file under a directory of a higher layer is hidden by it.
                return Ok(parts
                    .is_empty()
                    .then_some(Found::Other(fd, stat))
                    .or_else(|| directory(&mut parts)));
            }
            let opaque = is_opaque(part, name);
            parts.push(fd);
            if opaque {
                break;
            }
        }
        Ok(directory(&mut parts))
    }

    /// The names of all entries, sorted.
    pub(crate) fn names(&self) -> rustix::io::Result<Vec<OsString>> {
        let mut names = std::collections::BTreeMap::new();
        for part in &self.parts {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let directory = rustix::fs::openat(part, ".", flags, Mode::empty())?;
            for entry in rustix::fs::Dir::new(directory)? {
                let entry = entry?;
                let name = entry.file_name().to_bytes();
                if name == b"." || name == b".." {
                    continue;
                }
                let visible = || match entry.file_type() {
                    FileType::CharacterDevice | FileType::Unknown => {
                        rustix::fs::statat(part, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW)
                            .is_ok_and(|stat| !is_whiteout(&stat))
                    }
                    _ => true,
                };
                // What a higher layer says of a name holds, a whiteout too.
                names.entry(OsString::from_vec(name.to_vec())).or_insert_with(visible);
            }
        }
        Ok(names.into_iter().filter(|(_, visible)| *visible).map(|(name, _)| name).collect())
    }

    /// Owner, mode and times.
    pub(crate) fn stat(&self) -> rustix::io::Result<Stat> {
        rustix::fs::fstat(self.top())
    }

    /// The topmost of its parts.
    pub(crate) fn top(&self) -> BorrowedFd<'_> {
        self.parts[0].as_fd()
    }
}

/// Opens a regular file that was found, for reading.
///
/// Through its descriptor, so it is the very file that was looked at; the kernel refuses to open a device so only
/// where the mount says so, hence callers check the type first.
pub(crate) fn reopen(fd: &OwnedFd) -> rustix::io::Result<File> {
    use std::os::fd::AsRawFd as _;
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    rustix::fs::open(path, flags, Mode::empty()).map(File::from)
}

fn directory(parts: &mut Vec<OwnedFd>) -> Option<Found> {
    (!parts.is_empty()).then(|| Found::Directory(Directory { parts: std::mem::take(parts) }))
}

/// The names of a path, the first one last.
fn components(path: &[u8]) -> Vec<OsString> {
    let names = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".");
    names.rev().map(|name| OsStr::from_bytes(name).to_owned()).collect()
}

/// Whether a file says that there is none of its name.
pub(crate) fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

/// Whether a directory hides all of the same name below it.
pub(crate) fn is_opaque(parent: impl AsFd, name: &OsStr) -> bool {
    use std::os::fd::AsRawFd as _;
    let path = Path::new("/proc/self/fd").join(parent.as_fd().as_raw_fd().to_string()).join(name);
    let mut value = [0_u8; 4];
    rustix::fs::lgetxattr(&path, "trusted.overlay.opaque", &mut value)
        .is_ok_and(|length| &value[..length] == b"y")
}

/// The directories of a `lowerdir` option: colons separate, a backslash protects.
fn split_lower(lower: &str) -> Vec<PathBuf> {
    let mut parts = vec![String::new()];
    let mut characters = lower.chars();
    while let Some(character) = characters.next() {
        match character {
            ':' => parts.push(String::new()),
            '\\' => {
                let last = parts.len() - 1;
                parts[last].extend(characters.next());
            }
            other => {
                let last = parts.len() - 1;
                parts[last].push(other);
            }
        }
    }
    parts.into_iter().filter(|part| !part.is_empty()).map(PathBuf::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    /// Two layers; whiteouts and opaque directories need root, so they are tested with the rest in `tests/`.
    fn layers() -> (tempfile::TempDir, RootFs) {
        let directory = tempfile::tempdir().unwrap();
        let (upper, lower) = (directory.path().join("upper"), directory.path().join("lo:wer"));
        fs::create_dir_all(upper.join("etc")).unwrap();
        fs::create_dir_all(lower.join("etc/deep")).unwrap();
        fs::write(upper.join("etc/passwd"), "upper").unwrap();
        fs::write(lower.join("etc/passwd"), "lower").unwrap();
        fs::write(lower.join("etc/group"), "group").unwrap();
        symlink("/etc/group", lower.join("abs")).unwrap();
        symlink("../../../../etc/group", lower.join("etc/deep/rel")).unwrap();
        symlink("loop", lower.join("loop")).unwrap();
        symlink("etc/deep", upper.join("link")).unwrap();
        let options = format!(
            "lowerdir={},upperdir={},workdir=/w",
            lower.to_str().unwrap().replace(':', "\\:"),
            upper.display()
        );
        let options: Vec<&str> = options.split(',').collect();
        let mounts = [Mount::new("overlay", "overlay", "/", &options)];
        (directory, RootFs::of_mounts(&mounts))
    }

    #[test]
    fn higher_layers_hide_lower_ones_and_links_stay_inside() {
        let (_directory, rootfs) = layers();
        let read = |path: &str| rootfs.read(path, 100).unwrap().map(|text| String::from_utf8(text).unwrap());
        assert_eq!(read("/etc/passwd").as_deref(), Some("upper"));
        assert_eq!(read("/etc/group").as_deref(), Some("group"));
        assert_eq!(read("/abs").as_deref(), Some("group"));
        assert_eq!(read("/link/rel").as_deref(), Some("group"));
        assert_eq!(read("/etc/deep/../../../etc/group").as_deref(), Some("group"));
        assert_eq!(read("/etc"), None);
        assert_eq!(read("/etc/passwd/x"), None);
        assert_eq!(read("/none"), None);
        assert_eq!(rootfs.read("/loop", 100).unwrap_err(), Errno::LOOP);
        assert_eq!(rootfs.read("/etc/passwd", 2).unwrap().unwrap(), b"up");
    }

    #[test]
    fn directories_are_merged() {
        let (_directory, rootfs) = layers();
        let Some(Found::Directory(etc)) = rootfs.find("/etc").unwrap() else { panic!("not a directory") };
        assert_eq!(etc.names().unwrap(), ["deep", "group", "passwd"]);
    }
}
