//! `AppArmor` profile and `SELinux` label of a process, where the kernel has them.

use std::os::fd::BorrowedFd;

use berth_oci::runtime::Process;
use rustix::fs::{Access, AtFlags, CWD, Mode, OFlags, ResolveFlags, accessat, openat2};
use rustix::io::Errno;

use crate::Error;
use crate::error::init;

/// Has both take effect at `execve`.
pub(super) fn set(process: &Process, proc: BorrowedFd<'_>) -> Result<(), Error> {
    let profile = process.apparmor_profile.as_str();
    if !profile.is_empty() && has(proc, "self/attr/apparmor/exec") {
        write(proc, "self/attr/apparmor/exec", &format!("exec {profile}"))
            .map_err(|errno| init(format!("apparmor failed to apply profile {profile:?}"), errno))?;
    }
    let label = process.selinux_label.as_str();
    if !label.is_empty() && selinux_is_on() {
        write(proc, "self/attr/exec", label)
            .map_err(|errno| init(format!("set SELinux label {label:?}"), errno))?;
    }
    Ok(())
}

/// The kernel has it and it is on. To be asked before the root is entered: the host's sysfs says it.
pub(crate) fn selinux_is_on() -> bool {
    accessat(CWD, "/sys/fs/selinux/enforce", Access::EXISTS, AtFlags::empty()).is_ok()
}

fn has(proc: BorrowedFd<'_>, file: &str) -> bool {
    accessat(proc, file, Access::EXISTS, AtFlags::empty()).is_ok()
}

fn write(proc: BorrowedFd<'_>, file: &str, text: &str) -> Result<(), Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    let file = openat2(proc, file, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty(), resolve)?;
    rustix::io::write(&file, text.as_bytes()).map(|_| ())
}
