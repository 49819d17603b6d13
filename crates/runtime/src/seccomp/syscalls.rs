//! The numbers of system calls, by name and architecture.
//!
//! The table is text beside this file; the compiler reads it and makes a hash table of it, so that a name costs some
//! ten nanoseconds. `_sysctl` to `writev` are the kernel's names, and libseccomp's for the calls of ARM that have none.
//!
//! Source: `arch/*/entry/syscalls/syscall*.tbl`, `include/uapi/asm-generic/unistd.h`, Linux 6.18.

use super::arch::Arch;

/// A line for each name: x86-64, i386, x32, aarch64, arm; `-` where there is no such call.
const TABLE: &str = include_str!("syscalls.tbl");

const COLUMNS: usize = 5;
const ROWS: usize = count_lines(TABLE.as_bytes());
const SLOTS: usize = 1024;
const NONE: u32 = u32::MAX;

/// The door of old for the socket calls on i386, and each one's number there. Source: `linux/net.h`.
pub(super) const SOCKETCALL: [(&str, u32); 20] = [
    ("socket", 1),
    ("bind", 2),
    ("connect", 3),
    ("listen", 4),
    ("accept", 5),
    ("getsockname", 6),
    ("getpeername", 7),
    ("socketpair", 8),
    ("send", 9),
    ("recv", 10),
    ("sendto", 11),
    ("recvfrom", 12),
    ("shutdown", 13),
    ("setsockopt", 14),
    ("getsockopt", 15),
    ("sendmsg", 16),
    ("recvmsg", 17),
    ("accept4", 18),
    ("recvmmsg", 19),
    ("sendmmsg", 20),
];

/// The same for System V. Source: `linux/ipc.h`.
pub(super) const IPC: [(&str, u32); 12] = [
    ("semop", 1),
    ("semget", 2),
    ("semctl", 3),
    ("semtimedop", 4),
    ("msgsnd", 11),
    ("msgrcv", 12),
    ("msgget", 13),
    ("msgctl", 14),
    ("shmat", 21),
    ("shmdt", 22),
    ("shmget", 23),
    ("shmctl", 24),
];

/// A name and its numbers.
#[derive(Clone, Copy)]
pub(super) struct Syscall {
    /// Where the name is in the text.
    name: (u16, u16),
    numbers: [u32; COLUMNS],
    /// On i386: the other call by which it can be made, and what its first argument is then.
    door: Option<(Door, u32)>,
}

/// A call of i386 that stands for many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    Socketcall,
    Ipc,
}

impl Door {
    /// Its own number.
    pub(super) const fn number(self) -> u32 {
        match self {
            Self::Socketcall => 102,
            Self::Ipc => 117,
        }
    }
}

static SYSCALLS: [Syscall; ROWS] = parse();
static INDEX: [u16; SLOTS] = index();

/// Finds a call by its name.
pub(super) fn find(name: &str) -> Option<&'static Syscall> {
    let mut slot = hash(name.as_bytes()) % SLOTS;
    loop {
        let row = INDEX[slot];
        if row == u16::MAX {
            return None;
        }
        let syscall = &SYSCALLS[row as usize];
        if syscall.name() == name {
            return Some(syscall);
        }
        slot = (slot + 1) % SLOTS;
    }
}

impl Syscall {
    pub(super) fn name(&self) -> &'static str {
        &TABLE[self.name.0 as usize..self.name.1 as usize]
    }

    /// The number on an architecture, without x32's bit.
    pub(super) fn number(&self, arch: Arch) -> Option<u32> {
        Some(self.numbers[arch.column()]).filter(|number| *number != NONE)
    }

    /// On i386: the other call by which it can be made, and what its first argument is then.
    pub(super) fn door(&self) -> Option<(Door, u32)> {
        self.door
    }
}

const fn count_lines(text: &[u8]) -> usize {
    let (mut at, mut lines) = (0, 0);
    while at < text.len() {
        lines += (text[at] == b'\n') as usize;
        at += 1;
    }
    lines
}

const fn parse() -> [Syscall; ROWS] {
    let text = TABLE.as_bytes();
    let mut rows = [Syscall { name: (0, 0), numbers: [NONE; COLUMNS], door: None }; ROWS];
    let (mut at, mut row) = (0, 0);
    while row < ROWS {
        let start = at;
        while text[at] != b' ' {
            at += 1;
        }
        rows[row].name = (start as u16, at as u16);
        rows[row].door = match call_behind(&SOCKETCALL, text, start, at) {
            Some(call) => Some((Door::Socketcall, call)),
            None => match call_behind(&IPC, text, start, at) {
                Some(call) => Some((Door::Ipc, call)),
                None => None,
            },
        };
        let mut column = 0;
        while text[at] != b'\n' {
            at += 1; // the blank in front of a number
            if text[at] == b'-' {
                at += 1;
            } else {
                let mut number = 0;
                while text[at].is_ascii_digit() {
                    number = number * 10 + (text[at] - b'0') as u32;
                    at += 1;
                }
                rows[row].numbers[column] = number;
            }
            column += 1;
        }
        assert!(column == COLUMNS, "a line of the table has too few or too many numbers");
        at += 1;
        row += 1;
    }
    rows
}

const fn call_behind(calls: &[(&str, u32)], text: &[u8], start: usize, end: usize) -> Option<u32> {
    let mut call = 0;
    while call < calls.len() {
        let name = calls[call].0.as_bytes();
        let mut same = 0;
        while same < name.len() && start + same < end && text[start + same] == name[same] {
            same += 1;
        }
        if same == name.len() && start + same == end {
            return Some(calls[call].1);
        }
        call += 1;
    }
    None
}

const fn index() -> [u16; SLOTS] {
    let rows = parse();
    let mut index = [u16::MAX; SLOTS];
    let mut row = 0;
    while row < ROWS {
        let (start, end) = rows[row].name;
        let mut slot = hash_range(TABLE.as_bytes(), start as usize, end as usize) % SLOTS;
        while index[slot] != u16::MAX {
            slot = (slot + 1) % SLOTS;
        }
        index[slot] = row as u16;
        row += 1;
    }
    index
}

fn hash(name: &[u8]) -> usize {
    hash_range(name, 0, name.len())
}

/// FNV-1a, folded.
const fn hash_range(bytes: &[u8], start: usize, end: usize) -> usize {
    let mut hash: u32 = 0x811c_9dc5;
    let mut at = start;
    while at < end {
        hash = (hash ^ bytes[at] as u32).wrapping_mul(0x0100_0193);
        at += 1;
    }
    (hash ^ hash >> 15) as usize
}

#[cfg(test)]
pub(super) fn all() -> &'static [Syscall] {
    &SYSCALLS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found() {
        for syscall in all() {
            let found = find(syscall.name()).unwrap();
            assert_eq!(found.numbers, syscall.numbers, "{}", syscall.name());
        }
        for name in ["", "no_such_call", "read ", "Read"] {
            assert!(find(name).is_none(), "{name}");
        }
        for (name, _) in SOCKETCALL.iter().chain(&IPC).filter(|(name, _)| !matches!(*name, "send" | "recv")) {
            assert!(find(name).is_some(), "{name}");
        }
    }

    #[test]
    fn numbers_are_the_kernels() {
        let number = |name: &str, arch| find(name).unwrap().number(arch);
        assert_eq!(number("read", Arch::X86_64), Some(0));
        assert_eq!(number("execve", Arch::X86_64), Some(59));
        assert_eq!(number("execve", Arch::X32), Some(520));
        assert_eq!(number("execve", Arch::X86), Some(11));
        assert_eq!(number("execve", Arch::Aarch64), Some(221));
        assert_eq!(number("execve", Arch::Arm), Some(11));
        assert_eq!(number("socketcall", Arch::X86), Some(Door::Socketcall.number()));
        assert_eq!(number("ipc", Arch::X86), Some(Door::Ipc.number()));
        assert_eq!(find("shmctl").unwrap().door(), Some((Door::Ipc, 24)));
        assert_eq!(find("sendfile").unwrap().door(), None);
        assert_eq!(number("open", Arch::Aarch64), None);
        assert_eq!(number("set_tls", Arch::Arm), Some(0x000f_0005));
        for arch in [Arch::X86_64, Arch::X86, Arch::X32, Arch::Aarch64, Arch::Arm] {
            assert_eq!(number("mseal", arch), Some(462));
        }
        #[cfg(target_arch = "x86_64")]
        assert_eq!(number("clone3", Arch::X86_64).map(i64::from), Some(libc::SYS_clone3));
    }

    #[test]
    fn no_number_is_given_twice() {
        for arch in [Arch::X86_64, Arch::X86, Arch::X32, Arch::Aarch64, Arch::Arm] {
            let mut numbers: Vec<_> = all().iter().filter_map(|syscall| syscall.number(arch)).collect();
            let count = numbers.len();
            numbers.sort_unstable();
            numbers.dedup();
            // arm_sync_file_range is libseccomp's name for sync_file_range2.
            assert_eq!(numbers.len(), count - usize::from(arch == Arch::Arm), "{arch:?}");
        }
    }
}
