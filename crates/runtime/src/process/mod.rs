//! A process on its way to `execve`: limits, terminal, identity, working directory, program.
//!
//! The same for the first process of a container and for one that is executed in it later. All of it runs in a child
//! that has one thread and that is already inside the container's namespaces and root.
//!
//! Order, and why: what needs privileges comes first; capabilities are dropped last but one, after the system call
//! filter, so that a filter has to allow next to nothing of the runtime's own (`capset`, `prctl`, `execve`); no
//! descriptor but standard input, output, error and the preserved ones survives.

mod console;
mod environment;
mod identity;
mod labels;
mod plan;
mod program;

pub(crate) use plan::ProcessPlan;

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::Mode;
use rustix::io::Errno;

use crate::error::init;
use crate::path::RootDir;
use crate::{Error, Stdio};
use berth_sys::process::{StringList, close_on_exec_from};
use environment::environment;
use program::Program;

/// Everything that has been made ready for `execve`.
#[derive(Debug)]
pub(crate) struct Settled {
    program: Program,
    environment: StringList,
}

/// What a process needs from the host's side.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Surroundings<'fd> {
    /// procfs of the host: what is read and written there concerns the calling process and cannot be faked.
    pub(crate) proc: BorrowedFd<'fd>,
    /// The root directory of the container, which is that of the process already.
    pub(crate) root: RootDir<'fd>,
}

impl ProcessPlan<'_> {
    /// Standard input, output and error: the terminal, whose master is given back, or those of the caller.
    pub(crate) fn open_stdio(
        &self,
        stdio: &Stdio,
        around: Surroundings<'_>,
        built_console: bool,
    ) -> Result<Option<OwnedFd>, Error> {
        if self.process.terminal {
            let master = console::open(self.process, around, built_console)?;
            return Ok(Some(master));
        }
        if let Stdio::Descriptors { stdin, stdout, stderr } = stdio {
            let result = rustix::stdio::dup2_stdin(stdin)
                .and_then(|()| rustix::stdio::dup2_stdout(stdout))
                .and_then(|()| rustix::stdio::dup2_stderr(stderr));
            result.map_err(|errno| init("set standard input, output and error", errno))?;
        }
        Ok(None)
    }

    /// All that is left but the filter, capabilities and `execve`.
    pub(crate) fn settle(&self, around: Surroundings<'_>) -> Result<Settled, Error> {
        self.set_priorities()?;
        labels::set(self.process, around.proc)?;
        identity::own_stdio(self.process);
        let cwd = self.enter_cwd(around.root)?;
        self.set_rlimits()?;
        identity::become_user(&self.process.user, self.capabilities)?;
        if let Some(cwd) = cwd {
            // Root was not let in (a network file system); the user may be.
            rustix::process::fchdir(&cwd).map_err(|errno| self.cwd_failed(errno))?;
        }
        self.check_cwd()?;
        rustix::process::umask(Mode::from_raw_mode(self.process.user.umask.unwrap_or(0o022)));
        let environment = environment(self.process, around.root)?;
        let program = Program::find(self.process)?;
        Ok(Settled { program, environment })
    }

    /// Puts the process under its filter, drops capabilities and executes the program. Comes back with the error.
    pub(crate) fn execute(&self, settled: &Settled, listener: Option<(BorrowedFd<'_>, &[u8])>) -> Error {
        if let Err(error) = self.last_steps(listener) {
            return error;
        }
        settled.program.execute(&settled.environment)
    }

    fn last_steps(&self, listener: Option<(BorrowedFd<'_>, &[u8])>) -> Result<(), Error> {
        if self.process.no_new_privileges {
            rustix::thread::set_no_new_privs(true).map_err(|errno| init("set no_new_privs", errno))?;
        }
        let first = 3 + u32::try_from(self.preserved).unwrap_or(0);
        close_on_exec_from(first).map_err(|errno| init("close descriptors", errno))?;
        self.load_filter(listener)?;
        identity::drop_capabilities(self.capabilities)
    }
}

/// Makes the preserved descriptors 3, 4, …, and moves those of the runtime's own that are still needed out of their
/// way. Everything else there is closed, in a process that has no more use for it.
pub(crate) fn place(preserved: &[OwnedFd], own: &mut [&mut OwnedFd]) -> Result<(), Error> {
    if preserved.iter().zip(3..).all(|(fd, number)| fd.as_raw_fd() == number) {
        // The usual case of a command line: they are where they belong, and only have to survive.
        return preserved
            .iter()
            .try_for_each(|fd| rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty()))
            .map_err(|errno| init("pass descriptors on", errno));
    }
    move_all(preserved, own).map_err(|errno| init("pass descriptors on", errno))
}

fn move_all(preserved: &[OwnedFd], own: &mut [&mut OwnedFd]) -> Result<(), Errno> {
    let first_free = 3 + i32::try_from(preserved.len()).map_err(|_| Errno::MFILE)?;
    for fd in own {
        **fd = rustix::io::fcntl_dupfd_cloexec(fd.as_fd(), first_free)?;
    }
    let moved = preserved
        .iter()
        .map(|fd| rustix::io::fcntl_dupfd_cloexec(fd.as_fd(), first_free))
        .collect::<Result<Vec<_>, _>>()?;
    for (fd, number) in moved.iter().zip(3..) {
        berth_sys::process::duplicate_to(fd.as_fd(), number)?;
    }
    Ok(())
}
