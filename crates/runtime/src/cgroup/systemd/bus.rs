//! A connection to systemd's manager: its own socket, or the system bus where that is all there is.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::message::{ANSWER, Call, ERROR, FIXED, Message, Property, SIGNAL, Writer};

const PRIVATE: &str = "/run/systemd/private";
const SYSTEM_BUS: &str = "/run/dbus/system_bus_socket";

const NAME: &str = "org.freedesktop.systemd1";
const OBJECT: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const BUS: &str = "org.freedesktop.DBus";

/// How long systemd may take for a job, as runc has it.
const PATIENCE: Duration = Duration::from_secs(30);

/// A conversation with the manager.
#[derive(Debug)]
pub(super) struct Bus {
    stream: UnixStream,
    serial: u32,
    /// Who is called; nobody on systemd's own socket, where there is nobody else.
    destination: &'static str,
    /// Jobs that ended before they were asked for.
    ended: Vec<(String, String)>,
}

/// Why systemd did not do it.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("{message}")]
    Refused { name: String, message: String },
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl Failure {
    /// Whether there is no such unit, or no longer.
    pub(super) fn is_no_such_unit(&self) -> bool {
        matches!(self, Self::Refused { name, .. } if name == "org.freedesktop.systemd1.NoSuchUnit")
    }

    /// Whether a unit of that name is there already.
    pub(super) fn is_unit_exists(&self) -> bool {
        matches!(self, Self::Refused { name, .. } if name == "org.freedesktop.systemd1.UnitExists")
    }
}

impl Bus {
    pub(super) fn connect() -> Result<Self, Failure> {
        let (stream, destination) = match UnixStream::connect(PRIVATE) {
            Ok(stream) => (stream, ""),
            Err(_) => (UnixStream::connect(SYSTEM_BUS)?, NAME),
        };
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut bus = Self { stream, serial: 0, destination, ended: Vec::new() };
        bus.authenticate()?;
        if !destination.is_empty() {
            bus.bus_call("Hello", "", Writer::default())?;
            let mut rule = Writer::default();
            rule.text("type='signal',interface='org.freedesktop.systemd1.Manager',member='JobRemoved'");
            bus.bus_call("AddMatch", "s", rule)?;
            bus.call("Subscribe", "", Writer::default())?;
        }
        Ok(bus)
    }

    /// The kernel says who we are; we say it in the protocol's way, hexadecimal digits of the decimal number.
    fn authenticate(&mut self) -> Result<(), Failure> {
        let uid = rustix::process::geteuid().as_raw().to_string();
        let digits: String = uid.bytes().map(|digit| format!("{digit:02x}")).collect();
        self.stream.write_all(format!("\0AUTH EXTERNAL {digits}\r\n").as_bytes())?;
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") && line.len() < 512 {
            let mut byte = [0];
            self.stream.read_exact(&mut byte)?;
            line.extend(byte);
        }
        if !line.starts_with(b"OK ") {
            let said = String::from_utf8_lossy(&line).trim().to_owned();
            return Err(
                io::Error::new(io::ErrorKind::PermissionDenied, format!("systemd said {said:?}")).into()
            );
        }
        Ok(self.stream.write_all(b"BEGIN\r\n")?)
    }

    /// Starts a unit that lives until its processes end, and waits until it is there.
    pub(super) fn start_transient(&mut self, unit: &str, properties: &[Property]) -> Result<(), Failure> {
        let mut body = Writer::default();
        body.text(unit);
        body.text("replace");
        body.properties(properties);
        body.array(8, &[(); 0], |_, ()| ());
        let job = self.call("StartTransientUnit", "ssa(sv)a(sa(sv))", body)?;
        self.await_job(&job)
    }

    /// Stops a unit and waits for its end.
    pub(super) fn stop(&mut self, unit: &str) -> Result<(), Failure> {
        let mut body = Writer::default();
        body.text(unit);
        body.text("replace");
        let job = self.call("StopUnit", "ss", body)?;
        self.await_job(&job)
    }

    /// Forgets that a unit has failed: only then it is gone.
    pub(super) fn reset_failed(&mut self, unit: &str) -> Result<(), Failure> {
        let mut body = Writer::default();
        body.text(unit);
        self.call("ResetFailedUnit", "s", body).map(drop)
    }

    /// Changes a unit until the next boot.
    pub(super) fn set_properties(&mut self, unit: &str, properties: &[Property]) -> Result<(), Failure> {
        let mut body = Writer::default();
        body.text(unit);
        body.flag(true);
        body.properties(properties);
        self.call("SetUnitProperties", "sba(sv)", body).map(drop)
    }

    fn bus_call(&mut self, member: &str, signature: &str, body: Writer) -> Result<(), Failure> {
        let path = "/org/freedesktop/DBus";
        self.send(&Call { destination: BUS, path, interface: BUS, member, signature, body }).map(drop)
    }

    /// Calls the manager; the first text of its answer, if it has one.
    fn call(&mut self, member: &str, signature: &str, body: Writer) -> Result<String, Failure> {
        let destination = self.destination;
        self.send(&Call { destination, path: OBJECT, interface: MANAGER, member, signature, body })
    }

    fn send(&mut self, call: &Call<'_>) -> Result<String, Failure> {
        self.serial += 1;
        let serial = self.serial;
        self.stream.write_all(&call.to_bytes(serial))?;
        loop {
            let message = self.receive()?;
            match message.kind {
                ANSWER if message.reply_serial == serial => {
                    return Ok(message.words()?.into_iter().next().unwrap_or_default());
                }
                ERROR if message.reply_serial == serial => {
                    let text = message.words()?.into_iter().next();
                    let text = text.unwrap_or_else(|| message.error_name.clone());
                    return Err(Failure::Refused { name: message.error_name, message: text });
                }
                SIGNAL => self.remember(&message)?,
                _ => {}
            }
        }
    }

    /// Waits for the end of a job.
    fn await_job(&mut self, job: &str) -> Result<(), Failure> {
        loop {
            if let Some(at) = self.ended.iter().position(|(ended, _)| ended == job) {
                let (_, result) = self.ended.swap_remove(at);
                if result == "done" {
                    return Ok(());
                }
                let message = format!("the job ended with {result:?}");
                return Err(Failure::Refused { name: String::new(), message });
            }
            let message = self.receive()?;
            if message.kind == SIGNAL {
                self.remember(&message)?;
            }
        }
    }

    /// `JobRemoved` tells the number of a job, its object, its unit, and how it ended.
    fn remember(&mut self, signal: &Message) -> Result<(), Failure> {
        if signal.member != "JobRemoved" {
            return Ok(());
        }
        if let [_, job, _, result] = &signal.words()?[..] {
            self.ended.push((job.clone(), result.clone()));
        }
        Ok(())
    }

    fn receive(&mut self) -> Result<Message, Failure> {
        let mut fixed = [0; FIXED];
        self.stream.read_exact(&mut fixed)?;
        let mut bytes = vec![0; Message::length(&fixed)?];
        bytes[..FIXED].copy_from_slice(&fixed);
        self.stream.read_exact(&mut bytes[FIXED..])?;
        Ok(Message::parse(&bytes)?)
    }
}
