//! Architectures, as the kernel tells them to a filter.

use berth_oci::runtime::LinuxSeccompArch;

/// An architecture with a table of system calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arch {
    X86_64,
    X86,
    /// Shares the audit number of x86-64; its calls have [`X32_BIT`] set.
    X32,
    Aarch64,
    Arm,
}

/// `__X32_SYSCALL_BIT`, `arch/x86/include/uapi/asm/unistd.h`.
pub(super) const X32_BIT: u32 = 0x4000_0000;

impl Arch {
    /// The architecture of this program.
    pub(super) const fn native() -> Option<Self> {
        if cfg!(target_arch = "x86_64") {
            Some(Self::X86_64)
        } else if cfg!(target_arch = "aarch64") {
            Some(Self::Aarch64)
        } else {
            None
        }
    }

    /// Those whose programs a kernel for `self` can run.
    pub(super) const fn family(self) -> &'static [Self] {
        match self {
            Self::X86_64 | Self::X86 | Self::X32 => &[Self::X86_64, Self::X86, Self::X32],
            Self::Aarch64 | Self::Arm => &[Self::Aarch64, Self::Arm],
        }
    }

    /// By the specification's name; `None` for those without a table.
    pub(super) const fn from_spec(arch: LinuxSeccompArch) -> Option<Self> {
        match arch {
            LinuxSeccompArch::X86_64 => Some(Self::X86_64),
            LinuxSeccompArch::X86 => Some(Self::X86),
            LinuxSeccompArch::X32 => Some(Self::X32),
            LinuxSeccompArch::Aarch64 => Some(Self::Aarch64),
            LinuxSeccompArch::Arm => Some(Self::Arm),
            _ => None,
        }
    }

    /// Its column in the table of system calls.
    pub(super) const fn column(self) -> usize {
        match self {
            Self::X86_64 => 0,
            Self::X86 => 1,
            Self::X32 => 2,
            Self::Aarch64 => 3,
            Self::Arm => 4,
        }
    }

    /// `AUDIT_ARCH_…`, `include/uapi/linux/audit.h`.
    pub(super) const fn audit(self) -> u32 {
        match self {
            Self::X86_64 | Self::X32 => 0xc000_003e,
            Self::X86 => 0x4000_0003,
            Self::Aarch64 => 0xc000_00b7,
            Self::Arm => 0x4000_0028,
        }
    }

    /// What is added to the numbers of the table.
    pub(super) const fn base(self) -> u32 {
        if matches!(self, Self::X32) { X32_BIT } else { 0 }
    }

    /// Are the arguments of a call 32 bits wide? Then only their lower half is looked at: the upper one is clear, but
    /// for x32, where a program can put anything there and the kernel does not care either.
    pub(super) const fn is_32_bit(self) -> bool {
        matches!(self, Self::X86 | Self::X32 | Self::Arm)
    }
}
