//! Word of processes that were killed because the memory of their group ran out.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::OFlags;

use super::error::Error;
use super::file;
use super::group::Cgroup;
use super::hierarchy::{Controller, Version};

/// A descriptor that becomes ready when the OOM killer looked at a group.
///
/// Wait for what [`OomWatch::interest`] says, then call [`OomWatch::count`], which also makes it silent again. The
/// watch holds no reference to the group; when that is removed, it becomes ready one last time and counting fails.
#[derive(Debug)]
pub struct OomWatch {
    /// Version 1: an eventfd that the kernel signals. Version 2: `memory.events` itself.
    ready: OwnedFd,
    source: Source,
}

#[derive(Debug)]
enum Source {
    V1 { control: OwnedFd },
    V2,
}

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
        Ok(Some(OomWatch { ready, source: Source::V1 { control } }))
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
    /// # Errors
    /// [`Error::Io`] when the group is gone.
    pub fn count(&self) -> Result<u64, Error> {
        let failed = |errno| Error::io("read", "the memory events of a cgroup", errno);
        let mut buffer = [0_u8; 512];
        let count = match &self.source {
            Source::V1 { control } => {
                // Not ready is no error: the caller wants the count.
                let _ = rustix::io::read(&self.ready, &mut buffer[..8]);
                rustix::io::pread(control, &mut buffer, 0).map_err(failed)?
            }
            Source::V2 => rustix::io::pread(&self.ready, &mut buffer, 0).map_err(failed)?,
        };
        Ok(killed(&String::from_utf8_lossy(&buffer[..count])))
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
