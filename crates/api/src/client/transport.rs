//! One byte stream to an engine, unix or TCP, and how it is opened.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;

use super::host::Host;
use super::process::Process;
use super::tls::Tls;

/// A connected socket.
#[derive(Debug)]
pub(crate) enum Transport {
    Unix(UnixStream),
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Process(Box<Process>),
}

impl Transport {
    /// Connects; over TCP with TLS if there is `tls`.
    pub(crate) async fn connect(host: &Host, tls: Option<&Tls>) -> io::Result<Self> {
        match host {
            Host::Unix(path) => Ok(Self::Unix(UnixStream::connect(path).await?)),
            Host::Ssh(host) => Ok(Self::Process(Box::new(Process::ssh(host)?))),
            Host::Tcp { name, port, .. } => {
                let stream = connect_tcp(name, *port).await?;
                let Some(tls) = tls else { return Ok(Self::Tcp(stream)) };
                let invalid = |error| io::Error::new(io::ErrorKind::InvalidInput, error);
                let (connector, server) = tls.connector(name).map_err(invalid)?;
                Ok(Self::Tls(Box::new(connector.connect(server, stream).await?)))
            }
        }
    }
}

async fn connect_tcp(name: &str, port: u16) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, format!("lookup {name}: no such host"));
    for address in resolve(name) {
        match TcpStream::connect(SocketAddr::new(address, port)).await {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The addresses of a name, from the hosts file only: the binary is static and has no resolver of the C library.
fn resolve(name: &str) -> Vec<IpAddr> {
    if let Ok(address) = name.parse() {
        return vec![address];
    }
    let hosts = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    let mut found: Vec<IpAddr> = hosts.lines().filter_map(|line| address_of(line, name)).collect();
    if found.is_empty() && name == "localhost" {
        found = vec![IpAddr::from([127, 0, 0, 1]), IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])];
    }
    found
}

/// The address in one line of the hosts file, if the line names `name`.
fn address_of(line: &str, name: &str) -> Option<IpAddr> {
    let mut words = line.split('#').next()?.split_whitespace();
    let address = words.next()?.parse().ok()?;
    words.any(|word| word.eq_ignore_ascii_case(name)).then_some(address)
}

impl AsyncRead for Transport {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_read(cx, buf),
            Self::Process(stream) => Pin::new(stream.as_mut()).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_write(cx, buf),
            Self::Process(stream) => Pin::new(stream.as_mut()).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
            Self::Process(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
            Self::Process(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_write_vectored(cx, bufs),
            Self::Process(stream) => Pin::new(stream.as_mut()).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_the_hosts_file() {
        assert_eq!(address_of("127.0.0.1 a b # c", "b"), Some(IpAddr::from([127, 0, 0, 1])));
        assert_eq!(address_of("127.0.0.1 a b # c", "c"), None);
        assert_eq!(address_of("# 127.0.0.1 a", "a"), None);
        assert!(!resolve("localhost").is_empty());
        assert_eq!(resolve("::1"), vec!["::1".parse::<IpAddr>().unwrap()]);
    }
}
