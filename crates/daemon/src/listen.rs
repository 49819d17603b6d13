//! The sockets that clients connect to.

use std::fs;
use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::{Gid, Mode, chmod, chown};
use rustix::net::{AddressFamily, sockopt};
use rustix::process::umask;

use crate::config::{Group, Host};

/// A socket that listens, not yet given to the asynchronous runtime.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) listener: Listener,
    /// The path that is removed at the end.
    pub(crate) path: Option<PathBuf>,
}

#[derive(Debug)]
pub(crate) enum Listener {
    Unix(UnixListener),
    Tcp(TcpListener),
}

/// Why a socket cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Another process listens there.
    #[error("can't create unix socket {0}: another process is listening on it")]
    Taken(PathBuf),
    /// Something that is no socket is there.
    #[error("can't create unix socket {0}: is a file, not a socket")]
    NoSocket(PathBuf),
    /// The group that the socket should have does not exist.
    #[error("could not change group {path} to {group}: group {group} not found")]
    NoGroup { path: PathBuf, group: String },
    /// Sockets of systemd were asked for, and there are none.
    #[error("no sockets found via socket activation: make sure the service was started by systemd")]
    NotActivated,
    /// One of them was asked for, and there are less.
    #[error("too few socket activated files passed in by systemd")]
    TooFew,
    /// One of them is neither a unix nor a TCP socket.
    #[error("descriptor {0} of systemd is neither a unix nor a TCP socket")]
    NotAStream(i32),
    /// A call failed.
    #[error("can't listen on {host}: {source}")]
    Io { host: String, source: io::Error },
}

/// Listens. A unix socket belongs to root and to the group, and nobody else can use it at any moment.
///
/// Blocking: no. Call it before there are threads: it sets the process's umask for a moment.
pub(crate) fn bind(host: &Host, group: &Group) -> Result<Bound, Error> {
    let fail = |source: io::Error| Error::Io { host: host.to_string(), source };
    match host {
        Host::Tcp(address) => {
            let listener = TcpListener::bind(address).map_err(fail)?;
            listener.set_nonblocking(true).map_err(fail)?;
            Ok(Bound { listener: Listener::Tcp(listener), path: None })
        }
        Host::Fd(_) => Err(Error::NotActivated),
        Host::Unix(path) => {
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder).map_err(fail)?;
            }
            clear(path, fail)?;
            let gid = match group_id(group, Path::new("/etc/group")).map_err(fail)? {
                Err(name) => return Err(Error::NoGroup { path: path.clone(), group: name }),
                Ok(gid) => gid,
            };
            let before = umask(Mode::from_raw_mode(0o177));
            let listener = UnixListener::bind(path);
            umask(before);
            let listener = listener.map_err(fail)?;
            listener.set_nonblocking(true).map_err(fail)?;
            chown(path, None, Some(gid)).map_err(|error| fail(error.into()))?;
            chmod(path, Mode::from_raw_mode(0o660)).map_err(|error| fail(error.into()))?;
            Ok(Bound { listener: Listener::Unix(listener), path: Some(path.clone()) })
        }
    }
}

/// The first descriptor that systemd passes.
const FIRST: i32 = 3;

/// The sockets that systemd opened: all of them, or the one with this number.
///
/// Errors: [`Error::NotActivated`], [`Error::TooFew`] and [`Error::NotAStream`].
pub(crate) fn activated(passed: &mut [Option<OwnedFd>], number: Option<i32>) -> Result<Vec<Bound>, Error> {
    if passed.is_empty() {
        return Err(Error::NotActivated);
    }
    let wanted = match number {
        None => 0..passed.len(),
        Some(number) => {
            let at =
                usize::try_from(number - FIRST).ok().filter(|at| *at < passed.len()).ok_or(Error::TooFew)?;
            at..at + 1
        }
    };
    let mut bound = Vec::new();
    for at in wanted {
        let Some(fd) = passed[at].take() else { continue };
        let number = FIRST + i32::try_from(at).unwrap_or(i32::MAX);
        bound.push(Bound { listener: adopt(fd, number)?, path: None });
    }
    Ok(bound)
}

fn adopt(fd: OwnedFd, number: i32) -> Result<Listener, Error> {
    let fail = |source: io::Error| Error::Io { host: format!("fd://{number}"), source };
    let listens = sockopt::socket_acceptconn(&fd).unwrap_or(false);
    let family = sockopt::socket_domain(&fd).map_err(|_| Error::NotAStream(number))?;
    match family {
        AddressFamily::UNIX if listens => {
            let listener = UnixListener::from(fd);
            listener.set_nonblocking(true).map_err(fail)?;
            Ok(Listener::Unix(listener))
        }
        AddressFamily::INET | AddressFamily::INET6 if listens => {
            let listener = TcpListener::from(fd);
            listener.set_nonblocking(true).map_err(fail)?;
            Ok(Listener::Tcp(listener))
        }
        _ => Err(Error::NotAStream(number)),
    }
}

/// Removes the socket that a daemon before us left behind.
fn clear(path: &Path, fail: impl Fn(io::Error) -> Error) -> Result<(), Error> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(fail(error)),
    };
    if !metadata.file_type().is_socket() {
        return Err(Error::NoSocket(path.to_owned()));
    }
    // A child that a daemon was making when it was killed has its socket for a moment, too.
    let mut tries = 0;
    while UnixStream::connect(path).is_ok() {
        tries += 1;
        if tries == 10 {
            return Err(Error::Taken(path.to_owned()));
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    fs::remove_file(path).map_err(fail)
}

/// The number of the socket's group, root's where the default group does not exist; or the name that nobody has.
///
/// The file is read as it is: a static binary has no name services.
fn group_id(group: &Group, file: &Path) -> io::Result<Result<Gid, String>> {
    let name = match group {
        Group::Default => "docker",
        Group::Named(name) => name,
    };
    if let Ok(number) = name.parse() {
        return Ok(Ok(Gid::from_raw(number)));
    }
    let text = match fs::read_to_string(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        text => text?,
    };
    let number = text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok())?
    });
    Ok(match (number, group) {
        (Some(number), _) => Ok(Gid::from_raw(number)),
        (None, Group::Default) => Ok(Gid::ROOT),
        (None, Group::Named(name)) => Err(name.clone()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt as _;

    fn unix(path: &Path) -> Host {
        Host::Unix(path.to_owned())
    }

    #[test]
    fn a_socket_is_for_root_and_its_group_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/berth.sock");
        let group = Group::Named(rustix::process::getgid().as_raw().to_string());
        bind(&unix(&path), &group).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o660);
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("berth.sock");
        let group = Group::Named(rustix::process::getgid().as_raw().to_string());
        let first = bind(&unix(&path), &group).unwrap();
        assert!(matches!(bind(&unix(&path), &group), Err(Error::Taken(_))));
        drop(first);
        bind(&unix(&path), &group).unwrap();
    }

    #[test]
    fn what_is_no_socket_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("berth.sock");
        fs::write(&path, "precious").unwrap();
        assert!(matches!(bind(&unix(&path), &Group::Default), Err(Error::NoSocket(_))));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }

    #[test]
    fn sockets_of_systemd_are_taken_over() {
        let dir = tempfile::tempdir().unwrap();
        let unix = || OwnedFd::from(UnixListener::bind(dir.path().join("s")).unwrap());
        let tcp = || OwnedFd::from(TcpListener::bind("127.0.0.1:0").unwrap());
        let mut passed = vec![Some(unix()), Some(tcp())];
        let bound = activated(&mut passed, None).unwrap();
        assert!(matches!(
            bound.as_slice(),
            [Bound { listener: Listener::Unix(_), .. }, Bound { listener: Listener::Tcp(_), .. }]
        ));
        let mut passed = vec![None, Some(tcp())];
        assert_eq!(activated(&mut passed, Some(4)).unwrap().len(), 1);
        assert!(matches!(activated(&mut passed, Some(5)), Err(Error::TooFew)));
        assert!(matches!(activated(&mut Vec::new(), None), Err(Error::NotActivated)));
        let file = OwnedFd::from(fs::File::open("/dev/null").unwrap());
        assert!(matches!(activated(&mut [Some(file)], None), Err(Error::NotAStream(3))));
    }

    #[test]
    fn groups_are_found_in_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("group");
        fs::write(&path, "root:x:0:\ndocker:x:103:a,b\nwheel:x:10:\n").unwrap();
        let id = |group: &Group| group_id(group, &path).unwrap().map(Gid::as_raw);
        assert_eq!(id(&Group::Default), Ok(103));
        assert_eq!(id(&Group::Named("wheel".into())), Ok(10));
        assert_eq!(id(&Group::Named("77".into())), Ok(77));
        assert_eq!(id(&Group::Named("nobody".into())), Err("nobody".into()));
        assert_eq!(group_id(&Group::Default, Path::new("/nonexistent")).unwrap().map(Gid::as_raw), Ok(0));
    }
}
