//! Starting shims.

use std::path::Path;

use super::{Shim, Start, StartError, Started};

/// Starts shims from our own executable, through a descriptor that cannot be opened for writing.
#[derive(Debug)]
pub struct Launcher {}

impl Launcher {
    /// Shims run `/proc/self/exe shim …`.
    ///
    /// # Errors
    /// Our own executable cannot be opened. (A kernel that refuses the read-only mount is no error.)
    pub fn new() -> std::io::Result<Launcher> {
        Launcher::of(Path::new("/proc/self/exe"))
    }

    /// Shims run `program shim …`; for tests.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn of(_program: &Path) -> std::io::Result<Launcher> {
        Ok(Launcher {})
    }

    /// Creates and starts a container.
    ///
    /// # Cancel
    /// Dropping the future ends whatever has come to be: the shim sees that nobody waits and cleans up.
    ///
    /// # Errors
    /// See [`StartError`]; nothing of the container is left then.
    pub async fn start(&self, _start: Start) -> Result<(Shim, Started), StartError> {
        Err(StartError::Spawn(std::io::ErrorKind::Unsupported.into()))
    }
}
