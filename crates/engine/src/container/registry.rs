//! Which containers there are: by id, by name, by prefix of an id.
//!
//! Invariant: nobody waits for a container here. The maps are sharded and locked for as long as an entry takes to be
//! found or changed; what an entry says of its container is replaced whole, never changed in place.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use berth_shim::client::Shim;
use tokio::sync::{mpsc, oneshot};

use super::task::Command;
use super::{Container, WaitCondition, WaitResult};
use crate::error::{Error, Result};
use crate::stats::Sample;

/// How many shards a map has: one for each first digit of an id.
const SHARDS: usize = 16;
/// How long the end of a container is remembered that removed itself, and of how many.
const DEPARTED_TIME: Duration = Duration::from_secs(10);
const DEPARTED_MAX: usize = 1024;

/// All containers of an engine.
pub(crate) struct Registry {
    ids: [RwLock<BTreeMap<String, Arc<Slot>>>; SHARDS],
    names: [RwLock<HashMap<String, String>>; SHARDS],
    hasher: std::hash::RandomState,
    departed: Mutex<VecDeque<Departed>>,
}

/// The end of a container that removed itself.
struct Departed {
    at: Instant,
    id: String,
    exit_code: i32,
}

/// One container's entry: what it published last, and the way to its task.
pub(crate) struct Slot {
    id: String,
    snapshot: RwLock<Arc<Container>>,
    queue: mpsc::UnboundedSender<Command>,
    waiters: Mutex<Waiters>,
    shim: RwLock<Option<Shim>>,
    /// The sample that the next one is compared with.
    pub(crate) last_sample: Mutex<Option<Sample>>,
    /// Held by whoever mounts the container's files: a start, or a visit from outside.
    pub(crate) files: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Default)]
struct Waiters {
    exit: Vec<oneshot::Sender<WaitResult>>,
    removal: Vec<oneshot::Sender<WaitResult>>,
    removed: bool,
}

impl Registry {
    pub(crate) fn new() -> Registry {
        Registry {
            ids: std::array::from_fn(|_| RwLock::default()),
            names: std::array::from_fn(|_| RwLock::default()),
            hasher: std::hash::RandomState::new(),
            departed: Mutex::default(),
        }
    }

    /// Remembers how a container ended that removes itself now.
    ///
    /// Some clients start a container and only then ask to wait for it (dockerode's `run`). With an engine that is slow
    /// enough they are always in time; here such a container is often gone before they ask.
    pub(crate) fn depart(&self, id: &str, exit_code: i32) {
        let mut departed = self.departed.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        while departed.len() >= DEPARTED_MAX
            || departed.front().is_some_and(|first| now.duration_since(first.at) > DEPARTED_TIME)
        {
            departed.pop_front();
        }
        departed.push_back(Departed { at: now, id: id.to_owned(), exit_code });
    }

    /// How a container ended that removed itself a moment ago, by its whole id.
    pub(crate) fn departed(&self, id: &str) -> Option<WaitResult> {
        let departed = self.departed.lock().unwrap_or_else(PoisonError::into_inner);
        let found = departed.iter().rev().find(|departed| departed.id == id)?;
        let in_time = found.at.elapsed() <= DEPARTED_TIME;
        in_time.then(|| WaitResult { status_code: i64::from(found.exit_code), error: None })
    }

    /// Takes a name for a container, or tells whose it is.
    pub(crate) fn reserve(&self, name: &str, id: &str) -> Result<()> {
        let mut names = self.name_shard(name).write().unwrap_or_else(PoisonError::into_inner);
        match names.get(name) {
            Some(holder) => Err(Error::NameInUse { name: name.to_owned(), holder: holder.clone() }),
            None => {
                names.insert(name.to_owned(), id.to_owned());
                Ok(())
            }
        }
    }

    /// Gives a name back, if it is this container's.
    pub(crate) fn release(&self, name: &str, id: &str) {
        let mut names = self.name_shard(name).write().unwrap_or_else(PoisonError::into_inner);
        if names.get(name).is_some_and(|holder| holder == id) {
            names.remove(name);
        }
    }

    /// Makes a container known.
    pub(crate) fn insert(&self, slot: Arc<Slot>) {
        let mut shard = self.id_shard(&slot.id).write().unwrap_or_else(PoisonError::into_inner);
        shard.insert(slot.id.clone(), slot);
    }

    /// Forgets a container.
    pub(crate) fn remove(&self, id: &str) {
        self.id_shard(id).write().unwrap_or_else(PoisonError::into_inner).remove(id);
    }

    /// The container that a user means: by id, then by name, then by a prefix of an id.
    ///
    /// Errors: `NoSuchContainer`, `AmbiguousId`.
    pub(crate) fn find(&self, reference: &str) -> Result<Arc<Slot>> {
        let missing = || Error::NoSuchContainer(reference.to_owned());
        if reference.is_empty() {
            return Err(missing());
        }
        let shard = || self.id_shard(reference).read().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = shard().get(reference) {
            return Ok(slot.clone());
        }
        let name = reference.strip_prefix('/').unwrap_or(reference);
        let by_name = {
            let names = self.name_shard(name).read().unwrap_or_else(PoisonError::into_inner);
            names.get(name).cloned()
        };
        if let Some(id) = by_name {
            let shard = self.id_shard(&id).read().unwrap_or_else(PoisonError::into_inner);
            // A name that is reserved for a container that is still being created leads nowhere.
            return shard.get(&id).cloned().ok_or_else(missing);
        }
        if let Some((parent, alias)) = name.split_once('/') {
            return self.linked(parent, alias).ok_or_else(missing);
        }
        let shard = shard();
        let range = (std::ops::Bound::Included(reference), std::ops::Bound::Unbounded);
        let mut fitting = shard.range::<str, _>(range).take_while(|(id, _)| id.starts_with(reference));
        match (fitting.next(), fitting.next()) {
            (Some((_, slot)), None) => Ok(slot.clone()),
            (Some(_), Some(_)) => Err(Error::AmbiguousId(reference.to_owned())),
            (None, _) => Err(missing()),
        }
    }

    /// The container that another one calls so.
    fn linked(&self, parent: &str, alias: &str) -> Option<Arc<Slot>> {
        let parent = self.find(parent).ok()?.get();
        let link = parent.record.links.iter().find(|link| link.alias == alias)?;
        self.find(&link.container).ok()
    }

    /// All containers, in no order.
    pub(crate) fn all(&self) -> Vec<Arc<Slot>> {
        let shards = self.ids.iter();
        shards
            .flat_map(|shard| {
                shard.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect::<Vec<_>>()
            })
            .collect()
    }

    fn id_shard(&self, id: &str) -> &RwLock<BTreeMap<String, Arc<Slot>>> {
        let digit = id.chars().next().and_then(|digit| digit.to_digit(16)).unwrap_or(0);
        &self.ids[digit as usize]
    }

    fn name_shard(&self, name: &str) -> &RwLock<HashMap<String, String>> {
        &self.names[self.hasher.hash_one(name) as usize % SHARDS]
    }
}

impl Slot {
    /// An entry and the queue that its task reads.
    pub(crate) fn new(container: Container) -> (Arc<Slot>, mpsc::UnboundedReceiver<Command>) {
        let (queue, commands) = mpsc::unbounded_channel();
        let slot = Slot {
            id: container.record.id.clone(),
            snapshot: RwLock::new(Arc::new(container)),
            queue,
            waiters: Mutex::default(),
            shim: RwLock::default(),
            last_sample: Mutex::default(),
            files: Arc::default(),
        };
        (Arc::new(slot), commands)
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// What the task published last.
    pub(crate) fn get(&self) -> Arc<Container> {
        self.snapshot.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Shows the world a new state. Only the task calls this.
    pub(crate) fn publish(&self, container: Arc<Container>) {
        *self.snapshot.write().unwrap_or_else(PoisonError::into_inner) = container;
    }

    /// The shim, while the container runs.
    pub(crate) fn shim(&self) -> Result<Shim> {
        let shim = self.shim.read().unwrap_or_else(PoisonError::into_inner).clone();
        shim.ok_or_else(|| Error::NotRunning(self.id.clone()))
    }

    pub(crate) fn set_shim(&self, shim: Option<Shim>) {
        *self.shim.write().unwrap_or_else(PoisonError::into_inner) = shim;
    }

    /// Asks the task to do something and waits for its answer.
    ///
    /// Errors: what the task says; `NoSuchContainer` if the container went away first.
    pub(crate) async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T>>) -> Command,
    ) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        let gone = || Error::NoSuchContainer(self.id.clone());
        self.queue.send(command(reply)).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    /// Tells the task something that needs no answer.
    pub(crate) fn tell(&self, command: Command) {
        // Nobody is there to tell: nothing is to be done either.
        let _ = self.queue.send(command);
    }

    /// Begins to wait. Whatever happens after this call is not missed.
    pub(crate) fn subscribe(&self, condition: WaitCondition) -> oneshot::Receiver<WaitResult> {
        let (sender, receiver) = oneshot::channel();
        let mut waiters = self.waiters();
        // The state is looked at while the waiters are locked: the task publishes first and then tells the waiters,
        // so one of the two sees the other.
        let container = self.get();
        let now = WaitResult { status_code: i64::from(container.state.exit_code), error: None };
        if waiters.removed {
            let _ = sender.send(now);
            return receiver;
        }
        match condition {
            WaitCondition::NotRunning if !container.state.status.is_running() => {
                let _ = sender.send(now);
            }
            WaitCondition::NotRunning | WaitCondition::NextExit => waiters.exit.push(sender),
            WaitCondition::Removed => waiters.removal.push(sender),
        }
        receiver
    }

    /// Answers those who wait for the end of a run.
    pub(crate) fn notify_exit(&self, exit_code: i32) {
        let result = WaitResult { status_code: i64::from(exit_code), error: None };
        for waiter in std::mem::take(&mut self.waiters().exit) {
            let _ = waiter.send(result.clone());
        }
    }

    /// Answers all who wait: the container is gone, or could not be removed.
    pub(crate) fn notify_removal(&self, exit_code: i32, error: Option<String>) {
        let mut waiters = self.waiters();
        waiters.removed |= error.is_none();
        let result = WaitResult { status_code: i64::from(exit_code), error };
        let exit = if waiters.removed { std::mem::take(&mut waiters.exit) } else { Vec::new() };
        for waiter in exit.into_iter().chain(std::mem::take(&mut waiters.removal)) {
            let _ = waiter.send(result.clone());
        }
    }

    fn waiters(&self) -> MutexGuard<'_, Waiters> {
        let mut waiters = self.waiters.lock().unwrap_or_else(PoisonError::into_inner);
        // Those who gave up are forgotten here: a client that polls with timeouts must not fill the memory.
        if waiters.exit.len() + waiters.removal.len() > 16 {
            waiters.exit.retain(|waiter| !waiter.is_closed());
            waiters.removal.retain(|waiter| !waiter.is_closed());
        }
        waiters
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::{Record, State, Status};

    fn slot(id: &str, status: Status) -> Arc<Slot> {
        let record = Record { id: id.to_owned(), ..Record::default() };
        let state = State { status, ..State::default() };
        Slot::new(Container { record: Arc::new(record), state, exec_ids: Vec::new() }).0
    }

    #[test]
    fn ids_names_and_prefixes() {
        let registry = Registry::new();
        for id in ["abc1", "abd2", "0fff"] {
            registry.insert(slot(id, Status::Created));
        }
        registry.reserve("abc", "0fff").unwrap();
        let check = |reference: &str, expect: &str| {
            let found =
                registry.find(reference).map_or_else(|error| error.to_string(), |slot| slot.id().to_owned());
            assert_eq!(found, expect, "{reference}");
        };
        check("abc1", "abc1");
        check("abc", "0fff");
        check("/abc", "0fff");
        check("abd", "abd2");
        check("ab", "multiple IDs found with provided prefix: ab");
        check("zzz", "No such container: zzz");
        check("", "No such container: ");
        let error = registry.reserve("abc", "abc1").unwrap_err().to_string();
        assert!(
            error.starts_with(
                "Conflict. The container name \"/abc\" is already in use by container \"0fff\"."
            )
        );
        registry.release("abc", "abc1");
        check("abc", "0fff");
        registry.release("abc", "0fff");
        check("abc", "abc1");
    }

    #[tokio::test]
    async fn waits_end_when_they_should() {
        let slot = slot("a", Status::Running);
        let stopped = slot.subscribe(WaitCondition::NotRunning);
        let next = slot.subscribe(WaitCondition::NextExit);
        let mut removed = slot.subscribe(WaitCondition::Removed);
        let mut container = (*slot.get()).clone();
        container.state.status = Status::Exited;
        container.state.exit_code = 7;
        slot.publish(Arc::new(container));
        slot.notify_exit(7);
        assert_eq!(stopped.await.unwrap().status_code, 7);
        assert_eq!(next.await.unwrap().status_code, 7);
        assert_eq!(slot.subscribe(WaitCondition::NotRunning).await.unwrap().status_code, 7);
        let mut again = slot.subscribe(WaitCondition::NextExit);
        assert!(again.try_recv().is_err() && removed.try_recv().is_err());
        slot.notify_removal(7, None);
        assert_eq!(removed.await.unwrap().status_code, 7);
        assert_eq!(again.await.unwrap().status_code, 7);
        assert_eq!(slot.subscribe(WaitCondition::Removed).await.unwrap().status_code, 7);
    }
}
