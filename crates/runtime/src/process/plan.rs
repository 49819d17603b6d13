//! What the configuration says about a process, checked before the process is made.

use berth_oci::runtime::{LinuxPersonality, Process};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::CpuSet;

use crate::Error;
use crate::capability::Sets;
use crate::error::init;
use crate::limits::{Limit, Limits, cpu_list, personality};
use crate::listener::send;
use crate::path::RootDir;
use crate::seccomp::Program as Filter;
use berth_sys::process::{set_io_priority, set_personality, set_scheduler};
use rustix::fs::OFlags;
use std::os::fd::{BorrowedFd, OwnedFd};

/// A process to execute.
#[derive(Debug)]
pub(crate) struct ProcessPlan<'a> {
    pub(crate) process: &'a Process,
    pub(crate) capabilities: Sets,
    pub(crate) limits: Limits,
    pub(crate) personality: Option<u64>,
    pub(crate) filter: Option<&'a Filter>,
    /// Number of descriptors beyond standard error.
    pub(crate) preserved: usize,
}

impl<'a> ProcessPlan<'a> {
    /// # Errors
    /// `InvalidSpec` for what cannot be.
    pub(crate) fn new(
        process: &'a Process,
        personality_of: Option<&LinuxPersonality>,
        filter: Option<&'a Filter>,
    ) -> Result<Self, Error> {
        let invalid = |message: &str| Err(Error::InvalidSpec(message.to_owned()));
        if process.args.is_empty() {
            return invalid("process.args must not be empty");
        }
        if !process.cwd.starts_with('/') {
            return invalid("Cwd must be an absolute path");
        }
        if process.oom_score_adj.is_some_and(|value| !(-1000..=1000).contains(&value)) {
            return invalid("oomScoreAdj is not in -1000 to 1000");
        }
        Ok(Self {
            process,
            capabilities: Sets::from_spec(process.capabilities.as_ref()),
            limits: Limits::from_spec(process)?,
            personality: personality_of.map(personality).transpose()?,
            filter,
            preserved: 0,
        })
    }

    /// Scheduling, I/O priority, execution domain.
    pub(super) fn set_priorities(&self) -> Result<(), Error> {
        if let Some(scheduler) = self.limits.scheduler {
            set_scheduler(scheduler).map_err(|errno| init("set the scheduler", errno))?;
        }
        if let Some((class, data)) = self.limits.io_priority {
            set_io_priority(class, data).map_err(|errno| init("set the I/O priority", errno))?;
        }
        if let Some(personality) = self.personality {
            set_personality(personality).map_err(|errno| init("set the personality", errno))?;
        }
        Ok(())
    }

    pub(super) fn set_rlimits(&self) -> Result<(), Error> {
        for limit in &self.limits.rlimits {
            set_rlimit(limit).map_err(|errno| init(format!("set rlimit {:?}", limit.resource), errno))?;
        }
        Ok(())
    }

    /// CPUs of a process that is executed later, before it enters the cgroup or after.
    pub(crate) fn set_affinity(list: &str) -> Result<(), Error> {
        if list.is_empty() {
            return Ok(());
        }
        let mut set = CpuSet::new();
        for cpu in cpu_list(list)? {
            set.set(cpu);
        }
        rustix::thread::sched_setaffinity(None, &set).map_err(|errno| init("set the CPU affinity", errno))
    }

    pub(super) fn load_filter(&self, listener: Option<(BorrowedFd<'_>, &[u8])>) -> Result<(), Error> {
        let Some(filter) = self.filter else { return Ok(()) };
        let failed = |error: std::io::Error| {
            init("unable to init seccomp", Errno::from_io_error(&error).unwrap_or(Errno::INVAL))
        };
        match (filter.load().map_err(failed)?, listener) {
            (Some(notifications), Some((socket, message))) => send(socket, message, &notifications),
            _ => Ok(()),
        }
    }

    /// Makes the working directory where it is missing. Only the first process of a container gets that.
    pub(crate) fn make_cwd(&self, root: RootDir<'_>) -> Result<(), Error> {
        match root.open(&self.process.cwd, OFlags::PATH | OFlags::DIRECTORY) {
            Err(Errno::NOENT) => {
                root.make_dir(&self.process.cwd).map_err(|errno| self.cwd_failed(errno)).map(drop)
            }
            _ => Ok(()),
        }
    }

    /// Goes to the working directory, inside the root. A directory that even root may not enter is given back, for
    /// the user to try.
    pub(super) fn enter_cwd(&self, root: RootDir<'_>) -> Result<Option<OwnedFd>, Error> {
        let cwd = root.open(&self.process.cwd, OFlags::PATH | OFlags::DIRECTORY);
        let cwd = cwd.map_err(|errno| self.cwd_failed(errno))?;
        match rustix::process::fchdir(&cwd) {
            Ok(()) => Ok(None),
            Err(Errno::ACCESS) => Ok(Some(cwd)),
            Err(errno) => Err(self.cwd_failed(errno)),
        }
    }

    /// The kernel itself says whether the working directory is inside the root (CVE-2024-21626).
    pub(super) fn check_cwd(&self) -> Result<(), Error> {
        let inside = match rustix::process::getcwd(Vec::new()) {
            Ok(path) => path.as_bytes().starts_with(b"/"),
            Err(Errno::NOENT) => false,
            Err(errno) => return Err(self.cwd_failed(errno)),
        };
        if inside {
            return Ok(());
        }
        let message = "current working directory is outside of container mount namespace root -- possible \
                       container breakout detected"
            .to_owned();
        Err(Error::Init { message, errno: None })
    }

    pub(super) fn cwd_failed(&self, errno: Errno) -> Error {
        init(format!("chdir to cwd ({:?}) set in config.json failed", self.process.cwd), errno)
    }
}

/// Sets a limit; who may not raise the hard limit gets as much as there is.
fn set_rlimit(limit: &Limit) -> Result<(), Errno> {
    let number = |value: u64| (value != u64::MAX).then_some(value);
    let wanted = Rlimit { current: number(limit.soft), maximum: number(limit.hard) };
    match setrlimit(limit.resource, wanted) {
        Err(Errno::PERM) => {
            let ceiling = ceiling(limit.resource);
            let fitting =
                Rlimit { current: number(limit.soft.min(ceiling)), maximum: number(limit.hard.min(ceiling)) };
            setrlimit(limit.resource, fitting)
        }
        result => result,
    }
}

fn ceiling(resource: Resource) -> u64 {
    getrlimit(resource).maximum.unwrap_or(u64::MAX)
}
