//! `exec`.

use std::os::fd::AsFd;
use std::process::ExitCode;

use berth_oci::Spec;
use berth_oci::runtime::{LinuxCapabilities, Process, Status, User};

use super::arguments::{Flag, Parsed};
use super::container::Container;
use super::create::{preserved, write_pid_file};
use super::{About, Failure, Global, Outcome, foreground, protect, terminal};
use crate::{ExecProfile, Stdio, Target};

pub(super) const FLAGS: &[Flag] = &[
    Flag::value("console-socket"),
    Flag::value("pidfd-socket"),
    Flag::value("cwd"),
    Flag::value("env").or('e'),
    Flag::switch("tty").or('t'),
    Flag::value("user").or('u'),
    Flag::value("additional-gids").or('g'),
    Flag::value("process").or('p'),
    Flag::switch("detach").or('d'),
    Flag::value("pid-file"),
    Flag::value("process-label"),
    Flag::value("apparmor"),
    Flag::switch("no-new-privs"),
    Flag::value("cap").or('c'),
    Flag::value("preserve-fds"),
    Flag::value("cgroup"),
    Flag::switch("ignore-paused"),
];

/// runc's code for an exec that did not come about.
const FAILED: u8 = 255;

pub(super) fn exec(global: &Global, arguments: &Parsed) -> Outcome {
    protect::protect()?;
    run(global, arguments).map_err(|failure| failure.during("exec failed").with_code(FAILED))
}

fn run(global: &Global, arguments: &Parsed) -> Outcome {
    let (preserved, _) = preserved(arguments)?;
    let Some((id, command)) = arguments.positional.split_first() else {
        return Err(Failure::new("exec needs the id of a container"));
    };
    let container = Container::load(global, id)?;
    match container.status() {
        Status::Stopped => return Err(Failure::new("cannot exec in a stopped container")),
        Status::Paused if !arguments.has("ignore-paused") => {
            return Err(Failure::new("cannot exec in a paused container (use --ignore-paused to override)"));
        }
        _ => {}
    }
    let spec = container.spec()?;
    let process = process_of(arguments, command, &spec)?;
    let detached = arguments.has("detach");
    terminal::check_process(&process, detached, arguments.value("console-socket"))?;
    let pidfd = container.process().ok_or_else(|| Failure::new("cannot exec in a stopped container"))?;
    let profile = ExecProfile::of_container(&spec, container.record.no_new_keyring)?;
    let cgroup = match arguments.value("cgroup") {
        Some(path) => Some(sub_cgroup(&container, path)?),
        None => container.cgroup(),
    };
    let signals = if detached { None } else { Some(foreground::watch()?) };
    let target = Target {
        id,
        pid: container.record.pid,
        pidfd: pidfd.as_fd(),
        cgroup: cgroup.as_ref(),
        profile: &profile,
    };
    let mut exec = crate::exec(&target, &process, &Stdio::Inherit, &preserved)?;
    if let (Some(socket), Some(console)) = (arguments.value("console-socket"), &exec.console) {
        terminal::send(socket, console.as_fd(), b"/dev/ptmx")?;
        exec.console = None;
    }
    if let Some(socket) = arguments.value("pidfd-socket") {
        terminal::send(socket, exec.pidfd.as_fd(), b"pidfd")?;
    }
    write_pid_file(arguments.value("pid-file"), exec.pid)?;
    let Some(signals) = signals else { return Ok(ExitCode::SUCCESS) };
    foreground::attend_process(exec.pidfd.as_fd(), exec.console, &signals).map(ExitCode::from)
}

/// A group below the container's own, where `--cgroup` names one.
fn sub_cgroup(container: &Container, path: &str) -> Result<crate::cgroup::Cgroup, Failure> {
    // `controller:path` names one hierarchy of version 1 to runc; a container has one path in all of ours.
    let path = path.rsplit_once(':').map_or(path, |(_, path)| path);
    let hierarchies = std::sync::Arc::new(crate::cgroup::Hierarchies::detect()?);
    let full = format!("{}/{}", container.record.cgroup, path.trim_matches('/'));
    Ok(crate::cgroup::Cgroup::reopen(&hierarchies, &full)?)
}

fn process_of(arguments: &Parsed, command: &[String], spec: &Spec) -> Result<Process, Failure> {
    if let Some(path) = arguments.value("process") {
        let text = std::fs::read(path).about(format_args!("open {path}"))?;
        return serde_json::from_slice(&text).map_err(|error| Failure::new(format!("{path}: {error}")));
    }
    if command.is_empty() {
        return Err(Failure::new("process args cannot be empty"));
    }
    let mut process =
        spec.process.clone().ok_or_else(|| Failure::new("the container has no process to follow"))?;
    process.args = command.to_vec();
    process.terminal = arguments.has("tty");
    process.console_size = None;
    // Of the first process alone.
    process.scheduler = None;
    process.io_priority = None;
    if let Some(cwd) = arguments.value("cwd") {
        cwd.clone_into(&mut process.cwd);
    }
    if let Some(label) = arguments.value("process-label") {
        label.clone_into(&mut process.selinux_label);
    }
    if let Some(profile) = arguments.value("apparmor") {
        profile.clone_into(&mut process.apparmor_profile);
    }
    if arguments.value("no-new-privs").is_some() {
        process.no_new_privileges = arguments.has("no-new-privs");
    }
    process.env.extend(arguments.all("env").map(str::to_owned));
    add_capabilities(&mut process, arguments);
    if let Some(user) = arguments.value("user") {
        process.user = User { umask: process.user.umask, ..user_of(user)? };
    }
    for gid in arguments.all("additional-gids") {
        let gid = gid.parse().map_err(|_| Failure::new(format!("parsing {gid} as int for gid failed")))?;
        process.user.additional_gids.push(gid);
    }
    Ok(process)
}

fn add_capabilities(process: &mut Process, arguments: &Parsed) {
    let mut added = arguments.all("cap").peekable();
    if added.peek().is_none() {
        return;
    }
    let capabilities = process.capabilities.get_or_insert_with(LinuxCapabilities::default);
    for name in added {
        let has_inheritable = !capabilities.inheritable.is_empty();
        for set in [&mut capabilities.bounding, &mut capabilities.effective, &mut capabilities.permitted] {
            set.push(name.to_owned());
        }
        if has_inheritable {
            capabilities.inheritable.push(name.to_owned());
            capabilities.ambient.push(name.to_owned());
        }
    }
}

/// `uid[:gid]`, numbers as with runc.
fn user_of(text: &str) -> Result<User, Failure> {
    let (uid, gid) = text.split_once(':').unwrap_or((text, "0"));
    let number = |text: &str, what: &str| {
        text.parse().map_err(|_| Failure::new(format!("parsing {text} as int for {what} failed")))
    };
    Ok(User { uid: number(uid, "uid")?, gid: number(gid, "gid")?, ..User::default() })
}

impl ExecProfile {
    fn of_container(spec: &Spec, no_new_keyring: bool) -> Result<Self, Failure> {
        Ok(Self::new(spec, crate::launch::compile_filter(spec)?, no_new_keyring))
    }
}
