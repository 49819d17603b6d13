//! `create`, `run` and `start`.

use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use berth_oci::Spec;
use berth_oci::runtime::{ConsoleSize, Status};
use berth_sys::process::{process_stat, take_inherited};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;
use serde_json::value::RawValue;

use super::arguments::{Flag, Parsed};
use super::container::{Container, Directory, Record};
use super::{About, Failure, Global, Outcome, delete, foreground, protect, terminal};
use crate::channel::error_from_bytes;
use crate::create::{Watcher, with_gate};
use crate::init::Gate;
use crate::{Create, Created, Options, Stdio, hooks};

pub(super) const CREATE: &[Flag] = &[
    Flag::value("bundle").or('b'),
    Flag::value("console-socket"),
    Flag::value("pidfd-socket"),
    Flag::value("pid-file"),
    Flag::switch("no-pivot"),
    Flag::switch("no-new-keyring"),
    Flag::value("preserve-fds"),
];

pub(super) const RUN: &[Flag] = &[
    Flag::value("bundle").or('b'),
    Flag::value("console-socket"),
    Flag::value("pidfd-socket"),
    Flag::value("pid-file"),
    Flag::switch("detach").or('d'),
    Flag::switch("keep"),
    Flag::switch("no-subreaper"),
    Flag::switch("no-pivot"),
    Flag::switch("no-new-keyring"),
    Flag::value("preserve-fds"),
];

/// A bundle and what the command line says about it.
struct Request<'a> {
    id: &'a str,
    text: String,
    spec: Spec,
    bundle: PathBuf,
    preserved: Vec<OwnedFd>,
    /// Variables of socket activation, which concern the process itself.
    activation: Vec<String>,
    options: Options,
}

pub(super) fn create(global: &Global, arguments: &Parsed) -> Outcome {
    protect::protect()?;
    make(global, arguments).map_err(|failure| failure.during("runc create failed"))
}

fn make(global: &Global, arguments: &Parsed) -> Outcome {
    let mut request = Request::read(global, arguments)?;
    terminal::check(&request.spec, true, arguments.value("console-socket"))?;
    let directory = Directory::of(global, request.id)?;
    directory.make()?;
    let result = directory.make_fifo().and_then(|fifo| {
        let created = request.launch(&directory, Gate::Fifo(fifo))?;
        hand_over(arguments, &created).inspect_err(|_| created.undo())
    });
    result.map(|()| ExitCode::SUCCESS).inspect_err(|_| {
        let _ = directory.remove();
    })
}

pub(super) fn run(global: &Global, arguments: &Parsed) -> Outcome {
    protect::protect()?;
    make_and_attend(global, arguments).map_err(|failure| failure.during("runc run failed"))
}

fn make_and_attend(global: &Global, arguments: &Parsed) -> Outcome {
    let mut request = Request::read(global, arguments)?;
    let detached = arguments.has("detach");
    terminal::check(&request.spec, detached, arguments.value("console-socket"))?;
    let directory = Directory::of(global, request.id)?;
    directory.make()?;
    let result = run_in(&mut request, arguments, &directory, detached);
    if result.is_err() {
        let _ = directory.remove();
    }
    result
}

fn run_in(request: &mut Request<'_>, arguments: &Parsed, directory: &Directory, detached: bool) -> Outcome {
    // Signals are for the container from now on, and none of them gets lost while it is made.
    let signals = if detached { None } else { Some(foreground::watch()?) };
    if !detached {
        request.take_terminal_size();
    }
    let mut created = request.launch(directory, Gate::Open)?;
    hand_over(arguments, &created).inspect_err(|_| created.undo())?;
    let has_socket = arguments.value("console-socket").is_some();
    let console = created.console.take().filter(|_| !has_socket);
    let running = created.started()?;
    let Some(signals) = signals else { return Ok(ExitCode::SUCCESS) };
    let code = foreground::attend(&running, console, &signals)?;
    if !arguments.has("keep") {
        let hooks = request.spec.hooks.as_ref().filter(|hooks| !hooks.poststop.is_empty());
        let state = hooks.map(|hooks| (hooks, request.state(running.pid)));
        delete::clean_up(running.cgroup.as_ref(), directory)?;
        if let Some((hooks, state)) = state {
            hooks::run("poststop", &hooks.poststop, &state)?;
        }
    }
    Ok(ExitCode::from(code))
}

/// What the caller asked to be told: the terminal, the process.
fn hand_over(arguments: &Parsed, created: &Created) -> Result<(), Failure> {
    if let (Some(socket), Some(console)) = (arguments.value("console-socket"), &created.console) {
        terminal::send(socket, console.as_fd(), b"/dev/ptmx")?;
    }
    if let Some(socket) = arguments.value("pidfd-socket") {
        terminal::send(socket, created.pidfd().as_fd(), b"pidfd")?;
    }
    write_pid_file(arguments.value("pid-file"), created.pid)
}

/// Written beside and renamed: who waits for the file never reads half a number.
pub(super) fn write_pid_file(path: Option<&str>, pid: i32) -> Result<(), Failure> {
    let Some(path) = path.map(Path::new) else { return Ok(()) };
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let beside = path.with_file_name(format!(".{name}"));
    std::fs::write(&beside, pid.to_string())
        .and_then(|()| std::fs::rename(&beside, path))
        .about(format_args!("write {}", path.display()))
}

/// Descriptors from 3 on that are passed to the process. First of all, before anything else is opened there.
pub(super) fn preserved(arguments: &Parsed) -> Result<(Vec<OwnedFd>, Vec<String>), Failure> {
    let asked: u32 = arguments.number("preserve-fds")?.unwrap_or(0);
    let activated: u32 = std::env::var("LISTEN_FDS").ok().and_then(|count| count.parse().ok()).unwrap_or(0);
    if asked == 0 && activated == 0 {
        return Ok((Vec::new(), Vec::new()));
    }
    let descriptors = take_inherited(3, activated.saturating_add(asked)).map_err(|(fd, errno)| {
        Failure::new(format!("preserve-fds: fd {fd} is not valid: {}", crate::error::text(errno)))
    })?;
    let mut variables = Vec::new();
    if activated > 0 {
        variables.push(format!("LISTEN_FDS={activated}"));
        variables.push("LISTEN_PID=1".to_owned());
        variables.extend(std::env::var("LISTEN_FDNAMES").ok().map(|names| format!("LISTEN_FDNAMES={names}")));
    }
    Ok((descriptors, variables))
}

impl<'a> Request<'a> {
    /// The container's terminal is as large as ours from its first moment, unless the configuration says how large.
    fn take_terminal_size(&mut self) {
        let process = self.spec.process.as_mut().filter(|process| process.terminal);
        if let Some(process) = process.filter(|process| process.console_size.is_none())
            && let Ok(size) = rustix::termios::tcgetwinsize(rustix::stdio::stdin())
            && size.ws_row > 0
        {
            let (height, width) = (size.ws_row.into(), size.ws_col.into());
            process.console_size = Some(ConsoleSize { height, width });
        }
    }

    fn read(global: &Global, arguments: &'a Parsed) -> Result<Self, Failure> {
        let id = arguments.id()?;
        let (preserved, activation) = preserved(arguments)?;
        if let Some(bundle) = arguments.value("bundle") {
            rustix::process::chdir(bundle).about(format_args!("chdir {bundle}"))?;
        }
        let bundle = std::env::current_dir().about("getwd")?;
        let text = std::fs::read_to_string("config.json").map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Failure::new("JSON specification file config.json not found"),
            _ => Failure::new(format!("open config.json: {}", crate::error::io_text(&error))),
        })?;
        let spec: Spec =
            serde_json::from_str(&text).map_err(|error| Failure::new(format!("config.json: {error}")))?;
        let options = Options {
            no_pivot: arguments.has("no-pivot"),
            systemd_cgroup: global.systemd_cgroup,
            no_new_keyring: arguments.has("no-new-keyring"),
        };
        Ok(Self { id, text, spec, bundle, preserved, activation, options })
    }

    fn launch(&mut self, directory: &Directory, gate: Gate) -> Result<Created, Failure> {
        if let Some(process) = &mut self.spec.process {
            process.env.append(&mut self.activation);
        }
        let rootfs = self.spec.root.as_ref().map(|root| self.bundle.join(&root.path)).unwrap_or_default();
        let text = std::mem::take(&mut self.text);
        let config =
            RawValue::from_string(text).map_err(|error| Failure::new(format!("config.json: {error}")))?;
        let mut record = Record {
            id: self.id.to_owned(),
            pid: 0,
            start_time: 0,
            bundle: self.bundle.clone(),
            rootfs,
            created: jiff::Timestamp::now().to_string(),
            owner: owner(),
            cgroup: String::new(),
            no_new_keyring: self.options.no_new_keyring,
            config,
        };
        // While the process mounts, and before hooks may ask for the state.
        let mut watcher = |pid: i32, cgroup: &str| {
            record.pid = pid;
            record.start_time = process_stat(pid).map(|stat| stat.start_time).unwrap_or_default();
            cgroup.clone_into(&mut record.cgroup);
            directory.write(&record).map_err(|failure| failure.message)
        };
        let request = Create {
            id: self.id,
            spec: &self.spec,
            bundle: &self.bundle,
            rootfs: &[],
            stdio: Stdio::Inherit,
            preserve_fds: std::mem::take(&mut self.preserved),
            options: self.options.clone(),
        };
        let watcher: Watcher<'_> = &mut watcher;
        Ok(with_gate(&request, gate, Some(watcher))?)
    }

    fn state(&self, pid: i32) -> berth_oci::runtime::State {
        berth_oci::runtime::State {
            oci_version: berth_oci::runtime::VERSION.to_owned(),
            id: self.id.to_owned(),
            status: Status::Stopped,
            pid,
            bundle: self.bundle.to_string_lossy().into_owned(),
            annotations: self.spec.annotations.clone(),
        }
    }
}

pub(super) fn start(global: &Global, arguments: &Parsed) -> Outcome {
    let container = Container::load(global, arguments.id()?)?;
    match container.status() {
        Status::Created => {}
        Status::Stopped => return Err(Failure::new("cannot start a container that has stopped")),
        Status::Running => return Err(Failure::new("cannot start an already running container")),
        Status::Paused => return Err(Failure::new("cannot start a container in the paused state")),
        Status::Creating => return Err(Failure::new("cannot start a container that is being created")),
    }
    let spec = container.spec()?;
    open_gate(&container)?;
    let poststart = spec.hooks.as_ref().map_or(&[][..], |hooks| &hooks.poststart);
    if let Err(error) = hooks::run("poststart", poststart, &container.state(Status::Running, &spec)) {
        if let Some(process) = container.process() {
            let _ = rustix::process::pidfd_send_signal(&process, rustix::process::Signal::KILL);
        }
        return Err(error.into());
    }
    Ok(ExitCode::SUCCESS)
}

/// Opens the FIFO, which lets the process go on, and reads what it says until it is the program: nothing, or why not.
fn open_gate(container: &Container) -> Result<(), Failure> {
    let stopped = || Failure::new("cannot start a container that has stopped");
    let process = container.process().ok_or_else(stopped)?;
    let path = container.directory.fifo();
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fifo = rustix::fs::open(&path, flags, rustix::fs::Mode::empty()).map_err(|errno| match errno {
        Errno::NOENT => Failure::new("cannot start an already running container"),
        errno => Failure::new(format!("open {}: {}", path.display(), crate::error::text(errno))),
    })?;
    loop {
        let mut polled = [PollFd::new(&fifo, PollFlags::IN), PollFd::new(&process, PollFlags::IN)];
        match poll(&mut polled, None) {
            Err(Errno::INTR) => continue,
            result => result.about("wait for the container")?,
        };
        if !polled[0].revents().is_empty() {
            break;
        }
        if !polled[1].revents().is_empty() {
            return Err(stopped());
        }
    }
    let _ = rustix::fs::unlink(&path);
    let mut said = Vec::new();
    let flags = rustix::fs::fcntl_getfl(&fifo).about("fcntl")?;
    rustix::fs::fcntl_setfl(&fifo, flags - OFlags::NONBLOCK).about("fcntl")?;
    std::fs::File::from(fifo).read_to_end(&mut said).about("read from the container")?;
    match error_from_bytes(&said) {
        Some(error) => Err(error.into()),
        None => Ok(()),
    }
}

/// The user who runs the command; `list` shows it.
fn owner() -> String {
    match rustix::process::getuid().as_raw() {
        0 => "root".to_owned(),
        uid => uid.to_string(),
    }
}
