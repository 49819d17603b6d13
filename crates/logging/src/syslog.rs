//! `syslog`: one line a message, to the local daemon, over UDP, TCP or TLS.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use tokio_rustls::rustls::{self, ClientConfig};

use crate::address::{Address, Scheme, host_and_port, scheme, split};
use crate::socket::{Socket, reason};
use crate::{Container, Error, Message, hostname, tag};

const PORT: u16 = 514;
/// Where local daemons listen.
const LOCAL: [&str; 3] = ["/dev/log", "/var/run/syslog", "/var/run/log"];
/// Severities (RFC 5424, section 6.2.1).
const ERROR: u8 = 3;
const INFO: u8 = 6;
/// Facilities in the order of their numbers (RFC 5424, section 6.2.1).
const FACILITIES: [&str; 12] =
    ["kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp"];
const DAEMON: u8 = 3;

/// What a message looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// As the C library writes it to the local daemon.
    Unix,
    Rfc3164,
    Rfc5424,
    /// RFC 5424 with microseconds.
    Rfc5424Micro,
}

impl Format {
    pub(crate) fn parse(name: &str) -> Result<Format, Error> {
        match name {
            "" => Ok(Self::Unix),
            "rfc3164" => Ok(Self::Rfc3164),
            "rfc5424" => Ok(Self::Rfc5424),
            "rfc5424micro" => Ok(Self::Rfc5424Micro),
            _ => Err(Error::new("Invalid syslog format")),
        }
    }
}

/// A number or a name of a facility; `daemon` where there is none.
pub(crate) fn parse_facility(text: &str) -> Result<u8, Error> {
    let local = |text: &str| {
        let number = text.strip_prefix("local")?.parse::<u8>().ok().filter(|number| *number <= 7)?;
        Some(16 + number)
    };
    let named = || FACILITIES.iter().position(|name| *name == text).and_then(|at| u8::try_from(at).ok());
    let number = || text.parse::<u8>().ok().filter(|number| *number <= 23);
    if text.is_empty() {
        return Ok(DAEMON);
    }
    named().or_else(|| local(text)).or_else(number).ok_or_else(|| Error::new("invalid syslog facility"))
}

/// `None` is the local daemon, wherever it listens.
pub(crate) fn parse_address(text: &str) -> Result<Option<Address>, Error> {
    if text.is_empty() {
        return Ok(None);
    }
    let (name, rest) = split(text);
    let name = name.unwrap_or_default();
    if let "unix" | "unixgram" = name {
        let path = PathBuf::from(rest);
        std::fs::metadata(&path)
            .map_err(|error| Error::new(format!("stat {}: {}", path.display(), reason(&error))))?;
        return Ok(Some(if name == "unix" { Address::Unix(path) } else { Address::Unixgram(path) }));
    }
    let scheme = scheme(name).ok_or_else(|| Error::new(format!("unsupported scheme: '{name}'")))?;
    let (host, port) = host_and_port(text, rest)?;
    Ok(Some(Address::Network { scheme, host, port: port.unwrap_or(PORT) }))
}

/// An open way to a daemon.
#[derive(Debug)]
pub(crate) struct Syslog {
    socket: Socket,
    format: Format,
    facility: u8,
    tag: String,
    hostname: String,
    pid: u32,
    zone: TimeZone,
    /// Messages are preceded by their length (RFC 5425, section 4.3).
    counted: bool,
}

impl Syslog {
    pub(crate) async fn connect(container: &Container) -> Result<Syslog, Error> {
        let tag = tag::render(container, tag::DEFAULT)?;
        let address = parse_address(container.option("syslog-address"))?;
        let facility = parse_facility(container.option("syslog-facility"))?;
        let format = Format::parse(container.option("syslog-format"))?;
        let is_tls = matches!(&address, Some(Address::Network { scheme: Scheme::Tls, .. }));
        let tls = if is_tls { Some(Arc::new(tls(container)?)) } else { None };
        let socket = match &address {
            Some(address) => Socket::connect(address, tls).await?,
            None => local().await?,
        };
        let counted = is_tls && matches!(format, Format::Rfc5424 | Format::Rfc5424Micro);
        let pid = std::process::id();
        let zone = TimeZone::system();
        Ok(Syslog { socket, format, facility, tag, hostname: hostname(), pid, zone, counted })
    }

    pub(crate) async fn send(&mut self, messages: &[Message]) -> (usize, Option<io::Error>) {
        let is_datagram = self.socket.is_datagram();
        let mut bytes = Vec::new();
        for (sent, message) in messages.iter().enumerate() {
            self.encode(message, &mut bytes);
            if is_datagram {
                if let Err(error) = self.socket.write(&bytes).await {
                    return (sent, Some(error));
                }
                bytes.clear();
            }
        }
        if is_datagram {
            return (messages.len(), None);
        }
        match self.socket.write(&bytes).await {
            Ok(()) => (messages.len(), None),
            Err(error) => (0, Some(error)),
        }
    }

    fn encode(&self, message: &Message, out: &mut Vec<u8>) {
        let priority = self.facility << 3 | if message.stderr { ERROR } else { INFO };
        let (host, tag, pid) = (&self.hostname, &self.tag, self.pid);
        let time = Timestamp::from_nanosecond(i128::from(message.nanos)).unwrap_or_default();
        let time = time.to_zoned(self.zone.clone());
        let head = match self.format {
            Format::Unix => format!("<{priority}>{} {tag}[{pid}]: ", time.strftime("%b %e %H:%M:%S")),
            Format::Rfc3164 => {
                format!("<{priority}>{} {host} {tag}[{pid}]: ", time.strftime("%b %e %H:%M:%S"))
            }
            Format::Rfc5424 | Format::Rfc5424Micro => {
                let digits = if self.format == Format::Rfc5424 { "" } else { "%.6f" };
                let zone = if time.offset().is_zero() { "Z" } else { "%:z" };
                let time = time.strftime(&format!("%Y-%m-%dT%H:%M:%S{digits}{zone}")).to_string();
                format!("<{priority}>1 {time} {host} {tag} {pid} {tag} - ")
            }
        };
        if self.counted {
            out.extend_from_slice(format!("{} ", head.len() + message.line.len() + 1).as_bytes());
        }
        out.extend_from_slice(head.as_bytes());
        out.extend_from_slice(&message.line);
        out.push(b'\n');
    }
}

/// The local daemon, at the first of its places where somebody listens.
async fn local() -> Result<Socket, Error> {
    for path in LOCAL.map(Path::new) {
        for address in [Address::Unixgram(path.to_owned()), Address::Unix(path.to_owned())] {
            if let Ok(socket) = Socket::connect(&address, None).await {
                return Ok(socket);
            }
        }
    }
    Err(Error::new("Unix syslog delivery error"))
}

/// Whom to trust and who we are, by the options.
fn tls(container: &Container) -> Result<ClientConfig, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::new(error.to_string()))?;
    let file = |name: &str| Some(container.option(name)).filter(|path| !path.is_empty()).map(Path::new);
    let builder = if container.options.contains_key("syslog-tls-skip-verify") {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(berth_tls::Anyone(provider)))
    } else {
        let mut roots = berth_tls::system_roots();
        let mut own = Vec::new();
        if let Some(path) = file("syslog-tls-ca-cert") {
            own = berth_tls::read_certificates(path).map_err(|error| {
                Error::new(format!("could not read CA certificate {:?}: {error}", path.display().to_string()))
            })?;
            // As with Docker: a named authority is the only one.
            roots = rustls::RootCertStore::empty();
            roots.add_parsable_certificates(own.iter().cloned());
        }
        let verifier =
            berth_tls::verifier(roots, own, provider).map_err(|error| Error::new(error.to_string()))?;
        builder.dangerous().with_custom_certificate_verifier(verifier)
    };
    match (file("syslog-tls-cert"), file("syslog-tls-key")) {
        (Some(certificate), Some(key)) => {
            let wrong =
                |error: berth_tls::FileError| Error::new(format!("Could not load X509 key pair: {error}"));
            let chain = berth_tls::read_certificates(certificate).map_err(wrong)?;
            let key = berth_tls::read_key(key).map_err(wrong)?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| Error::new(format!("Could not load X509 key pair: {error}")))
        }
        _ => Ok(builder.with_no_client_auth()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::container;

    #[test]
    fn facilities_have_names_and_numbers() {
        let read = |text: &str| parse_facility(text).map_err(|error| error.to_string());
        for (text, number) in [("", 3), ("kern", 0), ("ftp", 11), ("local0", 16), ("local7", 23), ("5", 5)] {
            assert_eq!(read(text), Ok(number), "{text}");
        }
        for bad in ["local8", "24", "-1", "x"] {
            assert_eq!(read(bad), Err("invalid syslog facility".to_owned()), "{bad}");
        }
    }

    #[tokio::test]
    async fn messages_look_as_dockers() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let daemon = tokio::net::UnixDatagram::bind(&path).unwrap();
        let pid = std::process::id();
        let host = hostname();
        for (format, expect) in [
            ("", format!("<30>Feb 29 00:00:00 0123456789ab[{pid}]: a b\n")),
            ("rfc3164", format!("<30>Feb 29 00:00:00 {host} 0123456789ab[{pid}]: a b\n")),
            ("rfc5424", format!("<30>1 2024-02-29T00:00:00Z {host} 0123456789ab {pid} 0123456789ab - a b\n")),
            (
                "rfc5424micro",
                format!("<30>1 2024-02-29T00:00:00.500000Z {host} 0123456789ab {pid} 0123456789ab - a b\n"),
            ),
        ] {
            let address = format!("unixgram://{}", path.display());
            let mut syslog =
                Syslog::connect(&container(&[("syslog-address", &address), ("syslog-format", format)]))
                    .await
                    .unwrap();
            syslog.zone = TimeZone::UTC;
            let message =
                Message { line: b"a b".to_vec(), nanos: 1_709_164_800_500_000_000, ..Message::default() };
            let (sent, error) = syslog.send(&[message]).await;
            assert!(sent == 1 && error.is_none(), "{error:?}");
            let mut buffer = [0; 1024];
            let length = daemon.recv(&mut buffer).await.unwrap();
            assert_eq!(String::from_utf8_lossy(&buffer[..length]), expect);
        }
    }

    #[tokio::test]
    async fn who_does_not_answer_is_named() {
        let refused = |address: &'static str| async move {
            Syslog::connect(&container(&[("syslog-address", address)])).await.unwrap_err().to_string()
        };
        assert_eq!(refused("tcp://127.0.0.1:1").await, "dial tcp 127.0.0.1:1: connect: connection refused");
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        std::fs::write(&path, "").unwrap();
        let address = format!("unix://{}", path.display());
        let error = Syslog::connect(&container(&[("syslog-address", &address)])).await.unwrap_err();
        assert_eq!(error.to_string(), format!("dial unix {}: connect: connection refused", path.display()));
    }
}
