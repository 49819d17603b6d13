//! How things end: execs, the container, the shim.

use rustix::process::{WaitOptions, WaitStatus};

use super::stdio::Context;
use super::{LINGER_NANOS, Life, SCRATCH, Server};
use crate::protocol::{Answer, Failure};
use crate::time;
use crate::types::ExitStatus;

/// How long an exec's output is waited for when another process holds its pipes, as with Docker.
const DRAIN_NANOS: u64 = 2_000_000_000;
/// How long the engine has to take an exit before it is written down: mostly it does, and no file is needed.
const RECORD_NANOS: u64 = 20_000_000;
/// How long a record of the exit may be lost to a power cut.
const SYNC_NANOS: u64 = 50_000_000;

impl Server {
    /// Reaps whoever has ended: the container, execs, the log's compressor, orphans of any of these.
    pub(super) fn reap(&mut self) {
        // At once: systemd takes a group away with its last process, and the kernel tells of its killings 10 ms late.
        self.out_of_memory();
        let mut discarded = [0u8; 512];
        while rustix::io::read(&self.signals, &mut discarded).is_ok() {}
        let mut container = None;
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            let pid = pid.as_raw_pid().cast_unsigned();
            let success = status.exit_status() == Some(0);
            if pid == self.container.pid {
                container = Some(status);
            } else if let Some(exec) =
                self.execs.iter_mut().find(|exec| exec.pid == pid && exec.status.is_none())
            {
                exec.status = Some(exit_status(status));
                exec.stdio.process_ended();
                exec.stdio.rearm(&self.poller);
                self.timers.execs.get_or_insert_with(|| time::monotonic_nanos() + DRAIN_NANOS);
            } else if let Some(log) = &mut self.log {
                log.reaped(pid, success);
            }
        }
        if let Some(status) = container {
            self.container_ended(exit_status(status));
        }
        self.finish_execs(false);
    }

    /// Tells the exit of execs whose output is read to its end; of all that have ended if `all`.
    pub(super) fn finish_execs(&mut self, all: bool) {
        let mut at = 0;
        while at < self.execs.len() {
            let exec = &mut self.execs[at];
            if let Some(status) = exec.status.clone().filter(|_| !exec.told)
                && (all || exec.stdio.is_drained())
            {
                self.scratch.reserve_exact(SCRATCH);
                let mut context = Context {
                    poller: &self.poller,
                    scratch: &mut self.scratch,
                    log: None,
                    events: &mut self.unheard,
                };
                exec.stdio.finish(&mut context);
                exec.told = true;
                self.unheard.push(Answer::ExecExited { id: exec.id.clone(), status });
            }
            if self.execs[at].told && self.execs[at].stdio.is_idle() {
                self.execs.swap_remove(at);
            } else {
                at += 1;
            }
        }
        if self.execs.iter().all(|exec| exec.told || exec.status.is_none()) {
            self.timers.execs = None;
        }
    }

    /// The memory limit was reached, or the cgroup has changed otherwise.
    pub(super) fn out_of_memory(&mut self) {
        if self.container.group.has_new_oom(&self.poller) && self.life == Life::Running {
            self.unheard.push(Answer::Oom);
        }
    }

    /// The first process is reaped: ends what else is in the container, drains, records, tells.
    fn container_ended(&mut self, mut status: ExitStatus) {
        let unwanted = self.life == Life::Unwanted;
        self.life = Life::Exited;
        // With a process namespace of its own all are gone already.
        self.container.group.end();
        self.end_execs();
        self.stdio.process_ended();
        self.scratch.reserve_exact(SCRATCH);
        let mut context = Context {
            poller: &self.poller,
            scratch: &mut self.scratch,
            log: self.log.as_mut(),
            events: &mut self.unheard,
        };
        self.stdio.finish(&mut context);
        status.oom_killed = self.container.group.oom_killed();
        self.container.group.remove(&self.poller);
        self.held.clear();
        self.relay = None;
        let now = time::monotonic_nanos();
        if !unwanted {
            self.exited = Some(status.clone());
            self.unheard.push(Answer::Exited(status));
            self.timers.record = Some(now + RECORD_NANOS);
            if self.link.is_none() {
                self.record_exit(now);
                self.be_lonely(now);
            }
            self.tell();
        }
        self.container.delete();
        if unwanted {
            self.close_log();
            self.life = Life::Over;
        }
    }

    /// Writes down the exit; the engine has not taken it.
    pub(super) fn record_exit(&mut self, now: u64) {
        self.timers.record = None;
        if let Some(status) = &self.exited {
            self.container.record_exit(status);
            self.timers.sync = Some(now + SYNC_NANOS);
        }
    }

    /// All execs were killed with the container.
    fn end_execs(&mut self) {
        for exec in self.execs.iter_mut().filter(|exec| exec.status.is_none()) {
            let options = WaitOptions::empty();
            let pid = rustix::process::Pid::from_raw(exec.pid.cast_signed());
            let _ = berth_sys::supervisor::send_signal(std::os::fd::AsFd::as_fd(&exec.pidfd), 9);
            let status = rustix::process::waitpid(pid, options).ok().flatten();
            exec.status = Some(status.map_or_else(killed, |(_, status)| exit_status(status)));
            exec.stdio.process_ended();
        }
        self.finish_execs(true);
    }

    /// The engine has recorded the exit.
    pub(super) fn shut_down(&mut self) -> Answer {
        if self.life != Life::Exited {
            return Answer::Failed(Failure::Other { message: "container is running".to_owned() });
        }
        self.close_log();
        self.shore.leave();
        self.timers.record = None;
        self.life = Life::Lingering { until: time::monotonic_nanos() + LINGER_NANOS };
        Answer::Done
    }

    fn close_log(&mut self) {
        if let Some(mut log) = self.log.take() {
            log.close();
        }
    }
}

fn exit_status(status: WaitStatus) -> ExitStatus {
    let signal = status.terminating_signal();
    let code = signal.map_or_else(|| status.exit_status().unwrap_or(255), |signal| 128 + signal);
    ExitStatus { code, signal, oom_killed: false, finished_at_nanos: time::now_nanos() }
}

fn killed() -> ExitStatus {
    ExitStatus { code: 137, signal: Some(9), oom_killed: false, finished_at_nanos: time::now_nanos() }
}
