//! The caller's side of a new container: everything is checked and opened, the process is cloned, and while it
//! mounts, its cgroup is made.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use berth_oci::runtime::{LinuxNamespaceType, LinuxResources, State, Status, VERSION};
use berth_sys::clone::{
    CLONE_NEWCGROUP, CLONE_NEWTIME, Clone3, Cloned, clone3, exit_now, is_single_threaded,
};
use rustix::fs::{Mode, OFlags, ResolveFlags, fstatfs, open, openat2};
use rustix::io::Errno;
use rustix::process::{
    DumpableBehavior, Pid, Signal, WaitId, WaitIdOptions, pidfd_send_signal, set_dumpable_behavior, waitid,
};

use crate::cgroup::systemd::{self, Unit};
use crate::cgroup::{Cgroup, Hierarchies, Version};
use crate::channel::{Channel, Message};
use crate::create::Watcher;
use crate::init::{CgroupJoin, Gate, Init};
use crate::listener::Listener;
use crate::namespace::{self, Detour, Namespaces, map_lines};
use crate::process::ProcessPlan;
use crate::rootfs::{PROC_MAGIC, RootPlan, Sources};
use crate::seccomp::Program;
use crate::{Create, Error, hooks, sysctl};

/// A configuration that has been checked.
pub(crate) struct Checked<'a> {
    pub(crate) namespaces: Namespaces,
    pub(crate) root: RootPlan<'a>,
    pub(crate) filter: Option<Program>,
    pub(crate) cgroup_path: String,
    /// The unit that systemd makes the cgroup for.
    pub(crate) unit: Option<Unit>,
}

/// A container's process that was cloned.
#[derive(Debug)]
pub(crate) struct Launched {
    pub(crate) pid: i32,
    pub(crate) pidfd: OwnedFd,
    pub(crate) channel: Channel,
    pub(crate) cgroup: Option<Cgroup>,
    pub(crate) console: Option<OwnedFd>,
    pub(crate) filter: Option<Program>,
    pub(crate) state: State,
}

impl<'a> Checked<'a> {
    pub(crate) fn new(request: &Create<'a>) -> Result<Self, Error> {
        let spec = request.spec;
        let namespaces = Namespaces::from_spec(spec)?;
        sysctl::check(spec, &namespaces)?;
        let linux = spec.linux.as_ref();
        if linux.is_some_and(|linux| linux.intel_rdt.is_some()) {
            return Err(Error::InvalidSpec("intelRdt is not supported".to_owned()));
        }
        let unit = unit(request)?;
        Ok(Self {
            root: RootPlan::new(spec, request.bundle, request.rootfs, &namespaces)?,
            filter: compile_filter(spec)?,
            cgroup_path: unit.as_ref().map_or_else(|| cgroup_path(request), Unit::path),
            unit,
            namespaces,
        })
    }
}

/// The filter of a configuration, if it has one.
pub(crate) fn compile_filter(spec: &berth_oci::Spec) -> Result<Option<Program>, Error> {
    let profile = spec.linux.as_ref().and_then(|linux| linux.seccomp.as_ref());
    profile.map(crate::seccomp::compile).transpose().map_err(|error| Error::InvalidSpec(error.to_string()))
}

/// Where the container's cgroup is, from the root of the hierarchies.
fn cgroup_path(request: &Create<'_>) -> String {
    match configured_path(request) {
        "" => format!("/{}", request.id),
        path if path.starts_with('/') => path.to_owned(),
        path => format!("/{path}"),
    }
}

/// The unit, if systemd is to make the cgroup.
fn unit(request: &Create<'_>) -> Result<Option<Unit>, Error> {
    if !request.options.systemd_cgroup {
        return Ok(None);
    }
    if !systemd::is_running() {
        let text = "systemd not running on this host, cannot use systemd cgroups manager";
        return Err(Error::InvalidSpec(text.to_owned()));
    }
    Unit::parse(configured_path(request), request.id).map(Some).map_err(Error::InvalidSpec)
}

fn configured_path<'a>(request: &Create<'a>) -> &'a str {
    request.spec.linux.as_ref().map_or("", |linux| linux.cgroups_path.as_str())
}

/// Clones the container's process and sees it to the point before `execve`.
///
/// With a gate that is open it does not stop there, and the answer comes when the program runs.
pub(crate) fn launch(
    request: &Create<'_>,
    gate: Gate,
    watcher: Option<Watcher<'_>>,
) -> Result<Launched, Error> {
    if !is_single_threaded() {
        return Err(Error::system("clone a process with several threads", Errno::DEADLK));
    }
    let checked = Checked::new(request)?;
    let process = request.spec.process.as_ref();
    let process = process.ok_or_else(|| Error::InvalidSpec("process is missing".to_owned()))?;
    let personality = request.spec.linux.as_ref().and_then(|linux| linux.personality.as_ref());
    let mut process = ProcessPlan::new(process, personality, checked.filter.as_ref())?;
    process.preserved = request.preserve_fds.len();
    // No process of a container it may meet can look into it, or reach the file it runs from.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|errno| Error::system("hide the process", errno))?;

    let waits = !matches!(gate, Gate::Open);
    let mut launched = clone_init(request, &checked, &process, gate)?;
    launched.filter = checked.filter;
    match launched.attend(request, &checked.namespaces, waits, watcher) {
        Ok(()) => Ok(launched),
        Err(error) => {
            let error = launched.explain(error);
            launched.undo();
            Err(error)
        }
    }
}

fn clone_init(
    request: &Create<'_>,
    checked: &Checked<'_>,
    process: &ProcessPlan<'_>,
    gate: Gate,
) -> Result<Launched, Error> {
    let (namespaces, spec) = (&checked.namespaces, request.spec);
    let hierarchies = Arc::new(Hierarchies::detect()?);
    let resources = resources(spec);
    // A process can be cloned into a group of version 2; one of version 1 is made while the process mounts.
    // systemd makes one for a process that is there.
    let ahead = hierarchies.version() == Version::V2 && checked.unit.is_none();
    let cgroup =
        ahead.then(|| Cgroup::create(&hierarchies, &checked.cgroup_path, resources.as_ref())).transpose()?;
    let sources = if checked.root.needs_caller() { checked.root.open_sources()? } else { Sources::default() };
    let joined = namespaces.open_joined()?;
    let proc = open_proc()?;
    let state = State {
        oci_version: VERSION.to_owned(),
        id: request.id.to_owned(),
        status: Status::Creating,
        pid: 0,
        bundle: request.bundle.to_string_lossy().into_owned(),
        annotations: spec.annotations.clone(),
    };
    let seccomp = spec.linux.as_ref().and_then(|linux| linux.seccomp.as_ref());
    let listener = seccomp.map(|profile| Listener::connect(profile, state.clone())).transpose()?.flatten();
    let (channel, child) = Channel::pair().map_err(|errno| Error::system("make a socket pair", errno))?;

    let own_user = namespaces.has(LinuxNamespaceType::User);
    let request_of_clone = Clone3 {
        namespaces: namespaces.new & !(CLONE_NEWCGROUP | CLONE_NEWTIME),
        cgroup: cgroup.as_ref().and_then(Cgroup::clone_fd),
        sibling: false,
    };
    let time = namespaces.is_new(LinuxNamespaceType::Time).then(|| Detour::new_time(spec)).transpose()?;
    let way = Way::of(namespaces, joined)?;
    match way.clone(request_of_clone, &child, &channel)? {
        Side::Caller { pid, pidfd } => {
            drop(time);
            drop(child);
            let mut launched = Launched {
                pid,
                pidfd,
                channel,
                cgroup,
                console: None,
                filter: None,
                state: State { pid, ..state },
            };
            if let Err(error) =
                launched.make_cgroup(request, checked, &hierarchies, resources.as_ref(), own_user)
            {
                launched.undo();
                return Err(error);
            }
            Ok(launched)
        }
        Side::Init { joined } => {
            drop(channel);
            Init {
                id: request.id,
                spec,
                state,
                options: &request.options,
                namespaces,
                root: &checked.root,
                process,
                channel: child,
                proc,
                joined,
                sources,
                cgroup: CgroupJoin {
                    hierarchies: Some(&hierarchies),
                    path: &checked.cgroup_path,
                    is_member: ahead || own_user || checked.unit.is_some(),
                    new_namespace: namespaces.is_new(LinuxNamespaceType::Cgroup),
                },
                listener,
                stdio: &request.stdio,
                preserved: &request.preserve_fds,
                gate,
                new_user: namespaces.is_new(LinuxNamespaceType::User),
            }
            .run()
        }
    }
}

fn resources(spec: &berth_oci::Spec) -> std::borrow::Cow<'_, LinuxResources> {
    let found = spec.linux.as_ref().and_then(|linux| linux.resources.as_ref());
    found.map_or_else(|| std::borrow::Cow::Owned(LinuxResources::default()), std::borrow::Cow::Borrowed)
}

/// procfs of the host, verified: what is done below it concerns this process and the kernel, and nothing else.
pub(crate) fn open_proc() -> Result<OwnedFd, Error> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let proc = open("/proc", flags, Mode::empty()).map_err(|errno| Error::system("open /proc", errno))?;
    match fstatfs(&proc) {
        Ok(statfs) if statfs.f_type as u64 == PROC_MAGIC => Ok(proc),
        Ok(_) => Err(Error::system("use /proc, which is no procfs", Errno::NODEV)),
        Err(errno) => Err(Error::system("look at /proc", errno)),
    }
}

/// How the process comes into the namespaces that are there already.
enum Way {
    /// It joins them itself, after the clone; into a PID namespace it is born.
    Direct { detour: Option<Detour>, joined: Vec<(LinuxNamespaceType, OwnedFd)> },
    /// A process in between joins them and clones the real one: new namespaces belong to the user namespace that
    /// their maker is in, and a process in a new user namespace may not join those of the host.
    Between { joined: Vec<(LinuxNamespaceType, OwnedFd)> },
}

/// Where the clone went on.
enum Side {
    Caller { pid: i32, pidfd: OwnedFd },
    Init { joined: Vec<(LinuxNamespaceType, OwnedFd)> },
}

impl Way {
    fn of(namespaces: &Namespaces, mut joined: Vec<(LinuxNamespaceType, OwnedFd)>) -> Result<Self, Error> {
        if namespaces.has(LinuxNamespaceType::User) && !joined.is_empty() {
            return Ok(Self::Between { joined });
        }
        let at = joined.iter().position(|(kind, _)| *kind == LinuxNamespaceType::Pid);
        let pid = at.map(|at| joined.remove(at));
        let detour = pid.map(|(kind, namespace)| Detour::join(kind, namespace)).transpose()?;
        Ok(Self::Direct { detour, joined })
    }

    fn clone(self, request: Clone3<'_>, child: &Channel, channel: &Channel) -> Result<Side, Error> {
        let failed = |errno| Error::system("clone the container's process", errno);
        match self {
            Self::Direct { detour, joined } => {
                // SAFETY: this process has one thread, `launch` made sure; the child goes on to execve or its end.
                match unsafe { clone3(request) }.map_err(failed)? {
                    Cloned::Parent { pid, pidfd } => {
                        drop(detour);
                        Ok(Side::Caller { pid, pidfd })
                    }
                    Cloned::Child => Ok(Side::Init { joined }),
                }
            }
            Self::Between { joined } => {
                // SAFETY: as above.
                match unsafe { clone3(Clone3 { namespaces: 0, ..request }) }.map_err(failed)? {
                    Cloned::Parent { pidfd, .. } => await_process(channel, &pidfd),
                    Cloned::Child => Ok(between(joined, request.namespaces, child)),
                }
            }
        }
    }
}

/// The process in between: joins, clones its sibling, tells the caller about it, and ends.
fn between(joined: Vec<(LinuxNamespaceType, OwnedFd)>, namespaces: u64, child: &Channel) -> Side {
    let result = join_all(joined).and_then(|()| {
        let request = Clone3 { namespaces, cgroup: None, sibling: true };
        // SAFETY: the copy of a process with one thread has one thread.
        unsafe { clone3(request) }.map_err(|errno| crate::error::init("clone the container's process", errno))
    });
    match result {
        Ok(Cloned::Child) => Side::Init { joined: Vec::new() },
        Ok(Cloned::Parent { pid, pidfd }) => {
            let _ = child.send(&Message::Process { pid, pidfd });
            exit_now(0)
        }
        Err(error) => {
            let _ = child.send_failure(&error);
            exit_now(1)
        }
    }
}

/// Those of the host can only be joined before the user namespace, those that belong to it only after.
fn join_all(joined: Vec<(LinuxNamespaceType, OwnedFd)>) -> Result<(), Error> {
    let mut later = Vec::new();
    for (kind, namespace) in joined {
        match namespace::join(kind, &namespace) {
            Ok(()) => {}
            Err(Errno::PERM) if kind != LinuxNamespaceType::User => later.push((kind, namespace)),
            Err(errno) => return Err(join_failed(kind, errno)),
        }
    }
    later.into_iter().try_for_each(|(kind, namespace)| {
        namespace::join(kind, namespace).map_err(|errno| join_failed(kind, errno))
    })
}

fn join_failed(kind: LinuxNamespaceType, errno: Errno) -> Error {
    crate::error::init(format!("join {} namespace", namespace::proc_name(kind)), errno)
}

fn await_process(channel: &Channel, between: &OwnedFd) -> Result<Side, Error> {
    let message = channel.receive();
    let _ = waitid(WaitId::PidFd(between.as_fd()), WaitIdOptions::EXITED);
    match message {
        Ok(Some(Message::Process { pid, pidfd })) => Ok(Side::Caller { pid, pidfd }),
        Ok(Some(Message::Failed(error))) => Err(error),
        Ok(_) => Err(Error::system("clone the container's process", Errno::CHILD)),
        Err(errno) => Err(Error::system("clone the container's process", errno)),
    }
}

impl Launched {
    /// Makes the cgroup, if it is not there yet, and what else only the caller can do. The process waits for it.
    fn make_cgroup(
        &mut self,
        request: &Create<'_>,
        checked: &Checked<'_>,
        hierarchies: &Arc<Hierarchies>,
        resources: &LinuxResources,
        attach: bool,
    ) -> Result<(), Error> {
        let path = checked.cgroup_path.as_str();
        if let Some(unit) = &checked.unit {
            self.cgroup = Some(systemd::create(hierarchies, unit, self.pid, request.spec, resources)?);
        } else if self.cgroup.is_none() {
            self.cgroup = Some(Cgroup::create(hierarchies, path, resources)?);
            if let (true, Some(cgroup), Some(pid)) = (attach, &self.cgroup, Pid::from_raw(self.pid)) {
                cgroup.attach(pid).map_err(|error| {
                    Error::system(format!("enter the cgroup {path} ({})", error.hierarchy), error.errno)
                })?;
            }
        }
        Ok(())
    }

    /// Answers the process until it is ready, or until its program runs.
    fn attend(
        &mut self,
        request: &Create<'_>,
        namespaces: &Namespaces,
        waits: bool,
        watcher: Option<Watcher<'_>>,
    ) -> Result<(), Error> {
        if namespaces.is_new(LinuxNamespaceType::User) {
            self.write_maps(request)?;
            self.tell(&Message::Mapped)?;
        }
        self.tell(&Message::Cgroup)?;
        self.adjust_oom_score(request)?;
        if let Some(watcher) = watcher {
            let path = self.cgroup.as_ref().map(Cgroup::path).unwrap_or_default();
            watcher(self.pid, &path).map_err(|message| Error::Init { message, errno: None })?;
        }
        let mut ready = false;
        loop {
            match self.channel.receive().map_err(|errno| Error::system("hear from the container", errno))? {
                Some(Message::Console(master)) => self.console = Some(master),
                Some(Message::RunHooks) => {
                    self.run_create_hooks(request)?;
                    self.tell(&Message::HooksRan)?;
                }
                Some(Message::Ready) if waits => return Ok(()),
                Some(Message::Ready) => ready = true,
                Some(Message::Failed(error)) => return Err(error),
                None if ready => return Ok(()),
                // Somebody was faster than the program: it has run, and ended by that signal.
                None if !waits && self.was_killed() => return Ok(()),
                None => return Err(Error::Init { message: String::new(), errno: None }),
                Some(other) => {
                    let message = format!("unexpected {other:?} from the container's process");
                    return Err(Error::Init { message, errno: None });
                }
            }
        }
    }

    fn tell(&self, message: &Message) -> Result<(), Error> {
        match self.channel.send(message) {
            // Its last message says why it is gone.
            Ok(()) | Err(Errno::PIPE) => Ok(()),
            Err(errno) => Err(Error::system("tell the container's process", errno)),
        }
    }

    fn write_maps(&self, request: &Create<'_>) -> Result<(), Error> {
        let Some(linux) = &request.spec.linux else { return Ok(()) };
        for (file, mappings) in [("uid_map", &linux.uid_mappings), ("gid_map", &linux.gid_mappings)] {
            let path = format!("/proc/{}/{file}", self.pid);
            std::fs::write(&path, map_lines(mappings))
                .map_err(|error| Error::system(format!("write {path}"), error))?;
        }
        Ok(())
    }

    /// Whoever may not lower it leaves it where it is, as other runtimes do.
    fn adjust_oom_score(&self, request: &Create<'_>) -> Result<(), Error> {
        match request.spec.process.as_ref().and_then(|process| process.oom_score_adj) {
            Some(value) => adjust_oom_score(self.pid, value),
            None => Ok(()),
        }
    }

    fn run_create_hooks(&self, request: &Create<'_>) -> Result<(), Error> {
        let Some(found) = &request.spec.hooks else { return Ok(()) };
        hooks::run("prestart", &found.prestart, &self.state)?;
        hooks::run("createRuntime", &found.create_runtime, &self.state)
    }

    /// Whether the process, which has closed its channel, was killed by somebody and not by its memory limit.
    fn was_killed(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        let Ok(Some(status)) = waitid(WaitId::PidFd(self.pidfd.as_fd()), options) else { return false };
        status.terminating_signal() == Some(Signal::KILL.as_raw()) && !self.was_out_of_memory()
    }

    fn was_out_of_memory(&self) -> bool {
        self.cgroup.as_ref().and_then(|cgroup| cgroup.oom_kills().ok()).is_some_and(|count| count > 0)
    }

    /// A process that ended without a word was killed: mostly because its memory limit does not hold it.
    pub(crate) fn explain(&self, error: Error) -> Error {
        if !matches!(&error, Error::Init { message, .. } if message.is_empty()) {
            return error;
        }
        let message = if self.was_out_of_memory() {
            "container init was OOM-killed (memory limit too low?)"
        } else {
            "container init died before it could say why"
        };
        Error::Init { message: message.to_owned(), errno: None }
    }

    /// Kills and reaps the process, and removes its cgroup.
    pub(crate) fn undo(&self) {
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
        let _ = waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED);
        if let Some(cgroup) = &self.cgroup {
            // Processes that it left behind, where it had no PID namespace of its own.
            let _ = cgroup.kill_all();
            let _ = cgroup.remove();
        }
    }
}

/// Writes `oom_score_adj` of a process, as far as the caller may.
pub(crate) fn adjust_oom_score(pid: i32, value: i32) -> Result<(), Error> {
    let proc = open_proc()?;
    let path = format!("{pid}/oom_score_adj");
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV;
    let result = openat2(&proc, path.as_str(), OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty(), resolve)
        .and_then(|file| rustix::io::write(&file, value.to_string().as_bytes()));
    match result {
        Ok(_) | Err(Errno::ACCESS | Errno::PERM | Errno::NOENT | Errno::SRCH) => Ok(()),
        Err(errno) => Err(Error::system(format!("write /proc/{path}"), errno)),
    }
}
