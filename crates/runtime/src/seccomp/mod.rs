//! System call filters: from the specification's profile to a program of classic BPF, and into the kernel.
//!
//! ```text
//! LinuxSeccomp ── plan ──► for each architecture: ranges of numbers, each with what happens ── emit ──► Program
//! ```
//!
//! A profile is read as libseccomp and runc read it:
//! - rules whose action is the default one say nothing; names that an architecture does not have are ignored;
//! - of the rules for one call, the first without conditions decides, wherever it stands; if all have conditions, the
//!   first that holds decides; if none holds, the default action;
//! - conditions of one rule must all hold, unless two of them look at the same argument: then each is a rule of its own;
//! - calls newer than any that the profile names fail with `ENOSYS` instead of the default action, so that programs
//!   fall back to older ones (not if the default lets calls pass);
//! - calls through an architecture that the profile does not list kill the thread. Architectures that this kernel
//!   cannot run are ignored.
//!
//! On i386 a rule for a call of the socket or System V family also holds for its old door, `socketcall` and `ipc`,
//! unless it has conditions: a filter cannot see the arguments there.

mod arch;
mod emit;
mod plan;
mod syscalls;
#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::OwnedFd;

use berth_oci::runtime::{LinuxSeccomp, LinuxSeccompAction};
use berth_sys::seccomp::{self as kernel, Instruction};

use arch::Arch;

/// A profile that cannot be a filter.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// A flag that neither the specification nor the kernel has.
    #[error("unknown seccomp flag {0:?}")]
    Flag(String),
    /// A condition on an argument that no call has.
    #[error("seccomp rule for {name}: there is no argument {index}")]
    Argument {
        /// The call.
        name: String,
        /// The argument.
        index: u32,
    },
    /// The listener would have to answer itself.
    #[error("SCMP_ACT_NOTIFY cannot be used as default action")]
    NotifyByDefault,
    /// The listener's descriptor could not be sent.
    #[error("SCMP_ACT_NOTIFY cannot be used for the write syscall")]
    NotifyWrite,
    /// The kernel takes no more than 4096 instructions.
    #[error("the seccomp filter is too long: {0} instructions")]
    TooLong(usize),
    /// There is no table of system calls for the architecture of this program.
    #[error("seccomp is not supported on this architecture")]
    Architecture,
    /// Bytes that [`Program::to_bytes`] did not write.
    #[error("malformed seccomp program")]
    Malformed,
}

/// A compiled filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    instructions: Vec<Instruction>,
    flags: u32,
}

/// The most that the kernel takes (`BPF_MAXINSNS`).
const LENGTH_MAX: usize = 4096;

/// Compiles a profile for the architecture of this program.
///
/// # Errors
/// See [`Error`].
pub fn compile(profile: &LinuxSeccomp) -> Result<Program, Error> {
    compile_for(profile, Arch::native().ok_or(Error::Architecture)?)
}

fn compile_for(profile: &LinuxSeccomp, native: Arch) -> Result<Program, Error> {
    if profile.default_action == LinuxSeccompAction::Notify {
        return Err(Error::NotifyByDefault);
    }
    let mut flags = read_flags(profile)?;
    let notifies = |rule: &berth_oci::runtime::LinuxSyscall| rule.action == LinuxSeccompAction::Notify;
    if profile.syscalls.iter().any(|rule| notifies(rule) && rule.names.iter().any(|name| name == "write")) {
        return Err(Error::NotifyWrite);
    }
    if profile.syscalls.iter().any(notifies) {
        flags |= kernel::FLAG_NEW_LISTENER;
        if flags & kernel::FLAG_TSYNC != 0 {
            flags |= kernel::FLAG_TSYNC_ESRCH;
        }
    }
    let instructions = emit::emit(&plan::plan(profile, native)?);
    if instructions.len() > LENGTH_MAX {
        return Err(Error::TooLong(instructions.len()));
    }
    Ok(Program { instructions, flags })
}

impl Program {
    /// Loads the filter into the calling thread, which needs `no_new_privs` or `CAP_SYS_ADMIN`. Neither allocates nor
    /// locks, so it may be called between clone and exec. The answer is the listener, if the profile has
    /// `SCMP_ACT_NOTIFY`.
    ///
    /// # Errors
    /// What `seccomp(2)` answers.
    pub fn load(&self) -> io::Result<Option<OwnedFd>> {
        kernel::load_filter(&self.instructions, self.flags)
    }

    /// Is there a rule that asks a listener?
    #[must_use]
    pub fn notifies(&self) -> bool {
        self.flags & kernel::FLAG_NEW_LISTENER != 0
    }

    /// How many instructions there are.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "no program is empty")]
    pub fn len(&self) -> usize {
        self.instructions.len()
    }

    /// The program as bytes, for handing it to another process of the same machine.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(4 + self.instructions.len() * 8);
        bytes.extend(self.flags.to_ne_bytes());
        for instruction in &self.instructions {
            bytes.extend(instruction.code.to_ne_bytes());
            bytes.extend([instruction.jump_true, instruction.jump_false]);
            bytes.extend(instruction.operand.to_ne_bytes());
        }
        bytes
    }

    /// Reads what [`Program::to_bytes`] wrote. The kernel checks every program that is loaded, so a wrong one is
    /// refused there.
    ///
    /// # Errors
    /// [`Error::Malformed`] when the length cannot be right.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let (flags, rest) = bytes.split_first_chunk::<4>().ok_or(Error::Malformed)?;
        let (chunks, odd) = rest.as_chunks::<8>();
        if !odd.is_empty() || chunks.is_empty() || chunks.len() > LENGTH_MAX {
            return Err(Error::Malformed);
        }
        let instruction = |&[c0, c1, jump_true, jump_false, o0, o1, o2, o3]: &[u8; 8]| Instruction {
            code: u16::from_ne_bytes([c0, c1]),
            jump_true,
            jump_false,
            operand: u32::from_ne_bytes([o0, o1, o2, o3]),
        };
        Ok(Self { instructions: chunks.iter().map(instruction).collect(), flags: u32::from_ne_bytes(*flags) })
    }
}

/// Absent flags are runc's default: no speculation penalty for the processes of the container.
fn read_flags(profile: &LinuxSeccomp) -> Result<u32, Error> {
    let Some(names) = &profile.flags else { return Ok(kernel::FLAG_SPEC_ALLOW) };
    names.iter().try_fold(0, |flags, name| {
        let flag = match name.as_str() {
            "SECCOMP_FILTER_FLAG_TSYNC" => kernel::FLAG_TSYNC,
            "SECCOMP_FILTER_FLAG_LOG" => kernel::FLAG_LOG,
            "SECCOMP_FILTER_FLAG_SPEC_ALLOW" => kernel::FLAG_SPEC_ALLOW,
            "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV" => kernel::FLAG_WAIT_KILLABLE_RECV,
            _ => return Err(Error::Flag(name.clone())),
        };
        Ok(flags | flag)
    })
}
