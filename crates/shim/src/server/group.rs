//! The container's cgroup, as far as the shim needs it. A container may have none of its own.

use std::sync::Arc;
use std::time::Duration;

use berth_oci::runtime::Spec;
use berth_runtime::cgroup::{Cgroup, Hierarchies, OomWatch};

use super::poll::{Poller, Token, Watch};

/// The most that is waited for processes which were killed and do not end.
const END_ROUNDS: u32 = 200;
const END_WAIT: Duration = Duration::from_millis(5);

/// A cgroup and the watch on its memory limit.
#[derive(Debug)]
pub(super) struct Group {
    cgroup: Option<Cgroup>,
    oom: Option<(OomWatch, Watch)>,
    /// How many processes the kernel was seen to have killed.
    killed: u64,
}

impl Group {
    pub(super) fn new(cgroup: Option<Cgroup>) -> Group {
        Group { cgroup, oom: None, killed: 0 }
    }

    /// The group that another runtime has made; none if it cannot be found there.
    pub(super) fn reopen(path: &str) -> Group {
        let found = Hierarchies::detect_all().ok().filter(|_| !path.is_empty());
        Group::new(found.and_then(|found| Cgroup::reopen(&Arc::new(found), path).ok()))
    }

    /// Whether systemd is to make it: then the configuration names a slice, a prefix and a name, and no path.
    pub(super) fn is_of_systemd(spec: &Spec) -> bool {
        let path = Self::path_of(spec);
        !path.starts_with('/') && path.split(':').count() == 3
    }

    /// Where it will be; empty if the configuration names none.
    pub(super) fn path_of(spec: &Spec) -> String {
        spec.linux.as_ref().map(|linux| linux.cgroups_path.clone()).unwrap_or_default()
    }

    /// The group itself, for processes that are to be in it.
    pub(super) fn cgroup(&self) -> Option<&Cgroup> {
        self.cgroup.as_ref()
    }

    /// Its path; empty without one.
    pub(super) fn path(&self) -> String {
        self.cgroup.as_ref().map(Cgroup::path).unwrap_or_default()
    }

    /// Watches for the memory limit.
    pub(super) fn watch(&mut self, poller: &Poller, token: Token) {
        if let Some(Ok(Some(oom))) = self.cgroup.as_ref().map(Cgroup::watch_oom) {
            let mut watch = Watch::default();
            poller.set(&oom, &mut watch, token, Some(oom.interest()));
            self.oom = Some((oom, watch));
        }
    }

    /// Whether the kernel has killed since the last question. A group that is gone is not watched any more.
    pub(super) fn has_new_oom(&mut self, poller: &Poller) -> bool {
        match self.oom.as_ref().map(|(oom, _)| oom.count()) {
            Some(Ok(count)) => std::mem::replace(&mut self.killed, count) < count,
            Some(Err(_)) => {
                self.unwatch(poller);
                false
            }
            None => false,
        }
    }

    /// Whether the kernel has ever killed. The watch knows it even of a group that systemd has taken away, on
    /// version 1; without a watch the group may know.
    pub(super) fn oom_killed(&self) -> bool {
        let watched = self.oom.as_ref().and_then(|(oom, _)| oom.count().ok());
        let counted = || self.cgroup.as_ref().and_then(|cgroup| cgroup.oom_kills().ok());
        watched.or_else(counted).unwrap_or(0).max(self.killed) > 0
    }

    /// Kills all in it.
    pub(super) fn kill(&self) {
        if let Some(cgroup) = &self.cgroup {
            let _ = cgroup.kill_all();
        }
    }

    /// Kills all in it, and waits until they are gone: for a container that shares its process namespace.
    pub(super) fn end(&self) {
        let Some(cgroup) = &self.cgroup else { return };
        for _ in 0..END_ROUNDS {
            if cgroup.is_empty().unwrap_or(true) {
                return;
            }
            let _ = cgroup.kill_all();
            std::thread::sleep(END_WAIT);
        }
    }

    /// Removes it.
    pub(super) fn remove(&mut self, poller: &Poller) {
        self.unwatch(poller);
        if let Some(cgroup) = &self.cgroup {
            // One with processes that cannot be killed stays; the next start finds it not empty and says so.
            let _ = cgroup.remove();
        }
    }

    fn unwatch(&mut self, poller: &Poller) {
        if let Some((oom, mut watch)) = self.oom.take() {
            poller.set(&oom, &mut watch, Token { owner: 0, part: 0 }, None);
        }
    }
}
