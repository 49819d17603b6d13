//! Stacking of layers: what a layer left to those below it is made good in one more directory on top.
//!
//! A layer may have `a/b/file` without entries for `a` and `a/b`. Overlay shows the attributes of the topmost
//! directory, so the made-up ones would hide those of a lower layer: `/tmp` would lose its sticky bit. And a layer
//! may have a hard link to a file that only a lower one has. Both depend on what is below, and layers are shared
//! between images, so the answer is kept beside them: a directory with only the missing attributes and links.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Gid, Mode, Stat, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use super::tree::{OPAQUE, is_whiteout};
use super::{DIFF, LayerRecord, from_latin1};
use crate::dir;

/// How the layers of an image lie on each other.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub(crate) struct Stack {
    /// The lowest layer that shows; those before it are hidden as a whole.
    pub(crate) first: usize,
    /// Whether a fixup directory was made.
    pub(crate) fixup: bool,
}

/// One layer, opened.
struct Layer {
    diff: OwnedFd,
    implicit: BTreeSet<Vec<u8>>,
    links: Vec<(Vec<u8>, Vec<u8>)>,
}

/// A link to make: its path, and layer and path of the file.
type Link = (Vec<u8>, usize, Vec<u8>);

/// What a layer says about a path.
enum Sight {
    /// It has it; and whether it hides what is below.
    Here(Stat, bool),
    /// It does not have it, and hides what is below.
    Hidden,
    /// It does not have it; look below.
    Below,
}

/// Stacks layers, base first. If a fixup is needed, `make_target` makes the directory that it is written to.
pub(crate) fn stack(
    layers: &[BorrowedFd<'_>],
    make_target: &mut dyn FnMut() -> io::Result<OwnedFd>,
) -> io::Result<Stack> {
    let mut opened = Vec::with_capacity(layers.len());
    let mut stack = Stack::default();
    for (index, layer) in layers.iter().enumerate() {
        let record = LayerRecord::read(*layer)?;
        if record.opaque {
            stack.first = index;
            opened.clear();
        }
        opened.push(Layer {
            diff: dir::open(*layer, DIFF)?,
            implicit: record.implicit.iter().map(|path| from_latin1(path)).collect(),
            links: record
                .links
                .iter()
                .map(|(path, target)| (from_latin1(path), from_latin1(target)))
                .collect(),
        });
    }
    let directories = directories(&opened)?;
    let links = links(&opened)?;
    if directories.is_empty() && links.is_empty() {
        return Ok(stack);
    }
    let target = make_target()?;
    write(&opened, target.as_fd(), directories, &links)?;
    stack.fixup = true;
    Ok(stack)
}

/// The directories whose attributes are hidden, with those attributes.
fn directories(layers: &[Layer]) -> io::Result<BTreeMap<Vec<u8>, Stat>> {
    let mut found = BTreeMap::new();
    let implicit: BTreeSet<&Vec<u8>> = layers.iter().flat_map(|layer| &layer.implicit).collect();
    for path in implicit {
        if let Some((stat, true)) = true_attributes(layers, path)? {
            found.insert(path.clone(), stat);
        }
    }
    Ok(found)
}

/// The attributes a directory ought to have, and whether they differ from those of its topmost layer.
fn true_attributes(layers: &[Layer], path: &[u8]) -> io::Result<Option<(Stat, bool)>> {
    let mut below_top = false;
    for layer in layers.iter().rev() {
        match layer.look(path)? {
            Sight::Below => {}
            Sight::Hidden => return Ok(None),
            Sight::Here(stat, _) if FileType::from_raw_mode(stat.st_mode) != FileType::Directory => {
                return Ok(None);
            }
            Sight::Here(stat, _) if !layer.implicit.contains(path) => return Ok(Some((stat, below_top))),
            Sight::Here(_, true) => return Ok(None),
            Sight::Here(_, false) => below_top = true,
        }
    }
    Ok(None)
}

/// The links to make.
fn links(layers: &[Layer]) -> io::Result<Vec<Link>> {
    let mut found: Vec<Link> = Vec::new();
    for (index, layer) in layers.iter().enumerate() {
        for (path, target) in &layer.links {
            let is_covered = layers[index + 1..].iter().rev().any(|upper| {
                !matches!(upper.look(path), Ok(Sight::Below)) || upper.links.iter().any(|(p, _)| p == path)
            });
            if is_covered {
                continue;
            }
            let source = layers[..index].iter().enumerate().rev().find_map(|(number, lower)| {
                match lower.look(target) {
                    Ok(Sight::Below) => lower
                        .links
                        .iter()
                        .find(|(name, _)| name == target)
                        .and_then(|_| found.iter().find(|(name, ..)| name == target))
                        .map(|(_, number, source)| Ok((*number, source.clone()))),
                    Ok(Sight::Here(stat, _))
                        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory =>
                    {
                        Some(Ok((number, target.clone())))
                    }
                    Ok(_) => Some(Err(missing(path, target))),
                    Err(error) => Some(Err(error)),
                }
            });
            let (number, source) = source.ok_or_else(|| missing(path, target))??;
            found.push((path.clone(), number, source));
        }
    }
    Ok(found)
}

fn missing(path: &[u8], target: &[u8]) -> io::Error {
    let (path, target) = (String::from_utf8_lossy(path), String::from_utf8_lossy(target));
    io::Error::new(io::ErrorKind::InvalidData, format!("hard link {path} to {target}, which is nowhere"))
}

impl Layer {
    /// Looks a path up in this layer alone.
    fn look(&self, path: &[u8]) -> io::Result<Sight> {
        let mut hides = false;
        let ends = (0..path.len()).filter(|i| path[*i] == b'/').chain([path.len()]);
        for end in ends {
            let prefix = &path[..end];
            match rustix::fs::statat(&self.diff, prefix, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) if is_whiteout(&stat) => return Ok(Sight::Hidden),
                Ok(stat) => {
                    let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
                    hides = hides || !is_directory || self.is_opaque(prefix)?;
                    if end == path.len() {
                        return Ok(Sight::Here(stat, hides));
                    }
                    if !is_directory {
                        return Ok(Sight::Hidden);
                    }
                }
                Err(Errno::NOENT) => return Ok(if hides { Sight::Hidden } else { Sight::Below }),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Sight::Below)
    }

    fn is_opaque(&self, path: &[u8]) -> io::Result<bool> {
        let dir = dir::open(&self.diff, path)?;
        let mut value = [0u8; 4];
        match rustix::fs::fgetxattr(&dir, OPAQUE, &mut value) {
            Ok(length) => Ok(value[..length] == *b"y"),
            Err(Errno::NODATA | Errno::NOTSUP) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// Writes a fixup directory.
fn write(
    layers: &[Layer],
    target: BorrowedFd<'_>,
    directories: BTreeMap<Vec<u8>, Stat>,
    links: &[Link],
) -> io::Result<()> {
    let mut all: BTreeMap<Vec<u8>, Option<Stat>> =
        directories.into_iter().map(|(path, stat)| (path, Some(stat))).collect();
    // What is made on the way must not hide attributes itself; a directory that no layer has gets the usual ones.
    let parents: BTreeSet<Vec<u8>> =
        all.keys().chain(links.iter().map(|(path, ..)| path)).flat_map(|path| parents(path)).collect();
    for parent in parents {
        let Entry::Vacant(entry) = all.entry(parent) else { continue };
        let stat = match true_attributes(layers, entry.key())? {
            Some((stat, _)) => Some(stat),
            None => topmost(layers, entry.key())?,
        };
        entry.insert(stat);
    }
    // Sorted, so parents come first.
    for path in all.keys() {
        rustix::fs::mkdirat(target, path.as_slice(), Mode::from_raw_mode(0o700))?;
    }
    for (path, number, source) in links {
        let from = &layers[*number].diff;
        rustix::fs::linkat(from, source.as_slice(), target, path.as_slice(), AtFlags::empty())?;
    }
    for (path, stat) in all.iter().rev() {
        let dir = dir::open(target, path.as_slice())?;
        match stat {
            Some(stat) => copy_attributes(&dir, stat)?,
            None => rustix::fs::fchmod(&dir, Mode::from_raw_mode(0o755))?,
        }
    }
    Ok(())
}

fn topmost(layers: &[Layer], path: &[u8]) -> io::Result<Option<Stat>> {
    for layer in layers.iter().rev() {
        if let Sight::Here(stat, _) = layer.look(path)? {
            return Ok(Some(stat));
        }
    }
    Ok(None)
}

fn parents(path: &[u8]) -> Vec<Vec<u8>> {
    (0..path.len()).filter(|i| path[*i] == b'/').map(|i| path[..i].to_vec()).collect()
}

fn copy_attributes(dir: &OwnedFd, stat: &Stat) -> io::Result<()> {
    let owner = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    rustix::fs::fchown(dir, Some(owner.0), Some(owner.1))?;
    rustix::fs::fchmod(dir, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    let time = Timespec { tv_sec: stat.st_mtime, tv_nsec: i64::try_from(stat.st_mtime_nsec).unwrap_or(0) };
    rustix::fs::futimens(dir, &Timestamps { last_access: time, last_modification: time })?;
    Ok(())
}
