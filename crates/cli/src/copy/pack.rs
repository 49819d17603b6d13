//! A file or directory of the host as a tar archive.

use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use tar::{Builder, EntryType, Header, HeaderMode};

use super::paths::{Info, Prepared};
use crate::outcome::io_text;

/// The attribute that a program's capabilities are kept in.
const CAPABILITY: &str = "security.capability";

/// Writes the source and all below it. Names are those that the destination wants.
///
/// # Errors
/// What could not be read, or that nobody takes the archive any more.
pub(crate) fn pack(from: &Info, prepared: &Prepared, into: impl Write) -> Result<(), String> {
    let path = from.path.strip_suffix("/.").unwrap_or(&from.path);
    let path = Path::new(if path.is_empty() { "/" } else { path });
    let own = match (from.path.as_str(), from.path.ends_with("/."), from.rebase.as_str()) {
        (_, true, "") | ("/", ..) => ".".to_owned(),
        (_, _, "") => path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        (_, _, rebase) => rebase.to_owned(),
    };
    let mut builder = Builder::new(into);
    builder.sparse(false);
    let mut packer = Packer { builder, prepared, seen: HashMap::new() };
    packer.tree(path, &own)?;
    let finished = packer.builder.into_inner().and_then(|mut into| into.flush());
    finished.map_err(|error| io_text(&error))
}

struct Packer<'a, W: Write> {
    builder: Builder<W>,
    prepared: &'a Prepared,
    /// The names of files with several, by device and inode.
    seen: HashMap<(u64, u64), String>,
}

impl<W: Write> Packer<'_, W> {
    /// Adds what is at `path`, and what is below it, depth first.
    fn tree(&mut self, path: &Path, name: &str) -> Result<(), String> {
        let failed = |what: &str, error: &io::Error| format!("{what} {}: {}", path.display(), io_text(error));
        let metadata = fs::symlink_metadata(path).map_err(|error| failed("lstat", &error))?;
        self.entry(path, name, &metadata).map_err(|error| failed("cannot add", &error))?;
        if !metadata.is_dir() {
            return Ok(());
        }
        let entries = fs::read_dir(path).map_err(|error| failed("open", &error))?;
        let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
        names.sort();
        for child in names {
            self.tree(&path.join(&child), &format!("{name}/{}", child.to_string_lossy()))?;
        }
        Ok(())
    }

    fn entry(&mut self, path: &Path, name: &str, metadata: &Metadata) -> io::Result<()> {
        if metadata.file_type().is_socket() {
            return Ok(());
        }
        let mut name = self.prepared.name(name);
        let mut header = Header::new_gnu();
        header.set_metadata_in_mode(metadata, HeaderMode::Complete);
        if metadata.is_dir() {
            name.push('/');
            header.set_size(0);
            return self.builder.append_data(&mut header, &name, io::empty());
        }
        if metadata.is_symlink() {
            header.set_size(0);
            return self.builder.append_link(&mut header, &name, fs::read_link(path)?);
        }
        if metadata.nlink() > 1 {
            let inode = (metadata.dev(), metadata.ino());
            if let Some(first) = self.seen.get(&inode) {
                header.set_entry_type(EntryType::Link);
                header.set_size(0);
                return self.builder.append_link(&mut header, &name, first);
            }
            self.seen.insert(inode, name.clone());
        }
        if !metadata.is_file() {
            header.set_size(0);
            return self.builder.append_data(&mut header, &name, io::empty());
        }
        let mut value = [0; 64];
        if let Ok(size) = rustix::fs::lgetxattr(path, CAPABILITY, &mut value) {
            let key = format!("SCHILY.xattr.{CAPABILITY}");
            self.builder.append_pax_extensions([(key.as_str(), &value[..size])])?;
        }
        // A file that shrinks while it is read keeps the size that the header says.
        let content = File::open(path)?.chain(io::repeat(0)).take(metadata.len());
        self.builder.append_data(&mut header, &name, content)
    }
}
