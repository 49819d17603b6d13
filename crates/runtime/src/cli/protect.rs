//! The program's own file is out of reach of containers (CVE-2019-5736).
//!
//! Whoever gets hold of `/proc/<pid>/exe` of a process that runs this program could open the file behind it for
//! writing once nobody executes it. So the program executes itself again, first of all, through a mount of its own
//! that is read-only and attached nowhere: what the link leads to then, lies on that mount, and cannot be written.
//! One extra `execve` of what is in memory anyway.

use std::fs::File;
use std::io::copy;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use berth_sys::mount::{Attributes, MOUNT_ATTR_RDONLY, mount_setattr};
use berth_sys::process::{StringList, execveat};
use rustix::fs::{
    CWD, MemfdFlags, Mode, OFlags, SealFlags, StatVfsMountFlags, fcntl_add_seals, fstatvfs, memfd_create,
    open,
};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};

use super::{About, Failure};

const EXE: &str = "/proc/self/exe";

/// Comes back when the program is protected.
pub(super) fn protect() -> Result<(), Failure> {
    let exe = open(EXE, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).about(format_args!("open {EXE}"))?;
    if is_protected(&exe) {
        return Ok(());
    }
    drop(exe);
    let sealed = read_only_mount().or_else(|_| sealed_copy()).about("protect /proc/self/exe")?;
    let arguments = StringList::new(std::env::args_os().map(OsStringExt::into_vec));
    let environment = StringList::new(std::env::vars_os().map(|(name, value)| {
        let mut variable = name.into_vec();
        variable.push(b'=');
        variable.extend(value.into_vec());
        variable
    }));
    let (Ok(arguments), Ok(environment)) = (arguments, environment) else {
        return Err(Failure::new("an argument contains a NUL byte"));
    };
    let errno = execveat(sealed.as_fd(), &arguments, &environment);
    Err(Failure::new(format!("execute {EXE} again: {}", crate::error::text(errno))))
}

fn is_protected(exe: &OwnedFd) -> bool {
    let read_only = fstatvfs(exe).is_ok_and(|stat| stat.f_flag.contains(StatVfsMountFlags::RDONLY));
    read_only || rustix::fs::fcntl_get_seals(exe).is_ok_and(|seals| seals.contains(SealFlags::WRITE))
}

fn read_only_mount() -> Result<OwnedFd, Errno> {
    let mount = open_tree(CWD, EXE, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)?;
    let attributes = Attributes { set: MOUNT_ATTR_RDONLY, ..Attributes::default() };
    mount_setattr(&mount, false, attributes)?;
    Ok(mount)
}

/// Where mounts cannot be cloned: a copy in memory that nobody can change any more.
fn sealed_copy() -> Result<OwnedFd, Errno> {
    let failed = |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
    let memory = memfd_create("berth", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut memory = File::from(memory);
    copy(&mut File::open(EXE).map_err(failed)?, &mut memory).map_err(failed)?;
    fcntl_add_seals(&memory, SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE)?;
    Ok(memory.into())
}
