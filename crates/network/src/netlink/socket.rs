//! One netlink socket and its conversation with the kernel.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    io::Errno,
    net::{
        AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, getsockname,
        netlink::{self, SocketAddrNetlink},
        recv, sendto, socket_with, sockopt,
    },
};

use super::{
    consts::{NLM_F_DUMP_INTR, NLMSG_DONE, NLMSG_ERROR},
    message::{Messages, Reply, integer},
};

/// Larger than any datagram the kernel sends: dumps come in pieces of at most 32 KiB.
const RECEIVE_LEN: usize = 64 * 1024;

/// A netlink socket in the network namespace of the thread that opened it.
#[derive(Debug)]
pub(crate) struct Socket {
    fd: OwnedFd,
    buffer: Vec<u8>,
}

/// The kernel refused a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// Which of the messages, counted from 1; 0 when it was none in particular.
    pub(crate) message: u32,
    pub(crate) errno: Errno,
}

impl From<Errno> for Refusal {
    fn from(errno: Errno) -> Refusal {
        Refusal { message: 0, errno }
    }
}

impl From<Refusal> for io::Error {
    fn from(refusal: Refusal) -> io::Error {
        refusal.errno.into()
    }
}

impl Socket {
    /// Opens a socket to links, addresses and routes, subscribed to the multicast groups of the mask.
    pub(crate) fn route(groups: u32) -> Result<Socket, Errno> {
        Socket::open(None, groups)
    }

    /// Opens a socket to nf_tables and connection tracking.
    pub(crate) fn netfilter(groups: u32) -> Result<Socket, Errno> {
        Socket::open(Some(netlink::NETFILTER), groups)
    }

    fn open(protocol: Option<rustix::net::Protocol>, groups: u32) -> Result<Socket, Errno> {
        let fd = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
        bind(&fd, &SocketAddrNetlink::new(0, groups))?;
        Ok(Socket { fd, buffer: Vec::new() })
    }

    /// The number by which the kernel knows this socket.
    pub(crate) fn port(&self) -> Result<u32, Errno> {
        Ok(SocketAddrNetlink::try_from(getsockname(&self.fd)?)?.pid())
    }

    /// Sends the messages and waits for the answer to the last that asks for an acknowledgement.
    ///
    /// Messages before it need no acknowledgement of their own: the kernel reports their errors all the same. On
    /// errors the first is returned.
    pub(crate) fn transact(&mut self, messages: &mut Messages) -> Result<(), Refusal> {
        self.send(messages)?;
        let last = messages.last_acknowledged();
        let mut refused = None;
        loop {
            let len = self.receive()?;
            let mut rest = &self.buffer[..len];
            while let Some((reply, tail)) = Reply::split(rest) {
                rest = tail;
                if reply.kind != NLMSG_ERROR {
                    continue;
                }
                if let Some(errno) = errno_of(&reply) {
                    refused.get_or_insert(Refusal { message: reply.sequence, errno });
                    // The first message of an nfnetlink batch is refused when all of it is.
                    if messages.is_batch() && reply.sequence == 1 {
                        self.drain();
                        return refused.map_or(Ok(()), Err);
                    }
                }
                if reply.sequence == last {
                    return refused.map_or(Ok(()), Err);
                }
            }
        }
    }

    /// Sends one dump request and hands each message of its answer to `each`.
    ///
    /// A dump that was overtaken by a change is made again, with a new `T`.
    pub(crate) fn dump<T: Default>(
        &mut self,
        messages: &mut Messages,
        mut each: impl FnMut(&mut T, Reply<'_>),
    ) -> Result<T, Refusal> {
        for _ in 0..16 {
            let mut answer = T::default();
            if self.dump_once(messages, &mut |reply| each(&mut answer, reply))? {
                return Ok(answer);
            }
        }
        Err(Errno::AGAIN.into())
    }

    /// Whether the answer is consistent.
    fn dump_once(
        &mut self,
        messages: &mut Messages,
        each: &mut dyn FnMut(Reply<'_>),
    ) -> Result<bool, Refusal> {
        self.send(messages)?;
        let mut consistent = true;
        loop {
            let len = self.receive()?;
            let mut rest = &self.buffer[..len];
            while let Some((reply, tail)) = Reply::split(rest) {
                rest = tail;
                consistent &= reply.flags & NLM_F_DUMP_INTR == 0;
                match reply.kind {
                    NLMSG_ERROR => match errno_of(&reply) {
                        Some(errno) => return Err(Refusal { message: reply.sequence, errno }),
                        None => return Ok(consistent),
                    },
                    NLMSG_DONE => return Ok(consistent),
                    _ => each(reply),
                }
            }
        }
    }

    /// Sends one request and reads its answer of one message.
    pub(crate) fn get<T>(
        &mut self,
        messages: &mut Messages,
        read: impl FnOnce(Reply<'_>) -> T,
    ) -> Result<T, Refusal> {
        self.send(messages)?;
        let len = self.receive()?;
        let (reply, _) = Reply::split(&self.buffer[..len]).ok_or(Errno::BADMSG)?;
        if reply.kind == NLMSG_ERROR {
            return Err(Refusal {
                message: reply.sequence,
                errno: errno_of(&reply).unwrap_or(Errno::BADMSG),
            });
        }
        Ok(read(reply))
    }

    /// Hands all waiting notices to `each`; never blocks. `false` when some were lost.
    pub(crate) fn notices(&mut self, mut each: impl FnMut(Reply<'_>)) -> Result<bool, Errno> {
        self.buffer.resize(RECEIVE_LEN, 0);
        let mut complete = true;
        loop {
            let len = match recv(&self.fd, &mut self.buffer[..], RecvFlags::DONTWAIT) {
                Ok((len, _)) => len,
                Err(Errno::AGAIN) => return Ok(complete),
                Err(Errno::INTR) => continue,
                Err(Errno::NOBUFS) => {
                    complete = false;
                    continue;
                }
                Err(errno) => return Err(errno),
            };
            let mut rest = &self.buffer[..len];
            while let Some((reply, tail)) = Reply::split(rest) {
                rest = tail;
                each(reply);
            }
        }
    }

    fn send(&mut self, messages: &mut Messages) -> Result<(), Errno> {
        let bytes = messages.finish();
        // The kernel refuses what does not fit into the send buffer, which also has to hold its bookkeeping.
        if bytes.len() > 100 * 1024 {
            sockopt::set_socket_send_buffer_size_force(&self.fd, bytes.len() * 2)?;
        }
        retry(|| sendto(&self.fd, bytes, SendFlags::empty(), &SocketAddrNetlink::new(0, 0)))?;
        Ok(())
    }

    fn receive(&mut self) -> Result<usize, Errno> {
        self.buffer.resize(RECEIVE_LEN, 0);
        // Lost answers (ENOBUFS) would be waited for without end.
        let (len, _) = retry(|| recv(&self.fd, &mut self.buffer[..], RecvFlags::empty()))?;
        Ok(len)
    }

    /// After a failed batch further errors of it may wait; the next conversation must not meet them.
    fn drain(&mut self) {
        while recv(&self.fd, &mut self.buffer[..], RecvFlags::DONTWAIT).is_ok() {}
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The error in an `NLMSG_ERROR`; `None` in an acknowledgement.
fn errno_of(reply: &Reply<'_>) -> Option<Errno> {
    let code = integer(reply.body, 0).map_or(-libc::EBADMSG, i32::from_ne_bytes);
    (code != 0).then(|| Errno::from_raw_os_error(-code))
}

fn retry<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}
