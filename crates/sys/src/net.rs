//! Network namespaces and links.

use std::os::fd::AsFd;

use rustix::{
    io::Errno,
    ioctl::{Getter, Opcode, Updater, ioctl},
    thread::{UnshareFlags, unshare_unsafe},
};

const SIOCGIFFLAGS: Opcode = 0x8913;
const IFF_RUNNING: u16 = 0x40;
const SIOCOUTQ: Opcode = 0x5411;

/// Moves the calling thread into a new network namespace.
///
/// Only this thread: to be called on one that ends soon, or that is moved back.
///
/// # Errors
/// `EPERM` without `CAP_SYS_ADMIN`, `ENOSPC` at the limit of namespaces, `ENOMEM`.
pub fn unshare_network() -> Result<(), Errno> {
    // JUSTIFICATION: rustix marks unshare unsafe as a whole, for the sake of CLONE_FILES.
    // SAFETY: CLONE_NEWNET alone changes neither memory nor the table of descriptors.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET) }
}

/// `struct ifreq` as `SIOCGIFFLAGS` fills it in.
#[repr(C, align(8))]
struct InterfaceFlags {
    name: [u8; 16],
    flags: u16,
    unused: [u8; 22],
}

/// Whether a link passes frames. Takes none of the kernel's locks. The link is looked for in the network namespace of
/// the socket, which may be of any kind.
///
/// # Errors
/// `ENODEV` when there is no such link.
///
/// Source: netdevice(7).
pub fn link_is_running(socket: impl AsFd, name: &str) -> Result<bool, Errno> {
    let bytes = name.as_bytes();
    let mut request = InterfaceFlags { name: [0; 16], flags: 0, unused: [0; 22] };
    request
        .name
        .get_mut(..bytes.len())
        .filter(|_| bytes.len() < 16)
        .ok_or(Errno::NODEV)?
        .copy_from_slice(bytes);
    // JUSTIFICATION: rustix has no SIOCGIFFLAGS.
    // SAFETY: the kernel reads and writes one struct ifreq, 40 bytes, which is what InterfaceFlags is; any bytes are
    // valid in it.
    unsafe { ioctl(socket, Updater::<SIOCGIFFLAGS, InterfaceFlags>::new(&mut request)) }?;
    Ok(request.flags & IFF_RUNNING != 0)
}

/// How much of what was written to a stream socket its peer has not read, in bytes of the kernel's bookkeeping: zero
/// if and only if a unix socket's peer has read all.
///
/// # Errors
/// `ENOTTY` for what is no stream socket.
///
/// Source: unix(7), `SIOCOUTQ`.
pub fn unread_by_peer(socket: impl AsFd) -> Result<u32, Errno> {
    // JUSTIFICATION: rustix has no SIOCOUTQ.
    // SAFETY: the kernel writes one int, and any int is valid.
    let size = unsafe { ioctl(socket, Getter::<SIOCOUTQ, core::ffi::c_int>::new()) }?;
    Ok(size.cast_unsigned())
}

#[cfg(test)]
mod tests {
    use rustix::net::{AddressFamily, SocketType, socket};

    use super::*;

    #[test]
    fn links_that_are_and_are_not() {
        assert_eq!(size_of::<InterfaceFlags>(), 40);
        let any = socket(AddressFamily::INET, SocketType::DGRAM, None).unwrap();
        assert!(link_is_running(&any, "lo").is_ok());
        assert_eq!(link_is_running(&any, "no-such-link"), Err(Errno::NODEV));
        assert_eq!(link_is_running(&any, "a-name-that-no-link-can-have"), Err(Errno::NODEV));
    }

    #[test]
    fn what_a_peer_has_not_read_is_told() {
        use std::io::{Read as _, Write as _};
        let (mut one, mut other) = std::os::unix::net::UnixStream::pair().unwrap();
        assert_eq!(super::unread_by_peer(&one), Ok(0));
        one.write_all(b"head").unwrap();
        assert!(super::unread_by_peer(&one).unwrap() > 0);
        other.read_exact(&mut [0; 4]).unwrap();
        assert_eq!(super::unread_by_peer(&one), Ok(0));
    }
}
