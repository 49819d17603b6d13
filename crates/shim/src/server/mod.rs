//! What `berth shim` runs: the supervisor of one container.
//!
//! One thread, one epoll loop, no asynchronous runtime. Everything is non-blocking but the making of processes
//! (`runtime::run`, `runtime::exec`). What a burst of output or a large request needed is given back when it is over,
//! so that an idle shim owns some twenty pages.
//!
//! ```text
//!            Start                       init reaped            Shutdown
//! Bootstrap ───────► Running (execs …) ─────────────► Exited ─────────────► gone
//!     │ failed          │ connection lost before Acknowledge    │ directory removed by others
//!     ▼                 ▼                                        ▼
//!   gone             killed, no record, gone                    gone
//! ```

mod attachment;
mod bootstrap;
mod container;
mod directory;
mod exit;
mod foreign;
mod group;
mod link;
mod poll;
mod relay;
mod requests;
mod shore;
mod sink;
mod stdio;

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::process::ExitCode;

use rustix::event::epoll::EventFlags;

use crate::log::Log;
use crate::protocol::{Answer, StartedAnswer};
use crate::types::ExitStatus;
use crate::{log, time};
use container::Container;
use link::Link;
use poll::{Poller, Ready, Token};
use relay::Relay;
use shore::Shore;
use stdio::{Context, Stdio};

/// Owners in tokens: the shim's own descriptors, the container, ports that are relayed and what goes through them, then
/// execs.
const SHIM: u32 = 0;
const CONTAINER: u32 = 1;
const LISTENERS: u32 = 2;
const TRAFFIC: u32 = 3;
const FIRST_EXEC: u32 = 4;
/// Parts of [`SHIM`].
const SIGNALS: u32 = 0;
const LISTENER: u32 = 1;
const OOM: u32 = 2;
/// Connections get the next parts, each its own.
const FIRST_LINK: u32 = 16;
/// Room for one read of output.
const SCRATCH: usize = 64 * 1024;
/// How long memory of a burst is kept for the next one.
const SHRINK_NANOS: u64 = 500_000_000;
/// How long slow clients of an ended container get for the last output.
const LINGER_NANOS: u64 = 10_000_000_000;
/// The most ended execs that are remembered for an engine that is away.
const UNHEARD_MAX: usize = 1000;

/// Runs a shim; `args` are the arguments after `shim`: the container's id, which only `ps` looks at. The request comes
/// over standard input, a socket.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let began = time::monotonic_nanos();
    if args.into_iter().next().is_some_and(|first| first == "--compress") {
        return log::compress::main();
    }
    match bootstrap::bootstrap(began) {
        Some(server) => {
            server.run();
            ExitCode::SUCCESS
        }
        None => ExitCode::FAILURE,
    }
}

/// Everything a shim has.
#[derive(Debug)]
struct Server {
    poller: Poller,
    signals: OwnedFd,
    shore: Shore,
    /// The engine. While it is away, events wait.
    link: Option<Link>,
    /// A connection that has not said what it wants yet.
    caller: Option<Link>,
    link_part: u32,
    container: Container,
    stdio: Stdio,
    execs: Vec<Exec>,
    next_owner: u32,
    log: Option<Log>,
    started: StartedAnswer,
    /// Events to be sent, or that nobody was there to hear.
    unheard: Vec<Answer>,
    exited: Option<ExitStatus>,
    scratch: Vec<u8>,
    /// Kept open, nothing else.
    held: Vec<OwnedFd>,
    /// Ports that the kernel does not redirect; mostly there are none.
    relay: Option<Box<Relay>>,
    timers: Timers,
    life: Life,
}

/// Another process in the container.
#[derive(Debug)]
struct Exec {
    owner: u32,
    id: String,
    pid: u32,
    pidfd: OwnedFd,
    stdio: Stdio,
    status: Option<ExitStatus>,
    /// Its exit was told; it is here for clients that have not taken all output yet.
    told: bool,
}

/// Moments of the monotonic clock.
#[derive(Debug, Default)]
struct Timers {
    shrink: Option<u64>,
    /// A burst went on since `shrink` was set.
    busy: bool,
    record: Option<u64>,
    sync: Option<u64>,
    execs: Option<u64>,
    lonely: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Running,
    /// Whoever wanted the container is gone: it is killed, and nobody needs to know.
    Unwanted,
    /// The exit is told and waits for the engine.
    Exited,
    /// Everything is done but for clients that are slow.
    Lingering {
        until: u64,
    },
    Over,
}

impl Server {
    fn run(mut self) {
        let nothing = (Token { owner: 0, part: 0 }, EventFlags::empty());
        let mut ready: [Ready; 8] = [nothing; 8];
        while self.life != Life::Over {
            self.rearm();
            let count = self.poller.wait(&mut ready, self.timeout());
            let ends = |(token, flags): &Ready| token.owner == CONTAINER && flags.contains(EventFlags::HUP);
            // A process closes its output before it leaves its group, which systemd takes away with the count in it.
            if ready[..count].iter().any(ends) {
                self.out_of_memory();
            }
            for &(token, flags) in &ready[..count] {
                self.dispatch(token, flags);
            }
            self.tick();
            self.tell();
        }
        self.shore.leave();
    }

    fn dispatch(&mut self, token: Token, flags: EventFlags) {
        match token {
            Token { owner: SHIM, part: SIGNALS } => self.reap(),
            Token { owner: SHIM, part: LISTENER } => self.accept(),
            Token { owner: SHIM, part: OOM } => self.out_of_memory(),
            Token { owner: SHIM, part } => self.link_event(part, flags),
            Token { owner: LISTENERS | TRAFFIC, .. } => self.relay_event(token, flags),
            Token { owner, part } => self.stream_event(owner, part, flags),
        }
    }

    fn stream_event(&mut self, owner: u32, part: u32, flags: EventFlags) {
        let stdio = match owner {
            CONTAINER => Some(&mut self.stdio),
            _ => self.execs.iter_mut().find(|exec| exec.owner == owner).map(|exec| &mut exec.stdio),
        };
        let Some(stdio) = stdio else { return };
        if self.scratch.capacity() == 0 {
            self.scratch.reserve_exact(SCRATCH);
        }
        self.scratch.clear();
        let mut context = Context {
            poller: &self.poller,
            scratch: &mut self.scratch,
            log: self.log.as_mut().filter(|_| owner == CONTAINER),
            events: &mut self.unheard,
        };
        stdio.event(part, flags, &mut context);
        if self.scratch.len() > 4096 {
            self.timers.busy = true;
            self.timers.shrink.get_or_insert_with(|| time::monotonic_nanos() + SHRINK_NANOS);
        }
        if owner != CONTAINER {
            self.finish_execs(false);
        }
    }

    /// Something on a port that is relayed.
    fn relay_event(&mut self, token: Token, flags: EventFlags) {
        let Some(relay) = &mut self.relay else { return };
        self.scratch.resize(SCRATCH, 0);
        let now = time::monotonic_nanos();
        match token.owner {
            LISTENERS => relay.knock(token.part, now, &self.poller, &mut self.scratch),
            _ => relay.event(token.part, flags, now, &self.poller, &mut self.scratch),
        }
        self.timers.busy = true;
        self.timers.shrink.get_or_insert(now + SHRINK_NANOS);
    }

    /// Sends what has happened, if somebody listens.
    fn tell(&mut self) {
        if self.unheard.is_empty() {
            return;
        }
        let Some(link) = self.link.as_mut().filter(|link| link.listens) else {
            if self.unheard.len() > UNHEARD_MAX {
                self.unheard.remove(0);
            }
            return;
        };
        let sent = self.unheard.drain(..).try_for_each(|event| link.send(0, &event));
        if sent.is_err() {
            self.lose_link();
        }
    }

    fn timeout(&self) -> Option<u64> {
        let timers = &self.timers;
        let linger = match self.life {
            Life::Lingering { until } => Some(until),
            _ => None,
        };
        let relay = self.relay.as_ref().and_then(|relay| relay.due());
        let first = [timers.shrink, timers.record, timers.sync, timers.execs, timers.lonely, linger, relay]
            .into_iter()
            .flatten()
            .min()?;
        Some(first.saturating_sub(time::monotonic_nanos()))
    }

    /// Does what is due.
    fn tick(&mut self) {
        if self.timeout().is_none() {
            return;
        }
        let now = time::monotonic_nanos();
        let is_due = |timer: Option<u64>| timer.is_some_and(|due| due <= now);
        if is_due(self.timers.execs) {
            self.timers.execs = None;
            self.finish_execs(true);
        }
        if is_due(self.timers.record) {
            self.record_exit(now);
        }
        if is_due(self.timers.sync) {
            self.timers.sync = None;
            self.container.sync_exit();
        }
        if is_due(self.timers.shrink) {
            self.shrink(now);
        }
        if let Some(relay) = &mut self.relay {
            relay.tick(now, &self.poller);
        }
        if is_due(self.timers.lonely) {
            self.be_lonely(now);
        }
        if let Life::Lingering { until } = self.life {
            let idle = self.stdio.is_idle() && self.execs.iter().all(|exec| exec.stdio.is_idle());
            if idle || until <= now {
                self.abandon_clients();
                self.life = Life::Over;
            }
        }
    }

    /// Gives back what a burst needed, once it is over.
    fn shrink(&mut self, now: u64) {
        if std::mem::take(&mut self.timers.busy) {
            self.timers.shrink = Some(now + SHRINK_NANOS);
            return;
        }
        self.timers.shrink = None;
        self.scratch = Vec::new();
        if let Some(log) = &mut self.log {
            log.shrink();
        }
        if let Some(relay) = &mut self.relay {
            relay.shrink();
        }
        berth_sys::supervisor::trim_heap();
    }

    fn rearm(&mut self) {
        if let Some(link) = &mut self.link {
            link.rearm(&self.poller, Token { owner: SHIM, part: self.link_part });
        }
        if let Some(caller) = &mut self.caller {
            caller.rearm(&self.poller, Token { owner: SHIM, part: self.link_part + 1 });
        }
    }

    fn abandon_clients(&mut self) {
        self.stdio.abandon(&self.poller);
        for exec in &mut self.execs {
            exec.stdio.abandon(&self.poller);
        }
    }
}
