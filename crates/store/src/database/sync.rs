//! Getting writes to the disk: commits, the background thread, and checkpoints.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::Instant;

use super::{CHECKPOINT_PAUSE, DatabaseError, Overlay, SYNC_DELAY, Shared, State};

/// The durability of one write: [`wait`](Commit::wait) for it or await it, or drop it to let the write go to the
/// disk in its own time.
#[must_use = "drop it explicitly to leave the write to the background"]
pub struct Commit {
    shared: Arc<Shared>,
    sequence: u64,
    /// The number of failed syncs when this was first polled.
    failures: Option<u64>,
}

impl Commit {
    pub(super) fn new(shared: Arc<Shared>, sequence: u64) -> Self {
        Self { shared, sequence, failures: None }
    }

    /// Waits until the write is on the disk. Blocking: one `fdatasync`, shared with all who wait.
    ///
    /// Errors: the system refused. The write stays visible, and durable as soon as a later sync succeeds.
    pub fn wait(self) -> Result<(), DatabaseError> {
        self.shared.sync(self.sequence)
    }
}

impl Future for Commit {
    type Output = Result<(), DatabaseError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let mut state = this.shared.state();
        if state.on_disk >= this.sequence {
            return Poll::Ready(Ok(()));
        }
        if *this.failures.get_or_insert(state.failures) != state.failures {
            let cause = std::io::Error::other("see the log");
            return Poll::Ready(Err(failed("sync the database journal", cause)));
        }
        let is_waiting = |(_, waker): &(u64, std::task::Waker)| waker.will_wake(context.waker());
        if !state.wakers.iter().any(is_waiting) {
            state.wakers.push((this.sequence, context.waker().clone()));
        }
        drop(state);
        this.shared.work.notify_one();
        Poll::Pending
    }
}

fn failed(what: &str, source: std::io::Error) -> DatabaseError {
    DatabaseError::Io { what: what.to_owned(), source }
}

impl Shared {
    /// Returns when the write with this number is on the disk. One caller syncs for all who wait.
    pub(super) fn sync(&self, target: u64) -> Result<(), DatabaseError> {
        let mut state = self.state();
        loop {
            if state.on_disk >= target {
                return Ok(());
            }
            if !state.syncing {
                break;
            }
            state = self.synced.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let (state, result) = self.sync_now(state);
        drop(state);
        result.map_err(|error| failed("sync the database journal", error))
    }

    /// Syncs all writes so far. The lock is not held meanwhile.
    fn sync_now<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
    ) -> (MutexGuard<'a, State>, std::io::Result<()>) {
        let upto = state.written;
        let active = state.active;
        let files = match state.unsynced_files() {
            Ok(files) => files,
            Err(error) => return (state, Err(error)),
        };
        state.syncing = true;
        drop(state);
        let result = files.iter().try_for_each(std::fs::File::sync_data);
        let mut state = self.state();
        state.syncing = false;
        if result.is_ok() {
            state.on_disk = state.on_disk.max(upto);
            if state.active == active {
                state.frozen_unsynced = false;
            }
            state.dirty_since = (state.on_disk < state.written).then(Instant::now);
        }
        let done = state.on_disk;
        let failed = result.is_err();
        state.failures += u64::from(failed);
        state.wakers.retain(|(sequence, waker)| {
            let wake = failed || *sequence <= done;
            if wake {
                waker.wake_by_ref();
            }
            !wake
        });
        self.synced.notify_all();
        if !state.wakers.is_empty() {
            self.work.notify_one();
        }
        (state, result)
    }

    /// Brings the changes of one journal into the database file. `state.checkpointing` is set by the caller.
    fn checkpoint(&self) -> Result<(), DatabaseError> {
        let result = self.try_checkpoint();
        let mut state = self.state();
        state.checkpointing = false;
        if result.is_err() {
            state.checkpoint_after = Some(Instant::now() + CHECKPOINT_PAUSE);
        }
        self.synced.notify_all();
        self.work.notify_one();
        result
    }

    fn try_checkpoint(&self) -> Result<(), DatabaseError> {
        let mut state = self.state();
        if state.frozen.is_none() {
            if state.overlay.is_empty() {
                return Ok(());
            }
            state.freeze().map_err(|error| failed("start a database journal", error))?;
        }
        let Some(frozen) = state.frozen.clone() else { return Ok(()) };
        let epoch = state.journals[1 - state.active].epoch();
        drop(state);
        self.base.apply(&frozen, epoch)?;
        let mut state = self.state();
        state.frozen = None;
        state.frozen_unsynced = false;
        state.checkpoint_after = None;
        Ok(())
    }
}

impl State {
    /// Lets the other journal take the writes from now on.
    fn freeze(&mut self) -> std::io::Result<()> {
        let epoch = self.journals[self.active].epoch();
        let other = 1 - self.active;
        self.journals[other].restart(epoch + 1)?;
        self.active = other;
        self.frozen = Some(Arc::new(std::mem::take::<Overlay>(&mut self.overlay)));
        self.frozen_unsynced = true;
        Ok(())
    }
}

/// The background thread: syncs for commits that are awaited and for writes nobody waits for, and makes checkpoints.
pub(super) fn run(shared: &Arc<Shared>) {
    let mut aside: Option<JoinHandle<()>> = None;
    let mut state = shared.state();
    while !state.closing {
        if state.wants_checkpoint() {
            state.checkpointing = true;
            drop(state);
            join(aside.take());
            aside = checkpoint_aside(shared);
            state = shared.state();
            continue;
        }
        let is_dirty = state.on_disk < state.written;
        let age = state.dirty_since.map_or(SYNC_DELAY, |since| since.elapsed());
        if !state.syncing && is_dirty && (!state.wakers.is_empty() || age >= SYNC_DELAY) {
            let (after, result) = shared.sync_now(state);
            state = after;
            if let Err(error) = result {
                tracing::error!(%error, "database journal cannot be synced");
                state.dirty_since = Some(Instant::now());
            }
            continue;
        }
        state = if is_dirty {
            let wait = SYNC_DELAY.saturating_sub(age).max(std::time::Duration::from_millis(1));
            shared.work.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0
        } else {
            shared.work.wait(state).unwrap_or_else(PoisonError::into_inner)
        };
    }
    while state.checkpointing {
        state = shared.synced.wait(state).unwrap_or_else(PoisonError::into_inner);
    }
    drop(state);
    // Until it has ended it holds the database file, and so the lock on it.
    join(aside);
    // The first takes up what is left of an earlier one, the second the rest.
    for _ in 0..2 {
        if let Err(error) = shared.checkpoint() {
            tracing::warn!(%error, "database was closed with changes left in the journal");
            break;
        }
    }
}

/// Makes a checkpoint in a thread of its own, so that nobody who awaits a commit waits for it.
fn checkpoint_aside(shared: &Arc<Shared>) -> Option<JoinHandle<()>> {
    let for_thread = Arc::clone(shared);
    let checkpoint = move || {
        if let Err(error) = for_thread.checkpoint() {
            tracing::warn!(%error, "database checkpoint failed; changes stay in the journal");
        }
    };
    let thread = std::thread::Builder::new().name("database-file".to_owned()).spawn(checkpoint);
    if let Err(error) = &thread {
        tracing::warn!(%error, "database checkpoint cannot be started");
        let mut state = shared.state();
        state.checkpointing = false;
        state.checkpoint_after = Some(Instant::now() + CHECKPOINT_PAUSE);
    }
    thread.ok()
}

fn join(thread: Option<JoinHandle<()>>) {
    if thread.is_some_and(|thread| thread.join().is_err()) {
        tracing::error!("a thread of the database panicked");
    }
}
