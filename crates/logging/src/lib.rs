//! Log drivers that send a container's lines elsewhere: `syslog`, `journald`, `gelf`, `fluentd`; and what all drivers
//! share: the tag and the attributes of a container's lines.
//!
//! It keeps nothing and reads nothing: lines are given to a [`Writer`], which says how many of them were sent. Whoever
//! calls it has them on the disk and gives those again that were not.
//!
//! Messages, options and refusals are Docker's (`daemon/logger` of the Moby project, Docker 26).
#![forbid(unsafe_code)]

mod address;
mod attributes;
mod fluentd;
mod gelf;
mod journald;
mod options;
mod socket;
mod syslog;
mod tag;
#[cfg(test)]
mod testing;

use std::collections::BTreeMap;
use std::io;

pub use attributes::{attributes, parse_regex};
pub use options::{check, check_common, parse_bool};
pub use tag::render as render_tag;

/// A driver that sends lines elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// The syslog protocol (RFC 3164, RFC 5424, or as the local daemon takes it).
    Syslog,
    /// systemd's journal, by its native protocol.
    Journald,
    /// The Graylog Extended Log Format.
    Gelf,
    /// The forward protocol of Fluentd and Fluent Bit.
    Fluentd,
}

impl Driver {
    /// All of them.
    pub const ALL: [Driver; 4] = [Driver::Syslog, Driver::Journald, Driver::Gelf, Driver::Fluentd];

    /// The driver of this name.
    pub fn named(name: &str) -> Option<Driver> {
        Self::ALL.into_iter().find(|driver| driver.name() == name)
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Syslog => "syslog",
            Self::Journald => "journald",
            Self::Gelf => "gelf",
            Self::Fluentd => "fluentd",
        }
    }
}

/// What a driver needs to know of a container.
#[derive(Clone, Debug, Default)]
pub struct Container {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Without a slash.
    pub name: String,
    /// `sha256:…`.
    pub image_id: String,
    /// As it was named by whoever created the container.
    pub image_name: String,
    /// The program.
    pub entrypoint: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// RFC 3339 with nanoseconds.
    pub created: String,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The log file; empty with drivers that have none.
    pub log_path: String,
    /// The options of its driver.
    pub options: BTreeMap<String, String>,
}

impl Container {
    fn option(&self, name: &str) -> &str {
        self.options.get(name).map_or("", String::as_str)
    }

    /// Docker's short id.
    fn short_id(&self) -> &str {
        self.id.get(..12).unwrap_or(&self.id)
    }

    /// The program and its arguments.
    fn command(&self) -> String {
        let words: Vec<&str> =
            std::iter::once(self.entrypoint.as_str()).chain(self.args.iter().map(String::as_str)).collect();
        words.join(" ")
    }
}

/// A line of a container, or a piece of a long one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Without its newline.
    pub line: Vec<u8>,
    /// From standard error.
    pub stderr: bool,
    /// When it was written: nanoseconds since the epoch.
    pub nanos: i64,
    /// Which piece of a long line it is, if it is one.
    pub partial: Option<Partial>,
}

/// A piece of a line that was too long for one message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Partial {
    /// 64 hexadecimal digits, the same for all pieces.
    pub id: String,
    /// Counted from 1.
    pub ordinal: u32,
    /// Whether the line ends with it.
    pub last: bool,
}

/// A destination that cannot be used; the text is Docker's.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Error(String);

impl Error {
    fn new(text: impl Into<String>) -> Error {
        Error(text.into())
    }
}

impl From<String> for Error {
    fn from(text: String) -> Error {
        Error(text)
    }
}

/// An open way to a destination.
#[derive(Debug)]
pub struct Writer(Kind);

#[derive(Debug)]
enum Kind {
    Syslog(syslog::Syslog),
    Journald(journald::Journald),
    Gelf(gelf::Gelf),
    Fluentd(fluentd::Fluentd),
}

impl Writer {
    /// Connects for a container. Looks names up; gives up after thirty seconds.
    ///
    /// # Errors
    /// Docker's text for an option that cannot be used, a tag that is no template, or a destination that does not answer.
    pub async fn connect(driver: Driver, container: &Container) -> Result<Writer, Error> {
        Ok(Writer(match driver {
            Driver::Syslog => Kind::Syslog(syslog::Syslog::connect(container).await?),
            Driver::Journald => Kind::Journald(journald::Journald::connect(container)?),
            Driver::Gelf => Kind::Gelf(gelf::Gelf::connect(container).await?),
            Driver::Fluentd => Kind::Fluentd(fluentd::Fluentd::connect(container).await?),
        }))
    }

    /// Sends messages in their order. Answers with how many were sent, and why not all. After an error the writer is of no
    /// use any more. A stream may have got some of the messages that count as not sent.
    pub async fn send(&mut self, messages: &[Message]) -> (usize, Option<io::Error>) {
        match &mut self.0 {
            Kind::Syslog(writer) => writer.send(messages).await,
            Kind::Journald(writer) => writer.send(messages).await,
            Kind::Gelf(writer) => writer.send(messages).await,
            Kind::Fluentd(writer) => writer.send(messages).await,
        }
    }
}

/// Whether a container with these options starts without its destination (`fluentd-async`).
pub fn connects_later(driver: Driver, options: &BTreeMap<String, String>) -> bool {
    let is = |name: &str| options.get(name).is_some_and(|value| parse_bool(value) == Ok(true));
    driver == Driver::Fluentd && (is("fluentd-async") || is("fluentd-async-connect"))
}

/// The name of this host.
fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Random bytes as hexadecimal digits.
fn random_hex<const BYTES: usize>() -> io::Result<String> {
    use std::fmt::Write as _;
    let mut bytes = [0; BYTES];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    }))
}

/// A new id for the pieces of a long line.
///
/// # Errors
/// The system has no random numbers.
pub fn partial_id() -> io::Result<String> {
    random_hex::<32>()
}
