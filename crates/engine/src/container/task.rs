//! The one writer of a container: a task that takes requests from a queue and events from the shim, one at a time.
//!
//! What takes long is not done here but by those who ask: `stop` sends a signal through the queue and then waits for
//! the end like everybody else. So the queue never stands still for longer than a start takes.

use std::sync::Arc;
use std::time::Duration;

use berth_shim::client::{Attach, Event as ShimEvent, ExitStatus, Shim, Target};
use berth_store::Commit;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::forward::Forwarder;
use super::registry::Slot;
use super::restart::{self, Backoff};
use super::signal::KILL;
use super::{Container, Record, RemoveOptions, Status, WaitCondition};
use crate::Inner;
use crate::error::{Error, Result, chain};
use crate::time::Time;

/// How long after a failure a state is written again.
const SAVE_PAUSE: Duration = Duration::from_secs(1);

/// Where an answer goes.
pub(crate) type Reply<T> = oneshot::Sender<Result<T>>;

/// What can be asked of a container's task.
pub(crate) enum Command {
    /// Start it.
    Start(Reply<()>),
    /// Send a signal to its first process and remember that the user did.
    Signal(i32, Reply<()>),
    /// Freeze it.
    Pause(Reply<()>),
    /// Thaw it.
    Unpause(Reply<()>),
    /// Give it another name, which is reserved already. Answers with the old one.
    Rename(String, Reply<String>),
    /// Replace what is kept of it, after `update`.
    Replace(Box<Record>, Reply<()>),
    /// Remove it; it must not run.
    Remove(RemoveOptions, Reply<()>),
    /// Forget what it calls another container.
    Unlink(String, Reply<()>),
    /// Attach a client, or keep it until the container starts.
    Attach(Box<Attach>, Reply<()>),
    /// Its health changed.
    Health(Option<super::Health>),
    /// The engine closes: stop watching.
    Close(oneshot::Sender<()>),
}

/// A container's task.
pub(crate) struct Task {
    pub(super) engine: Arc<Inner>,
    pub(super) slot: Arc<Slot>,
    /// The state that is being worked on; published after each change.
    pub(super) container: Container,
    pub(super) running: Option<Running>,
    /// Clients that attached before the start.
    pub(super) waiting_clients: Vec<Attach>,
    backoff: Backoff,
    restart_at: Option<Instant>,
    /// The user sent a signal that may end this run: no restart after it.
    stop_asked: bool,
    /// The shim of the last run, on its way out; its directory is in use until then.
    leaving: Option<Leaving>,
    /// The shim of the last run, whose end could not be written down yet: it alone still knows, should we be killed.
    unrecorded: Option<Shim>,
    /// What could not be written is tried again then: the disk was full.
    save_at: Option<Instant>,
    /// Sends the lines of the last run elsewhere, with a log driver that does.
    forwarder: Option<Forwarder>,
    gone: bool,
}

/// A shim that goes as soon as the end of its container is on the disk.
struct Leaving {
    task: JoinHandle<()>,
    /// Dropped when there is no time to wait for the disk.
    patience: oneshot::Sender<()>,
}

/// A run.
pub(crate) struct Running {
    pub(crate) shim: Shim,
    pub(crate) events: mpsc::UnboundedReceiver<ShimEvent>,
    /// The container's own network namespace.
    pub(crate) netns: Option<std::os::fd::OwnedFd>,
}

impl Task {
    /// Begins a task. `running` if the container was found running when the engine opened.
    pub(crate) fn spawn(
        engine: Arc<Inner>,
        slot: Arc<Slot>,
        commands: mpsc::UnboundedReceiver<Command>,
        running: Option<Running>,
    ) {
        let container = (*slot.get()).clone();
        slot.set_shim(running.as_ref().map(|running| running.shim.clone()));
        if running.is_some() {
            super::health::watch(&engine, &slot);
        }
        let mut task = Task {
            engine,
            slot,
            container,
            running,
            waiting_clients: Vec::new(),
            backoff: Backoff::default(),
            restart_at: None,
            stop_asked: false,
            leaving: None,
            unrecorded: None,
            save_at: None,
            forwarder: None,
            gone: false,
        };
        if !task.container.state.started_at.is_never() {
            // What the engine before us did not send.
            task.forward(None);
        }
        tokio::spawn(task.run(commands));
    }

    async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        while !self.gone {
            tokio::select! {
                biased;
                // Events first: who asks after an exit was told should see the container ended.
                event = next_event(&mut self.running) => self.on_event(event).await,
                command = commands.recv() => match command {
                    Some(Command::Close(reply)) => {
                        let _ = reply.send(());
                        return;
                    }
                    Some(command) => self.on_command(command).await,
                    None => return,
                },
                () = until(self.restart_at) => self.restart().await,
                () = until(self.save_at) => self.save_state(),
            }
        }
    }

    async fn on_command(&mut self, command: Command) {
        // An answer that nobody waits for any more is dropped: what was asked has been done all the same.
        match command {
            Command::Start(reply) => {
                let result = self.start_by_user().await;
                let _ = reply.send(result);
            }
            Command::Signal(signal, reply) => {
                let _ = reply.send(self.signal(signal).await);
            }
            Command::Pause(reply) => {
                let _ = reply.send(self.pause().await);
            }
            Command::Unpause(reply) => {
                let _ = reply.send(self.unpause().await);
            }
            Command::Rename(name, reply) => {
                let _ = reply.send(self.rename(name));
            }
            Command::Replace(record, reply) => {
                let _ = reply.send(self.replace(*record).await);
            }
            Command::Unlink(alias, reply) => {
                let _ = reply.send(self.unlink(&alias));
            }
            Command::Remove(options, reply) => {
                let _ = reply.send(self.remove(options).await);
            }
            Command::Attach(attach, reply) => {
                let _ = reply.send(self.attach(*attach).await);
            }
            Command::Health(health) => {
                if self.container.state.status.has_process() {
                    self.container.state.health = health;
                    self.publish();
                    self.save_state();
                }
            }
            // Handled by the loop.
            Command::Close(_) => {}
        }
    }

    async fn on_event(&mut self, event: Option<ShimEvent>) {
        match event {
            Some(ShimEvent::Exited(status)) => self.exited(&status).await,
            Some(ShimEvent::Oom) => {
                self.container.state.oom_killed = true;
                self.publish();
                self.event("oom", []);
            }
            // Whoever started the exec waits for its end.
            Some(ShimEvent::ExecExited { .. }) => {}
            Some(ShimEvent::Detached { .. }) => self.event("detach", []),
            Some(ShimEvent::Gone) | None => self.shim_lost().await,
        }
    }

    /// The shim died without a word: what it watched is ended, and counts as killed.
    async fn shim_lost(&mut self) {
        let directory = self.engine.paths.shim(&self.container.record.id);
        tracing::warn!(container.id = %self.container.record.id, "the supervisor is gone: ending the container");
        let cgroup = self.running.as_ref().map(|running| running.shim.cgroup_path().to_owned());
        if let Err(error) = berth_shim::client::clean_up(&directory, &cgroup.unwrap_or_default()).await {
            tracing::error!(container.id = %self.container.record.id, "cleaning up: {}", chain(&error));
        }
        let finished_at_nanos = Time::now().unix_nanos().unsigned_abs();
        self.exited(&ExitStatus { code: 137, signal: Some(KILL), oom_killed: false, finished_at_nanos })
            .await;
    }

    // === starting ===

    async fn start_by_user(&mut self) -> Result<()> {
        match self.container.state.status {
            Status::Running => return Err(Error::NotModified("container is already running".to_owned())),
            Status::Paused => {
                return Err(Error::Conflict(
                    "cannot start a paused container, try unpause instead".to_owned(),
                ));
            }
            Status::Removing | Status::Dead => {
                return Err(Error::Conflict(
                    "container is marked for removal and cannot be started".to_owned(),
                ));
            }
            Status::Created | Status::Exited | Status::Restarting => {}
        }
        self.restart_at = None;
        self.backoff = Backoff::default();
        self.container.state.restart_count = 0;
        let result = self.start().await;
        if let Err(error) = &result {
            self.start_failed(error).await;
        }
        result
    }

    /// Starts it and shows the new state; on an error nothing is left and nothing was shown.
    async fn start(&mut self) -> Result<()> {
        if let Some(shim) = self.unrecorded.take() {
            self.leaving = Some(Leaving::begin(shim, None));
        }
        if let Some(Leaving { task, patience }) = self.leaving.take() {
            drop(patience);
            let _ = task.await;
        }
        self.finish_forwarding().await;
        let slot = self.slot.clone();
        let _files = slot.files.lock().await;
        let clients = std::mem::take(&mut self.waiting_clients);
        let outcome = super::start::start(&self.engine, &self.container, clients).await?;
        let state = &mut self.container.state;
        state.status = Status::Running;
        state.pid = outcome.pid;
        state.exit_code = 0;
        state.error.clear();
        state.oom_killed = false;
        state.manually_stopped = false;
        state.started_at = outcome.started_at;
        state.network = outcome.network;
        state.health = super::health::initial(&self.container.record.config);
        self.stop_asked = false;
        self.slot.set_shim(Some(outcome.running.shim.clone()));
        self.running = Some(outcome.running);
        self.publish();
        self.save_state();
        self.forward(outcome.writer);
        self.engine.tell_linking(&self.container);
        self.engine.network_event(&self.container, "connect");
        self.engine.volumes_mounted(&self.container);
        self.event("start", []);
        super::health::watch(&self.engine, &self.slot);
        Ok(())
    }

    /// Begins to send what it writes, if its log driver does.
    fn forward(&mut self, writer: Option<berth_logging::Writer>) {
        let record = &self.container.record;
        if berth_logging::Driver::named(&record.host_config.log_config.kind).is_some() {
            let ended = || self.slot.subscribe(WaitCondition::NotRunning);
            let ended = self.running.is_some().then(|| [ended(), ended()]);
            self.forwarder = Forwarder::begin(&self.engine, record, writer, ended);
        }
    }

    /// Waits until the lines of the last run are sent, or cannot be.
    async fn finish_forwarding(&mut self) {
        if let Some(forwarder) = self.forwarder.take() {
            forwarder.finish().await;
        }
    }

    async fn start_failed(&mut self, error: &Error) {
        self.waiting_clients.clear();
        let state = &mut self.container.state;
        state.error = chain(error);
        state.exit_code = if let Error::StartFailed { exit_code, .. } = error { *exit_code } else { 128 };
        if state.status == Status::Restarting {
            state.status = Status::Exited;
        }
        self.publish();
        self.save_state();
        self.slot.notify_exit(self.container.state.exit_code);
        if self.container.record.host_config.auto_remove {
            self.auto_remove().await;
        }
    }

    async fn restart(&mut self) {
        self.restart_at = None;
        if let Err(error) = self.start().await {
            tracing::warn!(container.id = %self.container.record.id, "restart failed: {}", chain(&error));
            self.start_failed(&error).await;
        }
    }

    // === the end of a run ===

    async fn exited(&mut self, status: &ExitStatus) {
        let Some(running) = self.running.take() else { return };
        self.slot.set_shim(None);
        self.engine.execs.forget_prepared(&self.container.record.id);
        let record = &self.container.record;
        let mut at_rest = super::network::at_rest(record, |name| self.engine.network_ids.id(name), true);
        // As in Docker, the last sandbox is shown until there is another one.
        at_rest.sandbox_id.clone_from(&self.container.state.network.sandbox_id);
        at_rest.sandbox_key.clone_from(&self.container.state.network.sandbox_key);
        let network = std::mem::replace(&mut self.container.state.network, at_rest);
        match (&network.endpoint, running.netns) {
            (Some(endpoint), netns) => self.engine.network.release(endpoint, netns),
            (None, Some(netns)) => self.engine.network.discard(netns),
            (None, None) => {}
        }
        self.engine.unmount_volumes(&self.container.record).await;
        let state = &mut self.container.state;
        let ran = Time::from_unix_nanos(status.finished_at_nanos as i64).since(state.started_at);
        state.pid = 0;
        state.exit_code = status.code;
        state.oom_killed |= status.oom_killed;
        state.finished_at = Time::from_unix_nanos(status.finished_at_nanos as i64);
        let policy = &self.container.record.host_config.restart_policy;
        let stopped = self.stop_asked || state.manually_stopped;
        let again = restart::after_exit(policy, status.code, state.restart_count, stopped);
        if again {
            state.restart_count += 1;
            state.status = Status::Restarting;
            self.restart_at = Some(Instant::now() + self.backoff.next(ran));
        } else {
            state.status = Status::Exited;
        }
        let remove = !again && self.container.record.host_config.auto_remove;
        self.publish();
        if remove {
            self.leaving = Some(Leaving::begin(running.shim, None));
        } else {
            self.unrecorded = Some(running.shim);
            self.save_state();
        }
        self.engine.network_disconnect_event(&self.container, &network);
        self.engine.volumes_unmounted(&self.container);
        self.die_event(status.code, ran);
        self.slot.notify_exit(status.code);
        if remove {
            self.auto_remove().await;
        }
    }

    fn die_event(&self, code: i32, ran: Duration) {
        self.event("die", [("exitCode", code.to_string()), ("execDuration", ran.as_secs().to_string())]);
    }

    async fn auto_remove(&mut self) {
        let options = RemoveOptions { force: true, volumes: true, link: false };
        self.engine.registry.depart(&self.container.record.id, self.container.state.exit_code);
        if let Err(error) = self.remove(options).await {
            tracing::error!(container.id = %self.container.record.id, "removing after the end: {}", chain(&error));
        }
    }

    // === signals and freezing ===

    async fn signal(&mut self, signal: i32) -> Result<()> {
        let not_running = || Error::NotRunning(self.container.record.id.clone());
        if self.container.state.status == Status::Restarting {
            // Nothing lives that could get the signal; what the user means is that it shall not come back.
            self.restart_at = None;
            self.container.state.status = Status::Exited;
            self.container.state.manually_stopped = true;
            self.publish();
            self.save_state();
            self.slot.notify_exit(self.container.state.exit_code);
            return Ok(());
        }
        let shim = self.running.as_ref().map(|running| running.shim.clone()).ok_or_else(not_running)?;
        shim.signal(&Target::Container, signal).await.map_err(|error| self.shim_error(&error))?;
        let stop_signal = super::signal::parse(&self.container.record.config.stop_signal).unwrap_or(signal);
        let ends = signal == KILL || signal == stop_signal;
        if ends {
            self.stop_asked = true;
            // A frozen process gets its signal only when it thaws.
            if self.container.state.status == Status::Paused && shim.resume().await.is_ok() {
                self.container.state.status = Status::Running;
            }
        }
        self.container.state.manually_stopped = true;
        self.publish();
        self.save_state();
        Ok(())
    }

    async fn pause(&mut self) -> Result<()> {
        let id = &self.container.record.id;
        match self.container.state.status {
            Status::Running => {}
            Status::Paused => return Err(Error::Conflict(format!("Container {id} is already paused"))),
            Status::Restarting => {
                return Err(Error::Conflict(format!(
                    "Container {id} is restarting, wait until the container is running"
                )));
            }
            _ => return Err(Error::NotRunning(id.clone())),
        }
        let shim = self.slot.shim()?;
        shim.pause()
            .await
            .map_err(|error| Error::Internal(format!("Cannot pause container {id}: {}", chain(&error))))?;
        self.container.state.status = Status::Paused;
        self.publish();
        self.save_state();
        self.event("pause", []);
        Ok(())
    }

    async fn unpause(&mut self) -> Result<()> {
        let id = &self.container.record.id;
        if self.container.state.status != Status::Paused {
            // Docker answers 500 here; so the class is that of an internal error.
            return Err(Error::Refused(format!("Container {id} is not paused")));
        }
        let shim = self.slot.shim()?;
        let failed = |error| Error::Internal(format!("Cannot unpause container {id}: {}", chain(&error)));
        shim.resume().await.map_err(failed)?;
        self.container.state.status = Status::Running;
        self.publish();
        self.save_state();
        self.event("unpause", []);
        Ok(())
    }

    // === small things ===

    fn rename(&mut self, name: String) -> Result<String> {
        let mut record = (*self.container.record).clone();
        let old = std::mem::replace(&mut record.name, name);
        self.engine.save_record(&record)?;
        self.container.record = Arc::new(record);
        self.publish();
        self.event("rename", [("oldName", format!("/{old}"))]);
        Ok(old)
    }

    async fn replace(&mut self, record: Record) -> Result<()> {
        if let Some(running) = &self.running {
            let resources = crate::spec::resources::limits(&record.host_config);
            running.shim.update(&resources).await.map_err(|error| self.shim_error(&error))?;
        }
        self.engine.save_record(&record)?;
        self.container.record = Arc::new(record);
        self.publish();
        self.event("update", []);
        Ok(())
    }

    fn unlink(&mut self, alias: &str) -> Result<()> {
        let mut record = (*self.container.record).clone();
        let Some(at) = record.links.iter().position(|link| link.alias == alias) else {
            return Err(Error::NoSuchContainer(format!("{}/{alias}", record.name)));
        };
        let link = record.links.remove(at);
        self.engine.save_record(&record)?;
        self.engine.links.release(&self.container.record);
        self.engine.links.hold(&record);
        if self.container.state.status.is_running() {
            self.engine.forget_linked(&record, &link);
        }
        self.container.record = Arc::new(record);
        self.publish();
        Ok(())
    }

    async fn attach(&mut self, attach: Attach) -> Result<()> {
        match &self.running {
            Some(running) => {
                running.shim.attach_socket(attach).await.map_err(|error| self.shim_error(&error))
            }
            None => {
                self.waiting_clients.push(attach);
                Ok(())
            }
        }
    }

    async fn remove(&mut self, options: RemoveOptions) -> Result<()> {
        super::remove::check(&self.container)?;
        let before = self.container.state.status;
        self.restart_at = None;
        self.container.state.status = Status::Removing;
        self.publish();
        self.finish_forwarding().await;
        self.waiting_clients.clear();
        let exit_code = self.container.state.exit_code;
        if let Err(error) = super::remove::remove(&self.engine, &self.container, options) {
            self.container.state.status = if before == Status::Created { before } else { Status::Dead };
            self.publish();
            self.save_state();
            self.slot.notify_removal(exit_code, Some(chain(&error)));
            return Err(error);
        }
        if let Some(shim) = self.unrecorded.take() {
            self.leaving = Some(Leaving::begin(shim, None));
        }
        self.engine.registry.remove(&self.container.record.id);
        self.engine.registry.release(&self.container.record.name, &self.container.record.id);
        self.engine.execs.forget(&self.container.record.id);
        self.engine.links.release(&self.container.record);
        self.event("destroy", []);
        self.slot.notify_removal(exit_code, None);
        self.gone = true;
        Ok(())
    }

    fn shim_error(&self, error: &berth_shim::client::Error) -> Error {
        match error {
            berth_shim::client::Error::NotRunning | berth_shim::client::Error::Gone => {
                Error::NotRunning(self.container.record.id.clone())
            }
            other => Error::Internal(chain(other)),
        }
    }

    pub(super) fn publish(&self) {
        self.slot.publish(Arc::new(self.container.clone()));
    }

    /// Writes the state behind: it survives the death of the engine, and power loss a little later.
    ///
    /// Where the disk is full it is tried again until it succeeds. As long as the end of a run is not written, its shim
    /// stays: it can still tell.
    pub(super) fn save_state(&mut self) {
        match self.engine.save_state(&self.container.record.id, &self.container.state) {
            Ok(commit) => {
                self.save_at = None;
                if let Some(shim) = self.unrecorded.take() {
                    self.leaving = Some(Leaving::begin(shim, Some(commit)));
                }
            }
            Err(error) => {
                if self.save_at.is_none() {
                    let id = &self.container.record.id;
                    tracing::error!(container.id = %id, "saving the state, to be tried again: {}", chain(&error));
                }
                self.save_at = Some(Instant::now() + SAVE_PAUSE);
            }
        }
    }

    fn event<const N: usize>(&self, action: &str, attributes: [(&str, String); N]) {
        self.engine.container_event(&self.container, action, attributes);
    }
}

impl Leaving {
    /// Lets the shim of an ended run go, when the end is on the disk.
    fn begin(shim: Shim, recorded: Option<Commit>) -> Leaving {
        let (patience, impatience) = oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            if let Some(recorded) = recorded {
                tokio::select! {
                    // A sync that failed is tried again by the database; the shim need not wait for that.
                    _ = recorded => {}
                    _ = impatience => {}
                }
            }
            if let Err(error) = shim.shutdown().await {
                tracing::debug!("a supervisor left on its own: {}", chain(&error));
            }
        });
        Leaving { task, patience }
    }
}

async fn next_event(running: &mut Option<Running>) -> Option<ShimEvent> {
    match running {
        Some(running) => running.events.recv().await,
        None => std::future::pending().await,
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
