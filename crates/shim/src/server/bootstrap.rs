//! From the first instruction to a running container.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use berth_oci::runtime::{self as oci, Hook, LinuxNamespace, LinuxNamespaceType, Spec};
use berth_runtime::{Create, Options};
use berth_sys::supervisor;
use rustix::event::epoll::EventFlags;

use super::container::{Container, Made, Maker, other, refused};
use super::directory::Directory;
use super::foreign::Foreign;
use super::group::Group;
use super::link::Link;
use super::poll::{Poller, Token, Watch};
use super::relay::Relay;
use super::shore::Shore;
use super::stdio::{Context, Ends, Stdio};
use super::{CONTAINER, FIRST_EXEC, FIRST_LINK, Life, OOM, SHIM, SHRINK_NANOS, SIGNALS};
use super::{Server, Timers};
use crate::log::Log;
use crate::protocol::{Answer, AttachRequest, Failure, LAST_WORDS, Request, StartRequest, StartedAnswer};
use crate::time;
use crate::types::{LogFile, Runtime, State, StdinMode, Timings};

/// The request to start, with all that came along.
struct Order {
    request: StartRequest,
    netns: Option<OwnedFd>,
    attach: Vec<(AttachRequest, OwnedFd)>,
    held: Vec<OwnedFd>,
    relay: Option<Box<Relay>>,
}

/// What there is around the container.
struct Parts {
    log: Option<Log>,
    poller: Poller,
    stdio: Stdio,
}

/// A running container and what is known of it.
struct Begun {
    parts: Parts,
    container: Container,
    state: State,
    timings: Timings,
}

/// Becomes a supervisor, takes the order and carries it out. None if there is nothing to supervise.
pub(super) fn bootstrap(began: u64) -> Option<Server> {
    let signals = settle().ok()?;
    let mut link = Link::new(take_socket().ok()?);
    let (sequence, mut order) = receive(&mut link)?;
    let timings = Timings {
        spawn_us: micros(order.request.spawned_at_nanos, began),
        parse_us: micros(began, time::monotonic_nanos()),
        ..Timings::default()
    };
    leave_last_words(order.request.dir.clone());
    match start(&mut order, timings) {
        Ok(made) => Some(assemble(signals, made, order, link, sequence)),
        Err(failure) => {
            let _ = link.send(sequence, &Answer::Failed(failure));
            None
        }
    }
}

/// Makes the process fit to outlive whoever started it.
fn settle() -> io::Result<OwnedFd> {
    // Older kernels lack it; then what the engine leaked stays open.
    let _ = supervisor::close_inherited();
    supervisor::return_large_blocks();
    let signals = supervisor::watch_signals(&[rustix::process::Signal::CHILD.as_raw()])?;
    supervisor::reset_signals();
    // Fails only for a leader of a process group, which we are not unless somebody tries us out by hand.
    let _ = rustix::process::setsid();
    // We were executed by a descriptor, and its number would be our name.
    let _ = rustix::thread::set_name(c"berth-shim");
    rustix::process::chdir("/")?;
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    Ok(signals)
}

/// Standard input is the engine's socket: moves it out of the way, so that 0, 1 and 2 are all `/dev/null`.
fn take_socket() -> io::Result<OwnedFd> {
    let socket = rustix::io::fcntl_dupfd_cloexec(io::stdin().as_fd(), 3)?;
    rustix::stdio::dup2_stdin(io::stdout().as_fd())?;
    Ok(socket)
}

/// Reads until the request to start has come. None when the engine went away before, or speaks nonsense.
fn receive(link: &mut Link) -> Option<(u32, Order)> {
    let mut held = Vec::new();
    let mut relay: Option<Box<Relay>> = None;
    loop {
        let frame = link.read().ok()??;
        match serde_json::from_slice(&frame.payload).ok()? {
            Request::Hold => held.extend(frame.fds),
            Request::Relay(ports) => {
                let relay = relay.get_or_insert_default();
                for (port, socket) in ports.into_iter().zip(frame.fds) {
                    relay.add(socket, port.target, port.udp);
                }
            }
            Request::Start(mut request) => {
                let mut fds = frame.fds.into_iter();
                let netns = if request.netns { Some(fds.next()?) } else { None };
                let attach = std::mem::take(&mut request.attach).into_iter().zip(fds).collect();
                return Some((frame.sequence, Order { request: *request, netns, attach, held, relay }));
            }
            _ => return None,
        }
    }
}

/// Everything that can fail, in order.
fn start(order: &mut Order, mut timings: Timings) -> Result<Begun, Failure> {
    let began = time::monotonic_nanos();
    let request = &mut order.request;
    let terminal = request.spec.process.as_ref().is_some_and(|process| process.terminal);
    Directory::clear(&request.dir);
    let (mut parts, ends) = prepare(request.log.take(), &request.exit_file, request.stdin, terminal)?;
    if let Some(netns) = &order.netns {
        join_network(&mut request.spec, netns);
    }
    let prepared = time::monotonic_nanos();
    timings.prepare_us = micros(began, prepared);
    let (mut container, console) = run(request, ends, terminal)?;
    if let Some(Err(error)) = console.map(|console| parts.stdio.set_terminal(console)) {
        container.kill();
        container.group.end();
        container.group.remove(&parts.poller);
        container.delete();
        return Err(other("cannot use the terminal", &error));
    }
    timings.run_us = micros(prepared, time::monotonic_nanos());
    let state = State {
        id: request.id.clone(),
        pid: container.pid,
        start_time: start_time(container.pid),
        shim_pid: std::process::id(),
        shim_start_time: 0,
        boot_id: std::mem::take(&mut request.boot_id),
        cgroup: container.group.path(),
        exit_file: request.exit_file.clone(),
        started_at_nanos: time::now_nanos(),
    };
    Ok(Begun { parts, container, state, timings })
}

/// Log, pipes, and no exit status of an earlier run.
fn prepare(
    log: Option<LogFile>,
    exit_file: &Path,
    stdin: StdinMode,
    terminal: bool,
) -> Result<(Parts, Ends), Failure> {
    let log = log.map(|log| {
        let path = log.path.clone();
        Log::open(log).map_err(|error| Failure::Log { message: format!("open {}: {error}", path.display()) })
    });
    match rustix::fs::unlink(exit_file) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => {}
        Err(error) => return Err(other("cannot remove the exit status of an earlier run", &error)),
    }
    let wanted = if terminal { [false; 3] } else { [stdin != StdinMode::Null, true, true] };
    let (stdio, ends) = Stdio::pipes(CONTAINER, wanted, stdin == StdinMode::Once)
        .map_err(|error| other("cannot make pipes", &error))?;
    let poller = Poller::new().map_err(|error| other("cannot make an epoll descriptor", &error))?;
    Ok((Parts { log: log.transpose()?, poller, stdio }, ends))
}

/// The network namespace is the one that came along. Another runtime is another process, so it is named by ours.
fn join_network(spec: &mut Spec, netns: &OwnedFd) {
    let path = format!("/proc/{}/fd/{}", std::process::id(), netns.as_raw_fd());
    let namespaces = &mut spec.linux.get_or_insert_default().namespaces;
    namespaces.retain(|namespace| namespace.kind != LinuxNamespaceType::Network);
    namespaces.push(LinuxNamespace { kind: LinuxNamespaceType::Network, path });
}

/// Creates and starts the container; its terminal, if it has one.
fn run(
    request: &mut StartRequest,
    ends: Ends,
    terminal: bool,
) -> Result<(Container, Option<OwnedFd>), Failure> {
    let exit_file = request.exit_file.clone();
    if let Runtime::Command { path, args, root } = std::mem::take(&mut request.runtime) {
        let StartRequest { id, dir, spec, rootfs, .. } = request;
        let mut args = args;
        if Group::is_of_systemd(spec) {
            args.push("--systemd-cgroup".to_owned());
        }
        let runtime = Foreign::prepare((path, args, root), id, dir, spec, rootfs)?;
        let Made { pid, pidfd, console } = runtime.run(ends, terminal).inspect_err(|_| runtime.delete())?;
        let group = Group::reopen(&Group::path_of(spec));
        let maker = Maker::Foreign(runtime);
        return Ok((
            Container { id: id.clone(), pid, pidfd, group, maker, exit_file, unsynced: None },
            console,
        ));
    }
    let stdio = ends.into_stdio(terminal).map_err(|error| other("cannot open /dev/null", &error))?;
    let create = Create {
        id: &request.id,
        spec: &request.spec,
        bundle: &request.bundle,
        rootfs: &request.rootfs,
        stdio,
        preserve_fds: Vec::new(),
        options: Options { systemd_cgroup: Group::is_of_systemd(&request.spec), ..Options::default() },
    };
    let running = berth_runtime::run(&create).map_err(|error| refused("create", &error))?;
    let container = Container {
        id: request.id.clone(),
        pid: running.pid.cast_unsigned(),
        pidfd: running.pidfd,
        group: Group::new(running.cgroup),
        maker: Maker::Linked(running.profile, last_hooks(request)),
        exit_file,
        unsynced: None,
    };
    Ok((container, running.console))
}

/// The hooks to run when the container is gone, and what they are told.
fn last_hooks(request: &mut StartRequest) -> Option<Box<(Vec<Hook>, oci::State)>> {
    let hooks = std::mem::take(&mut request.spec.hooks.as_mut()?.poststop);
    let state = oci::State {
        oci_version: oci::VERSION.to_owned(),
        id: request.id.clone(),
        status: oci::Status::Stopped,
        pid: 0,
        bundle: request.bundle.to_string_lossy().into_owned(),
        annotations: std::mem::take(&mut request.spec.annotations),
    };
    (!hooks.is_empty()).then(|| Box::new((hooks, state)))
}

/// What names a process for ever, together with its pid.
pub(super) fn start_time(pid: u32) -> u64 {
    berth_sys::process::process_stat(pid.cast_signed()).map_or(0, |stat| stat.start_time)
}

/// Tells the engine first, and then does what it need not wait for.
fn assemble(signals: OwnedFd, made: Begun, order: Order, mut link: Link, sequence: u32) -> Server {
    let Begun { parts: Parts { log, poller, stdio }, container, state, timings } = made;
    let started = StartedAnswer {
        pid: state.pid,
        start_time: state.start_time,
        started_at_nanos: state.started_at_nanos,
        timings,
        warnings: Vec::new(),
        cgroup: state.cgroup.clone(),
        execs: Vec::new(),
        shim_pid: state.shim_pid,
        memo: String::new(),
    };
    let answer = Answer::Started(started);
    let told = link.set_nonblocking().and_then(|()| link.send(sequence, &answer));
    let Answer::Started(mut started) = answer else { unreachable!("it was made above") };
    started.memo = order.request.memo;
    let mut server = Server {
        poller,
        signals,
        shore: Shore::new(order.request.dir, state),
        link: Some(link),
        caller: None,
        link_part: FIRST_LINK,
        container,
        stdio,
        execs: Vec::new(),
        next_owner: FIRST_EXEC,
        log,
        started,
        unheard: Vec::new(),
        exited: None,
        scratch: Vec::new(),
        held: order.held,
        relay: order.relay,
        timers: Timers { shrink: Some(time::monotonic_nanos() + SHRINK_NANOS), ..Timers::default() },
        life: Life::Running,
    };
    server.held.extend(order.netns);
    server.watch(order.attach);
    if told.is_err() {
        server.lose_link();
    }
    server
}

impl Server {
    /// Watches everything, and lets the clients in that came with the order.
    fn watch(&mut self, attach: Vec<(AttachRequest, OwnedFd)>) {
        // Watched for as long as the shim lives.
        let token = Token { owner: SHIM, part: SIGNALS };
        self.poller.set(&self.signals, &mut Watch::default(), token, Some(EventFlags::IN));
        self.container.group.watch(&self.poller, Token { owner: SHIM, part: OOM });
        let mut context = Context {
            poller: &self.poller,
            scratch: &mut self.scratch,
            log: self.log.as_mut(),
            events: &mut self.unheard,
        };
        if let Some(relay) = &mut self.relay {
            relay.open(&self.poller);
        }
        for (request, socket) in attach {
            self.stdio.attach(request, socket, &mut context);
        }
        self.stdio.rearm(&self.poller);
    }
}

/// If the shim itself fails, it says why in its directory.
fn leave_last_words(directory: PathBuf) {
    std::panic::set_hook(Box::new(move |info| {
        let _ = std::fs::create_dir(&directory);
        let _ = std::fs::write(directory.join(LAST_WORDS), info.to_string());
    }));
}

fn micros(from: u64, to: u64) -> u32 {
    u32::try_from(to.saturating_sub(from) / 1000).unwrap_or(u32::MAX)
}
