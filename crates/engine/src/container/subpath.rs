//! Parts of volumes: `--mount type=volume,volume-subpath=…`.
//!
//! What lies in a volume is the containers' making, links included, and may change at any moment. So a path is resolved
//! by a call that no link leads out of the volume, and what it resolved to, which has no links, is mounted by one that
//! follows none.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsRawFd;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::{MountPoint, Record};
use crate::error::{Error, Result, errno_text};

/// How often a lookup is tried that something moves away under.
const TRIES: u32 = 128;

/// What is mounted in the stead of whole volumes: destination, path on the host.
///
/// The path goes through the root of this process, where our runtime follows no links. A runtime of somebody else's
/// gets a plain path, and what it does with links that appear after this is its affair.
///
/// Errors: Docker's texts for a part that leads out of its volume or is not there.
pub(crate) fn sources(record: &Record, is_ours: bool) -> Result<BTreeMap<&str, String>> {
    let mut sources = BTreeMap::new();
    for point in &record.mounts {
        if let Some(subpath) = &point.subpath {
            let path = resolve(point, subpath)?;
            let root = if is_ours { format!("/proc/{}/root", std::process::id()) } else { String::new() };
            sources.insert(point.destination.as_str(), root + &path);
        }
    }
    Ok(sources)
}

/// The path without links.
fn resolve(point: &MountPoint, subpath: &str) -> Result<String> {
    let base = &point.source;
    let refused = |path: &str, errno: Errno| {
        let text = errno_text(&io::Error::from(errno));
        Error::Refused(format!("cannot access path {path}: lstat {path}: {text}"))
    };
    let (file, place) = (OFlags::PATH | OFlags::CLOEXEC, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC);
    let root =
        rustix::fs::openat(CWD, base.as_str(), place, Mode::empty()).map_err(|errno| refused(base, errno))?;
    let inside = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let whole = format!("{base}/{subpath}");
    for _ in 0..TRIES {
        match rustix::fs::openat2(&root, subpath, file, Mode::empty(), inside) {
            Ok(found) => {
                let link = format!("/proc/self/fd/{}", found.as_raw_fd());
                let path = rustix::fs::readlink(link, Vec::new()).map_err(|errno| refused(&whole, errno))?;
                return path.into_string().map_err(|_| refused(&whole, Errno::ILSEQ));
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(Errno::XDEV) => break,
            Err(errno) => return Err(refused(&whole, errno)),
        }
    }
    Err(Error::Refused(format!(
        "path concatenation escapes the base directory, base: {base}, subpath: {subpath}"
    )))
}
