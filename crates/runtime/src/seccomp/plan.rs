//! What is to happen with each number of each architecture.

use berth_oci::runtime::{
    LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompOperator, LinuxSyscall,
};

use super::Error;
use super::arch::Arch;
use super::syscalls::{self, Syscall};

/// What the kernel does: a `SECCOMP_RET_…` with its data. Source: `include/uapi/linux/seccomp.h`.
pub(super) type Action = u32;

const KILL_PROCESS: Action = 0x8000_0000;
pub(super) const KILL_THREAD: Action = 0x0000_0000;
const TRAP: Action = 0x0003_0000;
const ERRNO: Action = 0x0005_0000;
const USER_NOTIF: Action = 0x7fc0_0000;
const TRACE: Action = 0x7ff0_0000;
const LOG: Action = 0x7ffc_0000;
const ALLOW: Action = 0x7fff_0000;

const EPERM: u32 = 1;
const ENOSYS: u32 = 38;
const DATA_MASK: u32 = 0xffff;

/// Numbers of calls that every architecture knows are below; from here on ARM has some of its own.
const PRIVATE_FROM: u32 = 0x000f_0000;

/// A filter, architecture by architecture.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) arches: Vec<ArchPlan>,
    /// What calls of several conditions come to; [`Outcome::Check`] is an index.
    pub(super) checks: Vec<Check>,
    pub(super) default: Action,
}

/// One architecture.
#[derive(Debug)]
pub(super) struct ArchPlan {
    pub(super) arch: Arch,
    /// Where each range begins, and what happens in it; the first begins at nought, neighbours differ.
    pub(super) ranges: Vec<(u32, Outcome)>,
}

/// What happens with a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Do(Action),
    Check(usize),
}

/// Rules with conditions for one call: the first that holds decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Check {
    pub(super) rules: Vec<(Vec<LinuxSeccompArg>, Action)>,
}

/// What the rules so far say of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cell {
    Nothing,
    Always(Action),
    If(usize),
}

/// Brings a profile to what the numbers of each architecture come to.
pub(super) fn plan(profile: &LinuxSeccomp, native: Arch) -> Result<Plan, Error> {
    let default = action(profile.default_action, profile.default_errno_ret);
    let listed = |arch: &&Arch| {
        **arch == native || profile.architectures.iter().any(|name| Arch::from_spec(*name) == Some(**arch))
    };
    let mut tables: Vec<Table> =
        native.family().iter().filter(listed).map(|arch| Table::new(*arch)).collect();
    let mut checks = Vec::new();
    for rule in &profile.syscalls {
        let alternatives = alternatives(rule)?;
        let action = action(rule.action, rule.errno_ret);
        for syscall in rule.names.iter().filter_map(|name| syscalls::find(name)) {
            for table in &mut tables {
                table.note(syscall);
                if action != default {
                    table.add(syscall, &alternatives, action, &mut checks);
                }
            }
        }
    }
    let newer = newer_action(profile, default);
    let arches = tables.into_iter().map(|table| table.finish(default, newer)).collect();
    Ok(Plan { arches, checks, default })
}

/// The conditions of a rule as alternatives, each of which must hold as a whole. None at all: the rule always holds.
fn alternatives(rule: &LinuxSyscall) -> Result<Vec<Vec<LinuxSeccompArg>>, Error> {
    let mut seen = [false; 6];
    let mut repeated = false;
    for arg in &rule.args {
        let Some(seen) = seen.get_mut(arg.index as usize) else {
            let name = rule.names.first().cloned().unwrap_or_default();
            return Err(Error::Argument { name, index: arg.index });
        };
        repeated |= std::mem::replace(seen, true);
    }
    if rule.args.is_empty() {
        return Ok(Vec::new());
    }
    Ok(if repeated { rule.args.iter().map(|arg| vec![*arg]).collect() } else { vec![rule.args.clone()] })
}

fn action(action: LinuxSeccompAction, errno: Option<u32>) -> Action {
    let data = errno.unwrap_or(EPERM) & DATA_MASK;
    match action {
        LinuxSeccompAction::Kill | LinuxSeccompAction::KillThread => KILL_THREAD,
        LinuxSeccompAction::KillProcess => KILL_PROCESS,
        LinuxSeccompAction::Trap => TRAP,
        LinuxSeccompAction::Errno => ERRNO | data,
        LinuxSeccompAction::Trace => TRACE | data,
        LinuxSeccompAction::Allow => ALLOW,
        LinuxSeccompAction::Log => LOG,
        LinuxSeccompAction::Notify => USER_NOTIF,
    }
}

/// What calls get that are newer than the profile. A default that lets calls pass lets these pass too.
fn newer_action(profile: &LinuxSeccomp, default: Action) -> Action {
    match profile.default_action {
        LinuxSeccompAction::Allow | LinuxSeccompAction::Log | LinuxSeccompAction::Trace => default,
        _ => ERRNO | ENOSYS,
    }
}

/// The numbers of one architecture while rules are added.
struct Table {
    arch: Arch,
    /// By number; grows as far as numbers are named.
    cells: Vec<Cell>,
    /// ARM's own calls, far above.
    private: Vec<(u32, Cell)>,
    /// The highest number that any rule names, one beyond.
    known: u32,
}

impl Table {
    fn new(arch: Arch) -> Self {
        Self { arch, cells: Vec::with_capacity(512), private: Vec::new(), known: 0 }
    }

    /// A profile that names a call knows every call that is older.
    fn note(&mut self, syscall: &Syscall) {
        if let Some(number) = syscall.number(self.arch).filter(|number| *number < PRIVATE_FROM) {
            self.known = self.known.max(number + 1);
        }
    }

    fn add(
        &mut self,
        syscall: &Syscall,
        alternatives: &[Vec<LinuxSeccompArg>],
        action: Action,
        checks: &mut Vec<Check>,
    ) {
        if let Some(number) = syscall.number(self.arch) {
            self.add_number(number, alternatives, action, checks);
        }
        // The old doors, whose first argument says which call is meant; the others are behind a pointer.
        if self.arch == Arch::X86
            && alternatives.is_empty()
            && let Some((door, call)) = syscall.door()
        {
            let op = LinuxSeccompOperator::Eq;
            let condition = LinuxSeccompArg { index: 0, value: u64::from(call), value_two: 0, op };
            self.add_number(door.number(), &[vec![condition]], action, checks);
        }
    }

    fn add_number(
        &mut self,
        number: u32,
        alternatives: &[Vec<LinuxSeccompArg>],
        action: Action,
        checks: &mut Vec<Check>,
    ) {
        let cell = self.cell(number);
        let check = match (*cell, alternatives.is_empty()) {
            (Cell::Always(_), _) => return,
            (_, true) => {
                *cell = Cell::Always(action);
                return;
            }
            (Cell::If(check), false) => check,
            (Cell::Nothing, false) => {
                *cell = Cell::If(checks.len());
                checks.push(Check::default());
                checks.len() - 1
            }
        };
        checks[check].rules.extend(alternatives.iter().map(|conditions| (conditions.clone(), action)));
    }

    fn cell(&mut self, number: u32) -> &mut Cell {
        if number >= PRIVATE_FROM {
            let at = match self.private.binary_search_by_key(&number, |(number, _)| *number) {
                Ok(at) => at,
                Err(at) => {
                    self.private.insert(at, (number, Cell::Nothing));
                    at
                }
            };
            return &mut self.private[at].1;
        }
        let at = number as usize;
        if at >= self.cells.len() {
            self.cells.resize(at + 1, Cell::Nothing);
        }
        &mut self.cells[at]
    }

    fn finish(self, default: Action, newer: Action) -> ArchPlan {
        let base = self.arch.base();
        let outcome = |cell| match cell {
            Cell::Nothing => Outcome::Do(default),
            Cell::Always(action) => Outcome::Do(action),
            Cell::If(check) => Outcome::Check(check),
        };
        let mut ranges: Vec<(u32, Outcome)> = Vec::with_capacity(160);
        let mut push = |from: u32, outcome| match ranges.last() {
            Some((_, last)) if *last == outcome => {}
            Some((start, _)) if *start == base + from => {
                ranges.pop();
                ranges.push((base + from, outcome));
            }
            _ => ranges.push((base + from, outcome)),
        };
        for (number, cell) in (0..).zip(&self.cells) {
            push(number, outcome(*cell));
        }
        let named = u32::try_from(self.cells.len()).expect("no number of the table is that high");
        push(named, Outcome::Do(default));
        if self.known > 0 {
            push(self.known.max(named), Outcome::Do(newer));
        }
        let mut next = PRIVATE_FROM;
        for (number, cell) in &self.private {
            if next < *number {
                push(next, Outcome::Do(default));
            }
            push(*number, outcome(*cell));
            next = number + 1;
        }
        if self.arch == Arch::Arm {
            push(next, Outcome::Do(default));
        }
        ArchPlan { arch: self.arch, ranges }
    }
}
