//! What is no longer needed: moved away with one rename, deleted by a thread in the background.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

use rustix::io::Errno;

use crate::dir;

/// The trash of a store.
pub(crate) struct Trash {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    dir: OwnedFd,
    next: AtomicU64,
    /// There may be something in the directory.
    work: Mutex<bool>,
    signal: Condvar,
    stop: AtomicBool,
}

impl Trash {
    /// Starts to empty the directory; whatever is in it is left over from before.
    pub(crate) fn start(dir: OwnedFd) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            dir,
            next: AtomicU64::new(0),
            work: Mutex::new(true),
            signal: Condvar::new(),
            stop: AtomicBool::new(false),
        });
        let for_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("trash".to_owned()).spawn(move || for_thread.run())?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Moves something here; it is deleted in its own time. What is not there is no error.
    pub(crate) fn discard(&self, parent: impl AsFd, name: &str) -> io::Result<()> {
        loop {
            let target = self.shared.fresh_name();
            let flags = rustix::fs::RenameFlags::NOREPLACE;
            match rustix::fs::renameat_with(parent.as_fd(), name, &self.shared.dir, target, flags) {
                Ok(()) => break,
                Err(Errno::NOENT) => return Ok(()),
                // A name from an earlier life of the store.
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        *self.shared.work.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.shared.signal.notify_one();
        Ok(())
    }
}

impl Shared {
    fn fresh_name(&self) -> String {
        format!("{:x}", self.next.fetch_add(1, Ordering::Relaxed))
    }

    fn run(&self) {
        let mut work = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        while !self.stop.load(Ordering::Acquire) {
            if !*work {
                work = self.signal.wait(work).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            // Before the directory is looked at: what comes later says so again.
            *work = false;
            drop(work);
            self.empty();
            work = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Deletes all that is in the directory. What cannot be deleted is tried again when the store is next opened.
    fn empty(&self) {
        let mut failed = std::collections::HashSet::new();
        loop {
            let names = match dir::names(&self.dir) {
                Ok(names) => names,
                Err(error) => {
                    tracing::warn!(%error, "trash cannot be listed");
                    return;
                }
            };
            let mut is_empty = true;
            for name in names {
                if self.stop.load(Ordering::Acquire) {
                    return;
                }
                if failed.contains(&name) {
                    continue;
                }
                is_empty = false;
                let Ok(text) = CString::new(name.as_bytes()) else { continue };
                let result = self.remove(self.dir.as_fd(), &text);
                match result {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => return,
                    Err(error) => {
                        tracing::warn!(%error, name = %name.display(), "trash cannot be deleted");
                        failed.insert(name);
                    }
                    Ok(()) => {}
                }
            }
            if is_empty {
                return;
            }
        }
    }

    fn remove(&self, parent: BorrowedFd<'_>, name: &std::ffi::CStr) -> io::Result<()> {
        let go_on = || !self.stop.load(Ordering::Acquire);
        dir::remove_all(parent, name, self.dir.as_fd(), &|| format!("deep-{}", self.fresh_name()), &go_on)
    }
}

impl Drop for Trash {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        {
            let _work = self.shared.work.lock().unwrap_or_else(PoisonError::into_inner);
            self.shared.signal.notify_all();
        }
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the trash thread panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::time::{Duration, Instant};

    use rustix::fs::{Mode, OFlags};

    use super::*;

    /// Things that come together and while others are deleted: the thread must hear of each.
    #[test]
    fn whatever_comes_at_whatever_moment_is_deleted() {
        const COMERS: usize = 4;
        let place = tempfile::tempdir().unwrap();
        std::fs::create_dir(place.path().join("trash")).unwrap();
        let open = |path: &std::path::Path| {
            rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
                .unwrap()
        };
        let parent = open(place.path());
        let trash = Trash::start(open(&place.path().join("trash"))).unwrap();
        let together = Barrier::new(COMERS);
        std::thread::scope(|scope| {
            for comer in 0..COMERS {
                let (place, parent, trash, together) = (&place, &parent, &trash, &together);
                scope.spawn(move || {
                    let name = format!("thing-{comer}");
                    for round in 0..500 {
                        std::fs::write(place.path().join(&name), "").unwrap();
                        together.wait();
                        // Not quite together: in another order each time.
                        (0..round * comer % 97).for_each(|_| std::hint::spin_loop());
                        trash.discard(parent, &name).unwrap();
                        let since = Instant::now();
                        together.wait();
                        while std::fs::read_dir(place.path().join("trash")).unwrap().next().is_some() {
                            assert!(since.elapsed() < Duration::from_secs(20), "round {round}: it stays");
                            std::thread::yield_now();
                        }
                    }
                });
            }
        });
    }
}
