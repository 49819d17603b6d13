//! Network namespaces.

use rustix::{
    io::Errno,
    thread::{UnshareFlags, unshare_unsafe},
};

/// Moves the calling thread into a new network namespace.
///
/// Only this thread: to be called on one that ends soon, or that is moved back.
///
/// # Errors
/// `EPERM` without `CAP_SYS_ADMIN`, `ENOSPC` at the limit of namespaces, `ENOMEM`.
pub fn unshare_network() -> Result<(), Errno> {
    // JUSTIFICATION: rustix marks unshare unsafe as a whole, for the sake of CLONE_FILES.
    // SAFETY: CLONE_NEWNET alone changes neither memory nor the table of descriptors.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET) }
}
