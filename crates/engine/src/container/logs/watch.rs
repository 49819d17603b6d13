//! One inotify instance for all logs that are followed: the kernel gives a user few of them.

use std::collections::HashMap;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::sync::watch;

/// All directories that are watched.
#[derive(Default)]
pub(crate) struct Watches {
    shared: OnceLock<Option<Arc<Shared>>>,
}

struct Shared {
    inotify: OwnedFd,
    by_descriptor: Mutex<HashMap<i32, Weak<Directory>>>,
}

/// A watched directory.
struct Directory {
    descriptor: i32,
    changes: watch::Sender<()>,
    shared: Weak<Shared>,
}

/// Tells when something in a log's directory changed.
pub(super) struct Watch {
    changes: watch::Receiver<()>,
    /// Kept alive as long as somebody watches.
    _directory: Arc<Directory>,
}

impl Watches {
    /// Watches the directory of a log. Changes from now on are told.
    pub(super) fn watch(&self, log: &Path) -> std::io::Result<Watch> {
        let shared = self.shared.get_or_init(|| Shared::open().ok()).as_ref();
        let shared = shared.ok_or_else(|| std::io::Error::other("inotify is not available"))?;
        let path = log.parent().unwrap_or(Path::new("/"));
        let mut directories = shared.by_descriptor.lock().unwrap_or_else(PoisonError::into_inner);
        let flags = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::ONLYDIR;
        // The same directory has the same descriptor, however often it is watched.
        let descriptor = inotify::add_watch(&shared.inotify, path, flags)?;
        if let Some(directory) = directories.get(&descriptor).and_then(Weak::upgrade) {
            return Ok(Watch { changes: directory.changes.subscribe(), _directory: directory });
        }
        let (changes, receiver) = watch::channel(());
        let directory = Arc::new(Directory { descriptor, changes, shared: Arc::downgrade(shared) });
        directories.insert(descriptor, Arc::downgrade(&directory));
        Ok(Watch { changes: receiver, _directory: directory })
    }
}

impl Watch {
    /// Waits for a change. One that happened since the last call is told at once.
    pub(super) async fn changed(&mut self) {
        // The sender is in the directory that is held here: it cannot be gone.
        let _ = self.changes.changed().await;
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let Some(shared) = self.shared.upgrade() else { return };
        let mut directories = shared.by_descriptor.lock().unwrap_or_else(PoisonError::into_inner);
        // Somebody may have begun to watch it again between the last use and this.
        if directories.get(&self.descriptor).is_some_and(|weak| weak.strong_count() == 0) {
            directories.remove(&self.descriptor);
            // The directory may be gone, and the watch with it.
            let _ = inotify::remove_watch(&shared.inotify, self.descriptor);
        }
    }
}

impl Shared {
    fn open() -> std::io::Result<Arc<Shared>> {
        let inotify = inotify::init(CreateFlags::CLOEXEC)?;
        let shared = Arc::new(Shared { inotify, by_descriptor: Mutex::default() });
        let reader = shared.clone();
        // A thread that sleeps in the kernel: it is there only once somebody has followed a log.
        std::thread::Builder::new().name("log-watch".to_owned()).spawn(move || reader.run())?;
        Ok(shared)
    }

    fn run(&self) {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&self.inotify, &mut buffer);
        loop {
            match reader.next() {
                Ok(event) => self.tell(event.wd()),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => {
                    tracing::error!("logs cannot be watched any more: {error}");
                    return;
                }
            }
        }
    }

    fn tell(&self, descriptor: i32) {
        let directories = self.by_descriptor.lock().unwrap_or_else(PoisonError::into_inner);
        let directory = directories.get(&descriptor).and_then(Weak::upgrade);
        drop(directories);
        if let Some(directory) = directory {
            directory.changes.send_replace(());
        }
    }
}
