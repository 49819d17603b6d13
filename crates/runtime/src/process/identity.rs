//! As whom a process runs: ids, groups, capabilities.

use berth_oci::runtime::{Process, User};
use berth_sys::process::{drop_from_bounding_set, raise_ambient};
use rustix::fs::{FileType, Gid, Uid, fchown, fstat, makedev};
use rustix::io::Errno;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set, set_capabilities,
    set_keep_capabilities, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};

use crate::Error;
use crate::capability::Sets;
use crate::error::init;

/// Gives standard input, output and error to the user, who could not open them again by `/dev/stdout` otherwise.
pub(super) fn own_stdio(process: &Process) {
    let uid = process.user.uid;
    if uid == 0 || process.terminal {
        return;
    }
    // Known by its number, not by what the container has under that name: it is the host's, and everybody's.
    let null = makedev(1, 3);
    for fd in [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()] {
        let Ok(stat) = fstat(fd) else { continue };
        let is_null =
            FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == null;
        if stat.st_uid == uid || is_null {
            continue;
        }
        // A read-only file system, an id without a mapping: then it stays as it is.
        let _ = fchown(fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(stat.st_gid)));
    }
}

/// Takes the ids of the user and limits the bounding set. The capabilities that are left are dropped at the very
/// end, by [`drop_capabilities`]: the steps until then need some.
pub(super) fn become_user(user: &User, sets: Sets) -> Result<(), Error> {
    for capability in (0..64).filter(|capability| sets.bounding & (1 << capability) == 0) {
        match drop_from_bounding_set(capability) {
            Ok(()) => {}
            Err(Errno::INVAL) if capability > 0 => break,
            Err(errno) => return Err(init("drop capabilities from the bounding set", errno)),
        }
    }
    let groups: Vec<Gid> = user.additional_gids.iter().map(|&gid| Gid::from_raw(gid)).collect();
    match set_thread_groups(&groups) {
        Ok(()) => {}
        // In a user namespace whose maker may not: `setgroups` is denied there, and there are none to drop.
        Err(Errno::PERM) if groups.is_empty() && groups_are_denied() => {}
        Err(errno) => return Err(init("set additional groups", errno)),
    }
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    set_thread_res_gid(gid, gid, gid).map_err(|errno| init(format!("set gid {}", user.gid), errno))?;
    if user.uid == 0 {
        return set_thread_res_uid(uid, uid, uid).map_err(|errno| init("set uid 0", errno));
    }
    set_keep_capabilities(true).map_err(|errno| init("keep capabilities", errno))?;
    set_thread_res_uid(uid, uid, uid).map_err(|errno| init(format!("set uid {}", user.uid), errno))?;
    let kept = capabilities(None).map_err(|errno| init("read capabilities", errno))?;
    set_capabilities(None, CapabilitySets { effective: kept.permitted, ..kept })
        .map_err(|errno| init("keep capabilities", errno))
}

fn groups_are_denied() -> bool {
    std::fs::read_to_string("/proc/self/setgroups").is_ok_and(|text| text.trim() == "deny")
}

/// Leaves the process with exactly these capabilities, as far as it has them itself: who lacks one (no
/// `CAP_SYS_RESOURCE` here) cannot give it, and that is no reason to fail.
pub(super) fn drop_capabilities(sets: Sets) -> Result<(), Error> {
    let failed = |errno| init("apply caps", errno);
    let own = capabilities(None).map_err(failed)?.permitted.bits();
    let set = |bits: u64| CapabilitySet::from_bits_retain(bits);
    let permitted = sets.permitted & own;
    let inheritable = sets.inheritable & own;
    let wanted = CapabilitySets {
        effective: set(sets.effective & permitted),
        permitted: set(permitted),
        inheritable: set(inheritable),
    };
    set_capabilities(None, wanted).map_err(failed)?;
    // The kernel has taken from the ambient set what is no longer permitted and inheritable.
    let ambient = sets.ambient & permitted & inheritable;
    if inheritable & permitted != 0 {
        clear_ambient_capability_set().map_err(failed)?;
    }
    for capability in (0..64).filter(|capability| ambient & (1 << capability) != 0) {
        raise_ambient(capability).map_err(|errno| init("set ambient capabilities", errno))?;
    }
    Ok(())
}
