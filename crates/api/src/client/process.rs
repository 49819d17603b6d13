//! A connection through another program: what we write is its input, what it writes is what we read.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::process::{ExitStatus, Stdio};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::process::{ChildStdin, ChildStdout, Command};

use super::host::SshHost;

/// The end of a program. Dropping it ends the program.
type Exit = Pin<Box<dyn Future<Output = io::Result<ExitStatus>> + Send + Sync>>;

/// The program and its two ends. It ends with the connection.
pub(crate) struct Process {
    /// Gone once it is known.
    exit: Option<Exit>,
    /// Closed when we have no more to say.
    input: Option<ChildStdin>,
    output: ChildStdout,
    /// As errors name it.
    command: String,
}

impl Process {
    /// Runs `ssh`. It is in a process group of its own, so that Ctrl-C, which is meant for the container, does not take
    /// the connection away.
    ///
    /// # Errors
    /// There is no such program.
    pub(crate) fn ssh(host: &SshHost) -> io::Result<Self> {
        let arguments = host.arguments();
        let mut command = Command::new("ssh");
        command.args(&arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        command.process_group(0);
        let command_line = format!("ssh {}", arguments.join(" "));
        let mut child = command
            .spawn()
            .map_err(|error| io::Error::new(error.kind(), format!("exec: \"ssh\": {error}")))?;
        let missing = || io::Error::other("the program has no standard streams");
        let input = child.stdin.take().ok_or_else(missing)?;
        let output = child.stdout.take().ok_or_else(missing)?;
        let exit: Exit = Box::pin(async move { child.wait().await });
        Ok(Self { exit: Some(exit), input: Some(input), output, command: command_line })
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process").field("command", &self.command).finish_non_exhaustive()
    }
}

impl AsyncRead for Process {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.output).poll_read(context, buffer))?;
        if buffer.filled().len() > before || buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        // The end of the stream; a program that failed says so by its status.
        let Some(exit) = &mut self.exit else { return Poll::Ready(Ok(())) };
        let status = ready!(exit.as_mut().poll(context))?;
        self.exit = None;
        Poll::Ready(if status.success() {
            Ok(())
        } else {
            Err(io::Error::other(format!(
                "command [{}] has exited with {status}, make sure the URL is valid, and Docker 18.09 or later is installed on the remote host",
                self.command
            )))
        })
    }
}

impl AsyncWrite for Process {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.input {
            Some(input) => Pin::new(input).poll_write(context, bytes),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.input {
            Some(input) => Pin::new(input).poll_flush(context),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.input = None;
        Poll::Ready(Ok(()))
    }
}
