//! `journald`: one datagram a message, by the journal's native protocol
//! (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>).

use std::io::{self, IoSlice, Write as _};
use std::os::fd::AsFd as _;
use std::path::Path;

use jiff::Timestamp;
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use tokio::net::UnixDatagram;

use crate::socket::datagram;
use crate::{Container, Error, Message, attributes, random_hex, tag};

const SOCKET: &str = "/run/systemd/journal/socket";
/// Priorities, those of syslog.
const ERROR: &str = "3";
const INFO: &str = "6";

/// An open way to the journal.
#[derive(Debug)]
pub(crate) struct Journald {
    socket: UnixDatagram,
    /// What all messages say.
    fields: Vec<u8>,
    ordinal: u64,
}

impl Journald {
    pub(crate) fn connect(container: &Container) -> Result<Journald, Error> {
        Self::connect_at(Path::new(SOCKET), container)
    }

    fn connect_at(path: &Path, container: &Container) -> Result<Journald, Error> {
        let socket = datagram(path).map_err(|_| Error::new("journald is not enabled on this host"))?;
        let tag = tag::render(container, tag::DEFAULT)?;
        let epoch = random_hex::<32>().map_err(|error| Error::new(error.to_string()))?;
        let mut fields = Vec::new();
        for (name, value) in [
            ("CONTAINER_ID", container.short_id()),
            ("CONTAINER_ID_FULL", &container.id),
            ("CONTAINER_NAME", &container.name),
            ("CONTAINER_TAG", &tag),
            ("IMAGE_NAME", &container.image_name),
            ("SYSLOG_IDENTIFIER", &tag),
            ("CONTAINER_LOG_EPOCH", &epoch),
        ] {
            put(&mut fields, name, value.as_bytes());
        }
        for (name, value) in attributes::attributes(container, field_name)? {
            put(&mut fields, &name, value.as_bytes());
        }
        Ok(Journald { socket, fields, ordinal: 0 })
    }

    pub(crate) async fn send(&mut self, messages: &[Message]) -> (usize, Option<io::Error>) {
        let mut bytes = Vec::new();
        for (sent, message) in messages.iter().enumerate() {
            bytes.clear();
            self.encode(message, &mut bytes);
            let written = match self.socket.send(&bytes).await {
                // Too much for a datagram: the journal takes it as a file, too.
                Err(error) if error.raw_os_error() == Some(rustix::io::Errno::MSGSIZE.raw_os_error()) => {
                    self.send_file(&bytes).await
                }
                written => written.map(drop),
            };
            if let Err(error) = written {
                return (sent, Some(error));
            }
        }
        (messages.len(), None)
    }

    fn encode(&mut self, message: &Message, out: &mut Vec<u8>) {
        self.ordinal += 1;
        put(out, "PRIORITY", if message.stderr { ERROR } else { INFO }.as_bytes());
        put(out, "MESSAGE", &message.line);
        put(out, "CONTAINER_LOG_ORDINAL", self.ordinal.to_string().as_bytes());
        let time = Timestamp::from_nanosecond(i128::from(message.nanos)).unwrap_or_default();
        put(out, "SYSLOG_TIMESTAMP", time.to_string().as_bytes());
        if let Some(partial) = &message.partial {
            put(out, "CONTAINER_PARTIAL_ID", partial.id.as_bytes());
            put(out, "CONTAINER_PARTIAL_ORDINAL", partial.ordinal.to_string().as_bytes());
            put(out, "CONTAINER_PARTIAL_LAST", partial.last.to_string().as_bytes());
            if !partial.last {
                put(out, "CONTAINER_PARTIAL_MESSAGE", b"true");
            }
        }
        out.extend_from_slice(&self.fields);
    }

    /// Sends a descriptor of a sealed file that has the message.
    async fn send_file(&self, bytes: &[u8]) -> io::Result<()> {
        let flags = MemfdFlags::ALLOW_SEALING | MemfdFlags::CLOEXEC;
        let mut file = std::fs::File::from(rustix::fs::memfd_create("journal-message", flags)?);
        file.write_all(bytes)?;
        rustix::fs::fcntl_add_seals(
            &file,
            SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL,
        )?;
        let sending = || {
            let descriptors = [file.as_fd()];
            let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            control.push(SendAncillaryMessage::ScmRights(&descriptors));
            rustix::net::sendmsg(&self.socket, &[IoSlice::new(&[])], &mut control, SendFlags::DONTWAIT)?;
            Ok(())
        };
        self.socket.async_io(tokio::io::Interest::WRITABLE, sending).await
    }
}

/// Appends a field; a value of several lines is preceded by its length.
fn put(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    if value.contains(&b'\n') {
        out.push(b'\n');
        out.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        out.push(b'=');
    }
    out.extend_from_slice(value);
    out.push(b'\n');
}

/// A name that the journal takes: capitals, digits and underscores, none of them first.
fn field_name(name: &str) -> String {
    let name: String = name
        .chars()
        .map(|character| if character.is_ascii_alphanumeric() { character.to_ascii_uppercase() } else { '_' })
        .collect();
    name.trim_start_matches('_').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Partial;
    use crate::testing::container;

    #[tokio::test]
    async fn messages_are_fields() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let options = [("labels-regex", "."), ("env", "C.x"), ("tag", "{{.Name}}")];
        let error = Journald::connect_at(&path, &container(&options)).unwrap_err();
        assert_eq!(error.to_string(), "journald is not enabled on this host");

        let journal = UnixDatagram::bind(&path).unwrap();
        let mut writer = Journald::connect_at(&path, &container(&options)).unwrap();
        let partial = Some(Partial { id: "77".to_owned(), ordinal: 2, last: false });
        let message =
            Message { line: b"a\nb".to_vec(), stderr: true, nanos: 1_709_164_800_500_000_000, partial };
        assert_eq!(writer.send(&[message]).await.0, 1);
        let mut buffer = [0; 4096];
        let length = journal.recv(&mut buffer).await.unwrap();
        let text = String::from_utf8_lossy(&buffer[..length]);
        let (before, epoch) = text.split_once("CONTAINER_LOG_EPOCH=").unwrap();
        assert_eq!(
            before,
            format!(
                "PRIORITY=3\nMESSAGE\n\u{3}\0\0\0\0\0\0\0a\nb\nCONTAINER_LOG_ORDINAL=1\n\
                 SYSLOG_TIMESTAMP=2024-02-29T00:00:00.5Z\nCONTAINER_PARTIAL_ID=77\nCONTAINER_PARTIAL_ORDINAL=2\n\
                 CONTAINER_PARTIAL_LAST=false\nCONTAINER_PARTIAL_MESSAGE=true\nCONTAINER_ID=0123456789ab\n\
                 CONTAINER_ID_FULL={}\nCONTAINER_NAME=web\nCONTAINER_TAG=web\nIMAGE_NAME=httpd\n\
                 SYSLOG_IDENTIFIER=web\n",
                "0123456789abcdef".repeat(4)
            )
        );
        assert_eq!(epoch.split_once('\n').unwrap().1, "A=1\nB_Y=4\nC_X=3\n");
    }

    #[tokio::test]
    async fn what_is_too_large_for_a_datagram_comes_as_a_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let journal = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
        let mut writer = Journald::connect_at(&path, &container(&[])).unwrap();
        let message = Message { line: vec![b'x'; 4 << 20], ..Message::default() };
        let (sent, error) = writer.send(&[message]).await;
        assert_eq!(sent, 1, "{error:?}");
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = rustix::net::RecvAncillaryBuffer::new(&mut space);
        rustix::net::recvmsg(&journal, &mut [], &mut control, rustix::net::RecvFlags::empty()).unwrap();
        let Some(rustix::net::RecvAncillaryMessage::ScmRights(mut files)) = control.drain().next() else {
            panic!("no descriptor came");
        };
        let mut file = std::fs::File::from(files.next().unwrap());
        io::Seek::rewind(&mut file).unwrap();
        let text = io::read_to_string(file).unwrap();
        assert!(text.starts_with("PRIORITY=6\nMESSAGE=xxx") && text.len() > 4 << 20);
    }
}
