//! What the shim waits for.

use std::os::fd::{AsFd, OwnedFd};

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;

/// The one epoll descriptor.
#[derive(Debug)]
pub(super) struct Poller {
    epoll: OwnedFd,
}

/// What the poller knows of one descriptor. Empty flags are two things: not registered, or registered for hang-up
/// alone; `registered` tells.
#[derive(Debug, Default)]
pub(super) struct Watch {
    registered: Option<EventFlags>,
}

/// What an event is about: a process (or the shim itself) and a part of it.
///
/// Neither is ever used twice, so an event that was fetched together with the one that removed its subject finds
/// nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) owner: u32,
    pub(super) part: u32,
}

/// An event.
pub(super) type Ready = (Token, EventFlags);

impl Poller {
    pub(super) fn new() -> Result<Poller, Errno> {
        Ok(Poller { epoll: epoll::create(epoll::CreateFlags::CLOEXEC)? })
    }

    /// Watches a descriptor for `wanted`; `None` is not at all, which is the only way not to hear of a hang-up.
    pub(super) fn set(&self, fd: impl AsFd, watch: &mut Watch, token: Token, wanted: Option<EventFlags>) {
        if watch.registered == wanted {
            return;
        }
        let data = EventData::new_u64(u64::from(token.owner) << 32 | u64::from(token.part));
        let done = match (watch.registered, wanted) {
            (None, Some(flags)) => epoll::add(&self.epoll, fd, data, flags),
            (Some(_), Some(flags)) => epoll::modify(&self.epoll, fd, data, flags),
            (_, None) => epoll::delete(&self.epoll, fd),
        };
        if done.is_ok() {
            watch.registered = wanted;
        }
    }

    /// Waits; gives how many events there are, at the start of `ready`.
    pub(super) fn wait(&self, ready: &mut [Ready; 8], timeout_nanos: Option<u64>) -> usize {
        let timeout = timeout_nanos.map(|nanos| rustix::time::Timespec {
            tv_sec: (nanos / 1_000_000_000) as i64,
            tv_nsec: (nanos % 1_000_000_000) as i64,
        });
        let nothing = epoll::Event { flags: EventFlags::empty(), data: EventData::new_u64(0) };
        let mut events = [nothing; 8];
        // An error is a signal, of which none is unblocked, or a kernel without epoll_pwait2 that refuses nothing.
        let count = epoll::wait(&self.epoll, &mut events[..], timeout.as_ref()).unwrap_or(0);
        for (ready, event) in ready.iter_mut().zip(&events[..count]) {
            let data = event.data.u64();
            *ready = (Token { owner: (data >> 32) as u32, part: data as u32 }, event.flags);
        }
        count
    }
}
