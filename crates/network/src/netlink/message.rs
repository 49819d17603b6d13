//! The encoder and decoder of messages and their attributes.

use super::consts::{NFNL_MSG_BATCH_BEGIN, NLA_F_NESTED, NLA_TYPE_MASK, NLM_F_ACK};

/// Length of `struct nlmsghdr`.
pub(crate) const HEADER_LEN: usize = 16;

/// Messages that are sent together, in order. The sequence number of each is its place, counted from 1.
#[derive(Debug, Default)]
pub(crate) struct Messages {
    buffer: Vec<u8>,
    /// Where the open message starts.
    open: usize,
    count: u32,
    /// The last message that asks for an acknowledgement.
    acknowledged: u32,
}

impl Messages {
    pub(crate) fn new() -> Messages {
        Messages { buffer: Vec::with_capacity(512), ..Messages::default() }
    }

    /// Begins a message; the one before it is complete.
    pub(crate) fn begin(&mut self, kind: u16, flags: u16, family_header: &[u8]) -> &mut Messages {
        self.close();
        self.count += 1;
        self.open = self.buffer.len();
        self.buffer.extend_from_slice(&0_u32.to_ne_bytes());
        self.buffer.extend_from_slice(&kind.to_ne_bytes());
        self.buffer.extend_from_slice(&flags.to_ne_bytes());
        self.buffer.extend_from_slice(&self.count.to_ne_bytes());
        self.buffer.extend_from_slice(&0_u32.to_ne_bytes());
        self.buffer.extend_from_slice(family_header);
        self.pad();
        self
    }

    /// Adds an attribute to the open message.
    pub(crate) fn attr(&mut self, kind: u16, payload: &[u8]) -> &mut Messages {
        let len = u16::try_from(payload.len() + 4).expect("an attribute of ours is far below 64 KiB");
        self.buffer.extend_from_slice(&len.to_ne_bytes());
        self.buffer.extend_from_slice(&kind.to_ne_bytes());
        self.buffer.extend_from_slice(payload);
        self.pad();
        self
    }

    pub(crate) fn u8(&mut self, kind: u16, value: u8) -> &mut Messages {
        self.attr(kind, &[value])
    }

    pub(crate) fn u32(&mut self, kind: u16, value: u32) -> &mut Messages {
        self.attr(kind, &value.to_ne_bytes())
    }

    /// nf_tables numbers are in network order.
    pub(crate) fn be32(&mut self, kind: u16, value: u32) -> &mut Messages {
        self.attr(kind, &value.to_be_bytes())
    }

    /// A string with its terminating NUL.
    pub(crate) fn string(&mut self, kind: u16, text: &str) -> &mut Messages {
        let mut payload = Vec::with_capacity(text.len() + 1);
        payload.extend_from_slice(text.as_bytes());
        payload.push(0);
        self.attr(kind, &payload)
    }

    /// An attribute that holds attributes.
    pub(crate) fn nested(&mut self, kind: u16, fill: impl FnOnce(&mut Messages)) -> &mut Messages {
        let start = self.buffer.len();
        self.attr(kind | NLA_F_NESTED, &[]);
        fill(self);
        let len = u16::try_from(self.buffer.len() - start).expect("a nest of ours is below 64 KiB");
        self.buffer[start..start + 2].copy_from_slice(&len.to_ne_bytes());
        self
    }

    /// Raw bytes inside a nest that starts with a structure.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> &mut Messages {
        self.buffer.extend_from_slice(bytes);
        self.pad();
        self
    }

    /// Asks for an acknowledgement of the open message, which is the last to ask.
    pub(crate) fn acknowledge(&mut self) -> &mut Messages {
        self.flag(NLM_F_ACK);
        self.acknowledged = self.count;
        self
    }

    /// The number of the last message that asks for an acknowledgement.
    pub(crate) fn last_acknowledged(&self) -> u32 {
        self.acknowledged
    }

    /// Whether this is an nfnetlink batch, all or nothing.
    pub(crate) fn is_batch(&self) -> bool {
        integer(&self.buffer, 4).map(u16::from_ne_bytes) == Some(NFNL_MSG_BATCH_BEGIN)
    }

    /// The bytes to send.
    pub(crate) fn finish(&mut self) -> &[u8] {
        self.close();
        &self.buffer
    }

    fn flag(&mut self, flag: u16) {
        let at = self.open + 6;
        let flags = u16::from_ne_bytes([self.buffer[at], self.buffer[at + 1]]) | flag;
        self.buffer[at..at + 2].copy_from_slice(&flags.to_ne_bytes());
    }

    fn pad(&mut self) {
        self.buffer.resize(self.buffer.len().next_multiple_of(4), 0);
    }

    fn close(&mut self) {
        if self.count > 0 {
            let len = u32::try_from(self.buffer.len() - self.open).expect("a message of ours is below 4 GiB");
            self.buffer[self.open..self.open + 4].copy_from_slice(&len.to_ne_bytes());
        }
    }
}

/// A message from the kernel.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reply<'a> {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) sequence: u32,
    /// The socket that asked; in a multicast notice the one that caused it.
    pub(crate) port: u32,
    /// Family header and attributes.
    pub(crate) body: &'a [u8],
}

impl<'a> Reply<'a> {
    /// Cuts the first message off; `None` at the end, or when the rest is no message.
    pub(crate) fn split(bytes: &'a [u8]) -> Option<(Reply<'a>, &'a [u8])> {
        let len = u32_at(bytes, 0)? as usize;
        if len < HEADER_LEN || len > bytes.len() {
            return None;
        }
        let reply = Reply {
            kind: u16_at(bytes, 4)?,
            flags: u16_at(bytes, 6)?,
            sequence: u32_at(bytes, 8)?,
            port: u32_at(bytes, 12)?,
            body: &bytes[HEADER_LEN..len],
        };
        Some((reply, bytes.get(len.next_multiple_of(4)..).unwrap_or(&[])))
    }

    /// The attributes after a family header of that length.
    pub(crate) fn attributes(&self, header_len: usize) -> Attributes<'a> {
        Attributes(self.body.get(header_len.next_multiple_of(4)..).unwrap_or(&[]))
    }

    /// A number of the family header, in host order.
    pub(crate) fn header_u32(&self, offset: usize) -> u32 {
        u32_at(self.body, offset).unwrap_or(0)
    }

    /// A byte of the family header.
    pub(crate) fn header_u8(&self, offset: usize) -> u8 {
        self.body.get(offset).copied().unwrap_or(0)
    }
}

/// Attributes in order, as (kind, payload). Ends at the first malformed one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attributes<'a>(pub(crate) &'a [u8]);

impl<'a> Attributes<'a> {
    /// The payload of the first attribute of a kind.
    pub(crate) fn find(self, wanted: u16) -> Option<&'a [u8]> {
        self.into_iter().find_map(|(kind, payload)| (kind == wanted).then_some(payload))
    }

    /// The attributes within the first attribute of a kind.
    pub(crate) fn nested(self, wanted: u16) -> Attributes<'a> {
        Attributes(self.find(wanted).unwrap_or(&[]))
    }

    /// A string without its NUL.
    pub(crate) fn string(self, wanted: u16) -> Option<&'a str> {
        let bytes = self.find(wanted)?;
        let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
        std::str::from_utf8(&bytes[..end]).ok()
    }

    /// A number in host order.
    pub(crate) fn u32(self, wanted: u16) -> Option<u32> {
        u32_at(self.find(wanted)?, 0)
    }

    /// A number in network order.
    pub(crate) fn be32(self, wanted: u16) -> Option<u32> {
        u32_at(self.find(wanted)?, 0).map(u32::from_be)
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<(u16, &'a [u8])> {
        let len = usize::from(u16_at(self.0, 0)?);
        if len < 4 || len > self.0.len() {
            return None;
        }
        let item = (u16_at(self.0, 2)? & NLA_TYPE_MASK, &self.0[4..len]);
        self.0 = self.0.get(len.next_multiple_of(4)..).unwrap_or(&[]);
        Some(item)
    }
}

/// The first bytes as a number in host order.
pub(crate) fn integer<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..offset + N)?.try_into().ok()
}

fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    integer(bytes, offset).map(u16::from_ne_bytes)
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    integer(bytes, offset).map(u32::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_padding_are_right() {
        let mut messages = Messages::new();
        messages.begin(16, 5, &[7; 4]).string(3, "lo").nested(18, |nest| {
            nest.u8(1, 9).u32(2, 77);
        });
        messages.begin(17, 0, &[]).u8(1, 1);
        let bytes = messages.finish().to_vec();
        let (first, rest) = Reply::split(&bytes).unwrap();
        assert_eq!(
            (first.kind, first.flags, first.sequence, first.body.len()),
            (16, 5, 1, 4 + 8 + 4 + 8 + 8)
        );
        assert_eq!(first.attributes(4).string(3), Some("lo"));
        assert_eq!(first.attributes(4).nested(18).u32(2), Some(77));
        let (second, rest) = Reply::split(rest).unwrap();
        assert_eq!((second.kind, second.sequence), (17, 2));
        assert!(rest.is_empty());
    }

    #[test]
    fn malformed_bytes_end_the_iteration() {
        assert!(Reply::split(&[1, 0, 0, 0, 0]).is_none());
        assert!(Reply::split(&[8; 16]).is_none());
        assert_eq!(Attributes(&[3, 0, 1, 0]).next(), None);
        assert_eq!(Attributes(&[9, 0, 1, 0, 5]).next(), None);
        let odd = [5, 0, 1, 0, 42];
        assert_eq!(Attributes(&odd).collect::<Vec<_>>(), vec![(1, &[42_u8][..])]);
    }
}
