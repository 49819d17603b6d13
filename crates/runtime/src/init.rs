//! The first process of a container, from `clone3` to `execve`.
//!
//! It is a copy of the caller with one thread, so it may allocate; it must never return into the caller's code. What
//! it needs of the host (procfs, sources of mounts, namespaces to join, the listener) was opened before, or is opened
//! before the root is left behind.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use berth_oci::runtime::{LinuxNamespaceType, Spec, State, Status};
use berth_sys::clone::{CLONE_NEWCGROUP, exit_now};
use berth_sys::link::loopback_up;
use berth_sys::process::{join_session_keyring, restore_signals};
use rustix::fs::{Gid, Mode, OFlags, Uid};
use rustix::io::Errno;

use crate::cgroup::{Cgroup, Hierarchies};
use crate::channel::{CREATE_CONTAINER, Channel, Message, START_CONTAINER, error_bytes};
use crate::error::init;
use crate::listener::Listener;
use crate::namespace::{self, Namespaces};
use crate::path::RootDir;
use crate::process::{ProcessPlan, Settled, Surroundings, place};
use crate::rootfs::{CgroupMount, RootPlan, Sources, Way, enter};
use crate::{Error, Options, Stdio, hooks, sysctl};

/// Everything the process needs.
#[derive(Debug)]
pub(crate) struct Init<'a> {
    pub(crate) id: &'a str,
    pub(crate) spec: &'a Spec,
    /// What hooks are told; the status is set where they run.
    pub(crate) state: State,
    pub(crate) options: &'a Options,
    pub(crate) namespaces: &'a Namespaces,
    pub(crate) root: &'a RootPlan<'a>,
    pub(crate) process: &'a ProcessPlan<'a>,
    pub(crate) channel: Channel,
    /// procfs of the host.
    pub(crate) proc: OwnedFd,
    /// Namespaces to join, the user namespace last; without those that were joined before the clone.
    pub(crate) joined: Vec<(LinuxNamespaceType, OwnedFd)>,
    pub(crate) sources: Sources,
    pub(crate) cgroup: CgroupJoin<'a>,
    pub(crate) listener: Option<Listener>,
    pub(crate) stdio: &'a Stdio,
    pub(crate) preserved: &'a [OwnedFd],
    pub(crate) gate: Gate,
    /// Whether ids are to be taken in a new user namespace, once it is mapped.
    pub(crate) new_user: bool,
}

/// What the process waits for before `execve`.
#[derive(Debug)]
pub(crate) enum Gate {
    /// Nothing.
    Open,
    /// A message of the caller.
    Message,
    /// Somebody who opens this FIFO: a later `start`, when the caller is gone.
    Fifo(OwnedFd),
}

/// How the process gets into its cgroup.
#[derive(Debug)]
pub(crate) struct CgroupJoin<'a> {
    pub(crate) hierarchies: Option<&'a std::sync::Arc<Hierarchies>>,
    pub(crate) path: &'a str,
    /// The process is in it from the start, or the caller puts it there.
    pub(crate) is_member: bool,
    /// A cgroup namespace is to be made once it is.
    pub(crate) new_namespace: bool,
}

impl Init<'_> {
    /// Runs to `execve` or to the end of the process.
    pub(crate) fn run(mut self) -> ! {
        let error = match self.prepare() {
            Ok((settled, listener_message)) => self.finish(&settled, listener_message.as_deref()),
            Err(error) => error,
        };
        self.fail(&error)
    }

    fn fail(&self, error: &Error) -> ! {
        if let Gate::Fifo(fifo) = &self.gate {
            let _ = rustix::io::write(fifo, &error_bytes(error));
        }
        // The caller of `create` has gone when a container fails at its start.
        if self.channel.send_failure(error).is_err() {
            let text = format!("{error}\n");
            let _ = rustix::io::write(rustix::stdio::stderr(), text.as_bytes());
        }
        exit_now(1)
    }

    /// Everything before the gate.
    fn prepare(&mut self) -> Result<(Settled, Option<Vec<u8>>), Error> {
        restore_signals();
        self.enter_namespaces()?;
        rustix::process::umask(Mode::empty());
        if !self.options.no_new_keyring {
            join_keyring(self.id)?;
        }
        if self.namespaces.is_new(LinuxNamespaceType::Network) {
            loopback_up().map_err(|errno| init("bring the loopback interface up", errno))?;
        }
        let root = self.build_root()?;
        let listener_message =
            self.listener.as_ref().map(|listener| listener.prepare(self.proc.as_fd())).transpose()?;
        let around = Surroundings { proc: self.proc.as_fd(), root: RootDir(root.as_fd()) };
        self.process.make_cwd(around.root)?;
        let settled = self.process.settle(around)?;
        self.channel.send(&Message::Ready).map_err(|errno| init("tell the caller", errno))?;
        Ok((settled, listener_message))
    }

    fn enter_namespaces(&mut self) -> Result<(), Error> {
        if self.new_user {
            self.expect("the mapping of ids", |message| matches!(message, Message::Mapped))?;
        }
        for (kind, namespace) in self.joined.drain(..) {
            namespace::join(kind, namespace)
                .map_err(|errno| init(format!("join {} namespace", namespace::proc_name(kind)), errno))?;
        }
        if self.namespaces.has(LinuxNamespaceType::User) {
            become_root_of_namespace()?;
        }
        rustix::process::setsid().map(|_| ()).or_else(|errno| match errno {
            // The caller leads a group of this number already.
            Errno::PERM => Ok(()),
            errno => Err(init("setsid", errno)),
        })
    }

    /// Mounts, hooks, `pivot_root`; what is hidden; standard input, output and error.
    fn build_root(&mut self) -> Result<OwnedFd, Error> {
        let own_mounts = self.namespaces.has(LinuxNamespaceType::Mount);
        if !own_mounts {
            return self.enter_shared_root();
        }
        let sources = std::mem::take(&mut self.sources);
        let mut cgroup = Join { init: &self.cgroup, channel: &self.channel, joined: false };
        let built = self.root.build(sources, &mut cgroup)?;
        cgroup.join()?;
        self.run_create_hooks()?;
        enter(&built.root, if self.options.no_pivot { Way::Move } else { Way::Pivot })?;
        self.set_names()?;
        self.root.finish(&built)?;
        self.open_stdio(&built.root, true)?;
        Ok(built.root)
    }

    /// Without a mount namespace nothing is mounted: the root is only gone into.
    fn enter_shared_root(&mut self) -> Result<OwnedFd, Error> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(&self.root.path, flags, Mode::empty())
            .map_err(|errno| init(format!("open {:?}", self.root.path.display()), errno))?;
        Join { init: &self.cgroup, channel: &self.channel, joined: false }.join()?;
        self.run_create_hooks()?;
        enter(&root, Way::Chroot)?;
        self.set_names()?;
        self.open_stdio(&root, false)?;
        Ok(root)
    }

    fn open_stdio(&self, root: &OwnedFd, place: bool) -> Result<(), Error> {
        let around = Surroundings { proc: self.proc.as_fd(), root: RootDir(root.as_fd()) };
        if let Some(master) = self.process.open_stdio(self.stdio, around, place)? {
            let console = Message::Console(master);
            self.channel.send(&console).map_err(|errno| init("pass the terminal on", errno))?;
        }
        Ok(())
    }

    fn run_create_hooks(&self) -> Result<(), Error> {
        let Some(hooks) = &self.spec.hooks else { return Ok(()) };
        if !hooks.prestart.is_empty() || !hooks.create_runtime.is_empty() {
            self.channel.send(&Message::RunHooks).map_err(|errno| init("ask for hooks", errno))?;
            self.expect("hooks", |message| matches!(message, Message::HooksRan))?;
        }
        if hooks.create_container.is_empty() {
            return Ok(());
        }
        hooks::run(CREATE_CONTAINER, &hooks.create_container, &self.state_for_hooks(Status::Creating))
    }

    /// Host and domain name, kernel parameters.
    fn set_names(&self) -> Result<(), Error> {
        if !self.spec.hostname.is_empty() {
            rustix::system::sethostname(self.spec.hostname.as_bytes())
                .map_err(|errno| init("sethostname", errno))?;
        }
        if !self.spec.domainname.is_empty() {
            rustix::system::setdomainname(self.spec.domainname.as_bytes())
                .map_err(|errno| init("setdomainname", errno))?;
        }
        for (key, value) in self.spec.linux.iter().flat_map(|linux| &linux.sysctl) {
            sysctl::write(self.proc.as_fd(), key, value)?;
        }
        Ok(())
    }

    /// The gate, hooks of the start, and `execve`. Comes back with the error.
    fn finish(&mut self, settled: &Settled, listener_message: Option<&[u8]>) -> Error {
        if let Err(error) = self.pass_gate().and_then(|()| self.run_start_hooks()) {
            return error;
        }
        if let Err(error) = self.place_preserved() {
            return error;
        }
        let listener = self.listener.as_ref().map(Listener::socket).zip(listener_message);
        self.process.execute(settled, listener)
    }

    fn pass_gate(&mut self) -> Result<(), Error> {
        match &self.gate {
            Gate::Open => Ok(()),
            Gate::Message => self.expect("the start", |message| matches!(message, Message::Start)),
            Gate::Fifo(fifo) => {
                let opened = reopen(self.proc.as_fd(), fifo, OFlags::WRONLY);
                self.gate = Gate::Fifo(opened.map_err(|errno| init("open the FIFO of start", errno))?);
                Ok(())
            }
        }
    }

    fn run_start_hooks(&self) -> Result<(), Error> {
        match &self.spec.hooks {
            Some(found) if !found.start_container.is_empty() => {
                hooks::run(START_CONTAINER, &found.start_container, &self.state_for_hooks(Status::Created))
            }
            _ => Ok(()),
        }
    }

    fn place_preserved(&mut self) -> Result<(), Error> {
        if self.preserved.is_empty() {
            return Ok(());
        }
        let mut own = vec![self.channel.as_mut()];
        if let Gate::Fifo(fifo) = &mut self.gate {
            own.push(fifo);
        }
        own.extend(self.listener.as_mut().map(Listener::socket_mut));
        place(self.preserved, &mut own)
    }

    fn state_for_hooks(&self, status: Status) -> State {
        let link = rustix::fs::readlinkat(&self.proc, "self", Vec::new());
        let pid = link.ok().and_then(|link| link.to_str().ok().and_then(|text| text.parse().ok()));
        State { status, pid: pid.unwrap_or(0), ..self.state.clone() }
    }

    /// Waits for a message; a caller that is gone will never send it.
    fn expect(&self, what: &str, is_it: impl Fn(&Message) -> bool) -> Result<(), Error> {
        expect(&self.channel, what, is_it)
    }
}

fn expect(channel: &Channel, what: &str, is_it: impl Fn(&Message) -> bool) -> Result<(), Error> {
    match channel.receive() {
        Ok(Some(message)) if is_it(&message) => Ok(()),
        Ok(None) => exit_now(1),
        Ok(Some(other)) => {
            Err(Error::Init { message: format!("unexpected {other:?} instead of {what}"), errno: None })
        }
        Err(errno) => Err(init(format!("wait for {what}"), errno)),
    }
}

/// The process's side of its cgroup.
struct Join<'i> {
    init: &'i CgroupJoin<'i>,
    channel: &'i Channel,
    joined: bool,
}

impl CgroupMount for Join<'_> {
    fn join(&mut self) -> Result<(), Error> {
        if self.joined {
            return Ok(());
        }
        self.joined = true;
        let Some(hierarchies) = self.init.hierarchies else { return Ok(()) };
        // Not before the limits are in force: the rules for devices come one by one, and would be met half-done.
        expect(self.channel, "the cgroup", |message| matches!(message, Message::Cgroup))?;
        if !self.init.is_member {
            let cgroup = Cgroup::reopen(hierarchies, self.init.path)?;
            cgroup
                .attach_self()
                .map_err(|error| Error::Init { message: error.to_string(), errno: Some(error.errno) })?;
        }
        if self.init.new_namespace {
            // Its root is the group that the process is in now.
            namespace::unshare(CLONE_NEWCGROUP).map_err(|errno| init("make a cgroup namespace", errno))?;
        }
        Ok(())
    }

    fn location(&self) -> Option<(&Hierarchies, &str)> {
        self.init.hierarchies.map(|hierarchies| (&**hierarchies, self.init.path))
    }
}

/// Takes the ids of root in a user namespace, if root is mapped there.
pub(crate) fn become_root_of_namespace() -> Result<(), Error> {
    let root = Uid::from_raw(0);
    match rustix::thread::set_thread_groups(&[]) {
        // `setgroups` may be denied in it; `EINVAL` is a namespace without a root.
        Ok(()) | Err(Errno::PERM | Errno::INVAL) => {}
        Err(errno) => return Err(init("drop the groups of the caller", errno)),
    }
    let group = Gid::from_raw(0);
    for result in [
        rustix::thread::set_thread_res_gid(group, group, group),
        rustix::thread::set_thread_res_uid(root, root, root),
    ] {
        match result {
            Ok(()) | Err(Errno::INVAL) => {}
            Err(errno) => return Err(init("become root of the user namespace", errno)),
        }
    }
    Ok(())
}

/// A session keyring of its own, so that the keys of the caller stay the caller's.
pub(crate) fn join_keyring(id: &str) -> Result<(), Error> {
    let name = std::ffi::CString::new(format!("_ses.{id}")).map_err(|_| init("keyring", Errno::INVAL))?;
    match join_session_keyring(&name) {
        // A kernel without keyrings, or a machine that is a container itself and may not use them.
        Ok(()) | Err(Errno::NOSYS | Errno::PERM) => Ok(()),
        Err(errno) => Err(init("unable to join session keyring", errno)),
    }
}

/// Opens what a descriptor stands for, by the host's procfs.
fn reopen(proc: BorrowedFd<'_>, fd: &OwnedFd, flags: OFlags) -> Result<OwnedFd, Errno> {
    use std::os::fd::AsRawFd;
    let path = format!("self/fd/{}", fd.as_raw_fd());
    rustix::fs::openat(proc, path, flags | OFlags::CLOEXEC, Mode::empty())
}
