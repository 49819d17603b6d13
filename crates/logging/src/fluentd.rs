//! `fluentd`: one event a message, by the forward protocol
//! (<https://github.com/fluent/fluentd/wiki/Forward-Protocol-Specification-v1>, message mode).

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use base64::Engine as _;

use crate::address::{Address, Scheme, host_and_port, scheme, split};
use crate::options::{check_size, parse_bool};
use crate::socket::Socket;
use crate::{Container, Error, Message, attributes, tag};

const HOST: &str = "127.0.0.1";
const PORT: u16 = 24224;

/// What the options say.
#[derive(Debug)]
pub(crate) struct Config {
    address: Address,
    precise: bool,
    acknowledged: bool,
}

impl Config {
    /// Errors: Docker's text.
    pub(crate) fn parse(options: &BTreeMap<String, String>) -> Result<Config, Error> {
        let option = |name: &str| options.get(name).map_or("", String::as_str);
        let address = parse_address(option("fluentd-address"))?;
        let limit = option("fluentd-buffer-limit");
        if !limit.is_empty() {
            check_size(limit)?;
        }
        for name in ["fluentd-retry-wait", "fluentd-async-reconnect-interval"] {
            let value = option(name);
            if !value.is_empty() && !is_duration(value) {
                return Err(Error::new(format!("time: invalid duration {value:?}")));
            }
        }
        let retries = option("fluentd-max-retries");
        if !retries.is_empty() && retries.parse::<u64>().is_err() {
            return Err(Error::new(format!("strconv.ParseUint: parsing {retries:?}: invalid syntax")));
        }
        if !option("fluentd-async").is_empty() && !option("fluentd-async-connect").is_empty() {
            return Err(Error::new(
                "conflicting options: cannot specify both 'fluentd-async' and 'fluentd-async-connect'",
            ));
        }
        let flag = |name: &str| match option(name) {
            "" => Ok(false),
            value => parse_bool(value),
        };
        for name in ["fluentd-async", "fluentd-async-connect"] {
            flag(name)?;
        }
        Ok(Config {
            address,
            precise: flag("fluentd-sub-second-precision")?,
            acknowledged: flag("fluentd-request-ack")?,
        })
    }
}

fn parse_address(text: &str) -> Result<Address, Error> {
    let (name, rest) = split(text);
    let invalid = |error: Error| Error::new(format!("invalid fluentd-address ({text}): {error}"));
    let scheme = match name {
        Some("unix") => return Ok(Address::Unix(PathBuf::from(rest))),
        Some("unixgram") => return Ok(Address::Unixgram(PathBuf::from(rest))),
        None => Scheme::Tcp,
        Some(name) => match scheme(name) {
            Some(scheme @ (Scheme::Udp | Scheme::Tcp)) => scheme,
            _ => return Err(invalid(Error::new(format!("unsupported scheme: '{name}'")))),
        },
    };
    let url = if name.is_some() { text.to_owned() } else { format!("tcp://{text}") };
    let (host, port) = host_and_port(&url, rest).map_err(invalid)?;
    let host = if host.is_empty() { HOST.to_owned() } else { host };
    Ok(Address::Network { scheme, host, port: port.unwrap_or(PORT) })
}

/// Whether Go's `time.ParseDuration` takes it.
fn is_duration(text: &str) -> bool {
    let mut rest = text.trim_start_matches(['+', '-']);
    if rest == "0" {
        return true;
    }
    if rest.is_empty() {
        return false;
    }
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        if rest[..number].parse::<f64>().is_err() {
            return false;
        }
        rest = &rest[number..];
        let unit = ["ns", "us", "µs", "ms", "s", "m", "h"].into_iter().filter(|unit| rest.starts_with(unit));
        let Some(unit) = unit.max_by_key(|unit| unit.len()) else { return false };
        rest = &rest[unit.len()..];
    }
    true
}

/// An open way to a collector.
#[derive(Debug)]
pub(crate) struct Fluentd {
    socket: Socket,
    config: Config,
    tag: String,
    id: String,
    name: String,
    extra: BTreeMap<String, String>,
}

impl Fluentd {
    pub(crate) async fn connect(container: &Container) -> Result<Fluentd, Error> {
        let config = Config::parse(&container.options)?;
        let tag = tag::render(container, tag::DEFAULT)?;
        let extra = attributes::attributes(container, str::to_owned)?;
        let socket = Socket::connect(&config.address, None).await?;
        let name = format!("/{}", container.name);
        Ok(Fluentd { socket, config, tag, id: container.id.clone(), name, extra })
    }

    pub(crate) async fn send(&mut self, messages: &[Message]) -> (usize, Option<io::Error>) {
        if !self.config.acknowledged && !self.socket.is_datagram() {
            let mut bytes = Vec::new();
            messages.iter().for_each(|message| self.encode(message, None, &mut bytes));
            return match self.socket.write(&bytes).await {
                Ok(()) => (messages.len(), None),
                Err(error) => (0, Some(error)),
            };
        }
        for (sent, message) in messages.iter().enumerate() {
            if let Err(error) = self.send_one(message).await {
                return (sent, Some(error));
            }
        }
        (messages.len(), None)
    }

    async fn send_one(&mut self, message: &Message) -> io::Result<()> {
        let mut bytes = Vec::new();
        if !self.config.acknowledged {
            self.encode(message, None, &mut bytes);
            return self.socket.write(&bytes).await;
        }
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(io::Error::other)?;
        let chunk = base64::engine::general_purpose::STANDARD.encode(id);
        self.encode(message, Some(&chunk), &mut bytes);
        self.socket.write(&bytes).await?;
        let mut expect = vec![0x81];
        string(&mut expect, b"ack");
        string(&mut expect, chunk.as_bytes());
        let mut answer = vec![0; expect.len()];
        self.socket.read(&mut answer).await?;
        if answer == expect { Ok(()) } else { Err(io::Error::other("another event was acknowledged")) }
    }

    fn encode(&self, message: &Message, chunk: Option<&str>, out: &mut Vec<u8>) {
        let mut record: BTreeMap<&str, &[u8]> = BTreeMap::new();
        record.insert("container_id", self.id.as_bytes());
        record.insert("container_name", self.name.as_bytes());
        record.insert("source", if message.stderr { b"stderr" } else { b"stdout" });
        record.insert("log", &message.line);
        record.extend(self.extra.iter().map(|(name, value)| (name.as_str(), value.as_bytes())));
        let ordinal = message.partial.as_ref().map(|partial| partial.ordinal.to_string()).unwrap_or_default();
        if let Some(partial) = &message.partial {
            record.insert("partial_message", b"true");
            record.insert("partial_id", partial.id.as_bytes());
            record.insert("partial_ordinal", ordinal.as_bytes());
            record.insert("partial_last", if partial.last { b"true" } else { b"false" });
        }
        out.push(0x94);
        string(out, self.tag.as_bytes());
        self.time(message.nanos, out);
        map(out, record.len());
        for (name, value) in record {
            string(out, name.as_bytes());
            string(out, value);
        }
        map(out, usize::from(chunk.is_some()));
        if let Some(chunk) = chunk {
            string(out, b"chunk");
            string(out, chunk.as_bytes());
        }
    }

    /// Seconds, or an `EventTime` of seconds and nanoseconds.
    fn time(&self, nanos: i64, out: &mut Vec<u8>) {
        let seconds = nanos.div_euclid(1_000_000_000);
        if self.config.precise {
            out.extend_from_slice(&[0xd7, 0]);
            out.extend_from_slice(&(seconds as u32).to_be_bytes());
            out.extend_from_slice(&(nanos.rem_euclid(1_000_000_000) as u32).to_be_bytes());
        } else if let Ok(seconds) = i32::try_from(seconds) {
            out.push(0xd2);
            out.extend_from_slice(&seconds.to_be_bytes());
        } else {
            out.push(0xd3);
            out.extend_from_slice(&seconds.to_be_bytes());
        }
    }
}

/// The head of a map of `MessagePack`.
fn map(out: &mut Vec<u8>, length: usize) {
    match u8::try_from(length) {
        Ok(length @ 0..=15) => out.push(0x80 | length),
        _ => {
            out.push(0xde);
            out.extend_from_slice(&u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes());
        }
    }
}

/// A string of `MessagePack`.
fn string(out: &mut Vec<u8>, text: &[u8]) {
    let length = text.len();
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(length @ 0..=31), _) => out.push(0xa0 | length),
        (Ok(length), _) => out.extend_from_slice(&[0xd9, length]),
        (_, Ok(length)) => {
            out.push(0xda);
            out.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            out.push(0xdb);
            out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
        }
    }
    out.extend_from_slice(text);
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::Partial;
    use crate::testing::container;

    fn message(line: &[u8]) -> Message {
        Message { line: line.to_vec(), nanos: 1_709_164_800_512_300_000, ..Message::default() }
    }

    #[tokio::test]
    async fn events_are_messagepack() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = server.local_addr().unwrap().to_string();
        let options = [("fluentd-address", address.as_str()), ("tag", "t"), ("labels", "a")];
        let mut fluentd = Fluentd::connect(&container(&options)).await.unwrap();
        let (mut peer, _) = server.accept().await.unwrap();
        let partial = Some(Partial { id: "77".to_owned(), ordinal: 2, last: true });
        assert_eq!(fluentd.send(&[message(b"x"), Message { partial, ..message(b"y") }]).await.0, 2);
        drop(fluentd);
        let mut got = Vec::new();
        peer.read_to_end(&mut got).await.unwrap();
        let id = "0123456789abcdef".repeat(4);
        let head = |members: u8| [&b"\x94\xa1t\xd2\x65\xdf\xc9\x00"[..], &[0x80 | members]].concat();
        let first = [
            &head(5)[..],
            b"\xa1a\xa11\xaccontainer_id\xd9@",
            id.as_bytes(),
            b"\xaecontainer_name\xa4/web\xa3log\xa1x\xa6source\xa6stdout\x80",
        ];
        let second = [
            &head(9)[..],
            b"\xa1a\xa11\xaccontainer_id\xd9@",
            id.as_bytes(),
            b"\xaecontainer_name\xa4/web\xa3log\xa1y\xaapartial_id\xa277\xacpartial_last\xa4true\
              \xafpartial_message\xa4true\xafpartial_ordinal\xa12\xa6source\xa6stdout\x80",
        ];
        let expect = [first.concat(), second.concat()].concat();
        assert_eq!(got.escape_ascii().to_string(), expect.escape_ascii().to_string());
    }

    #[tokio::test]
    async fn an_event_may_be_acknowledged() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("tcp://{}", server.local_addr().unwrap());
        let options = [
            ("fluentd-address", address.as_str()),
            ("fluentd-request-ack", "true"),
            ("fluentd-sub-second-precision", "1"),
        ];
        let mut fluentd = Fluentd::connect(&container(&options)).await.unwrap();
        let (mut peer, _) = server.accept().await.unwrap();
        let collector = tokio::spawn(async move {
            let mut buffer = [0; 4096];
            let mut got = Vec::new();
            // The id is the last string: it ends the message.
            while got.len() < 24 || !got[..got.len() - 24].ends_with(b"\x81\xa5chunk\xb8") {
                let length = peer.read(&mut buffer).await.unwrap();
                got.extend_from_slice(&buffer[..length]);
            }
            let id = got[got.len() - 24..].to_vec();
            peer.write_all(&[&b"\x81\xa3ack\xb8"[..], &id].concat()).await.unwrap();
            assert!(peer.read(&mut buffer).await.unwrap() > 0);
            peer.write_all(&[b'?'; 30]).await.unwrap();
            got
        });
        let (sent, error) = fluentd.send(&[message(b"x"), message(b"y")]).await;
        assert_eq!((sent, error.unwrap().to_string().as_str()), (1, "another event was acknowledged"));
        let got = collector.await.unwrap();
        assert_eq!(&got[..24], b"\x94\xac0123456789ab\xd7\0\x65\xdf\xc9\x00\x1e\x89\x13\xe0");
    }

    #[test]
    fn durations_are_gos() {
        for good in ["1s", "1.5h", "1m30s", "100ms", "-1us", "0", "2µs"] {
            assert!(is_duration(good), "{good}");
        }
        for bad in ["", "1", "s", "1x", "1s2", "+", "1..5s"] {
            assert!(!is_duration(bad), "{bad}");
        }
    }
}
