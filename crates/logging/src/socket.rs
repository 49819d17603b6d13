//! Connections to destinations, and the names of hosts.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket, UnixDatagram, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::Error;
use crate::address::{Address, Scheme};

/// No connection takes longer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// No write and no answer takes longer.
const IO_TIMEOUT: Duration = Duration::from_secs(30);

/// A byte stream to a destination.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for T {}

/// A connection.
pub(crate) enum Socket {
    Udp(UdpSocket),
    Unixgram(UnixDatagram),
    Stream(Box<dyn Stream>),
}

impl std::fmt::Debug for Socket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Udp(_) => "Udp",
            Self::Unixgram(_) => "Unixgram",
            Self::Stream(_) => "Stream",
        })
    }
}

impl Socket {
    /// Connects.
    ///
    /// Errors: Go's text: `dial tcp 127.0.0.1:514: connect: connection refused`.
    pub(crate) async fn connect(address: &Address, tls: Option<Arc<ClientConfig>>) -> Result<Socket, Error> {
        match address {
            Address::Unix(path) => match UnixStream::connect(path).await {
                Ok(stream) => Ok(Socket::Stream(Box::new(stream))),
                Err(error) => Err(refused("unix", &path.display().to_string(), &error)),
            },
            Address::Unixgram(path) => match datagram(path) {
                Ok(socket) => Ok(Socket::Unixgram(socket)),
                Err(error) => Err(refused("unixgram", &path.display().to_string(), &error)),
            },
            Address::Network { scheme, host, port } => {
                let network = if *scheme == Scheme::Udp { "udp" } else { "tcp" };
                let connecting = Self::connect_host(*scheme, host, *port, tls);
                match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
                    Ok(connected) => connected,
                    Err(_) => Err(Error::new(format!("dial {network} {host}:{port}: i/o timeout"))),
                }
            }
        }
    }

    async fn connect_host(
        scheme: Scheme,
        host: &str,
        port: u16,
        tls: Option<Arc<ClientConfig>>,
    ) -> Result<Socket, Error> {
        let network = if scheme == Scheme::Udp { "udp" } else { "tcp" };
        let mut last = Error::new(format!("dial {network}: lookup {host}: no such host"));
        for address in
            resolve(host).await.map_err(|reason| Error::new(format!("dial {network}: {reason}")))?
        {
            let address = SocketAddr::new(address, port);
            let connected = match scheme {
                Scheme::Udp => udp(address).await.map(Socket::Udp),
                Scheme::Tcp | Scheme::Tls => {
                    TcpStream::connect(address).await.map(|stream| Socket::Stream(Box::new(stream)))
                }
            };
            match (connected, &tls) {
                (Ok(Socket::Stream(stream)), Some(config)) => {
                    let name = ServerName::try_from(host.to_owned())
                        .map_err(|_| Error::new(format!("tls: {host:?} is no name of a server")))?;
                    let connector = TlsConnector::from(Arc::clone(config));
                    return match connector.connect(name, stream).await {
                        Ok(stream) => Ok(Socket::Stream(Box::new(stream))),
                        Err(error) => Err(Error::new(format!("tls: {address}: {error}"))),
                    };
                }
                (Ok(socket), _) => return Ok(socket),
                (Err(error), _) => last = refused(network, &address.to_string(), &error),
            }
        }
        Err(last)
    }

    /// Whether each message is one packet.
    pub(crate) fn is_datagram(&self) -> bool {
        !matches!(self, Self::Stream(_))
    }

    /// Sends one packet, or all bytes. A packet that nobody waits for is lost, as packets are.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let writing = async {
            match self {
                Self::Udp(socket) => match socket.send(bytes).await {
                    Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
                    sent => sent.map(drop),
                },
                Self::Unixgram(socket) => socket.send(bytes).await.map(drop),
                Self::Stream(stream) => {
                    stream.write_all(bytes).await?;
                    stream.flush().await
                }
            }
        };
        tokio::time::timeout(IO_TIMEOUT, writing)
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Reads exactly so many bytes of an answer.
    pub(crate) async fn read(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        let reading = async {
            match self {
                Self::Stream(stream) => stream.read_exact(bytes).await.map(drop),
                Self::Udp(_) | Self::Unixgram(_) => Err(io::ErrorKind::Unsupported.into()),
            }
        };
        tokio::time::timeout(IO_TIMEOUT, reading)
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}

/// A socket for datagrams to a path.
pub(crate) fn datagram(path: &Path) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(path)?;
    Ok(socket)
}

async fn udp(address: SocketAddr) -> io::Result<UdpSocket> {
    let any: SocketAddr = if address.is_ipv4() { ([0; 4], 0).into() } else { ([0_u16; 8], 0).into() };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(address).await?;
    Ok(socket)
}

/// The addresses of a host.
async fn resolve(host: &str) -> Result<Vec<IpAddr>, String> {
    berth_dns::Resolver::default().lookup(host).await.map_err(|error| error.to_string())
}

fn refused(network: &str, address: &str, error: &io::Error) -> Error {
    Error::new(format!("dial {network} {address}: connect: {}", reason(error)))
}

/// A system error in Go's words.
pub(crate) fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::NetworkUnreachable => "network is unreachable".to_owned(),
        io::ErrorKind::HostUnreachable => "no route to host".to_owned(),
        io::ErrorKind::TimedOut => "connection timed out".to_owned(),
        _ => error.to_string(),
    }
}
