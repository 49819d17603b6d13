//! Executing a further process in a running container.
//!
//! One clone: the caller's next child is born in the container's PID namespace (`setns` for that one only, and back),
//! joins all others in one call by the pidfd of the container's first process, and is the caller's own child.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use berth_oci::Spec;
use berth_oci::runtime::{
    ExecCpuAffinity, LinuxNamespaceType, LinuxPersonality, LinuxSeccomp, Process, State, Status, VERSION,
};
use berth_sys::clone::{CLONE_NEWPID, CLONE_NEWUSER, Clone3, Cloned, clone3, exit_now, is_single_threaded};
use berth_sys::process::restore_signals;
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::process::{
    DumpableBehavior, Signal, WaitId, WaitIdOptions, pidfd_send_signal, set_dumpable_behavior, waitid,
};
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};

use crate::cgroup::{Cgroup, Version};
use crate::channel::{Channel, Message};
use crate::error::init;
use crate::init::{become_root_of_namespace, join_keyring};
use crate::launch::{adjust_oom_score, compile_filter, open_proc};
use crate::listener::Listener;
use crate::namespace::{Detour, Namespaces};
use crate::path::RootDir;
use crate::process::{ProcessPlan, Surroundings, place};
use crate::seccomp::Program;
use crate::{Error, Stdio};

/// The container that a process is executed in.
#[derive(Debug)]
pub struct Target<'a> {
    /// Its id.
    pub id: &'a str,
    /// Its first process, as the host numbers it.
    pub pid: i32,
    /// Its first process.
    pub pidfd: BorrowedFd<'a>,
    /// Its cgroup.
    pub cgroup: Option<&'a Cgroup>,
    /// What was kept from its configuration.
    pub profile: &'a ExecProfile,
}

/// What every later process of a container needs of its configuration: small, so that a shim can keep it.
#[derive(Debug, Clone, Default)]
pub struct ExecProfile {
    /// `CLONE_NEW*` of the namespaces that are not the host's.
    namespaces: u64,
    filter: Option<Program>,
    /// The listener of the filter.
    listener: Option<Box<LinuxSeccomp>>,
    personality: Option<LinuxPersonality>,
    no_new_keyring: bool,
}

/// A process that was executed in a container.
#[derive(Debug)]
pub struct Exec {
    /// The process, as the host numbers it: a child of the caller.
    pub pid: i32,
    /// The process, for `waitid`, `poll` and `pidfd_send_signal`.
    pub pidfd: OwnedFd,
    /// Master of the pseudo-terminal, when `process.terminal`.
    pub console: Option<OwnedFd>,
}

/// Executes a process in a running container.
///
/// # Errors
/// [`Error::Exec`] with the answer of `execve`, [`Error::Init`], [`Error::System`]; the process has been reaped.
///
/// # Blocking
/// Until `execve` succeeded or failed. The caller must have one thread only.
pub fn exec(
    target: &Target<'_>,
    process: &Process,
    stdio: &Stdio,
    preserve_fds: &[OwnedFd],
) -> Result<Exec, Error> {
    if !is_single_threaded() {
        return Err(Error::system("clone a process with several threads", Errno::DEADLK));
    }
    let profile = target.profile;
    let mut plan = ProcessPlan::new(process, profile.personality.as_ref(), profile.filter.as_ref())?;
    plan.preserved = preserve_fds.len();
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|errno| Error::system("hide the process", errno))?;
    let proc = open_proc()?;
    let listener = profile.listener.as_deref().map(|listener| Listener::connect(listener, target.state()));
    let listener = listener.transpose()?.flatten();
    let (channel, child) = Channel::pair().map_err(|errno| Error::system("make a socket pair", errno))?;
    let has_pid = profile.namespaces & CLONE_NEWPID != 0;
    let detour = has_pid.then(|| Detour::join_of(LinuxNamespaceType::Pid, target.pidfd)).transpose()?;
    let cgroup = target.cgroup.and_then(Cgroup::clone_fd);
    // SAFETY: the process has one thread, see above; the child goes on to execve or its end.
    match unsafe { clone3(Clone3 { cgroup, ..Clone3::default() }) } {
        Ok(Cloned::Child) => {
            drop(channel);
            Child { target, plan: &plan, proc, listener, channel: child, stdio, preserved: preserve_fds }
                .run()
        }
        Ok(Cloned::Parent { pid, pidfd }) => {
            drop(detour);
            drop(child);
            await_execve(&channel, process, pid, pidfd)
        }
        Err(errno) => Err(Error::system("clone a process for the container", errno)),
    }
}

/// The caller's side, until the program runs.
fn await_execve(channel: &Channel, process: &Process, pid: i32, pidfd: OwnedFd) -> Result<Exec, Error> {
    let result = attend(channel, process, pid);
    if result.is_err() {
        let _ = pidfd_send_signal(&pidfd, Signal::KILL);
        let _ = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED);
    }
    match result {
        Ok(console) => Ok(Exec { pid, pidfd, console }),
        // Nothing of the container's own set-up is done a second time.
        Err(Error::Init { message, errno }) => Err(Error::Enter { message, errno }),
        Err(error) => Err(error),
    }
}

fn attend(channel: &Channel, process: &Process, pid: i32) -> Result<Option<OwnedFd>, Error> {
    if let Some(value) = process.oom_score_adj {
        adjust_oom_score(pid, value)?;
    }
    let (mut console, mut ready) = (None, false);
    loop {
        match channel.receive().map_err(|errno| Error::system("hear from the process", errno))? {
            Some(Message::Console(master)) => console = Some(master),
            Some(Message::Ready) => ready = true,
            Some(Message::Failed(error)) => return Err(error),
            None if ready => return Ok(console),
            None => {
                let message = "the process died before it could say why".to_owned();
                return Err(Error::Init { message, errno: None });
            }
            Some(other) => {
                let message = format!("unexpected {other:?} from the process");
                return Err(Error::Init { message, errno: None });
            }
        }
    }
}

impl Target<'_> {
    fn state(&self) -> State {
        State {
            oci_version: VERSION.to_owned(),
            id: self.id.to_owned(),
            status: Status::Running,
            pid: self.pid,
            bundle: String::new(),
            annotations: [].into(),
        }
    }
}

impl ExecProfile {
    /// Keeps what later processes need.
    ///
    /// # Errors
    /// [`Error::InvalidSpec`] for a seccomp profile that cannot be compiled.
    pub fn from_spec(spec: &Spec) -> Result<Self, Error> {
        Ok(Self::new(spec, compile_filter(spec)?, false))
    }

    pub(crate) fn new(spec: &Spec, filter: Option<Program>, no_new_keyring: bool) -> Self {
        let linux = spec.linux.as_ref();
        let listener = linux.and_then(|linux| linux.seccomp.as_ref());
        Self {
            namespaces: Namespaces::from_spec(spec).map_or(0, |namespaces| namespaces.all()),
            listener: listener
                .filter(|_| filter.as_ref().is_some_and(Program::notifies))
                .map(|profile| Box::new(profile.clone())),
            filter,
            personality: linux.and_then(|linux| linux.personality.clone()),
            no_new_keyring,
        }
    }
}

/// The process, from the clone to `execve`.
struct Child<'a> {
    target: &'a Target<'a>,
    plan: &'a ProcessPlan<'a>,
    proc: OwnedFd,
    listener: Option<Listener>,
    channel: Channel,
    stdio: &'a Stdio,
    preserved: &'a [OwnedFd],
}

impl Child<'_> {
    fn run(mut self) -> ! {
        let error = match self.prepare() {
            Ok((settled, message)) => {
                let listener = self.listener.as_ref().map(Listener::socket).zip(message.as_deref());
                self.plan.execute(&settled, listener)
            }
            Err(error) => error,
        };
        let _ = self.channel.send_failure(&error);
        exit_now(1)
    }

    fn prepare(&mut self) -> Result<(crate::process::Settled, Option<Vec<u8>>), Error> {
        restore_signals();
        let none = ExecCpuAffinity::default();
        let affinity = self.plan.process.exec_cpu_affinity.as_ref().unwrap_or(&none);
        ProcessPlan::set_affinity(&affinity.initial)?;
        self.enter()?;
        ProcessPlan::set_affinity(&affinity.final_)?;
        rustix::process::umask(Mode::empty());
        if !self.target.profile.no_new_keyring {
            join_keyring(self.target.id)?;
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = open("/", flags, Mode::empty()).map_err(|errno| init("open the root", errno))?;
        let around = Surroundings { proc: self.proc.as_fd(), root: RootDir(root.as_fd()) };
        if let Some(master) = self.plan.open_stdio(self.stdio, around, false)? {
            let console = Message::Console(master);
            self.channel.send(&console).map_err(|errno| init("pass the terminal on", errno))?;
        }
        let message =
            self.listener.as_ref().map(|listener| listener.prepare(self.proc.as_fd())).transpose()?;
        let settled = self.plan.settle(around)?;
        self.channel.send(&Message::Ready).map_err(|errno| init("tell the caller", errno))?;
        if !self.preserved.is_empty() {
            let mut own = vec![self.channel.as_mut()];
            own.extend(self.listener.as_mut().map(Listener::socket_mut));
            place(self.preserved, &mut own)?;
        }
        Ok((settled, message))
    }

    /// Into the cgroup and the namespaces.
    fn enter(&self) -> Result<(), Error> {
        if let Some(cgroup) = self.target.cgroup.filter(|cgroup| cgroup.version() != Version::V2) {
            cgroup
                .attach_self()
                .map_err(|error| Error::Init { message: error.to_string(), errno: Some(error.errno) })?;
        }
        let flags = self.target.profile.namespaces & !CLONE_NEWPID;
        if flags != 0 {
            // All at once: the user namespace first, as the kernel does it, and nothing half-way.
            let kinds = ThreadNameSpaceType::from_bits_retain(flags as u32);
            move_into_thread_name_spaces(self.target.pidfd, kinds)
                .map_err(|errno| init("join the container's namespaces", errno))?;
        }
        if flags & CLONE_NEWUSER != 0 {
            become_root_of_namespace()?;
        }
        rustix::process::setsid().map(|_| ()).or_else(|errno| match errno {
            Errno::PERM => Ok(()),
            errno => Err(init("setsid", errno)),
        })
    }
}
