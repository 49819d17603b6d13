//! Bytes between a client and a process: the life of a hijacked connection.

use std::time::Duration;

use berth_engine::Attached;
use bytes::BytesMut;
use futures_util::StreamExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use super::detach::{DetachKeys, Watcher};
use super::stream::{Reader, Stream, Writer};

/// How often a client that has stopped writing is looked after: it may have gone altogether.
const LOOK_AFTER: Duration = Duration::from_secs(2);

/// How the input of a client is treated.
#[derive(Debug, Clone)]
pub(crate) struct Input {
    /// The client's input goes to the process.
    pub(crate) attached: bool,
    /// The end of the client's input is the end of the process's input; otherwise it ends the attachment.
    pub(crate) closes: bool,
    /// The keys that detach; only looked for where there is a terminal.
    pub(crate) detach_keys: Option<DetachKeys>,
}

/// How an attachment ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The process's output ended, or the client has gone.
    Closed,
    /// The client pressed the detach keys.
    Detached,
}

/// Copies both ways until the process's output ends, the client is gone or detaches.
pub(crate) async fn run(mut client: Stream, attached: Attached, input: Input) -> End {
    if let Some(mut logs) = attached.logs {
        while let Some(Ok(chunk)) = logs.next().await {
            if client.write_all(&chunk).await.is_err() {
                return End::Closed;
            }
        }
    }
    let Some(process) = attached.stream else { return End::Closed };
    run_live(client, process, input).await
}

async fn run_live(client: Stream, process: UnixStream, input: Input) -> End {
    let (mut from_client, mut to_client) = client.into_split();
    let (from_process, to_process) = process.into_split();
    let output = copy_output(from_process, &mut to_client);
    tokio::pin!(output);
    let after = tokio::select! {
        () = &mut output => return End::Closed,
        after = copy_input(&mut from_client, to_process, input) => after,
    };
    match after {
        AfterInput::Detached => End::Detached,
        AfterInput::Ended => End::Closed,
        // The process's input stays open as long as the attachment lives.
        AfterInput::OutputGoesOn(_to_process) => {
            tokio::select! {
                () = output => {}
                () = gone(&from_client) => {}
            }
            End::Closed
        }
    }
}

/// Waits until a client that has stopped writing has gone altogether. Writing to it would tell, but a silent process
/// writes nothing.
async fn gone(client: &Reader) {
    while !client.is_abandoned().await {
        tokio::time::sleep(LOOK_AFTER).await;
    }
}

async fn copy_output(mut from: OwnedReadHalf, to: &mut Writer) {
    let mut buffer = BytesMut::with_capacity(32 << 10);
    loop {
        buffer.clear();
        match from.read_buf(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(_) if to.write_all(&buffer).await.is_err() => return,
            Ok(_) => {}
        }
    }
}

enum AfterInput {
    Detached,
    Ended,
    OutputGoesOn(Option<OwnedWriteHalf>),
}

async fn copy_input(from: &mut Reader, mut to: OwnedWriteHalf, input: Input) -> AfterInput {
    let mut watcher = input.detach_keys.map(Watcher::new);
    let mut buffer = BytesMut::with_capacity(8 << 10);
    let mut passed = BytesMut::new();
    loop {
        buffer.clear();
        match from.read_buf(&mut buffer).await {
            Ok(0) if !input.attached => return AfterInput::OutputGoesOn(Some(to)),
            Ok(0) if input.closes => {
                let _ = to.shutdown().await; // the process may be gone already
                return AfterInput::OutputGoesOn(None);
            }
            Ok(0) | Err(_) => return AfterInput::Ended,
            Ok(_) if !input.attached => continue,
            Ok(_) => {}
        }
        let detached = match &mut watcher {
            None => {
                std::mem::swap(&mut buffer, &mut passed);
                false
            }
            Some(watcher) => {
                passed.clear();
                watcher.pass(&buffer, &mut passed)
            }
        };
        if !passed.is_empty() && to.write_all(&passed).await.is_err() {
            return AfterInput::OutputGoesOn(None);
        }
        if detached {
            return AfterInput::Detached;
        }
    }
}
