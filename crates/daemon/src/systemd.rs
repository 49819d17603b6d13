//! What systemd and the daemon tell each other: sockets that were opened for us, and how we fare.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The first descriptor that is passed.
const FIRST: i32 = 3;

/// Takes the sockets that systemd has opened for this process (`LISTEN_FDS`).
///
/// For the very start of the program. Errors: a descriptor that is said to be there and is not.
pub(crate) fn sockets() -> io::Result<Vec<OwnedFd>> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u32>().ok());
    let count = number("LISTEN_FDS").unwrap_or(0);
    if count == 0 || number("LISTEN_PID") != Some(std::process::id()) {
        return Ok(Vec::new());
    }
    berth_sys::process::take_inherited(FIRST, count).map_err(|(fd, errno)| {
        let error = io::Error::from(errno);
        io::Error::new(error.kind(), format!("descriptor {fd} of LISTEN_FDS: {error}"))
    })
}

/// Tells systemd how we fare (`READY=1`, `STOPPING=1`, …), where it wants to know.
///
/// Errors: that of the socket; the service manager then finds out by itself.
pub(crate) fn notify(state: &str) -> io::Result<()> {
    match std::env::var_os("NOTIFY_SOCKET") {
        Some(path) if !path.is_empty() => send(&path, state),
        _ => Ok(()),
    }
}

fn send(path: &OsStr, state: &str) -> io::Result<()> {
    let address = match path.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(path)?,
    };
    UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_reach_sockets_of_both_kinds() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let name = format!("berth-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let sockets = [
            (UnixDatagram::bind(&path).unwrap(), path.clone().into_os_string()),
            (UnixDatagram::bind_addr(&address).unwrap(), format!("@{name}").into()),
        ];
        for (socket, path) in sockets {
            send(&path, "READY=1").unwrap();
            let mut text = [0; 32];
            let size = socket.recv(&mut text).unwrap();
            assert_eq!(&text[..size], b"READY=1");
        }
        assert!(send(OsStr::new("/nonexistent/notify"), "READY=1").is_err());
    }
}
