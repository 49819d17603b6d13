//! The processes of a group and of those below it; their end, and the group's.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::fs::{AtFlags, FileType, fstat, unlinkat};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};

use super::error::Error;
use super::file::{self, Dir};
use super::group::Cgroup;
use super::hierarchy::Version;

/// How long a group is tried to be removed while its last processes are on their way out: 1, 2, 4, … ms.
const REMOVE_ATTEMPTS: u32 = 8;

/// How often a group is killed again while processes of it make new ones. With the group frozen once is enough.
const KILL_ROUNDS: usize = 16;

impl Cgroup {
    /// The processes in the group and in all groups below it, by their ids in this process's namespace. One that is
    /// not in that namespace is left out.
    ///
    /// # Errors
    /// [`Error::Io`] when the group is gone.
    pub fn pids(&self) -> Result<Vec<Pid>, Error> {
        let failed = |errno| Error::io("list the processes of cgroup", format!("/{}", self.path), errno);
        let mut pids = Vec::new();
        let dir = self.process_dir().ok_or_else(|| failed(Errno::NOENT))?;
        let opened = dir.open_self().map_err(failed)?;
        walk(opened.as_fd(), &mut |dir| read_pids(dir, &mut pids)).map_err(failed)?;
        pids.sort_unstable_by_key(|pid| pid.as_raw_nonzero());
        pids.dedup();
        Ok(pids)
    }

    /// Is no process left in the group and below?
    ///
    /// # Errors
    /// [`Error::Io`] when the group is gone.
    pub fn is_empty(&self) -> Result<bool, Error> {
        self.pids().map(|pids| pids.is_empty())
    }

    /// Sends `SIGKILL` to every process in the group and below, and lets none escape by forking. A frozen group is
    /// thawed, for on version 1 the dead would else remain.
    ///
    /// Does not wait for their end: whose children they are reaps them.
    ///
    /// # Errors
    /// [`Error::Io`] when the group is gone.
    pub fn kill_all(&self) -> Result<(), Error> {
        if self.version() == Version::V2
            && let Some(dir) = self.unified_dir()
        {
            // Kills frozen processes too.
            match dir.write("cgroup.kill", b"1") {
                Ok(()) => return Ok(()),
                // Before Linux 5.14.
                Err(Errno::NOENT) if dir.has("cgroup.procs") => {}
                Err(errno) => {
                    return Err(Error::io("kill the processes of cgroup", format!("/{}", self.path), errno));
                }
            }
        }
        let frozen = self.freeze().is_ok();
        let result = self.kill_each(if frozen { 1 } else { KILL_ROUNDS });
        // Also after a freeze that did not succeed: it may have got half-way.
        let thawed = self.thaw();
        result.and(thawed)
    }

    fn kill_each(&self, rounds: usize) -> Result<(), Error> {
        for _ in 0..rounds {
            let pids = self.pids()?;
            if pids.is_empty() {
                break;
            }
            for pid in pids {
                // Gone in between: nothing to kill.
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        Ok(())
    }
}

/// Removes a group and those below it, leaves first. What is not there counts as removed.
pub(super) fn remove_tree(root: &OwnedFd, path: &str) -> Result<(), Errno> {
    let mut wait = Duration::from_millis(1);
    for attempt in 1.. {
        match unlinkat(root, path, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT | Errno::NODEV) => break,
            Err(Errno::BUSY | Errno::NOTEMPTY) if attempt < REMOVE_ATTEMPTS => {}
            Err(errno) => return Err(errno),
        }
        // Groups that were made inside are in the way, or processes that have ended but not quite gone.
        match remove_children(root, path) {
            Ok(true) => {}
            Ok(false) => {
                std::thread::sleep(wait);
                wait *= 2;
            }
            Err(Errno::NOENT | Errno::NODEV) => break,
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Removes the groups below one; answers whether there were any.
fn remove_children(root: &OwnedFd, path: &str) -> Result<bool, Errno> {
    let dir = file::open_dir(root.as_fd(), path)?;
    let mut found = false;
    each_child(dir.as_fd(), &mut |name, child| {
        found = true;
        remove_below(child)?;
        match unlinkat(dir.as_fd(), name, AtFlags::REMOVEDIR) {
            // Tried again by whoever tries the whole again.
            Ok(()) | Err(Errno::NOENT | Errno::BUSY) => Ok(()),
            Err(errno) => Err(errno),
        }
    })?;
    // All still there: then it is processes that are in the way.
    Ok(found && fstat(&dir)?.st_nlink <= 2)
}

fn remove_below(dir: BorrowedFd<'_>) -> Result<(), Errno> {
    each_child(dir, &mut |name, child| {
        remove_below(child)?;
        match unlinkat(dir, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT | Errno::BUSY) => Ok(()),
            Err(errno) => Err(errno),
        }
    })
}

/// Calls `visit` with a group and every group below it.
pub(super) fn walk(
    dir: BorrowedFd<'_>,
    visit: &mut dyn FnMut(BorrowedFd<'_>) -> Result<(), Errno>,
) -> Result<(), Errno> {
    visit(dir)?;
    each_child(dir, &mut |_, child| match walk(child, visit) {
        // Removed in between.
        Err(Errno::NOENT | Errno::NODEV) => Ok(()),
        done => done,
    })
}

/// Calls `visit` with every group right below one.
fn each_child(
    dir: BorrowedFd<'_>,
    visit: &mut dyn FnMut(&CStr, BorrowedFd<'_>) -> Result<(), Errno>,
) -> Result<(), Errno> {
    // A directory has a link of its own, one from above, and one from each directory in it: most groups have none,
    // and need not be listed.
    if fstat(dir)?.st_nlink <= 2 {
        return Ok(());
    }
    for entry in rustix::fs::Dir::new(file::open_list(dir)?)? {
        let entry = entry?;
        let name = entry.file_name();
        if entry.file_type() != FileType::Directory || name == c"." || name == c".." {
            continue;
        }
        match file::open_dir(dir, name) {
            Ok(child) => visit(name, child.as_fd())?,
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn read_pids(dir: BorrowedFd<'_>, pids: &mut Vec<Pid>) -> Result<(), Errno> {
    let text = match (Dir { root: dir, path: "" }).read("cgroup.procs") {
        // A threaded group: its processes are listed by the group above it.
        Err(Errno::OPNOTSUPP) => return Ok(()),
        text => text?,
    };
    pids.extend(text.lines().filter_map(|line| line.parse().ok()).filter_map(Pid::from_raw));
    Ok(())
}
