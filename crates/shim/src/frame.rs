//! The framing of the control connection, for both ends.
//!
//! A frame is a header of twelve bytes (payload length, sequence number, number of descriptors, all `u32` little
//! endian) and a JSON payload. Descriptors travel with the first byte of the header, so they arrive before the payload
//! does. A request has a sequence number of its choice from 1 up, its answer repeats it, an event has 0.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};
use serde::Serialize;

/// The most descriptors in one frame (the kernel takes 253).
pub(crate) const FDS_MAX: usize = 250;
/// The longest payload that is believed.
const PAYLOAD_MAX: usize = 64 << 20;
const HEADER: usize = 12;

/// A frame as it came in.
#[derive(Debug, Default)]
pub(crate) struct Frame {
    pub(crate) sequence: u32,
    pub(crate) payload: Vec<u8>,
    pub(crate) fds: Vec<OwnedFd>,
}

/// A frame on its way out.
#[derive(Debug)]
pub(crate) struct Outgoing {
    bytes: Vec<u8>,
    sent: usize,
    fds: Vec<OwnedFd>,
}

/// Puts frames together from a non-blocking (or blocking) stream socket.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    header: [u8; HEADER],
    have: usize,
    payload: Vec<u8>,
    have_payload: usize,
    fds: Vec<OwnedFd>,
}

impl Outgoing {
    /// Encodes a message.
    pub(crate) fn new(sequence: u32, message: &impl Serialize, fds: Vec<OwnedFd>) -> io::Result<Outgoing> {
        let mut bytes = vec![0; HEADER];
        serde_json::to_writer(&mut bytes, message)?;
        let length = bytes.len() - HEADER;
        if length > PAYLOAD_MAX || fds.len() > FDS_MAX {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "message is too large for the supervisor",
            ));
        }
        bytes[0..4].copy_from_slice(&(length as u32).to_le_bytes());
        bytes[4..8].copy_from_slice(&sequence.to_le_bytes());
        bytes[8..12].copy_from_slice(&(fds.len() as u32).to_le_bytes());
        Ok(Outgoing { bytes, sent: 0, fds })
    }

    /// Sends as much as the socket takes; `WouldBlock` while something is left.
    pub(crate) fn send(&mut self, socket: BorrowedFd<'_>) -> io::Result<()> {
        while self.sent < self.bytes.len() {
            let slices = [IoSlice::new(&self.bytes[self.sent..])];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            let borrowed: Vec<BorrowedFd<'_>> = self.fds.iter().map(std::os::fd::AsFd::as_fd).collect();
            if !borrowed.is_empty() {
                control.push(SendAncillaryMessage::ScmRights(&borrowed));
            }
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            match rustix::net::sendmsg(socket, &slices, &mut control, flags) {
                Ok(sent) => {
                    self.sent += sent;
                    self.fds.clear();
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

impl Reader {
    /// Reads on; a frame once it is whole, nothing at the end of the stream.
    ///
    /// # Errors
    /// `WouldBlock` if the socket has no more for now; `UnexpectedEof` if it ends inside a frame; `InvalidData`.
    pub(crate) fn read(&mut self, socket: BorrowedFd<'_>) -> io::Result<Option<Frame>> {
        while self.have < HEADER {
            match self.receive_header(socket)? {
                0 if self.have == 0 => return Ok(None),
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => self.have += read,
            }
            if self.have == HEADER {
                let length = self.word(0) as usize;
                if length > PAYLOAD_MAX {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "frame is too long"));
                }
                self.payload = vec![0; length];
                self.have_payload = 0;
            }
        }
        while self.have_payload < self.payload.len() {
            let space = &mut self.payload[self.have_payload..];
            match rustix::net::recv(socket, space, RecvFlags::empty()) {
                Ok((_, 0)) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok((_, read)) => self.have_payload += read,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if self.fds.len() != self.word(8) as usize {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "descriptors were lost on the way"));
        }
        let sequence = self.word(4);
        self.have = 0;
        let payload = std::mem::take(&mut self.payload);
        Ok(Some(Frame { sequence, payload, fds: std::mem::take(&mut self.fds) }))
    }

    fn word(&self, at: usize) -> u32 {
        let mut word = [0; 4];
        word.copy_from_slice(&self.header[at..at + 4]);
        u32::from_le_bytes(word)
    }

    fn receive_header(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut slices = [IoSliceMut::new(&mut self.header[self.have..])];
        let received = loop {
            match rustix::net::recvmsg(socket, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC) {
                Err(rustix::io::Errno::INTR) => {}
                other => break other?,
            }
        };
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                self.fds.extend(fds);
            }
        }
        Ok(received.bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn frames_and_descriptors_arrive_in_order() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (kept, passed) = UnixStream::pair().unwrap();
        Outgoing::new(7, &"first", vec![passed.into()]).unwrap().send(ours.as_fd()).unwrap();
        Outgoing::new(8, &"second", Vec::new()).unwrap().send(ours.as_fd()).unwrap();
        drop(ours);
        let mut reader = Reader::default();
        let first = reader.read(theirs.as_fd()).unwrap().unwrap();
        assert_eq!((first.sequence, first.payload.as_slice()), (7, b"\"first\"".as_slice()));
        assert_eq!(first.fds.len(), 1);
        let second = reader.read(theirs.as_fd()).unwrap().unwrap();
        assert_eq!((second.sequence, second.fds.len()), (8, 0));
        assert!(reader.read(theirs.as_fd()).unwrap().is_none());
        drop(first);
        kept.set_nonblocking(true).unwrap();
        assert_eq!(rustix::net::recv(&kept, &mut [0u8; 1][..], RecvFlags::empty()).unwrap().1, 0);
    }

    #[test]
    fn a_frame_larger_than_the_socket_buffer_is_sent_in_turns() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        let text = "x".repeat(4 << 20);
        let mut outgoing = Outgoing::new(1, &text, Vec::new()).unwrap();
        let mut reader = Reader::default();
        let frame = loop {
            match outgoing.send(ours.as_fd()) {
                Ok(()) => {}
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
            match reader.read(theirs.as_fd()) {
                Ok(frame) => break frame.unwrap(),
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        };
        assert_eq!(frame.payload.len(), text.len() + 2);
    }

    #[test]
    fn nonsense_and_a_cut_are_errors() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        rustix::io::write(&ours, &[0xff; 12]).unwrap();
        assert_eq!(Reader::default().read(theirs.as_fd()).unwrap_err().kind(), io::ErrorKind::InvalidData);
        let (ours, theirs) = UnixStream::pair().unwrap();
        rustix::io::write(&ours, &[9, 0, 0, 0, 0]).unwrap();
        drop(ours);
        assert_eq!(Reader::default().read(theirs.as_fd()).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
