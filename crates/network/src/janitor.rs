//! What nobody waits for, on one thread: cutting off dead containers, closing their namespaces, and making blank
//! namespaces ahead of need.
//!
//! ```text
//! release ─► port cut off, learned addresses forgotten ─► addresses free again ─► namespace closed
//! ```
//!
//! The kernel takes a closed namespace down some time later. It holds the lock that new links need meanwhile: about a
//! millisecond for each namespace, however many it takes down together, so there is nothing to be gained by waiting for
//! more of them, and a longer stall to be lost.

use std::{
    net::IpAddr,
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use crate::{Error, conntrack, ipam::Ipam, netlink::Socket, rtnl, sandbox::Blank};

/// Blank namespaces that are kept ready. Each takes some 200 KB of the kernel's memory.
const BLANKS: usize = 4;
/// Quiet time after which blank namespaces are made: not while a container starts, which needs the same locks of the
/// kernel.
const QUIET: Duration = Duration::from_millis(2);

/// Something to be done some time.
#[derive(Debug)]
pub(crate) enum Task {
    /// A container is dead.
    Dead(Dead),
    /// A namespace is to be closed.
    Close(OwnedFd),
    /// Blank namespaces were taken.
    Refill,
}

/// A dead container's place on the bridge.
#[derive(Debug)]
pub(crate) struct Dead {
    /// Index of the host's end of its veth pair; `None` if there is none.
    pub(crate) port: Option<u32>,
    pub(crate) addresses: Vec<IpAddr>,
    /// It had published ports: there may be connections to it.
    pub(crate) published: bool,
    /// Closed when the rest is done.
    pub(crate) netns: Option<OwnedFd>,
}

/// The thread's owner. Dropping it ends the thread after what is waiting is done.
#[derive(Debug)]
pub(crate) struct Janitor {
    tasks: Option<Sender<Task>>,
    thread: Option<JoinHandle<()>>,
    shared: Arc<Shared>,
}

/// What the thread shares with the callers.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    pub(crate) ipam: Mutex<Option<Ipam>>,
    blanks: Mutex<Vec<Blank>>,
}

impl Janitor {
    pub(crate) fn start() -> Result<Janitor, Error> {
        let shared = Arc::new(Shared::default());
        let (tasks, waiting) = channel();
        let worker = Worker { shared: Arc::clone(&shared), socket: None, conntrack: None };
        let thread = thread::Builder::new()
            .name("network".to_owned())
            .stack_size(256 * 1024)
            .spawn(move || worker.run(&waiting))
            .map_err(|error| Error::kernel("start the network's thread", error))?;
        Ok(Janitor { tasks: Some(tasks), thread: Some(thread), shared })
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Leaves something to be done.
    pub(crate) fn leave(&self, task: Task) {
        if let Some(tasks) = &self.tasks {
            // The thread ends only with the sender.
            let _ = tasks.send(task);
        }
    }

    /// A blank namespace: one that is ready, or a new one. The caller leaves a [`Task::Refill`] when it is done.
    pub(crate) fn blank(&self) -> Result<Blank, Error> {
        let ready = self.shared.blanks.lock().unwrap_or_else(PoisonError::into_inner).pop();
        ready.map_or_else(Blank::create, Ok)
    }
}

impl Drop for Janitor {
    fn drop(&mut self) {
        self.tasks = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Worker {
    shared: Arc<Shared>,
    socket: Option<Socket>,
    conntrack: Option<Socket>,
}

impl Worker {
    fn run(mut self, waiting: &Receiver<Task>) {
        let mut refill = false;
        loop {
            let first = if refill {
                waiting.recv_timeout(QUIET)
            } else {
                waiting.recv().map_err(|_| RecvTimeoutError::Disconnected)
            };
            match first {
                Ok(first) => refill |= self.work(std::iter::once(first).chain(waiting.try_iter())),
                Err(RecvTimeoutError::Timeout) => refill = self.refill(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Whether a blank namespace may be lacking.
    fn work(&mut self, tasks: impl Iterator<Item = Task>) -> bool {
        let mut refill = false;
        let mut dead = Vec::new();
        for task in tasks {
            match task {
                Task::Dead(container) => dead.push(container),
                Task::Close(netns) => drop(netns),
                Task::Refill => refill = true,
            }
        }
        if !dead.is_empty() {
            self.bury(dead);
        }
        refill
    }

    fn bury(&mut self, dead: Vec<Dead>) {
        let ports: Vec<u32> = dead.iter().filter_map(|container| container.port).collect();
        if !ports.is_empty()
            && let Err(error) = self.cut(&ports)
        {
            tracing::warn!(%error, "dead containers may answer until their namespaces are gone");
        }
        // Before the addresses are another's.
        for container in dead.iter().filter(|container| container.published) {
            self.forget_connections(&container.addresses);
        }
        if let Some(ipam) = self.shared.ipam.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            for address in dead.iter().flat_map(|container| &container.addresses) {
                ipam.give_back(*address);
            }
        }
        for container in dead {
            drop(container.netns);
        }
    }

    fn cut(&mut self, ports: &[u32]) -> Result<(), Error> {
        let failed = |error| Error::kernel("cut dead containers off the bridge", std::io::Error::from(error));
        let socket = match &mut self.socket {
            Some(socket) => socket,
            none => none.insert(
                Socket::route(0).map_err(|errno| Error::kernel("open a socket to rtnetlink", errno))?,
            ),
        };
        rtnl::cut_ports(socket, ports).map_err(failed)
    }

    fn forget_connections(&mut self, addresses: &[IpAddr]) {
        if self.conntrack.is_none() {
            self.conntrack = Socket::netfilter(0).ok();
        }
        if let Some(socket) = &mut self.conntrack {
            addresses.iter().for_each(|address| conntrack::forget_container(socket, *address));
        }
    }

    /// Makes one blank namespace if one is lacking; whether it was.
    fn refill(&self) -> bool {
        let ready = self.shared.blanks.lock().unwrap_or_else(PoisonError::into_inner).len();
        if ready >= BLANKS {
            return false;
        }
        match Blank::create() {
            Ok(blank) => self.shared.blanks.lock().unwrap_or_else(PoisonError::into_inner).push(blank),
            Err(error) => {
                tracing::warn!(%error, "cannot make network namespaces ahead of need");
                return false;
            }
        }
        true
    }
}
