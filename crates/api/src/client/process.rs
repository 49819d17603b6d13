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

/// What is known of how the program ended.
enum End {
    Awaited(Exit),
    Known(ExitStatus),
}

/// The program and its two ends. It ends with the connection.
pub(crate) struct Process {
    end: End,
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
        Self::start("ssh", &host.arguments())
    }

    fn start(program: &str, arguments: &[String]) -> io::Result<Self> {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        command.process_group(0);
        let mut child = command
            .spawn()
            .map_err(|error| io::Error::new(error.kind(), format!("exec: \"{program}\": {error}")))?;
        let missing = || io::Error::other("the program has no standard streams");
        let input = child.stdin.take().ok_or_else(missing)?;
        let output = child.stdout.take().ok_or_else(missing)?;
        let end = End::Awaited(Box::pin(async move { child.wait().await }));
        let command = format!("{program} {}", arguments.join(" "));
        Ok(Self { end, input: Some(input), output, command })
    }

    /// Waits for the end of the program; one that failed is an error that says so by its status.
    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let status = match &mut self.end {
            End::Awaited(exit) => ready!(exit.as_mut().poll(context))?,
            End::Known(status) => *status,
        };
        self.end = End::Known(status);
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
        // The end of the stream.
        self.poll_end(context)
    }
}

impl AsyncWrite for Process {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let error = match &mut self.input {
            Some(input) => match ready!(Pin::new(input).poll_write(context, bytes)) {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => error,
                written => return Poll::Ready(written),
            },
            None => io::ErrorKind::BrokenPipe.into(),
        };
        // Nobody reads any more: the program has ended or, with the end of its input, will. Why it did says more.
        self.input = None;
        ready!(self.poll_end(context))?;
        Poll::Ready(Err(error))
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// A program that ends before the first byte is written to it: the writer hears of its status, and so does the reader.
    #[tokio::test]
    async fn a_program_that_is_gone_is_named_whoever_notices() {
        let mut process = Process::start("sh", &["-c".to_owned(), "exit 7".to_owned()]).unwrap();
        let error = loop {
            match process.write(b"GET / HTTP/1.1\r\n").await {
                Ok(_) => tokio::time::sleep(Duration::from_millis(1)).await,
                Err(error) => break error.to_string(),
            }
        };
        assert!(error.starts_with("command [sh -c exit 7] has exited with exit status: 7"), "{error}");
        assert_eq!(process.read(&mut [0]).await.unwrap_err().to_string(), error);
    }
}
