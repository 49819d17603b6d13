//! How much of a log came before each of its files: what a file's own length does not tell once others were removed.
//!
//! It is an extended attribute, so that it goes with a file through renames. The first file of a log has none, nor have
//! files on a file system without such attributes.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{OFlags, XattrFlags};
use rustix::io::Errno;

const NAME: &str = "trusted.berth.start";

/// Bytes of the log before this file; 0 also where that is not known.
pub fn of(file: impl AsFd) -> u64 {
    let mut value = [0; 20];
    let length = rustix::fs::fgetxattr(file, NAME, &mut value[..]).unwrap_or(0);
    std::str::from_utf8(&value[..length]).ok().and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Says how much of the log comes before this file.
///
/// # Errors
/// The file system keeps no such attributes.
pub fn set(file: impl AsFd, bytes: u64) -> io::Result<()> {
    Ok(rustix::fs::fsetxattr(file, NAME, bytes.to_string().as_bytes(), XattrFlags::empty())?)
}

/// Makes a log's file that nobody sees before it has the attribute, where it can have one.
pub(super) fn create(path: &Path, bytes: u64) -> Result<OwnedFd, Errno> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = Path::new(&new);
    let file = super::open(new, OFlags::CREATE | OFlags::TRUNC)?;
    // Without it a slow reader can miss what is compressed meanwhile.
    let _ = set(&file, bytes);
    rustix::fs::rename(new, path)?;
    Ok(file)
}
