//! Bytes between a client and a process: the life of a hijacked connection.

use std::time::Duration;

use berth_engine::Attached;
use berth_oci::keys::Watcher;
use bytes::BytesMut;
use futures_util::StreamExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

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
    /// Finds the keys that detach; only where there is a terminal.
    pub(crate) detach: Option<Watcher>,
    /// How the process's output becomes what this client reads.
    pub(crate) framing: Framing,
}

/// What is done to output on its way to a client. Who starts an exec session says how it reads, whatever the session
/// itself has: a terminal's output may be wanted in frames, and the frames' text without them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// It stays as it is.
    Same,
    /// Raw output goes into frames of standard output.
    Wrap,
    /// The text of frames, without their headers.
    Strip,
}

impl Framing {
    /// For a process that has a terminal or not, and a client that reads raw or not.
    pub(crate) fn between(terminal: bool, raw: bool) -> Self {
        match (terminal, raw) {
            (true, false) => Self::Wrap,
            (false, true) => Self::Strip,
            _ => Self::Same,
        }
    }
}

/// The header of a frame of standard output.
pub(crate) fn frame_header(length: usize) -> [u8; 8] {
    let [a, b, c, d] = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    [1, 0, 0, 0, a, b, c, d]
}

/// How an attachment ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The process's output ended, or the client has gone.
    Closed,
    /// The client pressed the detach keys.
    Detached,
}

/// Copies both ways until the process's output ends, the client is gone or detaches; then waits for `settled` before
/// the client sees the end of the stream, because the first thing it does then is to ask for the exit code.
pub(crate) async fn run(
    mut client: Stream,
    attached: Attached,
    input: Input,
    settled: impl Future<Output = ()>,
) -> End {
    if let Some(mut logs) = attached.logs {
        client.is_read().await;
        while let Some(Ok(chunk)) = logs.next().await {
            if client.write_all(&chunk).await.is_err() || client.flush().await.is_err() {
                return End::Closed;
            }
        }
    }
    let Some(process) = attached.stream else { return End::Closed };
    run_live(client, process, input, settled).await
}

async fn run_live(
    client: Stream,
    process: UnixStream,
    input: Input,
    settled: impl Future<Output = ()>,
) -> End {
    let (mut from_client, mut to_client) = client.into_split();
    let (from_process, to_process) = process.into_split();
    let end = copy_both(&mut from_client, &mut to_client, from_process, to_process, input).await;
    if end == End::Closed {
        settled.await;
    }
    let _ = to_client.shutdown().await; // the client may be gone already
    tokio::spawn(linger(from_client, to_client));
    end
}

async fn copy_both(
    from_client: &mut Reader,
    to_client: &mut Writer,
    from_process: OwnedReadHalf,
    to_process: OwnedWriteHalf,
    input: Input,
) -> End {
    let output = copy_output(from_process, to_client, input.framing);
    tokio::pin!(output);
    let after = tokio::select! {
        () = &mut output => return End::Closed,
        after = copy_input(from_client, to_process, input) => after,
    };
    match after {
        AfterInput::Detached => End::Detached,
        AfterInput::Ended => End::Closed,
        // The process's input stays open as long as the attachment lives.
        AfterInput::OutputGoesOn(_to_process) => {
            tokio::select! {
                () = output => {}
                () = gone(from_client) => {}
            }
            End::Closed
        }
    }
}

/// Takes what the client still sends until it has seen the end. A socket that is closed with bytes unread resets its
/// peer, which then reports an error although it has everything.
async fn linger(mut from_client: Reader, _to_client: Writer) {
    let mut sink = tokio::io::sink();
    let _ = tokio::time::timeout(LOOK_AFTER, tokio::io::copy(&mut from_client, &mut sink)).await;
}

/// Waits until a client that has stopped writing has gone altogether. Writing to it would tell, but a silent process
/// writes nothing.
async fn gone(client: &Reader) {
    while !client.is_abandoned().await {
        tokio::time::sleep(LOOK_AFTER).await;
    }
}

async fn copy_output(mut from: OwnedReadHalf, to: &mut Writer, framing: Framing) {
    let mut buffer = BytesMut::with_capacity(32 << 10);
    let mut frames = Frames::default();
    let mut first = true;
    loop {
        buffer.clear();
        match from.read_buf(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(_) if first => to.is_read().await,
            Ok(_) => {}
        }
        first = false;
        match framing {
            Framing::Same => {}
            Framing::Wrap if to.write_all(&frame_header(buffer.len())).await.is_err() => return,
            Framing::Wrap => {}
            Framing::Strip => frames.strip(&mut buffer),
        }
        if to.write_all(&buffer).await.is_err() || to.flush().await.is_err() {
            return;
        }
    }
}

/// Where in a stream of frames the next byte belongs.
#[derive(Debug, Default)]
pub(super) struct Frames {
    header: [u8; 8],
    have: usize,
    text: usize,
}

impl Frames {
    /// Takes the headers out of a piece of the stream, wherever it was cut.
    pub(super) fn strip(&mut self, piece: &mut BytesMut) {
        let mut rest = piece.split();
        while !rest.is_empty() {
            if self.text > 0 {
                let text = rest.split_to(self.text.min(rest.len()));
                self.text -= text.len();
                piece.extend_from_slice(&text);
                continue;
            }
            let part = rest.split_to((self.header.len() - self.have).min(rest.len()));
            self.header[self.have..self.have + part.len()].copy_from_slice(&part);
            self.have += part.len();
            if let [_, _, _, _, a, b, c, d] = self.header
                && self.have == self.header.len()
            {
                self.have = 0;
                self.text = u32::from_be_bytes([a, b, c, d]) as usize;
            }
        }
    }
}

enum AfterInput {
    Detached,
    Ended,
    OutputGoesOn(Option<OwnedWriteHalf>),
}

async fn copy_input(from: &mut Reader, mut to: OwnedWriteHalf, mut input: Input) -> AfterInput {
    let mut buffer = Vec::with_capacity(8 << 10);
    let mut passed = Vec::new();
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
        let (bytes, detached) = match &mut input.detach {
            None => (&buffer, false),
            Some(detach) => {
                passed.clear();
                let detached = detach.pass(&buffer, &mut passed);
                (&passed, detached)
            }
        };
        if !bytes.is_empty() && to.write_all(bytes).await.is_err() {
            return AfterInput::OutputGoesOn(None);
        }
        if detached {
            return AfterInput::Detached;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::stream::Socket;

    /// A client, a process, and the pump between them.
    struct Pumped {
        client: UnixStream,
        process: UnixStream,
        end: tokio::task::JoinHandle<End>,
    }

    fn pump(input: Input) -> Pumped {
        let (client, ours) = UnixStream::pair().unwrap();
        let (process, theirs) = UnixStream::pair().unwrap();
        let attached = Attached { tty: input.detach.is_some(), logs: None, stream: Some(theirs) };
        let end = tokio::spawn(run(Stream::new(Socket::Unix(ours)), attached, input, std::future::ready(())));
        Pumped { client, process, end }
    }

    fn input(attached: bool, closes: bool, keys: Option<&str>) -> Input {
        let detach = keys.map(|keys| Watcher::new(berth_oci::keys::parse(keys).unwrap()));
        Input { attached, closes, detach, framing: Framing::Same }
    }

    async fn rest(stream: &mut UnixStream) -> Vec<u8> {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.unwrap();
        bytes
    }

    #[tokio::test]
    async fn output_is_framed_as_the_client_wants_it() {
        let frames = b"\x01\0\0\0\0\0\0\x02hi\x02\0\0\0\0\0\0\x03you\x01\0\0\0\0\0\0\0";
        for (framing, sent, expected) in [
            (Framing::between(true, false), &b"hi"[..], &frames[..10]),
            (Framing::between(true, true), b"hi", b"hi"),
            (Framing::between(false, true), frames, b"hiyou"),
            (Framing::between(false, false), frames, frames),
        ] {
            let Pumped { mut client, mut process, end } = pump(Input { framing, ..input(false, true, None) });
            process.write_all(sent).await.unwrap();
            drop(process);
            assert_eq!(rest(&mut client).await, expected);
            end.await.unwrap();
        }
        for cut in 1..frames.len() {
            let (mut state, mut all) = (Frames::default(), BytesMut::new());
            for piece in frames.chunks(cut) {
                let mut piece = BytesMut::from(piece);
                state.strip(&mut piece);
                all.extend_from_slice(&piece);
            }
            assert_eq!(&all[..], b"hiyou", "cut into pieces of {cut}");
        }
    }

    #[tokio::test]
    async fn the_first_output_does_not_come_with_the_head() {
        let (mut client, ours) = UnixStream::pair().unwrap();
        let (mut process, theirs) = UnixStream::pair().unwrap();
        let mut ours = Stream::new(Socket::Unix(ours));
        ours.write_all(b"head").await.unwrap();
        process.write_all(b"output").await.unwrap();
        let attached = Attached { tty: false, logs: None, stream: Some(theirs) };
        tokio::spawn(run(ours, attached, input(false, true, None), std::future::ready(())));
        tokio::time::sleep(Duration::from_millis(50)).await;
        let mut buffer = [0; 64];
        assert_eq!(client.read(&mut buffer).await.unwrap(), 4);
        assert_eq!(client.read(&mut buffer).await.unwrap(), 6);
    }

    #[tokio::test]
    async fn output_goes_on_after_the_input_has_ended() {
        let Pumped { mut client, mut process, end } = pump(input(true, true, None));
        client.write_all(b"in").await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(rest(&mut process).await, b"in");
        process.write_all(b"out").await.unwrap();
        drop(process);
        assert_eq!(rest(&mut client).await, b"out");
        assert_eq!(end.await.unwrap(), End::Closed);
    }

    #[tokio::test]
    async fn the_end_of_input_that_is_not_the_processs_ends_the_attachment_only() {
        let Pumped { mut client, mut process, end } = pump(input(true, false, None));
        client.write_all(b"in").await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(end.await.unwrap(), End::Closed);
        assert_eq!(rest(&mut process).await, b"in");
    }

    #[tokio::test]
    async fn a_client_without_input_may_stop_writing_at_once() {
        let Pumped { mut client, mut process, end } = pump(input(false, false, None));
        client.write_all(b"is dropped").await.unwrap();
        client.shutdown().await.unwrap();
        process.write_all(b"out").await.unwrap();
        drop(process);
        assert_eq!(rest(&mut client).await, b"out");
        assert_eq!(end.await.unwrap(), End::Closed);
    }

    #[tokio::test]
    async fn a_client_that_is_gone_is_noticed_although_the_process_is_silent() {
        let Pumped { client, process, end } = pump(input(false, false, None));
        drop(client);
        assert_eq!(end.await.unwrap(), End::Closed);
        drop(process);
    }

    #[tokio::test]
    async fn detach_keys_end_the_attachment_and_do_not_reach_the_process() {
        let Pumped { mut client, mut process, end } = pump(input(true, false, Some("")));
        client.write_all(b"ls\x10\x11").await.unwrap();
        assert_eq!(end.await.unwrap(), End::Detached);
        assert_eq!(rest(&mut process).await, b"ls");
        assert_eq!(rest(&mut client).await, b"");
    }

    #[tokio::test]
    async fn a_process_that_closes_its_input_still_writes() {
        let Pumped { mut client, process, end } = pump(input(true, true, None));
        let (from, mut to) = process.into_split();
        drop(from);
        client.write_all(b"nobody reads").await.unwrap();
        to.write_all(b"out").await.unwrap();
        drop(to);
        assert_eq!(rest(&mut client).await, b"out");
        assert_eq!(end.await.unwrap(), End::Closed);
    }
}
