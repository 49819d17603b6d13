//! Datagrams together with the address of ours that they came to, so that the answer can come from there.

use std::io;
use std::mem::{self, MaybeUninit};
use std::net::{Ipv6Addr, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd};

/// An address of the host, and the link it was used on (0: any).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Local {
    /// The address.
    pub address: Ipv6Addr,
    /// The index of the link.
    pub interface: u32,
}

/// A datagram that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// How many bytes of the buffer it takes.
    pub length: usize,
    /// Who sent it.
    pub from: SocketAddrV6,
    /// Where it was sent to.
    pub to: Local,
}

/// Room for one `struct in6_pktinfo` with its header, aligned as control messages must be.
#[repr(C, align(8))]
struct Control([u8; 64]);

/// Makes an IPv6 socket tell where datagrams were sent to, as [`receive`] needs it.
///
/// # Errors
/// `ENOPROTOOPT` when it is no IPv6 socket.
pub fn tell_destinations(socket: impl AsFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    // JUSTIFICATION: rustix has no IPV6_RECVPKTINFO.
    // SAFETY: the kernel reads one int from a live variable.
    let done = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_IPV6,
            libc::IPV6_RECVPKTINFO,
            (&raw const on).cast(),
            mem::size_of_val(&on) as libc::socklen_t,
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Receives one datagram; does not block.
///
/// # Errors
/// `WouldBlock` when there is none; `InvalidData` when the kernel does not say where it was sent to.
///
/// Source: ipv6(7), RFC 3542 section 6.
pub fn receive(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<Arrival> {
    let mut name = MaybeUninit::<libc::sockaddr_in6>::zeroed();
    let mut control = Control([0; 64]);
    let mut data = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: all bytes nought is a valid msghdr.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_name = name.as_mut_ptr().cast();
    message.msg_namelen = size_of::<libc::sockaddr_in6>() as libc::socklen_t;
    message.msg_iov = &raw mut data;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = control.0.len() as _;
    // JUSTIFICATION: rustix knows no control message with an address.
    // SAFETY: every pointer of the message is to a live buffer of the length that is given with it.
    let received = unsafe { libc::recvmsg(socket.as_fd().as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT) };
    let length = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: it was zeroed, and any bytes are valid in it.
    let name = unsafe { name.assume_init() };
    let from = SocketAddrV6::new(
        Ipv6Addr::from(name.sin6_addr.s6_addr),
        u16::from_be(name.sin6_port),
        0,
        name.sin6_scope_id,
    );
    match destination(&message) {
        Some(to) if i32::from(name.sin6_family) == libc::AF_INET6 => Ok(Arrival { length, from, to }),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// The `IPV6_PKTINFO` among the control messages that `recvmsg` filled in.
fn destination(message: &libc::msghdr) -> Option<Local> {
    // SAFETY: `message` is as recvmsg left it: its control buffer lives, is aligned, and `msg_controllen` says how much
    // of it was filled, which the CMSG macros keep to. The data of a message is read only where it is long enough.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(message);
        while !header.is_null() {
            let is_info = (*header).cmsg_level == libc::IPPROTO_IPV6
                && (*header).cmsg_type == libc::IPV6_PKTINFO
                && (*header).cmsg_len as usize
                    >= libc::CMSG_LEN(size_of::<libc::in6_pktinfo>() as u32) as usize;
            if is_info {
                let info: libc::in6_pktinfo =
                    libc::CMSG_DATA(header).cast::<libc::in6_pktinfo>().read_unaligned();
                let address = Ipv6Addr::from(info.ipi6_addr.s6_addr);
                return Some(Local { address, interface: info.ipi6_ifindex as u32 });
            }
            header = libc::CMSG_NXTHDR(message, header);
        }
    }
    None
}

/// Sends one datagram from an address of ours; does not block.
///
/// # Errors
/// `WouldBlock` when the queue is full; `EINVAL` or `EADDRNOTAVAIL` when the address is no longer ours.
pub fn send(socket: impl AsFd, data: &[u8], from: Local, to: SocketAddrV6) -> io::Result<()> {
    let name = libc::sockaddr_in6 {
        sin6_family: libc::AF_INET6 as libc::sa_family_t,
        sin6_port: to.port().to_be(),
        sin6_flowinfo: 0,
        sin6_addr: libc::in6_addr { s6_addr: to.ip().octets() },
        sin6_scope_id: to.scope_id(),
    };
    // Only a link-local address needs its link; for others the kernel's own routes decide.
    let interface = if from.address.is_unicast_link_local() { from.interface } else { 0 };
    let info = libc::in6_pktinfo {
        ipi6_addr: libc::in6_addr { s6_addr: from.address.octets() },
        ipi6_ifindex: interface as _,
    };
    let mut control = Control([0; 64]);
    let mut slice = libc::iovec { iov_base: data.as_ptr().cast_mut().cast(), iov_len: data.len() };
    // SAFETY: all bytes nought is a valid msghdr.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_name = (&raw const name).cast_mut().cast();
    message.msg_namelen = size_of::<libc::sockaddr_in6>() as libc::socklen_t;
    message.msg_iov = &raw mut slice;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    // SAFETY: CMSG_SPACE only computes.
    message.msg_controllen = unsafe { libc::CMSG_SPACE(size_of::<libc::in6_pktinfo>() as u32) } as _;
    // JUSTIFICATION: rustix knows no control message with an address.
    // SAFETY: the control buffer is aligned and has room for the one message that is written to it; sendmsg only reads
    // from the buffers, which all live.
    let sent = unsafe {
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        (*header).cmsg_level = libc::IPPROTO_IPV6;
        (*header).cmsg_type = libc::IPV6_PKTINFO;
        (*header).cmsg_len = libc::CMSG_LEN(size_of::<libc::in6_pktinfo>() as u32) as _;
        libc::CMSG_DATA(header).cast::<libc::in6_pktinfo>().write_unaligned(info);
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        libc::sendmsg(socket.as_fd().as_raw_fd(), &raw const message, flags)
    };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn an_answer_comes_from_where_the_question_went() {
        let server = UdpSocket::bind("[::]:0").unwrap();
        tell_destinations(&server).unwrap();
        let port = server.local_addr().unwrap().port();
        let client = UdpSocket::bind("[::1]:0").unwrap();
        let mut buffer = [0; 100];
        assert_eq!(receive(&server, &mut buffer).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        client.send_to(b"question", ("::1", port)).unwrap();
        let arrival = loop {
            match receive(&server, &mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                other => break other.unwrap(),
            }
        };
        assert_eq!(&buffer[..arrival.length], b"question");
        assert_eq!(arrival.from.port(), client.local_addr().unwrap().port());
        assert_eq!(arrival.to.address, Ipv6Addr::LOCALHOST);
        send(&server, b"answer", arrival.to, arrival.from).unwrap();
        let (length, from) = client.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..length], from.port()), (&b"answer"[..], port));
        let stranger = Local { address: "2001:db8::77".parse().unwrap(), interface: 0 };
        assert!(send(&server, b"lie", stranger, arrival.from).is_err());
    }
}
