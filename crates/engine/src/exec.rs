//! Further processes in running containers.
//!
//! An exec instance is prepared, runs once, and is forgotten some time after it ended, so that clients can ask how it
//! ended. One that was never started goes with its container's run. They live in memory only: an engine that is opened
//! again knows none, as in Docker.
//!
//! Invariant: however many are made, the engine holds a bounded number of those that do not run.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use berth_oci::runtime::{ConsoleSize, Process};
use berth_shim::client::{Attach, ExecStart as ShimExec, StartError, Streams, Target};

use crate::container::{Attached, Container, Status};
use crate::error::{Error, Result, chain};
use crate::rootfs::RootFs;
use crate::spec::process::{environment, override_env};
use crate::{Inner, security, user};

/// A process to run in a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecConfig {
    /// `user[:group]`; empty: the container's.
    pub user: String,
    /// All capabilities and devices.
    pub privileged: bool,
    /// A terminal.
    pub tty: bool,
    /// Standard input will be attached.
    pub attach_stdin: bool,
    /// Standard output will be attached.
    pub attach_stdout: bool,
    /// Standard error will be attached.
    pub attach_stderr: bool,
    /// Height and width of the terminal.
    pub console_size: Option<(u32, u32)>,
    /// The keys that detach.
    pub detach_keys: Option<String>,
    /// Environment on top of the container's.
    pub env: Vec<String>,
    /// The working directory; empty: the container's.
    pub working_dir: String,
    /// The program and its arguments.
    pub command: Vec<String>,
}

/// How to start an exec instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExecStart {
    /// Do not attach to it.
    pub detach: bool,
    /// Height and width of the terminal.
    pub console_size: Option<(u32, u32)>,
}

/// An exec instance, as `inspect` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exec {
    /// Its id.
    pub id: String,
    /// Its container's id.
    pub container_id: String,
    /// What was asked for.
    pub config: ExecConfig,
    /// It runs.
    pub running: bool,
    /// What it ended with; `None` before that.
    pub exit_code: Option<i32>,
    /// Its process, as the host numbers it; 0 before it started.
    pub pid: u32,
    /// It may be removed.
    pub can_remove: bool,
}

/// A started exec instance: its streams, or `None` if detached.
pub type ExecStarted = Option<Attached>;

/// Ended instances are kept so long, for clients that ask how they ended.
const KEPT_FOR: Duration = Duration::from_secs(300);
/// And no more of them than this.
const KEPT_MAX: usize = 1024;
/// At least so many may wait for their start, at most twice as many: the oldest are taken for abandoned.
const PREPARED_MAX: usize = 1024;
/// What Docker says an instance ended with that could not be started.
const NOT_STARTED: i32 = 126;

/// All exec instances of an engine.
#[derive(Default)]
pub(crate) struct Execs {
    inner: Mutex<Instances>,
    /// Told at each end, for those who wait for one.
    ends: tokio::sync::Notify,
}

#[derive(Default)]
struct Instances {
    by_id: HashMap<String, Exec>,
    /// Those that were made, oldest first: some of them started since, or are gone.
    prepared: VecDeque<String>,
    /// Those that ended, oldest first.
    ended: VecDeque<(Instant, String)>,
}

impl Execs {
    pub(crate) fn new() -> Execs {
        Execs::default()
    }

    /// What is known of an instance.
    pub(crate) fn get(&self, id: &str) -> Result<Exec> {
        self.lock().by_id.get(id).cloned().ok_or_else(|| Error::NoSuchExec(id.to_owned()))
    }

    /// Ids of a container's instances that have not ended.
    pub(crate) fn of_container(&self, container_id: &str) -> Vec<String> {
        let instances = self.lock();
        let mine = |exec: &&Exec| exec.container_id == container_id && exec.exit_code.is_none();
        let mut ids: Vec<String> =
            instances.by_id.values().filter(mine).map(|exec| exec.id.clone()).collect();
        ids.sort_unstable();
        ids
    }

    fn insert(&self, exec: Exec) {
        let mut instances = self.lock();
        instances.forget_old();
        instances.prepared.push_back(exec.id.clone());
        instances.by_id.insert(exec.id.clone(), exec);
        instances.forget_abandoned();
    }

    /// Marks an instance as started, so that no second client starts it.
    fn begin(&self, id: &str) -> Result<Exec> {
        let mut instances = self.lock();
        let exec = instances.by_id.get_mut(id).ok_or_else(|| Error::NoSuchExec(id.to_owned()))?;
        if exec.exit_code.is_some() {
            return Err(Error::Conflict(format!("Error: Exec command {id} has already run")));
        }
        if exec.running {
            return Err(Error::Conflict(format!("Error: Exec command {id} is already running")));
        }
        exec.running = true;
        Ok(exec.clone())
    }

    fn set_pid(&self, id: &str, pid: u32) {
        if let Some(exec) = self.lock().by_id.get_mut(id) {
            exec.pid = pid;
        }
    }

    fn end(&self, id: &str, exit_code: i32) {
        let mut instances = self.lock();
        if let Some(exec) = instances.by_id.get_mut(id) {
            exec.running = false;
            exec.exit_code = Some(exit_code);
            instances.ended.push_back((Instant::now(), id.to_owned()));
            instances.forget_old();
        }
        drop(instances);
        self.ends.notify_waiters();
    }

    /// Waits for the end of an instance; its exit code.
    pub(crate) async fn ended(&self, id: &str) -> i32 {
        loop {
            let next = self.ends.notified();
            match self.get(id) {
                Ok(Exec { exit_code: Some(code), .. }) => return code,
                // Forgotten: the container is gone.
                Err(_) => return 137,
                Ok(_) => next.await,
            }
        }
    }

    /// Forgets the instances of a container that is gone.
    pub(crate) fn forget(&self, container_id: &str) {
        self.lock().retain(|exec| exec.container_id != container_id);
        self.ends.notify_waiters();
    }

    /// Forgets the instances of a container whose run is over that were not started: they cannot be any more.
    pub(crate) fn forget_prepared(&self, container_id: &str) {
        self.lock()
            .retain(|exec| exec.container_id != container_id || exec.running || exec.exit_code.is_some());
    }

    fn lock(&self) -> MutexGuard<'_, Instances> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Instances {
    fn retain(&mut self, keep: impl Fn(&Exec) -> bool) {
        self.by_id.retain(|_, exec| keep(exec));
        self.prepared.retain(|id| self.by_id.contains_key(id));
        self.ended.retain(|(_, id)| self.by_id.contains_key(id));
    }

    fn forget_abandoned(&mut self) {
        let waits = |exec: &Exec| !exec.running && exec.exit_code.is_none();
        if self.prepared.len() <= 2 * PREPARED_MAX {
            return;
        }
        self.prepared.retain(|id| self.by_id.get(id).is_some_and(waits));
        let abandoned = self.prepared.len().saturating_sub(PREPARED_MAX);
        for id in self.prepared.drain(..abandoned) {
            self.by_id.remove(&id);
        }
    }

    fn forget_old(&mut self) {
        while let Some((ended, _)) = self.ended.front() {
            if self.ended.len() <= KEPT_MAX && ended.elapsed() < KEPT_FOR {
                break;
            }
            if let Some((_, id)) = self.ended.pop_front() {
                self.by_id.remove(&id);
            }
        }
    }
}

impl Inner {
    /// Prepares a process. Answers with its id.
    pub(crate) fn exec_create(&self, reference: &str, config: ExecConfig) -> Result<String> {
        let container = self.registry.find(reference)?.get();
        match container.state.status {
            Status::Running => {}
            Status::Paused => {
                let name = &container.record.name;
                let text = "is paused, unpause the container before exec";
                return Err(Error::Conflict(format!("Container {name} {text}")));
            }
            Status::Restarting => {
                let id = &container.record.id;
                let text = "is restarting, wait until the container is running";
                return Err(Error::Conflict(format!("Container {id} {text}")));
            }
            _ => return Err(Error::NotRunning(container.record.id.clone())),
        }
        if config.command.is_empty() {
            return Err(Error::invalid("No exec command specified"));
        }
        crate::container::detach_keys(config.detach_keys.as_deref())?;
        let exec = Exec {
            id: crate::names::random_id()?,
            container_id: container.record.id.clone(),
            config,
            running: false,
            exit_code: None,
            pid: 0,
            can_remove: false,
        };
        self.exec_event(&container, &exec, "exec_create", None);
        let id = exec.id.clone();
        self.execs.insert(exec);
        Ok(id)
    }

    /// Starts a prepared process.
    pub(crate) async fn exec_start(self: &Arc<Self>, id: &str, start: ExecStart) -> Result<ExecStarted> {
        let slot = self.registry.find(&self.execs.get(id)?.container_id)?;
        let container = slot.get();
        let shim = slot.shim()?;
        let exec = self.execs.begin(id)?;
        self.exec_event(&container, &exec, "exec_start", None);
        let prepared = self.exec_prepare(&container, &exec, start);
        let started = match prepared {
            Ok((request, attached)) => {
                shim.exec(request).await.map(|started| (started, attached)).map_err(exec_error)
            }
            Err(error) => Err(error),
        };
        let (started, attached) = match started {
            Ok(started) => started,
            Err(error) => {
                self.execs.end(id, NOT_STARTED);
                return Err(error);
            }
        };
        self.execs.set_pid(id, started.pid);
        let engine = self.clone();
        let id = id.to_owned();
        tokio::spawn(async move {
            // A supervisor that is gone took the process with it.
            let code = started.exit.await.map_or(137, |status| status.code);
            engine.execs.end(&id, code);
            engine.exec_event(&slot.get(), &exec, "exec_die", Some(code));
        });
        Ok(attached)
    }

    fn exec_prepare(
        &self,
        container: &Container,
        exec: &Exec,
        start: ExecStart,
    ) -> Result<(ShimExec, ExecStarted)> {
        let config = &exec.config;
        let process = self.exec_process(container, config, start.console_size)?;
        if start.detach {
            return Ok((ShimExec { id: exec.id.clone(), process, attach: None }, None));
        }
        let keys = if config.tty {
            crate::container::detach_keys(config.detach_keys.as_deref())?
        } else {
            Vec::new()
        };
        let streams = Streams {
            stdin: config.attach_stdin,
            stdout: config.attach_stdout,
            stderr: config.attach_stderr,
            detach_keys: keys,
        };
        let (attach, ours) = Attach::pair(streams).map_err(Error::io("cannot make a socket"))?;
        let attached = Attached { tty: config.tty, logs: None, stream: Some(ours) };
        Ok((ShimExec { id: exec.id.clone(), process, attach: Some(attach) }, Some(attached)))
    }

    fn exec_process(
        &self,
        container: &Container,
        config: &ExecConfig,
        console_size: Option<(u32, u32)>,
    ) -> Result<Process> {
        let record = &container.record;
        let host = &record.host_config;
        let mounts = self.store.snapshots().mounts(&record.id).map_err(crate::image::error)?;
        let name = if config.user.is_empty() { &record.config.user } else { &config.user };
        let groups = if config.user.is_empty() { host.group_add.as_deref().unwrap_or_default() } else { &[] };
        let identity = user::resolve(&RootFs::of_mounts(&mounts), name, groups)?;
        let own =
            crate::spec::process::rlimits(host.resources.ulimits.as_deref(), &self.config.default_ulimits);
        let security = self.security(host)?;
        let mut env = {
            let mut base = record.config.clone();
            base.tty = config.tty;
            // Those that are gone meanwhile are left out, so that whoever looks for the reason can.
            let linked = self.linked(record).unwrap_or_default();
            let linked: Vec<String> =
                linked.iter().flat_map(|linked| linked.environment(&record.name)).collect();
            environment(&base, "", &linked)
        };
        override_env(&mut env, &config.env);
        if !env.iter().any(|variable| variable.starts_with("HOME=")) {
            env.push(format!("HOME={}", identity.home));
        }
        let cwd = [config.working_dir.as_str(), record.config.working_dir.as_str(), "/"];
        let size = console_size.or(config.console_size).filter(|(height, width)| *height > 0 && *width > 0);
        Ok(Process {
            terminal: config.tty,
            console_size: size.filter(|_| config.tty).map(|(height, width)| ConsoleSize { height, width }),
            user: identity.user(),
            args: config.command.clone(),
            env,
            cwd: cwd.into_iter().find(|path| !path.is_empty()).unwrap_or("/").to_owned(),
            capabilities: Some(security::exec_capabilities(&security, config.privileged, &self.machine)),
            rlimits: own,
            no_new_privileges: security.no_new_privileges,
            apparmor_profile: security.apparmor_profile,
            selinux_label: security.selinux_label,
            ..Process::default()
        })
    }

    /// Gives an instance's terminal a size.
    pub(crate) async fn exec_resize(&self, id: &str, height: u32, width: u32) -> Result<()> {
        let exec = self.execs.get(id)?;
        if !exec.running || exec.pid == 0 {
            return Err(Error::invalid("exec process is not started"));
        }
        let slot = self.registry.find(&exec.container_id)?;
        let target = Target::Exec(id.to_owned());
        match slot.shim()?.resize(&target, clamp(height), clamp(width)).await {
            // Docker does not mind a resize of something without a terminal.
            Ok(()) | Err(berth_shim::client::Error::NoTerminal) => Ok(()),
            Err(error) => Err(Error::Internal(chain(&error))),
        }
    }

    fn exec_event(&self, container: &Container, exec: &Exec, action: &str, code: Option<i32>) {
        let id = ("execID", exec.id.clone());
        match code {
            Some(code) => self.container_event(container, action, [id, ("exitCode", code.to_string())]),
            None => {
                let action = format!("{action}: {}", exec.config.command.join(" "));
                self.container_event(container, &action, [id]);
            }
        }
    }
}

/// A size of a terminal, as the kernel takes it.
pub(crate) fn clamp(cells: u32) -> u16 {
    u16::try_from(cells).unwrap_or(u16::MAX)
}

fn exec_error(error: StartError) -> Error {
    match error {
        StartError::Runtime { code, message } => crate::container::refused(message, i32::from(code)),
        StartError::NotRunning => Error::Conflict("container is not running".to_owned()),
        other => Error::Internal(chain(&other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exec(id: &str) -> Exec {
        Exec {
            id: id.to_owned(),
            container_id: "c".to_owned(),
            config: ExecConfig::default(),
            running: false,
            exit_code: None,
            pid: 0,
            can_remove: false,
        }
    }

    #[test]
    fn an_instance_runs_once() {
        let execs = Execs::new();
        execs.insert(exec("a"));
        assert_eq!(execs.of_container("c"), ["a"]);
        execs.begin("a").unwrap();
        assert_eq!(execs.begin("a").unwrap_err().to_string(), "Error: Exec command a is already running");
        execs.end("a", 3);
        assert_eq!(execs.begin("a").unwrap_err().to_string(), "Error: Exec command a has already run");
        assert_eq!(execs.get("a").unwrap().exit_code, Some(3));
        assert!(execs.of_container("c").is_empty());
        assert_eq!(execs.get("b").unwrap_err().to_string(), "No such exec instance: b");
    }

    #[test]
    fn ended_instances_do_not_pile_up() {
        let execs = Execs::new();
        for number in 0..KEPT_MAX + 10 {
            let id = number.to_string();
            execs.insert(exec(&id));
            execs.end(&id, 0);
        }
        assert_eq!(execs.lock().by_id.len(), KEPT_MAX);
        assert!(execs.get("0").is_err());
        execs.forget("c");
        assert!(execs.lock().by_id.is_empty());
    }

    #[test]
    fn instances_that_nobody_starts_do_not_pile_up() {
        let execs = Execs::new();
        execs.insert(exec("first"));
        execs.begin("first").unwrap();
        for number in 0..4 * PREPARED_MAX {
            execs.insert(exec(&number.to_string()));
            assert!(execs.lock().by_id.len() <= 2 * PREPARED_MAX + 1);
        }
        assert!(execs.get("first").unwrap().running);
        assert!(execs.get("0").is_err());
        execs.begin(&(4 * PREPARED_MAX - 1).to_string()).unwrap();
        execs.end("first", 0);
        execs.forget_prepared("c");
        assert_eq!(execs.lock().by_id.len(), 2, "what runs and what ended is still known");
        execs.forget("c");
        let instances = execs.lock();
        assert!(instances.by_id.is_empty() && instances.prepared.is_empty() && instances.ended.is_empty());
    }
}
