//! A tar archive as files of the host.
//!
//! Every path is opened below the destination without following links, so an archive cannot write anywhere else,
//! whatever is in it.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{self as sys, AtFlags, FileType, Mode, OFlags, ResolveFlags, Timespec, Timestamps};
use tar::{Archive, Entry, EntryType};

use super::paths::Prepared;
use crate::outcome::io_text;

/// Unpacks the archive. Files belong to whoever runs this, as with `cp`.
///
/// # Errors
/// What could not be written; what came before it stays.
pub(crate) fn unpack(prepared: &Prepared, archive: impl Read) -> Result<(), String> {
    let failed = |what: &str, error: &io::Error| format!("{what}: {}", io_text(error));
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = sys::open(&prepared.directory, flags, Mode::empty())
        .map_err(|error| failed(&format!("open {}", prepared.directory), &error.into()))?;
    let mut unpacker = Unpacker { root, prepared, directories: Vec::new() };
    let mut archive = Archive::new(archive);
    let entries = archive.entries().map_err(|error| failed("cannot read the archive", &error))?;
    for entry in entries {
        let mut entry = entry.map_err(|error| failed("cannot read the archive", &error))?;
        unpacker.entry(&mut entry)?;
    }
    unpacker.finish();
    Ok(())
}

struct Unpacker<'a> {
    root: OwnedFd,
    prepared: &'a Prepared,
    /// Directories whose modes and times are set when nothing is put into them any more.
    directories: Vec<(String, Mode, Timestamps)>,
}

impl Unpacker<'_> {
    fn entry(&mut self, entry: &mut Entry<'_, impl Read>) -> Result<(), String> {
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let name = plain(&self.prepared.name(&name))?;
        let kind = entry.header().entry_type();
        let mode = Mode::from_raw_mode(entry.header().mode().unwrap_or(0o644) & 0o7777);
        let moment = Timespec {
            tv_sec: i64::try_from(entry.header().mtime().unwrap_or_default()).unwrap_or_default(),
            tv_nsec: 0,
        };
        let times = Timestamps { last_access: moment, last_modification: moment };
        let failed = |error: rustix::io::Errno| {
            format!("{}/{name}: {}", self.prepared.directory, io_text(&io::Error::from(error)))
        };
        if name.is_empty() {
            // The destination itself, which was there before.
            return Ok(());
        }
        let (parent, last) = match name.rsplit_once('/') {
            Some((parent, last)) => (self.parent(parent).map_err(failed)?, last),
            None => {
                (self.root.as_fd().try_clone_to_owned().map_err(|error| error.to_string())?, name.as_str())
            }
        };
        let made = self.make_room(&parent, last, kind == EntryType::Directory)?;
        match kind {
            EntryType::Directory => {
                if made {
                    sys::mkdirat(&parent, last, Mode::RWXU).map_err(failed)?;
                }
                self.directories.push((name.clone(), mode, times));
                return Ok(());
            }
            EntryType::Symlink => {
                let target = entry.link_name_bytes().unwrap_or_default().into_owned();
                sys::symlinkat(target.as_slice(), &parent, last).map_err(failed)?;
            }
            EntryType::Link => {
                let target =
                    String::from_utf8_lossy(&entry.link_name_bytes().unwrap_or_default()).into_owned();
                let target = plain(&self.prepared.name(&target))?;
                let (folder, file) = target.rsplit_once('/').unwrap_or((".", &target));
                let folder = self.parent(folder).map_err(failed)?;
                sys::linkat(&folder, file, &parent, last, AtFlags::empty()).map_err(failed)?;
                return Ok(());
            }
            EntryType::Fifo | EntryType::Char | EntryType::Block => {
                let number = |part: io::Result<Option<u32>>| part.ok().flatten().unwrap_or_default();
                let (major, minor) =
                    (number(entry.header().device_major()), number(entry.header().device_minor()));
                let kind = match kind {
                    EntryType::Fifo => FileType::Fifo,
                    EntryType::Char => FileType::CharacterDevice,
                    _ => FileType::BlockDevice,
                };
                sys::mknodat(&parent, last, kind, mode, sys::makedev(major, minor)).map_err(failed)?;
                sys::chmodat(&parent, last, mode, AtFlags::empty()).map_err(failed)?;
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                let flags =
                    OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let file = sys::openat(&parent, last, flags, Mode::RUSR | Mode::WUSR).map_err(failed)?;
                let mut file = File::from(file);
                io::copy(entry, &mut file)
                    .map_err(|error| format!("{}/{name}: {}", self.prepared.directory, io_text(&error)))?;
                attributes(entry, &file);
                sys::fchmod(&file, mode).map_err(failed)?;
            }
            _ => return Ok(()),
        }
        sys::utimensat(&parent, last, &times, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)
    }

    /// Opens a directory below the destination; those that are missing are made.
    fn parent(&self, path: &str) -> Result<OwnedFd, rustix::io::Errno> {
        let open = |path: &str| {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
            sys::openat2(&self.root, path, flags, Mode::empty(), resolve)
        };
        match open(path) {
            Err(rustix::io::Errno::NOENT) => {}
            other => return other,
        }
        let mut directory = self.root.as_fd().try_clone_to_owned().map_err(|_| rustix::io::Errno::MFILE)?;
        for part in path.split('/') {
            match sys::mkdirat(&directory, part, Mode::from_raw_mode(0o777)) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                Err(error) => return Err(error),
            }
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            directory = sys::openat(&directory, part, flags, Mode::empty())?;
        }
        Ok(directory)
    }

    /// Takes away what stands in the way; whether there is nothing now. Directories are kept, and neither replace files
    /// nor are replaced by them.
    fn make_room(&self, parent: &OwnedFd, last: &str, directory: bool) -> Result<bool, String> {
        let Ok(found) = sys::statat(parent, last, AtFlags::SYMLINK_NOFOLLOW) else { return Ok(true) };
        let path = Path::new(&self.prepared.directory).join(last);
        let is_directory = FileType::from_raw_mode(found.st_mode) == FileType::Directory;
        match (is_directory, directory) {
            (true, true) => Ok(false),
            (true, false) => Err(format!(
                "cannot overwrite directory \"{}\" with non-directory \"{}\"",
                path.display(),
                self.prepared.directory
            )),
            (false, true) => Err(format!(
                "cannot overwrite non-directory \"{}\" with directory \"{}\"",
                path.display(),
                self.prepared.directory
            )),
            (false, false) => {
                sys::unlinkat(parent, last, AtFlags::empty()).map_err(|error| {
                    format!("unlinkat {}: {}", path.display(), io_text(&io::Error::from(error)))
                })?;
                Ok(true)
            }
        }
    }

    fn finish(&self) {
        // The innermost first: a directory that nobody may write to is closed last.
        for (name, mode, times) in self.directories.iter().rev() {
            let Some((parent, last)) = name.rsplit_once('/').or(Some((".", name))) else { continue };
            let Ok(parent) = self.parent(parent) else { continue };
            // The content is there; a mode or time that does not stick is not worth failing for.
            let _ = sys::chmodat(&parent, last, *mode, AtFlags::empty());
            let _ = sys::utimensat(&parent, last, times, AtFlags::SYMLINK_NOFOLLOW);
        }
    }
}

/// Extended attributes; file systems that have none lose them, as with `cp`.
fn attributes(entry: &mut Entry<'_, impl Read>, file: &File) {
    let Ok(Some(extensions)) = entry.pax_extensions() else { return };
    for extension in extensions.flatten() {
        if let Some(name) = extension.key().ok().and_then(|key| key.strip_prefix("SCHILY.xattr.")) {
            let _ = sys::fsetxattr(file, name, extension.value_bytes(), sys::XattrFlags::empty());
        }
    }
}

/// A name without `.` and empty parts.
///
/// # Errors
/// A name that leads out of the destination.
fn plain(name: &str) -> Result<String, String> {
    let parts: Vec<&str> = name.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    if parts.contains(&"..") {
        return Err(format!("the archive has a path that leads out of it: {name}"));
    }
    Ok(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::copy::paths::Info;

    fn archive(build: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        build(&mut builder);
        builder.into_inner().unwrap()
    }

    fn header(kind: EntryType, size: u64) -> tar::Header {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(0o640);
        header.set_size(size);
        header.set_mtime(1_000_000_000);
        header
    }

    fn into(directory: &Path) -> Prepared {
        Prepared { directory: directory.display().to_string(), rename: None }
    }

    #[test]
    fn what_was_packed_is_unpacked_under_its_new_name() {
        let from = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(from.path().join("d/e")).unwrap();
        std::fs::write(from.path().join("d/e/f"), "hello").unwrap();
        std::fs::hard_link(from.path().join("d/e/f"), from.path().join("d/g")).unwrap();
        std::os::unix::fs::symlink("e/f", from.path().join("d/l")).unwrap();
        let source = Info {
            path: from.path().join("d").display().to_string(),
            is_dir: true,
            exists: true,
            ..Info::default()
        };
        let to = tempfile::tempdir().unwrap();
        let rename = Prepared { rename: Some(("d".to_owned(), "x".to_owned())), ..into(to.path()) };
        let mut bytes = Vec::new();
        crate::copy::pack(&source, &rename, &mut bytes).unwrap();
        unpack(&into(to.path()), bytes.as_slice()).unwrap();
        assert_eq!(std::fs::read_to_string(to.path().join("x/l")).unwrap(), "hello");
        use std::os::unix::fs::MetadataExt;
        assert_eq!(std::fs::metadata(to.path().join("x/g")).unwrap().nlink(), 2);
    }

    #[test]
    fn nothing_is_written_elsewhere() {
        let outside = tempfile::tempdir().unwrap();
        let to = tempfile::tempdir().unwrap();
        let through_link = archive(|builder| {
            builder.append_link(&mut header(EntryType::Symlink, 0), "l", outside.path()).unwrap();
            builder.append_data(&mut header(EntryType::Regular, 1), "l/x", &b"x"[..]).unwrap();
        });
        let error = unpack(&into(to.path()), through_link.as_slice()).unwrap_err();
        assert!(error.contains("/l/x: "), "{error}");
        assert!(!outside.path().join("x").exists());
        assert!(plain("a/../../b").is_err());
    }

    #[test]
    fn directories_and_files_do_not_replace_each_other() {
        let to = tempfile::tempdir().unwrap();
        std::fs::create_dir(to.path().join("d")).unwrap();
        std::fs::write(to.path().join("f"), "old").unwrap();
        let of = |kind, name: &str| {
            archive(|builder| builder.append_data(&mut header(kind, 0), name, io::empty()).unwrap())
        };
        let error = unpack(&into(to.path()), of(EntryType::Regular, "d").as_slice()).unwrap_err();
        assert!(error.starts_with("cannot overwrite directory"), "{error}");
        let error = unpack(&into(to.path()), of(EntryType::Directory, "f/").as_slice()).unwrap_err();
        assert!(error.starts_with("cannot overwrite non-directory"), "{error}");
        unpack(&into(to.path()), of(EntryType::Regular, "f").as_slice()).unwrap();
        assert_eq!(std::fs::read(to.path().join("f")).unwrap(), b"");
    }
}
