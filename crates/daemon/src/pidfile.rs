//! The pidfile: which daemon runs, and that no second one does.
//!
//! The file is locked as long as the daemon lives, so a number that was left behind by a crash, or that belongs to
//! another process by now, is never taken for a daemon.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// A pidfile that is ours. Dropping it removes it.
#[derive(Debug)]
pub(crate) struct Pidfile {
    path: PathBuf,
    _lock: File,
}

/// Why a pidfile is not ours, or a daemon does not end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Another daemon has it.
    #[error("ensure berth is not running or delete {path}: process with PID {pid} is still running")]
    Taken { path: PathBuf, pid: i32 },
    /// No daemon has it.
    #[error("berth daemon is not running: nobody holds {0}")]
    NotRunning(PathBuf),
    /// The daemon was told to end and still runs.
    #[error("the daemon (process {0}) was told to end and still runs")]
    StillRuns(i32),
    /// A call failed.
    #[error("{what} {path}: {source}")]
    Io { what: &'static str, path: PathBuf, source: io::Error },
}

impl Pidfile {
    /// Takes the pidfile and writes our number into it.
    pub(crate) fn take(path: &Path) -> Result<Self, Error> {
        let fail = |what| move |source: io::Error| Error::Io { what, path: path.to_owned(), source };
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(fail("cannot make the folder of"))?;
        }
        loop {
            let mut file = open_file(path, OFlags::CREATE).map_err(fail("cannot open"))?;
            if !berth_sys::file::lock(&file).map_err(|error| fail("cannot lock")(error.into()))? {
                return Err(Error::Taken {
                    path: path.to_owned(),
                    pid: read_pid(&mut file).unwrap_or_default(),
                });
            }
            // The file may have been removed by its last holder between the opening and the locking.
            if !is_at(&file, path) {
                continue;
            }
            file.set_len(0).map_err(fail("cannot write"))?;
            file.rewind().map_err(fail("cannot write"))?;
            write!(file, "{}", std::process::id()).map_err(fail("cannot write"))?;
            return Ok(Self { path: path.to_owned(), _lock: file });
        }
    }
}

impl Drop for Pidfile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path); // it may be gone already
    }
}

/// Ends the daemon that has the pidfile, and waits for it.
pub(crate) fn stop(path: &Path, patience: Duration) -> Result<(), Error> {
    let not_running = || Error::NotRunning(path.to_owned());
    let mut file = match open_file(path, OFlags::empty()) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(not_running()),
        Err(source) => return Err(Error::Io { what: "cannot open", path: path.to_owned(), source }),
    };
    if flock(&file, FlockOperation::NonBlockingLockShared).is_ok() {
        return Err(not_running());
    }
    let pid = read_pid(&mut file).ok_or_else(not_running)?;
    let process = Pid::from_raw(pid).ok_or_else(not_running)?;
    let Ok(process) = pidfd_open(process, PidfdFlags::empty()) else { return Err(not_running()) };
    // The number is the holder's as long as the lock is held, and the descriptor stays the holder's after it.
    if flock(&file, FlockOperation::NonBlockingLockShared).is_ok() {
        return Err(not_running());
    }
    let failed = |error: rustix::io::Errno| Error::Io {
        what: "cannot end the daemon of",
        path: path.to_owned(),
        source: error.into(),
    };
    pidfd_send_signal(&process, Signal::TERM).map_err(failed)?;
    let timeout = Timespec { tv_sec: i64::try_from(patience.as_secs()).unwrap_or(i64::MAX), tv_nsec: 0 };
    loop {
        match poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&timeout)) {
            Ok(0) => return Err(Error::StillRuns(pid)),
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(failed(error)),
        }
    }
}

fn open_file(path: &Path, flags: OFlags) -> io::Result<File> {
    let flags = flags | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    Ok(File::from(open(path, flags, Mode::from_raw_mode(0o644))?))
}

fn read_pid(file: &mut File) -> Option<i32> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(ours), Ok(there)) => ours.ino() == there.ino() && ours.dev() == there.dev(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_daemon_has_a_pidfile() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/berth.pid");
        let first = Pidfile::take(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), std::process::id().to_string());
        let error = Pidfile::take(&path).unwrap_err().to_string();
        assert!(
            error.ends_with(&format!("process with PID {} is still running", std::process::id())),
            "{error}"
        );
        drop(first);
        assert!(!path.exists());
    }

    #[test]
    fn what_a_crash_left_behind_is_taken_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("berth.pid");
        // Process 1 runs, but it holds no lock.
        fs::write(&path, "1 and a longer text than ours").unwrap();
        assert!(matches!(stop(&path, Duration::ZERO), Err(Error::NotRunning(_))));
        let _ours = Pidfile::take(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), std::process::id().to_string());
    }

    #[test]
    fn a_pidfile_that_is_a_link_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (path, target) = (dir.path().join("berth.pid"), dir.path().join("precious"));
        fs::write(&target, "precious").unwrap();
        std::os::unix::fs::symlink(&target, &path).unwrap();
        assert!(Pidfile::take(&path).is_err());
        assert_eq!(fs::read_to_string(&target).unwrap(), "precious");
    }

    #[test]
    fn a_daemon_that_is_not_there_cannot_be_stopped() {
        let dir = tempfile::tempdir().unwrap();
        let error = stop(&dir.path().join("none"), Duration::ZERO).unwrap_err();
        assert!(matches!(error, Error::NotRunning(_)), "{error}");
    }
}
