//! Connections and what they ask.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::epoll::EventFlags;
use rustix::net::SocketFlags;

use super::link::Link;
use super::stdio::{Context, Stdio};
use super::{Exec, Life, SCRATCH, SHRINK_NANOS, Server};
use crate::frame::Frame;
use crate::protocol::{Answer, AttachRequest, ExecRequest, Failure, Request, TAKEN};
use crate::time;
use crate::types::Target;

impl Server {
    /// Something on a connection.
    pub(super) fn link_event(&mut self, part: u32, flags: EventFlags) {
        let is_caller = part == self.link_part + 1;
        if part < self.link_part || part > self.link_part + 1 {
            return;
        }
        let link = if is_caller { &mut self.caller } else { &mut self.link };
        let Some(link) = link else { return };
        if flags.contains(EventFlags::OUT) && link.flush().is_err() {
            return if is_caller { self.lose_caller() } else { self.lose_link() };
        }
        if !flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            return;
        }
        if is_caller {
            return self.hear_caller();
        }
        loop {
            let Some(link) = &mut self.link else { return };
            match link.read() {
                Ok(Some(frame)) => self.request(frame),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Ok(None) | Err(_) => return self.lose_link(),
            }
        }
    }

    /// The engine is gone. If it never knew that the container runs, nobody wants the container; else another engine
    /// will come.
    pub(super) fn lose_link(&mut self) {
        let Some(link) = self.link.take() else { return };
        let acknowledged = link.acknowledged;
        link.close(&self.poller);
        match self.life {
            Life::Running if !acknowledged => {
                self.life = Life::Unwanted;
                self.container.kill();
            }
            Life::Exited if !acknowledged => {
                self.container.forget_exit();
                self.life = Life::Over;
            }
            _ => {}
        }
        if matches!(self.life, Life::Running | Life::Exited) {
            let now = time::monotonic_nanos();
            if self.timers.record.is_some() {
                self.record_exit(now);
            }
            self.be_lonely(now);
        }
    }

    /// Somebody connects to the socket.
    pub(super) fn accept(&mut self) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let Some(listener) = self.shore.listener() else { return };
        let Ok(socket) = rustix::net::accept_with(listener, flags) else { return };
        let ours = rustix::process::geteuid();
        if rustix::net::sockopt::socket_peercred(&socket).is_ok_and(|peer| peer.uid == ours) {
            self.lose_caller();
            self.caller = Some(Link::new(socket));
        }
    }

    fn lose_caller(&mut self) {
        if let Some(caller) = self.caller.take() {
            caller.close(&self.poller);
        }
    }

    /// A new connection says what it is. It takes the place of the engine's, but only of a dead one.
    fn hear_caller(&mut self) {
        let Some(caller) = &mut self.caller else { return };
        let frame = match caller.read() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Ok(Some(frame)) => frame,
            Ok(None) | Err(_) => return self.lose_caller(),
        };
        if !matches!(serde_json::from_slice(&frame.payload), Ok(Request::Resume)) {
            return self.lose_caller();
        }
        if self.link.as_ref().is_some_and(|link| !link.is_dead()) {
            let message = TAKEN.to_owned();
            let _ = caller.send(frame.sequence, &Answer::Failed(Failure::Other { message }));
            return self.lose_caller();
        }
        self.lose_link();
        if self.life == Life::Unwanted {
            return self.lose_caller();
        }
        let Some(mut caller) = self.caller.take() else { return };
        // The part of the caller becomes that of the link.
        self.link_part += 1;
        caller.acknowledged = true;
        caller.listens = true;
        self.started.execs =
            self.execs.iter().filter(|exec| !exec.told).map(|exec| (exec.id.clone(), exec.pid)).collect();
        let sent = caller.send(frame.sequence, &Answer::Started(self.started.clone()));
        self.link = Some(caller);
        self.timers.lonely = None;
        if sent.is_err() {
            return self.lose_link();
        }
        if let Some(status) = &self.exited
            && !self.unheard.iter().any(|event| matches!(event, Answer::Exited(_)))
        {
            self.unheard.push(Answer::Exited(status.clone()));
        }
    }

    fn request(&mut self, frame: Frame) {
        let Frame { sequence, payload, fds } = frame;
        let answer = match serde_json::from_slice(&payload) {
            Ok(Request::Acknowledge) => {
                if let Some(link) = &mut self.link {
                    link.acknowledged = true;
                    link.listens = true;
                }
                return;
            }
            Ok(Request::Hold) => return self.held.extend(fds),
            Ok(request) => self.answer(request, fds),
            Err(error) => failed(format!("the supervisor of the container does not understand: {error}")),
        };
        drop(payload);
        self.timers.shrink.get_or_insert_with(|| time::monotonic_nanos() + SHRINK_NANOS);
        if let Some(link) = &mut self.link
            && link.send(sequence, &answer).is_err()
        {
            self.lose_link();
        }
    }

    fn answer(&mut self, request: Request, mut fds: Vec<OwnedFd>) -> Answer {
        match request {
            Request::Attach(attach) => match fds.pop() {
                Some(socket) => self.attach(attach, socket),
                None => failed("an attachment needs a socket"),
            },
            Request::Exec(exec) => self.exec(*exec, fds.pop()),
            Request::Resize { target, rows, cols } => match self.stdio_of(&target) {
                Ok(stdio) if stdio.resize(rows, cols) => Answer::Done,
                Ok(_) => Answer::Failed(Failure::NoTerminal),
                Err(failure) => Answer::Failed(failure),
            },
            Request::Signal { target, signal } => self.signal(&target, signal),
            Request::Shutdown => self.shut_down(),
            Request::Hold
            | Request::Relay(_)
            | Request::Start(_)
            | Request::Acknowledge
            | Request::Resume => failed("the supervisor of the container already runs it"),
        }
    }

    fn attach(&mut self, request: AttachRequest, socket: OwnedFd) -> Answer {
        if self.life != Life::Running {
            return Answer::Failed(Failure::NotRunning);
        }
        self.scratch.reserve_exact(SCRATCH);
        let mut context = Context {
            poller: &self.poller,
            scratch: &mut self.scratch,
            log: self.log.as_mut(),
            events: &mut self.unheard,
        };
        self.stdio.attach(request, socket, &mut context);
        self.stdio.rearm(&self.poller);
        Answer::Done
    }

    fn exec(&mut self, request: ExecRequest, socket: Option<OwnedFd>) -> Answer {
        if self.life != Life::Running {
            return Answer::Failed(Failure::NotRunning);
        }
        if self.execs.iter().any(|exec| exec.id == request.id) {
            return failed(format!("exec {} already runs", request.id));
        }
        let attach = request.attach.zip(socket);
        let terminal = request.process.terminal;
        let wanted = match &attach {
            Some((attach, _)) if !terminal => [attach.stdin, attach.stdout, attach.stderr],
            _ => [false; 3],
        };
        let owner = self.next_owner;
        let (mut stdio, ends) = match Stdio::pipes(owner, wanted, true) {
            Ok(pipes) => pipes,
            Err(error) => return failed(format!("cannot make pipes: {error}")),
        };
        let mut process = match self.container.exec(&request.process, ends) {
            Ok(process) => process,
            Err(failure) => return Answer::Failed(failure),
        };
        if let Some(console) = process.console.take()
            && let Err(error) = stdio.set_terminal(console)
        {
            let _ = berth_sys::supervisor::send_signal(process.pidfd.as_fd(), 9);
            return failed(format!("cannot use the terminal: {error}"));
        }
        self.next_owner += 1;
        if let Some((attach, socket)) = attach {
            let mut context = Context {
                poller: &self.poller,
                scratch: &mut self.scratch,
                log: None,
                events: &mut self.unheard,
            };
            stdio.attach(attach, socket, &mut context);
        }
        stdio.rearm(&self.poller);
        let pid = process.pid;
        let pidfd = process.pidfd;
        self.execs.push(Exec { owner, id: request.id, pid, pidfd, stdio, status: None, told: false });
        Answer::ExecStarted { pid }
    }

    fn stdio_of(&self, target: &Target) -> Result<&Stdio, Failure> {
        match target {
            Target::Container if self.life == Life::Running => Ok(&self.stdio),
            Target::Container => Err(Failure::NotRunning),
            Target::Exec(id) => self.exec_of(id).map(|exec| &exec.stdio),
        }
    }

    fn exec_of(&self, id: &str) -> Result<&Exec, Failure> {
        self.execs.iter().find(|exec| exec.id == id && exec.status.is_none()).ok_or(Failure::NoSuchExec)
    }

    fn signal(&self, target: &Target, signal: i32) -> Answer {
        let pidfd = match target {
            Target::Container if self.life == Life::Running => Ok(self.container.pidfd.as_fd()),
            Target::Container => Err(Failure::NotRunning),
            Target::Exec(id) => self.exec_of(id).map(|exec| exec.pidfd.as_fd()),
        };
        match pidfd.map(|pidfd| berth_sys::supervisor::send_signal(pidfd, signal)) {
            Ok(Ok(())) => Answer::Done,
            Ok(Err(error)) if error.raw_os_error() == Some(3) => Answer::Failed(Failure::NotRunning),
            Ok(Err(error)) => failed(format!("cannot send signal {signal}: {error}")),
            Err(failure) => Answer::Failed(failure),
        }
    }
}

pub(super) fn failed(message: impl Into<String>) -> Answer {
    Answer::Failed(Failure::Other { message: message.into() })
}
