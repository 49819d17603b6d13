//! Stopping a group in its tracks, and letting it go on.

use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::error::Error;
use super::file::Dir;
use super::group::Cgroup;
use super::hierarchy::{Controller, Version};

/// A process in an uninterruptible call cannot be frozen: then the freeze is given up.
const PATIENCE: Duration = Duration::from_secs(2);

/// A look at version 1's freezer, which tells nobody when it is done.
const LOOK_AGAIN: Duration = Duration::from_micros(200);

impl Cgroup {
    /// Stops every process in the group and below; returns when all are stopped. Gives up after two seconds, with
    /// the group thawed again.
    ///
    /// # Errors
    /// [`Error::Timeout`]; [`Error::Unsupported`] without a freezer; [`Error::Io`].
    pub fn freeze(&self) -> Result<(), Error> {
        let result = match self.freezer()? {
            Freezer::V1(dir) => self.freeze_v1(dir),
            Freezer::V2(dir) => self.switch_v2(dir, true),
        };
        if result.is_err() {
            let _ = self.thaw();
        }
        result
    }

    /// Lets the processes go on.
    ///
    /// # Errors
    /// As [`Cgroup::freeze`].
    pub fn thaw(&self) -> Result<(), Error> {
        match self.freezer()? {
            Freezer::V1(dir) => self.set(dir, "freezer.state", "THAWED"),
            Freezer::V2(dir) => self.switch_v2(dir, false),
        }
    }

    /// Is the group stopped, by itself (not by a group above it)?
    ///
    /// # Errors
    /// [`Error::Unsupported`] without a freezer; [`Error::Io`] when the group is gone.
    pub fn frozen(&self) -> Result<bool, Error> {
        let failed = |errno| Error::io("read the freezer of cgroup", format!("/{}", self.path), errno);
        match self.freezer()? {
            Freezer::V1(dir) => Ok(dir.read_number("freezer.self_freezing").map_err(failed)? == 1
                && dir.read("freezer.state").map_err(failed)?.trim() == "FROZEN"),
            Freezer::V2(dir) => Ok(dir.read_number("cgroup.freeze").map_err(failed)? == 1),
        }
    }

    fn freezer(&self) -> Result<Freezer<'_>, Error> {
        if let Some(dir) = self.unified_dir().filter(|_| self.version() == Version::V2) {
            return Ok(Freezer::V2(dir));
        }
        let dir = self.dir(Controller::Freezer);
        dir.map(Freezer::V1).ok_or_else(|| {
            Error::unsupported("freezer state", "the freezer cgroup controller is not mounted")
        })
    }

    fn freeze_v1(&self, dir: Dir<'_>) -> Result<(), Error> {
        const FILE: &str = "freezer.state";
        let deadline = Instant::now() + PATIENCE;
        loop {
            // Written again and again: it also catches what was forked or moved in since.
            self.set(dir, FILE, "FROZEN")?;
            let state = dir.read(FILE);
            let state = state
                .map_err(|errno| Error::io("read freezer.state of", format!("/{}", self.path), errno))?;
            if state.trim() == "FROZEN" {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(self.timeout("frozen"));
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// `cgroup.events` can be polled: it becomes urgent when the group is frozen or no longer.
    fn switch_v2(&self, dir: Dir<'_>, frozen: bool) -> Result<(), Error> {
        let failed = |errno| Error::io("watch cgroup.events of", format!("/{}", self.path), errno);
        let events = dir.open("cgroup.events", OFlags::RDONLY);
        let events = events.map_err(failed)?;
        self.set(dir, "cgroup.freeze", if frozen { "1" } else { "0" })?;
        let wanted: &[u8] = if frozen { b"frozen 1" } else { b"frozen 0" };
        let deadline = Instant::now() + PATIENCE;
        let mut buffer = [0_u8; 128];
        loop {
            let count = rustix::io::pread(&events, &mut buffer, 0).map_err(failed)?;
            if buffer[..count].split(|byte| *byte == b'\n').any(|line| line == wanted) {
                return Ok(());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(self.timeout(if frozen { "frozen" } else { "thawed" }));
            }
            let wait = Timespec { tv_sec: left.as_secs() as _, tv_nsec: left.subsec_nanos() as _ };
            match poll(&mut [PollFd::new(&events, PollFlags::PRI)], Some(&wait)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(failed(errno)),
            }
        }
    }

    fn timeout(&self, state: &'static str) -> Error {
        Error::Timeout { path: format!("/{}", self.path), state }
    }
}

enum Freezer<'a> {
    V1(Dir<'a>),
    V2(Dir<'a>),
}
