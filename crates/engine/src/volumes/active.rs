//! Volumes as which something is mounted: who uses each now, the mount and its end.
//!
//! ```text
//!   at rest ──first user──► mounted ──last user leaves──► at rest
//! ```
//!
//! Users are containers that run, creations that fill a volume, and visits to containers that do not run. A mount
//! outlives the engine as the containers do: the next engine counts them again and unmounts what nobody uses. Volumes
//! that are plain directories never come here.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::CString;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};

use super::options::{BIND, PROPAGATION, Plan, RDONLY, REC, REMOUNT};
use crate::error::errno_text;

/// Somebody may have mounted over a mount; nobody does so often.
const LAYERS_MAX: usize = 64;

/// The users of each volume.
#[derive(Debug, Default)]
pub(super) struct Active(Mutex<HashMap<String, Users>>);

/// Those of one volume; locked while it is mounted and unmounted, which may take as long as a server takes.
type Users = Arc<Mutex<HashSet<String>>>;

impl Active {
    /// Counts a user, and mounts the volume for the first one. Blocking, inside of the runtime.
    ///
    /// Errors: Docker's text; nothing is mounted.
    pub(super) fn enter(
        &self,
        name: &str,
        user: &str,
        options: &BTreeMap<String, String>,
        at: &Path,
    ) -> Result<(), String> {
        let users = self.users(name);
        let mut users = lock(&users);
        // An earlier end that failed may have left it mounted.
        if users.is_empty() && !is_mounted(at) {
            mount(options, at)?;
        }
        users.insert(user.to_owned());
        Ok(())
    }

    /// Counts a user of a volume that is mounted already.
    pub(super) fn resume(&self, name: &str, user: &str) {
        lock(&self.users(name)).insert(user.to_owned());
    }

    /// Counts a user no longer, and unmounts the volume after the last one. Blocking.
    pub(super) fn leave(&self, name: &str, user: &str, at: &Path) {
        let users = self.users(name);
        let mut users = lock(&users);
        if users.remove(user) && users.is_empty() {
            end(name, at);
        }
    }

    /// Unmounts a volume that nobody uses, and forgets it. Blocking.
    ///
    /// Errors: it is still mounted.
    pub(super) fn forget(&self, name: &str, at: &Path) -> Result<(), Errno> {
        let users = self.users(name);
        let users = lock(&users);
        if !users.is_empty() {
            return Ok(());
        }
        unmount(at)?;
        lock(&self.0).remove(name);
        Ok(())
    }

    fn users(&self, name: &str) -> Users {
        lock(&self.0).entry(name.to_owned()).or_default().clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn end(name: &str, at: &Path) {
    if let Err(error) = unmount(at) {
        tracing::warn!("unmounting volume {name}: {}", errno_text(&error.into()));
    }
}

/// Whether a directory is the root of a mount. Asks no server.
pub(super) fn is_mounted(path: &Path) -> bool {
    let flags = AtFlags::NO_AUTOMOUNT | AtFlags::SYMLINK_NOFOLLOW | AtFlags::STATX_DONT_SYNC;
    let found = rustix::fs::statx(CWD, path, flags, StatxFlags::empty());
    // A server that does not answer any more is asked all the same by some file systems: what fails otherwise than by
    // not being there is a mount.
    match found {
        Ok(found) => found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT),
        Err(errno) => !matches!(errno, Errno::NOENT | Errno::NOTDIR),
    }
}

/// Takes away what is mounted at a directory; whoever has files open there keeps them.
fn unmount(at: &Path) -> Result<(), Errno> {
    for _ in 0..LAYERS_MAX {
        if !is_mounted(at) {
            return Ok(());
        }
        rustix::mount::unmount(at, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)?;
    }
    Err(Errno::BUSY)
}

fn mount(options: &BTreeMap<String, String>, at: &Path) -> Result<(), String> {
    let plan = Plan::of(options, resolve)?;
    let target = at.to_string_lossy();
    let first = plan.flags & !PROPAGATION;
    let failed = |action: &str, flags: u32| {
        let (plan, target) = (&plan, &target);
        let action = action.to_owned();
        move |errno: Errno| plan.failure(&action, target, flags, &errno_text(&errno.into()))
    };
    let call = |flags: u32| -> Result<(), Errno> {
        let data = CString::new(plan.data.as_str()).map_err(|_| Errno::INVAL)?;
        let flags = MountFlags::from_bits_retain(flags);
        rustix::mount::mount(plan.device.as_str(), at, plan.kind.as_str(), flags, data.as_c_str())
    };
    call(first).map_err(failed("mount", first))?;
    let finished = || -> Result<(), String> {
        if plan.flags & PROPAGATION != 0 {
            let flags = plan.flags & (PROPAGATION | REC);
            let change = MountPropagationFlags::from_bits_retain(flags);
            rustix::mount::mount_change(at, change).map_err(failed("remount", flags))?;
        }
        // A bind is read-only only at the second asking.
        if first & (BIND | RDONLY) == BIND | RDONLY {
            let flags = first | REMOUNT;
            call(flags).map_err(failed("remount-ro", flags))?;
        }
        Ok(())
    };
    finished().inspect_err(|_| end(&target, at))
}

/// The address of a server, an older one first.
fn resolve(host: &str) -> Result<IpAddr, String> {
    let resolver = berth_dns::Resolver::default();
    let found = tokio::runtime::Handle::current().block_on(resolver.lookup(host));
    let mut all = found.map_err(|error| error.to_string())?;
    all.sort_by_key(IpAddr::is_ipv6);
    all.first().copied().ok_or_else(|| format!("lookup {host}: no such host"))
}
