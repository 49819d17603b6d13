//! Files, where rustix has no word for it.

use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::clone::last_errno;

/// Has the kernel begin to write part of a file to the disk, and does not wait for the end of it: a sync that follows
/// finds little left to do. Waits only where the disk's queue is full. Promises nothing about what is on the disk.
///
/// Source: `sync_file_range(2)`.
///
/// # Errors
/// `ESPIPE` for what is no file; `EIO` and `ENOSPC` of an earlier write.
pub fn begin_write(file: impl AsFd, offset: u64, length: u64) -> Result<(), Errno> {
    let (offset, length) = (offset.cast_signed(), length.cast_signed());
    // SAFETY: no memory is passed; the descriptor is open for as long as it is borrowed.
    let result = unsafe {
        libc::sync_file_range(file.as_fd().as_raw_fd(), offset, length, libc::SYNC_FILE_RANGE_WRITE)
    };
    if result == 0 { Ok(()) } else { Err(last_errno()) }
}

/// By which a file is known to be the one that was read, unchanged: device, inode, size, and when its content and what
/// is known of it were last changed, in nanoseconds since 1970.
///
/// Source: `inode(7)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    changed: [i128; 2],
}

impl Stamp {
    /// That of the file at a path; `None` if there is none, or none that can be seen. Follows links.
    pub fn of(path: &Path) -> Option<Self> {
        let found = std::fs::metadata(path).ok()?;
        let nanoseconds = |seconds: i64, rest: i64| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
        let content = nanoseconds(found.mtime(), found.mtime_nsec());
        let known = nanoseconds(found.ctime(), found.ctime_nsec());
        Some(Self { device: found.dev(), inode: found.ino(), size: found.size(), changed: [content, known] })
    }
}

/// How long a lock is waited for whose holder has just been killed.
const HEIRS: Duration = Duration::from_secs(1);
/// How often it is asked for.
const PAUSE: Duration = Duration::from_millis(2);

/// Locks a file for this process alone; says whether it could. Waits up to a second for a lock that somebody holds: a child
/// that its last holder was just making when it was killed holds it, too, until it runs its program.
///
/// Source: `flock(2)`: a lock belongs to the open file description, which a child inherits.
///
/// # Errors
/// The file system has no locks, or no memory for one.
pub fn lock(file: impl AsFd) -> Result<bool, Errno> {
    let give_up_at = Instant::now() + HEIRS;
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(true),
            Err(Errno::INTR) => {}
            Err(Errno::WOULDBLOCK) if Instant::now() < give_up_at => std::thread::sleep(PAUSE),
            Err(Errno::WOULDBLOCK) => return Ok(false),
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_lock_is_waited_for_as_long_as_an_heir_may_have_it() {
        let path = std::env::temp_dir().join(format!("berth-sys-lock-{}", std::process::id()));
        let open = || std::fs::File::create(&path).unwrap();
        let first = open();
        assert_eq!(lock(&first), Ok(true));
        assert_eq!(lock(open()), Ok(false));
        let holder = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(50));
            drop(first);
        });
        assert_eq!(lock(open()), Ok(true));
        holder.join().unwrap();
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_file_is_written_and_a_pipe_is_refused() {
        let path = std::env::temp_dir().join(format!("berth-sys-file-{}", std::process::id()));
        let mut file = std::fs::File::create(&path).unwrap();
        file.write_all(&[1; 10_000]).unwrap();
        assert_eq!(begin_write(&file, 0, 10_000), Ok(()));
        assert_eq!(std::fs::read(&path).unwrap(), [1; 10_000]);
        std::fs::remove_file(&path).unwrap();
        let (_reader, writer) = std::io::pipe().unwrap();
        assert_eq!(begin_write(&writer, 0, 1), Err(Errno::SPIPE));
    }
}
