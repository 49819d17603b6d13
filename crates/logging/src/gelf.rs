//! `gelf`: one JSON object a message, in compressed packets over UDP or with a zero byte behind each over TCP
//! (GELF payload specification 1.1).

use std::io::{self, Write as _};

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use serde_json::{Map, Value};

use crate::address::{Address, Scheme, host_and_port, scheme, split};
use crate::socket::Socket;
use crate::{Container, Error, Message, attributes, hostname, tag};

/// A packet is no longer; what is longer comes in pieces.
const PACKET_MAX: usize = 1420;
/// Of which a piece's head takes so many bytes.
const PIECE_HEAD: usize = 12;
const PIECES_MAX: usize = 128;
const PIECE_MAGIC: [u8; 2] = [0x1e, 0x0f];
/// Severities of syslog.
const ERROR: u8 = 3;
const INFO: u8 = 6;

/// Where messages go: `udp://host:port` or `tcp://host:port`.
pub(crate) fn parse_address(text: &str) -> Result<Address, Error> {
    if text.is_empty() {
        return Err(Error::new("gelf-address is a required parameter"));
    }
    let (name, rest) = split(text);
    let Some(scheme @ (Scheme::Udp | Scheme::Tcp)) = scheme(name.unwrap_or_default()) else {
        return Err(Error::new("gelf: endpoint needs to be TCP or UDP"));
    };
    match host_and_port(text, rest)? {
        (host, Some(port)) => Ok(Address::Network { scheme, host, port }),
        (_, None) => Err(Error::new("gelf: please provide gelf-address as proto://host:port")),
    }
}

#[derive(Clone, Copy, Debug)]
enum Packing {
    Gzip(Compression),
    Zlib(Compression),
    None,
}

/// An open way to a Graylog server.
#[derive(Debug)]
pub(crate) struct Gelf {
    socket: Socket,
    packing: Packing,
    hostname: String,
    /// What all messages say, by Docker's names.
    extra: Map<String, Value>,
}

impl Gelf {
    pub(crate) async fn connect(container: &Container) -> Result<Gelf, Error> {
        let address = parse_address(container.option("gelf-address"))?;
        let tag = tag::render(container, tag::DEFAULT)?;
        let mut extra = Map::new();
        for (name, value) in [
            ("_container_id", container.id.clone()),
            ("_container_name", container.name.clone()),
            ("_image_id", container.image_id.clone()),
            ("_image_name", container.image_name.clone()),
            ("_command", container.command()),
            ("_tag", tag),
            ("_created", container.created.clone()),
        ] {
            extra.insert(name.to_owned(), value.into());
        }
        let underscored =
            |name: &str| if name.starts_with('_') { name.to_owned() } else { format!("_{name}") };
        for (name, value) in attributes::attributes(container, underscored)? {
            extra.insert(name, value.into());
        }
        let level = match container.option("gelf-compression-level").parse::<i32>() {
            Ok(-1) => Compression::default(),
            Ok(level) => Compression::new(level.unsigned_abs().min(9)),
            Err(_) => Compression::fast(),
        };
        let packing = match container.option("gelf-compression-type") {
            "zlib" => Packing::Zlib(level),
            "none" => Packing::None,
            _ => Packing::Gzip(level),
        };
        let socket = Socket::connect(&address, None).await.map_err(|error| {
            let Address::Network { host, port, .. } = &address else { return error };
            Error::new(format!("gelf: cannot connect to GELF endpoint: {host}:{port} {error}"))
        })?;
        Ok(Gelf { socket, packing, hostname: hostname(), extra })
    }

    pub(crate) async fn send(&mut self, messages: &[Message]) -> (usize, Option<io::Error>) {
        if !self.socket.is_datagram() {
            let mut bytes = Vec::new();
            for message in messages {
                bytes.extend_from_slice(self.encode(message).as_bytes());
                bytes.push(0);
            }
            return match self.socket.write(&bytes).await {
                Ok(()) => (messages.len(), None),
                Err(error) => (0, Some(error)),
            };
        }
        for (sent, message) in messages.iter().enumerate() {
            let text = self.encode(message);
            if let Err(error) = self.send_packets(text.as_bytes()).await {
                return (sent, Some(error));
            }
        }
        (messages.len(), None)
    }

    async fn send_packets(&mut self, text: &[u8]) -> io::Result<()> {
        let bytes = match self.packing {
            Packing::Gzip(level) => {
                let mut encoder = GzEncoder::new(Vec::new(), level);
                encoder.write_all(text)?;
                encoder.finish()?
            }
            Packing::Zlib(level) => {
                let mut encoder = ZlibEncoder::new(Vec::new(), level);
                encoder.write_all(text)?;
                encoder.finish()?
            }
            Packing::None => text.to_owned(),
        };
        if bytes.len() <= PACKET_MAX {
            return self.socket.write(&bytes).await;
        }
        let pieces = bytes.chunks(PACKET_MAX - PIECE_HEAD);
        let count = pieces.len();
        let (Ok(total), true) = (u8::try_from(count), count <= PIECES_MAX) else {
            // No server takes more; to try again is no use.
            return Ok(());
        };
        let mut id = [0; 8];
        getrandom::fill(&mut id).map_err(io::Error::other)?;
        for (number, piece) in (0..total).zip(pieces) {
            let packet = [&PIECE_MAGIC[..], &id, &[number, total], piece].concat();
            self.socket.write(&packet).await?;
        }
        Ok(())
    }

    /// The members in the order in which Docker has them.
    fn encode(&self, message: &Message) -> String {
        let quoted = |text: &str| Value::from(text).to_string();
        let millis = message.nanos.div_euclid(1_000_000);
        let mut text = format!(
            "{{\"version\":\"1.1\",\"host\":{},\"short_message\":{},\"timestamp\":{},\"level\":{}",
            quoted(&self.hostname),
            quoted(&String::from_utf8_lossy(&message.line)),
            millis as f64 / 1000.0,
            if message.stderr { ERROR } else { INFO }
        );
        for (name, value) in &self.extra {
            text.push_str(&format!(",{}:{value}", quoted(name)));
        }
        text.push('}');
        text
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use tokio::net::UdpSocket;

    use super::*;
    use crate::testing::container;

    async fn receive(server: &UdpSocket) -> Vec<u8> {
        let mut buffer = vec![0; 65536];
        let length = server.recv(&mut buffer).await.unwrap();
        buffer.truncate(length);
        buffer
    }

    fn message(line: &[u8]) -> Message {
        Message { line: line.to_vec(), nanos: 1_709_164_800_512_300_000, ..Message::default() }
    }

    #[tokio::test]
    async fn packets_are_compressed_json() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = format!("udp://{}", server.local_addr().unwrap());
        let expect = format!(
            "{{\"version\":\"1.1\",\"host\":\"{}\",\"short_message\":\"a \\\"b\\\"\",\"timestamp\":1709164800.512,\
             \"level\":6,\"_B\":\"2\",\"_a\":\"1\",\"_command\":\"httpd -X\",\"_container_id\":\"{}\",\
             \"_container_name\":\"web\",\"_created\":\"2024-02-29T00:00:00.5Z\",\"_image_id\":\"sha256:{}\",\
             \"_image_name\":\"httpd\",\"_tag\":\"0123456789ab\"}}",
            hostname(),
            "0123456789abcdef".repeat(4),
            "ddee69c474f7acfd".repeat(4)
        );
        for packing in ["gzip", "zlib", "none"] {
            let options = [
                ("gelf-address", address.as_str()),
                ("gelf-compression-type", packing),
                ("labels", "a"),
                ("env", "B"),
            ];
            let mut gelf = Gelf::connect(&container(&options)).await.unwrap();
            assert_eq!(gelf.send(&[message(b"a \"b\"")]).await.0, 1);
            let packet = receive(&server).await;
            let mut text = String::new();
            match packing {
                "gzip" => flate2::read::GzDecoder::new(&packet[..]).read_to_string(&mut text).unwrap(),
                "zlib" => flate2::read::ZlibDecoder::new(&packet[..]).read_to_string(&mut text).unwrap(),
                _ => (&packet[..]).read_to_string(&mut text).unwrap(),
            };
            assert_eq!(text, expect, "{packing}");
        }
    }

    #[tokio::test]
    async fn what_is_longer_than_a_packet_comes_in_pieces() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = format!("udp://{}", server.local_addr().unwrap());
        let options = [("gelf-address", address.as_str()), ("gelf-compression-type", "none")];
        let mut gelf = Gelf::connect(&container(&options)).await.unwrap();
        let line = "x".repeat(4000);
        assert_eq!(gelf.send(&[message(line.as_bytes())]).await.0, 1);
        let mut whole = Vec::new();
        for number in 0..4 {
            let packet = receive(&server).await;
            assert_eq!((&packet[..2], packet[10], packet[11]), (&PIECE_MAGIC[..], number, 4));
            whole.extend_from_slice(&packet[PIECE_HEAD..]);
        }
        assert!(String::from_utf8(whole).unwrap().contains(&line));
    }
}
