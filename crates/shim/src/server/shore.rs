//! Being found by an engine that was restarted.
//!
//! As long as the connection to the engine stands, nothing of the shim is in any file system. When it is lost, the shim
//! makes its directory with a socket that listens, and waits. If the directory is removed, nobody will come: then a shim
//! whose container has ended ends too.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::event::epoll::EventFlags;

use super::bootstrap::start_time;
use super::directory::Directory;
use super::poll::{Token, Watch};
use super::{LISTENER, Life, SHIM, Server};
use crate::types::State;

/// How often a shim without an engine looks whether its directory is still there.
const LONELY_NANOS: u64 = 5_000_000_000;

/// Where an engine that was restarted finds the shim.
#[derive(Debug)]
pub(super) struct Shore {
    path: PathBuf,
    state: State,
    landed: Option<Landed>,
}

#[derive(Debug)]
struct Landed {
    directory: Directory,
    listener: OwnedFd,
}

impl Shore {
    pub(super) fn new(path: PathBuf, state: State) -> Shore {
        Shore { path, state, landed: None }
    }

    /// The socket that listens.
    pub(super) fn listener(&self) -> Option<&OwnedFd> {
        self.landed.as_ref().map(|landed| &landed.listener)
    }

    fn land(&mut self) -> io::Result<&Landed> {
        let directory = Directory::make(self.path.clone())?;
        self.state.shim_start_time = start_time(self.state.shim_pid);
        match directory.write_state(&self.state).and_then(|()| directory.listen()) {
            Ok(listener) => Ok(self.landed.insert(Landed { directory, listener })),
            Err(error) => {
                directory.remove();
                Err(error)
            }
        }
    }

    /// Nobody has to find the shim any more.
    pub(super) fn leave(&mut self) {
        if let Some(landed) = self.landed.take() {
            landed.directory.remove();
        }
    }
}

impl Server {
    /// Nobody is connected: makes sure to be found, as long as there is somebody who could look.
    pub(super) fn be_lonely(&mut self, now: u64) {
        self.timers.lonely = None;
        if self.link.is_some() {
            return;
        }
        self.timers.lonely = Some(now + LONELY_NANOS);
        let is_gone = match &self.shore.landed {
            Some(landed) => landed.directory.is_gone(),
            None => match self.shore.land() {
                Ok(landed) => {
                    let token = Token { owner: SHIM, part: LISTENER };
                    self.poller.set(&landed.listener, &mut Watch::default(), token, Some(EventFlags::IN));
                    false
                }
                Err(error) => error.kind() == io::ErrorKind::NotFound,
            },
        };
        if is_gone && self.life == Life::Exited {
            self.life = Life::Over;
        }
    }
}
