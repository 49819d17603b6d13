//! Word of processes that were killed because the memory of their group ran out.

use std::cell::Cell;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::OFlags;

use super::error::Error;
use super::file;
use super::group::Cgroup;
use super::hierarchy::{Controller, Version};

/// A descriptor that becomes ready when the OOM killer looked at a group.
///
/// Wait for what [`OomWatch::interest`] says, then call [`OomWatch::count`], which also makes it silent again. The
/// watch holds no reference to the group; when that is removed, it becomes ready one last time.
#[derive(Debug)]
pub struct OomWatch {
    /// Version 1: an eventfd that the kernel signals. Version 2: `memory.events` itself.
    ready: OwnedFd,
    source: Source,
}

#[derive(Debug)]
enum Source {
    V1 { control: OwnedFd, signals: Cell<u64> },
    V2,
}

/// How long the signal of a removed group is waited for: the kernel sends it some tens of milliseconds late.
const FAREWELL: Timespec = Timespec { tv_sec: 0, tv_nsec: 500_000_000 };

impl Cgroup {
    /// Watches the group. `None` when the host has no memory controller.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn watch_oom(&self) -> Result<Option<OomWatch>, Error> {
        let failed = |errno| Error::io("watch the memory of cgroup", format!("/{}", self.path), errno);
        let Some(dir) = self.dir(Controller::Memory) else { return Ok(None) };
        if self.version() == Version::V2 {
            let ready = dir.open("memory.events", OFlags::RDONLY).map_err(failed)?;
            let watch = OomWatch { ready, source: Source::V2 };
            // The kernel tells of changes since the last reading.
            watch.count()?;
            return Ok(Some(watch));
        }
        let ready = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(failed)?;
        let control = dir.open("memory.oom_control", OFlags::RDONLY).map_err(failed)?;
        let line = format!("{} {}", ready.as_raw_fd(), control.as_raw_fd());
        self.set(dir, "cgroup.event_control", line)?;
        Ok(Some(OomWatch { ready, source: Source::V1 { control, signals: Cell::new(0) } }))
    }

    /// How many processes of the group the OOM killer has killed so far. Version 1 leaves out groups below.
    ///
    /// # Errors
    /// [`Error::Io`] when the group is gone.
    pub fn oom_kills(&self) -> Result<u64, Error> {
        let Some(dir) = self.dir(Controller::Memory) else { return Ok(0) };
        let file = if self.version() == Version::V2 { "memory.events" } else { "memory.oom_control" };
        let text = dir.read(file);
        let text =
            text.map_err(|errno| Error::io("read the memory events of", format!("/{}", self.path), errno))?;
        Ok(killed(&text))
    }
}

impl OomWatch {
    /// What to wait for: `EPOLLIN` on version 1, `EPOLLPRI` on version 2 (where the file is always readable).
    #[must_use]
    pub fn interest(&self) -> rustix::event::epoll::EventFlags {
        match self.source {
            Source::V1 { .. } => rustix::event::epoll::EventFlags::IN,
            Source::V2 => rustix::event::epoll::EventFlags::PRI,
        }
    }

    /// How many processes have been killed so far, and be silent until the next.
    ///
    /// Of a group that is gone version 1 tells how often the memory ran out instead, its own or that of a group
    /// above it: the count is lost with the group, the signals are not. To tell them from the one signal that says
    /// farewell this may wait half a second. So who asks at the end of the last process misses nothing, even where
    /// systemd was there first.
    ///
    /// # Errors
    /// [`Error::Io`] when the group is gone, on version 2.
    pub fn count(&self) -> Result<u64, Error> {
        let failed = |errno| Error::io("read", "the memory events of a cgroup", errno);
        let mut buffer = [0_u8; 512];
        let read = match &self.source {
            Source::V1 { control, signals } => {
                self.take_signals(signals);
                let read = rustix::io::pread(control, &mut buffer, 0);
                if read == Err(rustix::io::Errno::NODEV) {
                    return Ok(self.signals_of_removed(signals));
                }
                read
            }
            Source::V2 => rustix::io::pread(&self.ready, &mut buffer, 0),
        };
        Ok(killed(&String::from_utf8_lossy(&buffer[..read.map_err(failed)?])))
    }

    /// Adds the signals that came since the last call.
    fn take_signals(&self, signals: &Cell<u64>) {
        let mut buffer = [0_u8; 8];
        // Not ready is no error: there is nothing to add.
        if rustix::io::read(&self.ready, &mut buffer) == Ok(8) {
            signals.set(signals.get() + u64::from_ne_bytes(buffer));
        }
    }

    /// The signals without the last one. Memory that ran out was told before anything was killed for it, so without
    /// any there is nothing to wait for.
    fn signals_of_removed(&self, signals: &Cell<u64>) -> u64 {
        if signals.get() == 1 {
            let _ = poll(&mut [PollFd::new(&self.ready, PollFlags::IN)], Some(&FAREWELL));
            self.take_signals(signals);
        }
        signals.get().saturating_sub(1)
    }
}

impl AsFd for OomWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ready.as_fd()
    }
}

/// The line `oom_kill` of `memory.events` and of `memory.oom_control`.
fn killed(text: &str) -> u64 {
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")).map_or(0, file::number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_found_in_both_versions() {
        assert_eq!(killed("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"), 3);
        assert_eq!(killed("low 0\nhigh 0\nmax 9\noom 2\noom_kill 1\noom_group_kill 7\n"), 1);
        assert_eq!(killed("oom_kill_disable 0\nunder_oom 0\n"), 0);
    }
}
