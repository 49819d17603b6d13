//! The streams between the user and a process in a container.

use std::convert::Infallible;
use std::io::{IsTerminal, Write, stderr, stdin, stdout};

use berth_api::client::{
    Client, Demultiplexer, FrameError, Hijacked, HijackedReader, HijackedWriter, Output,
};
use berth_oci::keys::Watcher;

use crate::outcome::{Failure, exit_status};
use crate::terminal::{self, Forwarded, Input, RawMode};

/// What is connected to what.
pub(crate) struct Streams {
    pub(crate) hijacked: Hijacked,
    /// The process has a terminal: one stream, no frames.
    pub(crate) tty: bool,
    /// Our input goes to it.
    pub(crate) stdin: bool,
    /// Its output comes to us.
    pub(crate) output: bool,
    /// Finds the keys that detach.
    pub(crate) detach: Watcher,
}

/// How streaming ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The other side closed.
    Closed,
    /// The user typed the keys that detach.
    Detached,
}

/// Why streaming ended before its time.
#[derive(Debug, thiserror::Error)]
enum StreamError {
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

impl Streams {
    /// Copies until the process has closed its output or the user detaches. The terminal is raw meanwhile.
    ///
    /// # Errors
    /// A broken connection, or output that cannot be written.
    pub(crate) async fn run(self) -> Result<End, Failure> {
        let Hijacked { reader, writer, .. } = self.hijacked;
        let raw = if self.stdin && self.tty { RawMode::enter()? } else { None };
        let detach = (self.tty && self.stdin).then_some(self.detach);
        let output = receive(reader, self.tty);
        let input = send(writer, self.stdin, detach);
        tokio::pin!(output, input);
        let result = tokio::select! {
            result = &mut output => result.map(|()| End::Closed),
            result = &mut input => match result {
                Ok(End::Closed) if self.output => output.await.map(|()| End::Closed),
                // Output may still come after the connection has refused our input.
                Err(_) if self.output => output.await.map(|()| End::Closed),
                other => other.map_err(StreamError::from),
            },
        };
        drop(raw);
        result.map_err(|error| match error {
            StreamError::Io(error) => Failure::from(error),
            error => Failure::new(error.to_string()),
        })
    }
}

/// Writes what comes from the process.
async fn receive(mut reader: HijackedReader, tty: bool) -> Result<(), StreamError> {
    let mut buffer = vec![0; 32 << 10];
    let mut demultiplexer = Demultiplexer::default();
    loop {
        let size = reader.read(&mut buffer).await?;
        if size == 0 {
            return Ok(());
        }
        write(&buffer[..size], tty, &mut demultiplexer)?;
    }
}

/// Writes output of a container, framed or not, to where it belongs.
///
/// # Errors
/// Frames that are none, an error frame, or our own output that cannot be written.
fn write(bytes: &[u8], tty: bool, demultiplexer: &mut Demultiplexer) -> Result<(), StreamError> {
    if tty {
        let mut stdout = stdout().lock();
        stdout.write_all(bytes)?;
        stdout.flush()?;
        return Ok(());
    }
    demultiplexer.push(bytes, |output, data| {
        match output {
            Output::Stdout => {
                let mut stdout = stdout().lock();
                stdout.write_all(data)?;
                stdout.flush()?;
            }
            Output::Stderr => stderr().lock().write_all(data)?,
        }
        Ok(())
    })
}

/// The same for callers with a body instead of a connection.
pub(crate) fn write_output(
    bytes: &[u8],
    tty: bool,
    demultiplexer: &mut Demultiplexer,
) -> Result<(), Failure> {
    write(bytes, tty, demultiplexer).map_err(|error| match error {
        StreamError::Io(error) => Failure::from(error),
        error => Failure::new(error.to_string()),
    })
}

/// Sends our input; its end is the end of the process' input.
async fn send(
    mut writer: HijackedWriter,
    attached: bool,
    mut detach: Option<Watcher>,
) -> std::io::Result<End> {
    if !attached {
        // Half of the connection is never used; closing it would end an engine's reading of it.
        return std::future::pending().await;
    }
    let mut input = Input::open();
    while let Some(piece) = input.next().await {
        let Some(detach) = &mut detach else {
            writer.write_all(&piece).await?;
            continue;
        };
        let mut passed = Vec::with_capacity(piece.len());
        let is_found = detach.pass(&piece, &mut passed);
        writer.write_all(&passed).await?;
        if is_found {
            return Ok(End::Detached);
        }
    }
    writer.shutdown().await?;
    Ok(End::Closed)
}

/// Whose terminal a size is set for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Resized<'a> {
    Container(&'a str),
    /// A container that has been running before we came.
    Attached(&'a str),
    Exec(&'a str),
}

/// Does `work` and meanwhile keeps the terminal inside as large as ours and passes signals on. Signals that are not
/// passed on end a terminal session as they would end us, but not before the terminal is as it was.
pub(crate) async fn beside<T>(
    client: &Client,
    work: impl Future<Output = Result<T, Failure>>,
    resize: Option<Resized<'_>>,
    forward: Option<(&str, Forwarded)>,
) -> Result<T, Failure> {
    let is_session = resize.is_some();
    let resize = async {
        match resize.filter(|_| stdout().is_terminal() || stdin().is_terminal()) {
            Some(target) => follow_size(client, target).await,
            None => std::future::pending().await,
        }
    };
    let signals = async {
        match forward {
            Some((id, signals)) => forward_signals(client, id, signals).await,
            None if is_session => ended_by_signal().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        result = work => result,
        never = resize => match never {},
        failure = signals => Err(failure),
    }
}

/// Waits for a signal that would have ended us.
async fn ended_by_signal() -> Failure {
    use tokio::signal::unix::{SignalKind, signal};
    let next = |kind: SignalKind| async move {
        match signal(kind) {
            Ok(mut signal) => _ = signal.recv().await,
            Err(_) => std::future::pending().await,
        }
        Failure::status(exit_status(i64::from(128 + kind.as_raw_value())))
    };
    tokio::select! {
        failure = next(SignalKind::hangup()) => failure,
        failure = next(SignalKind::interrupt()) => failure,
        failure = next(SignalKind::quit()) => failure,
        failure = next(SignalKind::terminate()) => failure,
    }
}

/// Sets the size of the terminal inside to that outside, now and whenever that changes.
async fn follow_size(client: &Client, target: Resized<'_>) -> Infallible {
    let mut changes = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::window_change()).ok();
    if let (Resized::Attached(id), Some((height, width))) = (target, terminal::size()) {
        // Another size first: the program inside notices and draws its screen again.
        let _ = client.container_resize(id, height.saturating_add(1), width.saturating_add(1)).await;
    }
    loop {
        if let Some((height, width)) = terminal::size() {
            set_size(client, target, height, width).await;
        }
        match &mut changes {
            Some(changes) => _ = changes.recv().await,
            None => std::future::pending().await,
        }
    }
}

/// A process that is not there yet gets a few more chances.
async fn set_size(client: &Client, target: Resized<'_>, height: u16, width: u16) {
    for attempt in 1..=5 {
        let result = match target {
            Resized::Container(id) | Resized::Attached(id) => {
                client.container_resize(id, height, width).await
            }
            Resized::Exec(id) => client.exec_resize(id, height, width).await,
        };
        if result.is_ok() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10 * attempt)).await;
    }
}

/// How many times a user has to insist.
const PATIENCE: u32 = 3;

/// Passes signals on to a container. Returns when the user has asked for the end too often.
async fn forward_signals(client: &Client, id: &str, mut signals: Forwarded) -> Failure {
    let mut asked = 0;
    loop {
        let name = signals.next().await;
        asked += u32::from(name == "INT" || name == "TERM");
        if asked == PATIENCE {
            return Failure::new("\ngot 3 SIGTERM/SIGINTs, forcefully exiting");
        }
        if signals.pass_on {
            // A container that has just ended cannot take it; its end is reported elsewhere.
            let _ = client.container_kill(id, name).await;
        }
    }
}
