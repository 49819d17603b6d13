//! A small file system of its own, to be filled.

use std::fs::File;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::run;

/// A file system of a few megabytes in memory, with a file in it that takes what is left. It goes with the value.
pub struct Disk {
    /// Where it is mounted.
    pub at: PathBuf,
}

impl Disk {
    /// An empty one.
    pub fn new(megabytes: u32) -> Disk {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let at = PathBuf::from(format!("/tmp/berth-disk-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&at).expect("a mount point");
        let options = format!("size={megabytes}m,mode=755");
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &options, "berth-disk"]).arg(&at)).ok();
        Disk { at }
    }

    /// Takes all that is left.
    pub fn fill(&self) {
        self.leave(0);
    }

    /// Takes all that is left but for so many bytes.
    pub fn leave(&self, bytes: u64) {
        let filler = File::options().create(true).append(true).open(self.filler()).expect("the filler");
        // What others give back meanwhile is taken too.
        while let Some(left) = self.left().checked_sub(bytes).filter(|left| *left > 0) {
            let length = filler.metadata().expect("the filler").len();
            rustix::fs::fallocate(&filler, rustix::fs::FallocateFlags::empty(), length, left)
                .expect("space for the filler");
        }
    }

    /// Gives it back.
    pub fn free(&self) {
        std::fs::remove_file(self.filler()).expect("the filler");
    }

    fn filler(&self) -> PathBuf {
        self.at.join("filler")
    }

    fn left(&self) -> u64 {
        let stat = rustix::fs::statvfs(&self.at).expect("the file system");
        stat.f_bfree * stat.f_frsize
    }

    /// Bytes in use, without the filler.
    pub fn used(&self) -> u64 {
        let stat = rustix::fs::statvfs(&self.at).expect("the file system");
        let filler = std::fs::metadata(self.filler()).map_or(0, |metadata| metadata.len());
        (stat.f_blocks - stat.f_bfree) * stat.f_frsize - filler
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        run(Command::new("umount").arg("-l").arg(&self.at));
        let _ = std::fs::remove_dir(&self.at);
    }
}
