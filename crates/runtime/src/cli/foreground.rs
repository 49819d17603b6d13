//! `run` and `exec` in the foreground: signals go to the process, the terminal is relayed, the exit code is the
//! process's own.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use berth_sys::supervisor::{send_signal, watch_signals};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{WaitId, WaitIdOptions, waitid};
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};

use super::{About, Failure};
use crate::Running;

/// Bytes of `signalfd_siginfo`, of which the first four are the signal.
const SIGINFO_SIZE: usize = 128;
/// What is read at once, and what may wait to be written.
const BUFFER_SIZE: usize = 32 * 1024;

/// Blocks all signals; they are read from here on.
pub(super) fn watch() -> Result<OwnedFd, Failure> {
    // Not SIGURG, which Go programs send themselves, and not those that a program gets for its own faults.
    const IGNORED: [i32; 7] =
        [libc::SIGCHLD, libc::SIGPIPE, libc::SIGURG, libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL];
    let watched: Vec<i32> = (1..=64).filter(|signal| !IGNORED.contains(signal)).collect();
    watch_signals(&watched).about("watch signals")
}

/// Until a container's first process ends: its exit code.
pub(super) fn attend(running: &Running, console: Option<OwnedFd>, signals: &OwnedFd) -> Result<u8, Failure> {
    attend_process(running.pidfd.as_fd(), console, signals)
}

/// Until a process ends: its exit code.
pub(super) fn attend_process(
    process: BorrowedFd<'_>,
    console: Option<OwnedFd>,
    signals: &OwnedFd,
) -> Result<u8, Failure> {
    let mut relay = console.map(Relay::new).transpose()?;
    loop {
        let ended = turn(process, signals, relay.as_mut())?;
        if ended {
            break;
        }
    }
    if let Some(relay) = &mut relay {
        relay.drain();
    }
    exit_code(process)
}

/// Waits for something to happen, once; true when the process has ended.
fn turn(process: BorrowedFd<'_>, signals: &OwnedFd, mut relay: Option<&mut Relay>) -> Result<bool, Failure> {
    let stdin = rustix::stdio::stdin();
    let stdout = rustix::stdio::stdout();
    let mut polled = vec![PollFd::new(&process, PollFlags::IN), PollFd::new(signals, PollFlags::IN)];
    if let Some(relay) = relay.as_deref() {
        polled.push(PollFd::new(&relay.master, relay.interest()));
        polled
            .push(PollFd::new(&stdin, if relay.wants_input() { PollFlags::IN } else { PollFlags::empty() }));
        let out = if relay.output.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
        polled.push(PollFd::new(&stdout, out));
    }
    match poll(&mut polled, None) {
        Err(Errno::INTR) => return Ok(false),
        result => result.about("poll")?,
    };
    let events: Vec<PollFlags> = polled.iter().map(PollFd::revents).collect();
    drop(polled);
    if !events[1].is_empty() {
        forward(process, signals, relay.as_deref());
    }
    if let Some(relay) = &mut relay {
        relay.step(events[2], events[3], events[4]);
    }
    Ok(!events[0].is_empty())
}

fn forward(process: BorrowedFd<'_>, signals: &OwnedFd, relay: Option<&Relay>) {
    let mut info = [0_u8; SIGINFO_SIZE];
    while let Ok(SIGINFO_SIZE) = rustix::io::read(signals, &mut info) {
        let number = i32::from_ne_bytes([info[0], info[1], info[2], info[3]]);
        match relay {
            Some(relay) if number == libc::SIGWINCH => relay.resize(),
            _ => {
                let _ = send_signal(process, number);
            }
        }
    }
}

fn exit_code(process: BorrowedFd<'_>) -> Result<u8, Failure> {
    let status = waitid(WaitId::PidFd(process), WaitIdOptions::EXITED).about("wait for the container")?;
    let code = status.map_or(255, |status| match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => 128 + signal,
        (None, None) => 255,
    });
    Ok(u8::try_from(code).unwrap_or(255))
}

/// Between the terminal of the process and that of the command.
struct Relay {
    master: OwnedFd,
    /// The settings to restore.
    saved: Option<Termios>,
    input: VecDeque<u8>,
    output: VecDeque<u8>,
    input_ended: bool,
    output_ended: bool,
}

impl Relay {
    fn new(master: OwnedFd) -> Result<Self, Failure> {
        let stdin = rustix::stdio::stdin();
        let saved = if isatty(stdin) { tcgetattr(stdin).ok() } else { None };
        if let Some(saved) = &saved {
            let mut raw = saved.clone();
            raw.make_raw();
            tcsetattr(stdin, OptionalActions::Now, &raw).about("set the terminal to raw mode")?;
        }
        rustix::io::ioctl_fionbio(&master, true).about("set the terminal non-blocking")?;
        let (input, output) = (VecDeque::new(), VecDeque::new());
        let relay = Self { master, saved, input, output, input_ended: false, output_ended: false };
        relay.resize();
        Ok(relay)
    }

    fn resize(&self) {
        if let Ok(size) = tcgetwinsize(rustix::stdio::stdin()) {
            let _ = tcsetwinsize(&self.master, size);
        }
    }

    fn wants_input(&self) -> bool {
        !self.input_ended && self.input.len() < BUFFER_SIZE
    }

    fn interest(&self) -> PollFlags {
        let mut interest = PollFlags::empty();
        if !self.output_ended && self.output.len() < BUFFER_SIZE {
            interest |= PollFlags::IN;
        }
        if !self.input.is_empty() {
            interest |= PollFlags::OUT;
        }
        interest
    }

    fn step(&mut self, master: PollFlags, stdin: PollFlags, stdout: PollFlags) {
        let mut buffer = [0_u8; BUFFER_SIZE];
        if master.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
            self.read_master(&mut buffer);
        }
        if !stdin.is_empty() {
            match rustix::io::read(rustix::stdio::stdin(), &mut buffer) {
                Ok(0) => {
                    // Ctrl-D, for there is no other end of input on a terminal.
                    self.input_ended = true;
                    self.input.push_back(4);
                }
                Ok(count) => self.input.extend(&buffer[..count]),
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(_) => self.input_ended = true,
            }
        }
        if master.contains(PollFlags::OUT) {
            let (bytes, _) = self.input.as_slices();
            if let Ok(count) = rustix::io::write(&self.master, bytes) {
                self.input.drain(..count);
            }
        }
        if !stdout.is_empty() {
            self.write_out();
        }
    }

    fn read_master(&mut self, buffer: &mut [u8]) {
        match rustix::io::read(&self.master, &mut *buffer) {
            Ok(0) => self.output_ended = true,
            Ok(count) => self.output.extend(&buffer[..count]),
            Err(Errno::AGAIN | Errno::INTR) => {}
            // No process holds the other side any more.
            Err(_) => self.output_ended = true,
        }
    }

    fn write_out(&mut self) {
        let (bytes, _) = self.output.as_slices();
        match rustix::io::write(rustix::stdio::stdout(), bytes) {
            Ok(count) => drop(self.output.drain(..count)),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => self.output.clear(),
        }
    }

    /// After the end: what the terminal still holds.
    fn drain(&mut self) {
        let mut buffer = [0_u8; BUFFER_SIZE];
        loop {
            let before = self.output.len();
            self.read_master(&mut buffer);
            let read_nothing = self.output.len() == before;
            while !self.output.is_empty() {
                self.write_out();
            }
            if self.output_ended || read_nothing {
                break;
            }
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if let Some(saved) = &self.saved {
            let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, saved);
        }
    }
}
