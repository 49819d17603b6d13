//! `mount_setattr(2)`: attributes of a mount, or of a whole tree of them, in one call.
//!
//! Source: `mount_setattr(2)`, `include/uapi/linux/mount.h`.

#![allow(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::io::Errno;

/// Read-only.
pub const MOUNT_ATTR_RDONLY: u64 = 0x1;
/// Set-user-ID bits and file capabilities mean nothing.
pub const MOUNT_ATTR_NOSUID: u64 = 0x2;
/// Devices cannot be opened.
pub const MOUNT_ATTR_NODEV: u64 = 0x4;
/// Nothing can be executed.
pub const MOUNT_ATTR_NOEXEC: u64 = 0x8;
/// The field of the access time: to be cleared whenever one of its values is set.
pub const MOUNT_ATTR_ATIME: u64 = 0x70;
/// Access times are kept as far as they say something new.
pub const MOUNT_ATTR_RELATIME: u64 = 0;
/// Access times are not kept.
pub const MOUNT_ATTR_NOATIME: u64 = 0x10;
/// Access times are always kept.
pub const MOUNT_ATTR_STRICTATIME: u64 = 0x20;
/// Access times of directories are not kept.
pub const MOUNT_ATTR_NODIRATIME: u64 = 0x80;
/// Ids are mapped by a user namespace.
pub const MOUNT_ATTR_IDMAP: u64 = 0x0010_0000;
/// Symbolic links are not followed.
pub const MOUNT_ATTR_NOSYMFOLLOW: u64 = 0x0020_0000;

const AT_RECURSIVE: libc::c_int = 0x8000;

/// A change to the attributes of a mount.
#[derive(Debug, Default, Clone, Copy)]
pub struct Attributes<'a> {
    /// Attributes to set.
    pub set: u64,
    /// Attributes to clear.
    pub clear: u64,
    /// `MS_SHARED`, `MS_SLAVE`, `MS_PRIVATE` or `MS_UNBINDABLE`; 0 leaves the propagation.
    pub propagation: u64,
    /// User namespace of `MOUNT_ATTR_IDMAP`, which is set with it.
    pub userns: Option<BorrowedFd<'a>>,
}

impl Attributes<'_> {
    /// Whether nothing would change.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.set == 0 && self.clear == 0 && self.propagation == 0 && self.userns.is_none()
    }
}

#[repr(C)]
struct Raw {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

/// Changes the attributes of the mount that `mount` is the root of, and with `recursive` of all below it.
///
/// # Errors
/// `ENOSYS` before Linux 5.12, `EINVAL` when `mount` is not a mount's root, `EPERM` for locked attributes.
pub fn mount_setattr<Fd: AsFd>(mount: Fd, recursive: bool, attributes: Attributes<'_>) -> Result<(), Errno> {
    let mut raw = Raw {
        attr_set: attributes.set,
        attr_clr: attributes.clear,
        propagation: attributes.propagation,
        userns_fd: 0,
    };
    if let Some(userns) = attributes.userns {
        raw.attr_set |= MOUNT_ATTR_IDMAP;
        raw.userns_fd = userns.as_raw_fd() as u64;
    }
    let mut flags = libc::AT_EMPTY_PATH;
    if recursive {
        flags |= AT_RECURSIVE;
    }
    // SAFETY: the path is an empty C string, the structure has the size that is told and lives past the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw mut raw,
            std::mem::size_of::<Raw>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(crate::clone::last_errno()) }
}
