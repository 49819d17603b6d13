//! The connection to one shim: a task that reads answers and events and writes requests.
//!
//! The task owns the socket and, for a shim that this engine started, the child. It ends when the shim closes the
//! connection, or when nobody is left who could ask or listen; it then waits for the child, so that no zombie stays.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::Child;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot, watch};

use super::{Error, Event, Exit, ExitStatus};
use crate::frame::{Frame, Outgoing, Reader};
use crate::protocol::{Answer, Failure, Request};

/// Sequence number of the first request of a connection, whose answer goes to [`Connection::answers`].
pub(super) const FIRST: u32 = 1;

/// An open connection.
pub(super) struct Connection {
    pub(super) handle: Handle,
    pub(super) events: mpsc::UnboundedReceiver<Event>,
    /// The answer to the first request.
    pub(super) answers: mpsc::UnboundedReceiver<(u32, Answer)>,
}

/// The asking side; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Handle {
    outgoing: mpsc::UnboundedSender<Outgoing>,
    shared: Arc<Shared>,
    socket: Weak<UnixStream>,
}

#[derive(Debug)]
struct Shared {
    next: AtomicU32,
    waiting: Mutex<Waiting>,
    exit: watch::Sender<Option<Exit>>,
}

#[derive(Debug, Default)]
struct Waiting {
    closed: bool,
    answers: HashMap<u32, oneshot::Sender<Answer>>,
    execs: HashMap<String, oneshot::Sender<ExitStatus>>,
}

struct Task {
    socket: Arc<UnixStream>,
    outgoing: mpsc::UnboundedReceiver<Outgoing>,
    shared: Arc<Shared>,
    events: mpsc::UnboundedSender<Event>,
    answers: mpsc::UnboundedSender<(u32, Answer)>,
}

/// Starts the task.
pub(super) fn open(socket: UnixStream, child: Option<Child>) -> Connection {
    let (outgoing, requests) = mpsc::unbounded_channel();
    let (told, events) = mpsc::unbounded_channel();
    let (first, answers) = mpsc::unbounded_channel();
    let shared = Arc::new(Shared {
        next: AtomicU32::new(FIRST + 1),
        waiting: Mutex::default(),
        exit: watch::Sender::new(None),
    });
    let socket = Arc::new(socket);
    let weak = Arc::downgrade(&socket);
    let task = Task { socket, outgoing: requests, shared: Arc::clone(&shared), events: told, answers: first };
    tokio::spawn(async move {
        task.run().await;
        if let Some(child) = child {
            reap(child).await;
        }
    });
    Connection { handle: Handle { outgoing, shared, socket: weak }, events, answers }
}

impl Handle {
    /// Sends a frame that is encoded already.
    pub(super) fn send(&self, frame: Outgoing) {
        // Without a task there is nobody to send to; whoever waits for the answer is told.
        let _ = self.outgoing.send(frame);
    }

    /// Tells the shim that its container is wanted. It is on its way when this returns, past the task, so that a container
    /// which the caller knows of is not lost even if the engine is killed in the next instant. Nothing else is being sent
    /// yet, and so few bytes always fit.
    pub(super) fn acknowledge(&self) -> io::Result<()> {
        let mut frame = Outgoing::new(0, &Request::Acknowledge, Vec::new())?;
        match self.socket.upgrade() {
            Some(socket) => frame.send(socket.as_fd()),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Sends a request and waits for its answer. `Failed` is an answer too.
    pub(super) async fn ask(&self, request: &Request, fds: Vec<OwnedFd>) -> Result<Answer, Error> {
        let sequence = self.shared.next.fetch_add(1, Ordering::Relaxed);
        let frame = Outgoing::new(sequence, request, fds)?;
        let (sender, answer) = oneshot::channel();
        {
            let mut waiting = self.shared.waiting();
            if waiting.closed {
                return Err(Error::Gone);
            }
            waiting.answers.insert(sequence, sender);
        }
        self.send(frame);
        answer.await.map_err(|_| Error::Gone)
    }

    /// Sends a request whose answer is only whether it worked.
    pub(super) async fn demand(&self, request: &Request, fds: Vec<OwnedFd>) -> Result<(), Error> {
        match self.ask(request, fds).await? {
            Answer::Done => Ok(()),
            Answer::Failed(failure) => Err(refusal(failure, request)),
            _ => {
                Err(Error::Refused { message: "the supervisor of the container answers nonsense".to_owned() })
            }
        }
    }

    /// To be told how an exec ends; to be called before it is asked for. None if one of that id runs.
    pub(super) fn expect_exec(&self, id: &str) -> Option<oneshot::Receiver<ExitStatus>> {
        let (sender, exit) = oneshot::channel();
        let mut waiting = self.shared.waiting();
        if waiting.execs.contains_key(id) {
            return None;
        }
        if !waiting.closed {
            waiting.execs.insert(id.to_owned(), sender);
        }
        Some(exit)
    }

    /// The exec did not come to be.
    pub(super) fn forget_exec(&self, id: &str) {
        self.shared.waiting().execs.remove(id);
    }

    /// Waits for the container's end.
    pub(super) async fn wait(&self) -> Exit {
        let mut exit = self.shared.exit.subscribe();
        match exit.wait_for(Option::is_some).await {
            Ok(exit) => exit.clone().unwrap_or(Exit::Gone),
            Err(_) => Exit::Gone,
        }
    }

    /// Waits until the connection is closed.
    pub(super) async fn closed(&self) {
        self.outgoing.closed().await;
    }
}

impl Shared {
    /// Held for a few instructions only.
    fn waiting(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Task {
    async fn run(mut self) {
        let mut reader = Reader::default();
        let mut asks = true;
        loop {
            tokio::select! {
                frame = read(&self.socket, &mut reader) => match frame {
                    Ok(Some(frame)) => self.hear(&frame),
                    Ok(None) | Err(_) => break,
                },
                frame = self.outgoing.recv(), if asks => match frame {
                    Some(mut frame) => if write(&self.socket, &mut frame).await.is_err() { break },
                    None => asks = false,
                },
                () = self.events.closed(), if !asks => break,
            }
        }
        // Dropping what waits tells whoever waits.
        let ended = Waiting { closed: true, ..Waiting::default() };
        drop(std::mem::replace(&mut *self.shared.waiting(), ended));
        let was_running = self.shared.exit.send_if_modified(|exit| {
            let is_open = exit.is_none();
            if is_open {
                *exit = Some(Exit::Gone);
            }
            is_open
        });
        if was_running {
            let _ = self.events.send(Event::Gone);
        }
    }

    fn hear(&self, frame: &Frame) {
        let Ok(answer) = serde_json::from_slice(&frame.payload) else { return };
        if frame.sequence != 0 {
            let waiting = self.shared.waiting().answers.remove(&frame.sequence);
            // Whoever asked may have lost patience.
            match waiting {
                Some(waiting) => drop(waiting.send(answer)),
                None => drop(self.answers.send((frame.sequence, answer))),
            }
            return;
        }
        let event = match answer {
            Answer::Exited(status) => {
                self.shared.exit.send_replace(Some(Exit::Status(status.clone())));
                Event::Exited(status)
            }
            Answer::ExecExited { id, status } => {
                let waiting = self.shared.waiting().execs.remove(&id);
                if let Some(waiting) = waiting {
                    let _ = waiting.send(status.clone());
                }
                Event::ExecExited { id, status }
            }
            Answer::Oom => Event::Oom,
            Answer::Detached { id } => Event::Detached { id },
            _ => return,
        };
        let _ = self.events.send(event);
    }
}

/// What a failed request means.
fn refusal(failure: Failure, request: &Request) -> Error {
    let exec = match request {
        Request::Resize { target: super::Target::Exec(id), .. }
        | Request::Signal { target: super::Target::Exec(id), .. } => id.clone(),
        _ => String::new(),
    };
    match failure {
        Failure::NotRunning => Error::NotRunning,
        Failure::NoSuchExec => Error::NoSuchExec { id: exec },
        Failure::NoTerminal => Error::NoTerminal,
        Failure::Runtime { message, .. } | Failure::Log { message } | Failure::Other { message } => {
            Error::Refused { message }
        }
    }
}

async fn read(socket: &UnixStream, reader: &mut Reader) -> io::Result<Option<Frame>> {
    socket.async_io(Interest::READABLE, || reader.read(socket.as_fd())).await
}

async fn write(socket: &UnixStream, frame: &mut Outgoing) -> io::Result<()> {
    socket.async_io(Interest::WRITABLE, || frame.send(socket.as_fd())).await
}

/// Waits for the shim's process, whose connection has ended, so that it does not stay a zombie. It mostly is one in the
/// next moment.
async fn reap(mut child: Child) {
    let mut pause = Duration::from_millis(1);
    while let Ok(None) = child.try_wait() {
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(1));
    }
}
