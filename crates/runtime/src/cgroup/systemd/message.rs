//! Messages of D-Bus: written and read in the byte order of x86 and Arm, as far as systemd's manager needs it.
//!
//! Source: D-Bus Specification, "Type System" and "Message Protocol".

use std::io;

/// Kinds of messages.
pub(super) const CALL: u8 = 1;
pub(super) const ANSWER: u8 = 2;
pub(super) const ERROR: u8 = 3;
pub(super) const SIGNAL: u8 = 4;

/// Fields of a header.
const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const ERROR_NAME: u8 = 4;
const REPLY_SERIAL: u8 = 5;
const DESTINATION: u8 = 6;
const SIGNATURE: u8 = 8;

/// The part of every message that has a fixed length: it says how long the others are.
pub(super) const FIXED: usize = 16;

/// More than systemd ever says to us.
const LENGTH_MAX: usize = 1 << 20;

/// A value in a property of a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// `b`
    Flag(bool),
    /// `s`
    Text(String),
    /// `t`
    Number(u64),
    /// `au`
    Numbers(Vec<u32>),
    /// `as`
    Texts(Vec<String>),
    /// `ay`
    Bytes(Vec<u8>),
    /// `a(ss)`
    Pairs(Vec<(String, String)>),
}

/// A property of a unit.
pub(crate) type Property = (String, Value);

/// Bytes that are written, each value at a multiple of its own size.
#[derive(Debug, Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    fn align(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    pub(super) fn number(&mut self, value: u32) {
        self.align(4);
        self.0.extend(value.to_le_bytes());
    }

    pub(super) fn flag(&mut self, value: bool) {
        self.number(value.into());
    }

    pub(super) fn text(&mut self, value: &str) {
        self.number(value.len() as u32);
        self.0.extend(value.as_bytes());
        self.0.push(0);
    }

    fn signature(&mut self, value: &str) {
        self.0.push(value.len() as u8);
        self.0.extend(value.as_bytes());
        self.0.push(0);
    }

    /// An array: its length in bytes counts from the first element, which is aligned.
    pub(super) fn array<T>(&mut self, align: usize, items: &[T], mut write: impl FnMut(&mut Self, &T)) {
        self.number(0);
        let at = self.0.len() - 4;
        self.align(align);
        let start = self.0.len();
        for item in items {
            self.align(align);
            write(self, item);
        }
        let length = (self.0.len() - start) as u32;
        self.0[at..at + 4].copy_from_slice(&length.to_le_bytes());
    }

    /// `a(sv)`
    pub(super) fn properties(&mut self, properties: &[Property]) {
        self.array(8, properties, |writer, (name, value)| {
            writer.text(name);
            writer.variant(value);
        });
    }

    fn variant(&mut self, value: &Value) {
        match value {
            Value::Flag(value) => {
                self.signature("b");
                self.flag(*value);
            }
            Value::Text(value) => {
                self.signature("s");
                self.text(value);
            }
            Value::Number(value) => {
                self.signature("t");
                self.align(8);
                self.0.extend(value.to_le_bytes());
            }
            Value::Numbers(values) => {
                self.signature("au");
                self.array(4, values, |writer, value| writer.number(*value));
            }
            Value::Texts(values) => {
                self.signature("as");
                self.array(4, values, |writer, value| writer.text(value));
            }
            Value::Bytes(values) => {
                self.signature("ay");
                self.array(1, values, |writer, value| writer.0.push(*value));
            }
            Value::Pairs(values) => {
                self.signature("a(ss)");
                self.array(8, values, |writer, (first, second)| {
                    writer.text(first);
                    writer.text(second);
                });
            }
        }
    }
}

/// A call of a method.
#[derive(Debug)]
pub(super) struct Call<'a> {
    pub(super) destination: &'a str,
    pub(super) path: &'a str,
    pub(super) interface: &'a str,
    pub(super) member: &'a str,
    pub(super) signature: &'a str,
    pub(super) body: Writer,
}

impl Call<'_> {
    pub(super) fn to_bytes(&self, serial: u32) -> Vec<u8> {
        let mut out = Writer::default();
        out.0.extend([b'l', CALL, 0, 1]);
        out.number(self.body.0.len() as u32);
        out.number(serial);
        let fields = [
            (PATH, "o", self.path),
            (INTERFACE, "s", self.interface),
            (MEMBER, "s", self.member),
            (DESTINATION, "s", self.destination),
            (SIGNATURE, "g", self.signature),
        ];
        let fields: Vec<_> = fields.into_iter().filter(|(.., value)| !value.is_empty()).collect();
        out.array(8, &fields, |writer, (code, kind, value)| {
            writer.0.push(*code);
            writer.signature(kind);
            if *kind == "g" { writer.signature(value) } else { writer.text(value) }
        });
        out.align(8);
        out.0.extend(&self.body.0);
        out.0
    }
}

/// A message that came in.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) kind: u8,
    pub(super) reply_serial: u32,
    pub(super) member: String,
    pub(super) error_name: String,
    signature: String,
    body: Vec<u8>,
}

impl Message {
    /// How long a message is, from its first [`FIXED`] bytes.
    pub(super) fn length(fixed: &[u8; FIXED]) -> io::Result<usize> {
        if fixed[0] != b'l' {
            return Err(malformed("a message in another byte order"));
        }
        let mut reader = Reader { bytes: fixed, at: 4 };
        let (body, _serial, fields) = (reader.number()?, reader.number()?, reader.number()?);
        let length = FIXED
            .checked_add(fields as usize)
            .map(|length| length.next_multiple_of(8))
            .and_then(|length| length.checked_add(body as usize));
        length.filter(|length| *length <= LENGTH_MAX).ok_or_else(|| malformed("a message that is too long"))
    }

    /// Takes a whole message apart.
    pub(super) fn parse(bytes: &[u8]) -> io::Result<Self> {
        let mut message =
            Self { kind: *bytes.get(1).ok_or_else(|| malformed("no message"))?, ..Self::default() };
        let mut reader = Reader { bytes, at: 4 };
        let body = reader.number()? as usize;
        reader.number()?;
        let end = reader.number()? as usize + FIXED;
        while reader.at < end {
            reader.align(8);
            let code = reader.byte()?;
            match reader.signature()?.as_str() {
                "u" if code == REPLY_SERIAL => message.reply_serial = reader.number()?,
                "u" => drop(reader.number()?),
                "g" => message.signature = reader.signature()?,
                _ => {
                    let text = reader.text()?;
                    match code {
                        MEMBER => message.member = text,
                        ERROR_NAME => message.error_name = text,
                        _ => {}
                    }
                }
            }
        }
        reader.align(8);
        let rest = bytes.get(reader.at..).filter(|rest| rest.len() == body);
        rest.ok_or_else(|| malformed("a message of another length"))?.clone_into(&mut message.body);
        Ok(message)
    }

    /// The texts and numbers of the body from the front, up to a value of another kind; numbers as texts.
    pub(super) fn words(&self) -> io::Result<Vec<String>> {
        let mut reader = Reader { bytes: &self.body, at: 0 };
        let kinds = self.signature.bytes().take_while(|kind| matches!(kind, b's' | b'o' | b'u'));
        let read = |kind| match kind {
            b'u' => reader.number().map(|number| number.to_string()),
            _ => reader.text(),
        };
        kinds.map(read).collect()
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn take(&mut self, count: usize) -> io::Result<&[u8]> {
        let end = self.at.checked_add(count).ok_or_else(|| malformed("a value that is too long"))?;
        let found = self.bytes.get(self.at..end).ok_or_else(|| malformed("a message that is cut short"))?;
        self.at = end;
        Ok(found)
    }

    fn byte(&mut self) -> io::Result<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn number(&mut self) -> io::Result<u32> {
        self.align(4);
        let bytes = self.take(4)?;
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    fn text(&mut self) -> io::Result<String> {
        let length = self.number()? as usize;
        self.terminated(length)
    }

    fn signature(&mut self) -> io::Result<String> {
        let length = self.byte()?.into();
        self.terminated(length)
    }

    fn terminated(&mut self, length: usize) -> io::Result<String> {
        let text = String::from_utf8_lossy(self.take(length)?).into_owned();
        self.take(1)?;
        Ok(text)
    }
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("systemd sent {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_read_as_it_was_written() {
        let mut body = Writer::default();
        body.text("unit.scope");
        body.text("fail");
        body.properties(&[
            ("Delegate".to_owned(), Value::Flag(true)),
            ("PIDs".to_owned(), Value::Numbers(vec![1, 2])),
            ("MemoryMax".to_owned(), Value::Number(u64::MAX)),
            ("DeviceAllow".to_owned(), Value::Pairs(vec![("/dev/null".to_owned(), "rwm".to_owned())])),
        ]);
        let call = Call {
            destination: "org.freedesktop.systemd1",
            path: "/org/freedesktop/systemd1",
            interface: "org.freedesktop.systemd1.Manager",
            member: "StartTransientUnit",
            signature: "ssa(sv)",
            body,
        };
        let bytes = call.to_bytes(7);
        let fixed = bytes[..FIXED].try_into().unwrap();
        assert_eq!(Message::length(&fixed).unwrap(), bytes.len());
        let message = Message::parse(&bytes).unwrap();
        assert_eq!((message.kind, message.member.as_str()), (CALL, "StartTransientUnit"));
        assert_eq!(message.words().unwrap(), ["unit.scope", "fail"]);
    }

    #[test]
    fn arrays_start_where_their_elements_may() {
        let mut writer = Writer::default();
        writer.properties(&[("A".to_owned(), Value::Number(1))]);
        // length, padding, "A", signature, padding, number
        let expected: &[u8] = &[
            24, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, b'A', 0, 1, b't', 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0,
            0, 0,
        ];
        assert_eq!(writer.0, expected);
    }

    #[test]
    fn what_is_cut_short_or_wrong_is_an_error() {
        let call = Call {
            destination: "",
            path: "/",
            interface: "a.b",
            member: "C",
            signature: "",
            body: Writer::default(),
        };
        let bytes = call.to_bytes(1);
        for length in 0..bytes.len() {
            assert!(Message::parse(&bytes[..length]).is_err(), "{length}");
        }
        let mut long = [0xff_u8; FIXED];
        assert!(Message::length(&long).is_err());
        long[0] = b'l';
        assert!(Message::length(&long).is_err());
    }
}
