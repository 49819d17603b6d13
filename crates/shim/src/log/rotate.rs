//! Renaming full log files, and compressing them in a process of its own.
//!
//! One compressor runs at a time. While it runs, the file it reads may move on to a higher number or be removed: what
//! it has made is given the number its source has by then. What a flood of output rotates away before its turn is
//! never compressed: the writer waits for nobody.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::io::Errno;

/// When to rotate, and the files of earlier rotations.
#[derive(Debug)]
pub(super) struct Rotation {
    path: PathBuf,
    size_max: u64,
    due: u64,
    files: u32,
    compress: bool,
    compressor: Option<Compressor>,
}

#[derive(Debug)]
struct Compressor {
    child: Child,
    /// The number its source has now.
    number: u32,
}

impl Rotation {
    pub(super) fn new(path: PathBuf, size_max: u64, files: u32, compress: bool) -> Rotation {
        let due = if size_max == 0 { u64::MAX } else { size_max };
        let mut rotation = Rotation {
            path,
            size_max,
            due,
            files: files.max(1),
            compress: compress && files > 1,
            compressor: None,
        };
        if rotation.compress && due != u64::MAX {
            // What an earlier shim left half done.
            let _ = fs::remove_file(rotation.half());
            rotation.start_compressor();
        }
        rotation
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn is_due(&self, size: u64) -> bool {
        size >= self.due
    }

    /// A file of this size is written to now. If it is full already, because rotating failed, the next attempt is
    /// made when it has grown by as much again.
    pub(super) fn opened(&mut self, size: u64) {
        if self.size_max > 0 {
            self.due = if size < self.size_max { self.size_max } else { size + self.size_max };
        }
    }

    /// Moves the current file out of the way: it becomes number 1, or is removed where only one is kept.
    pub(super) fn rotate(&mut self) -> Result<(), Errno> {
        let last = self.files - 1;
        if last == 0 {
            return absent_is_fine(rustix::fs::unlink(&self.path));
        }
        for compressed in [false, true] {
            absent_is_fine(rustix::fs::unlink(self.numbered(last, compressed)))?;
            for number in (1..last).rev() {
                let (from, to) = (self.numbered(number, compressed), self.numbered(number + 1, compressed));
                absent_is_fine(rustix::fs::rename(from, to))?;
            }
        }
        absent_is_fine(rustix::fs::rename(&self.path, self.numbered(1, false)))?;
        if let Some(compressor) = &mut self.compressor {
            compressor.number += 1;
        }
        self.start_compressor();
        Ok(())
    }

    /// A child has ended; says whether it was the compressor. If so, the next file has its turn.
    pub(super) fn reaped(&mut self, pid: u32, success: bool) -> bool {
        match &self.compressor {
            Some(compressor) if compressor.child.id() == pid => {}
            _ => return false,
        }
        let number = self.compressor.take().map_or(0, |compressor| compressor.number);
        let is_kept = success && number < self.files;
        if !is_kept || rustix::fs::rename(self.half(), self.numbered(number, true)).is_err() {
            let _ = fs::remove_file(self.half());
        } else if rustix::fs::unlink(self.numbered(number, false)).is_err() {
            // It would only be compressed again.
            return true;
        }
        // One that failed would fail again; the next rotation tries.
        if success {
            self.start_compressor();
        }
        true
    }

    /// Ends the compressor without its work.
    pub(super) fn stop(&mut self) {
        if let Some(mut compressor) = self.compressor.take() {
            let _ = compressor.child.kill();
            let _ = compressor.child.wait();
            let _ = fs::remove_file(self.half());
        }
    }

    /// Compresses the newest file that is not yet.
    fn start_compressor(&mut self) {
        if !self.compress || self.compressor.is_some() {
            return;
        }
        for number in 1..self.files {
            match fs::File::open(self.numbered(number, false)) {
                Ok(source) => {
                    self.compressor = self.spawn(source, number);
                    return;
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(_) => return,
            }
        }
    }

    fn spawn(&self, source: fs::File, number: u32) -> Option<Compressor> {
        use std::os::unix::fs::OpenOptionsExt;
        let half = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o640)
            .open(self.half())
            .ok()?;
        let child = Command::new("/proc/self/exe")
            .args(["shim", "--compress"])
            .env_clear()
            .stdin(Stdio::from(source))
            .stdout(Stdio::from(half))
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        Some(Compressor { child, number })
    }

    fn numbered(&self, number: u32, compressed: bool) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(format!(".{number}{}", if compressed { ".gz" } else { "" }));
        path.into()
    }

    fn half(&self) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(".gz.tmp");
        path.into()
    }
}

fn absent_is_fine(result: Result<(), Errno>) -> Result<(), Errno> {
    match result {
        Err(Errno::NOENT) => Ok(()),
        other => other,
    }
}
