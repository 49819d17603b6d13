//! Compiled programs against a reading of the profile that knows nothing of ranges and jumps.

use std::collections::{HashMap, HashSet};

use berth_oci::runtime::{
    LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArch, LinuxSeccompArg, LinuxSeccompOperator, LinuxSyscall,
};

use super::arch::{Arch, X32_BIT};
use super::syscalls::{self, IPC, SOCKETCALL};
use super::*;

const ALLOW: u32 = 0x7fff_0000;
const EPERM: u32 = 0x0005_0001;
const ENOSYS: u32 = 0x0005_0026;
const KILL_THREAD: u32 = 0;

/// What a filter is shown of a call.
#[derive(Clone, Copy, Debug)]
struct Call {
    audit: u32,
    number: u32,
    arguments: [u64; 6],
}

impl Call {
    fn word(&self, offset: u32) -> u32 {
        match offset {
            0 => self.number,
            4 => self.audit,
            16..64 => {
                let argument = self.arguments[(offset as usize - 16) / 8];
                if offset.is_multiple_of(8) { argument as u32 } else { (argument >> 32) as u32 }
            }
            _ => panic!("no such word: {offset}"),
        }
    }
}

/// Runs a program as the kernel would; panics where the kernel would refuse to load it.
fn run(program: &Program, call: &Call) -> u32 {
    let (mut at, mut accumulator) = (0, 0);
    loop {
        let Instruction { code, jump_true, jump_false, operand } = program.instructions[at];
        let branch = |holds: bool| usize::from(if holds { jump_true } else { jump_false });
        at += 1;
        match code {
            0x20 => accumulator = call.word(operand),
            0x54 => accumulator &= operand,
            0x05 => at += operand as usize,
            0x15 => at += branch(accumulator == operand),
            0x25 => at += branch(accumulator > operand),
            0x35 => at += branch(accumulator >= operand),
            0x06 => return operand,
            _ => panic!("instruction {code:#x} is not for filters"),
        }
    }
}

/// A rule, and the first argument that it is for only.
type Applied<'a> = (&'a LinuxSyscall, Option<u64>);

/// The profile, read rule by rule.
struct Reading<'a> {
    profile: &'a LinuxSeccomp,
    native: Arch,
    /// By architecture and number.
    rules: HashMap<(usize, u32), Vec<Applied<'a>>>,
    /// By architecture: one beyond the highest number that is named.
    known: HashMap<usize, u32>,
}

impl<'a> Reading<'a> {
    fn new(profile: &'a LinuxSeccomp, native: Arch) -> Self {
        let mut reading = Self { profile, native, rules: HashMap::new(), known: HashMap::new() };
        for arch in native.family() {
            for rule in &profile.syscalls {
                for name in &rule.names {
                    reading.read(*arch, rule, name);
                }
            }
        }
        reading
    }

    fn read(&mut self, arch: Arch, rule: &'a LinuxSyscall, name: &str) {
        let Some(syscall) = syscalls::find(name) else { return };
        let mut add = |number: u32, only| {
            self.rules.entry((arch.column(), number)).or_default().push((rule, only));
            if number < 0xf0000 {
                let known = self.known.entry(arch.column()).or_default();
                *known = (number + 1).max(*known);
            }
        };
        if let Some(number) = syscall.number(arch) {
            add(number, None);
        }
        for (door, calls) in [("socketcall", &SOCKETCALL[..]), ("ipc", &IPC[..])] {
            let call = calls.iter().find(|(call, _)| *call == name).map(|(_, call)| u64::from(*call));
            if arch == Arch::X86 && rule.args.is_empty() && call.is_some() {
                add(syscalls::find(door).unwrap().number(arch).unwrap(), call);
            }
        }
    }

    fn evaluate(&self, call: &Call) -> u32 {
        let profile = self.profile;
        let arch = self.native.family().iter().copied().find(|arch| {
            let listed = profile.architectures.iter().any(|name| Arch::from_spec(*name) == Some(*arch));
            let x32 = call.audit == Arch::X86_64.audit() && call.number >= X32_BIT;
            (listed || *arch == self.native) && arch.audit() == call.audit && (*arch == Arch::X32) == x32
        });
        let Some(arch) = arch else { return KILL_THREAD };
        let mut call = *call;
        if arch.is_32_bit() {
            call.arguments = call.arguments.map(|argument| u64::from(argument as u32));
        }
        let call = &call;
        let number = call.number - arch.base();
        let default = value(profile.default_action, profile.default_errno_ret);
        let mut conditional = None;
        for (rule, only) in self.rules.get(&(arch.column(), number)).into_iter().flatten() {
            let action = value(rule.action, rule.errno_ret);
            match only {
                _ if action == default => {}
                None if rule.args.is_empty() => return action,
                None if matches(&rule.args, call) => conditional = conditional.or(Some(action)),
                Some(first) if *first == call.arguments[0] => conditional = conditional.or(Some(action)),
                _ => {}
            }
        }
        let permissive = matches!(
            profile.default_action,
            LinuxSeccompAction::Allow | LinuxSeccompAction::Log | LinuxSeccompAction::Trace
        );
        let newer = self.known.get(&arch.column()).is_some_and(|known| number >= *known)
            && (number < 0xf0000 || arch != Arch::Arm);
        conditional.unwrap_or(if newer && !permissive { ENOSYS } else { default })
    }
}

fn matches(conditions: &[LinuxSeccompArg], call: &Call) -> bool {
    let mut indices = HashSet::new();
    let repeated = conditions.iter().any(|condition| !indices.insert(condition.index));
    let mut holds =
        conditions.iter().map(|condition| emit::holds(condition, call.arguments[condition.index as usize]));
    if repeated { holds.any(|holds| holds) } else { holds.all(|holds| holds) }
}

fn value(action: LinuxSeccompAction, errno: Option<u32>) -> u32 {
    match action {
        LinuxSeccompAction::Kill | LinuxSeccompAction::KillThread => 0,
        LinuxSeccompAction::KillProcess => 0x8000_0000,
        LinuxSeccompAction::Trap => 0x0003_0000,
        LinuxSeccompAction::Errno => 0x0005_0000 | errno.unwrap_or(1),
        LinuxSeccompAction::Trace => 0x7ff0_0000 | errno.unwrap_or(1),
        LinuxSeccompAction::Log => 0x7ffc_0000,
        LinuxSeccompAction::Notify => 0x7fc0_0000,
        LinuxSeccompAction::Allow => ALLOW,
    }
}

/// Every jump of the program stays inside, forwards, and every path ends in a return: what the kernel checks at load.
fn check_form(program: &Program) {
    let length = program.instructions.len();
    assert!(length <= LENGTH_MAX);
    for (at, instruction) in program.instructions.iter().enumerate() {
        let furthest = match instruction.code {
            0x06 => continue,
            0x05 => instruction.operand as usize,
            0x20 | 0x54 => 0,
            _ => usize::from(instruction.jump_true.max(instruction.jump_false)),
        };
        assert!(at + 1 + furthest < length, "instruction {at} of {length} leads out");
    }
}

/// Compares program and profile for every number that could matter, with arguments around every value named.
fn check(profile: &LinuxSeccomp, native: Arch) -> Program {
    let program = compile_for(profile, native).unwrap();
    check_form(&program);
    let reading = Reading::new(profile, native);
    let mut values: Vec<u64> = vec![0, 1, 13, u64::MAX, 1 << 32, u64::from(u32::MAX)];
    for argument in profile.syscalls.iter().flat_map(|rule| &rule.args) {
        for value in [argument.value, argument.value_two, argument.value & argument.value_two] {
            let around =
                [value.wrapping_sub(1), value, value.wrapping_add(1), value | 1 << 32, value | 1 << 63];
            values.extend(around);
        }
    }
    values.extend(SOCKETCALL.iter().chain(&IPC).map(|(_, call)| u64::from(*call)));
    values.sort_unstable();
    values.dedup();
    let mut checked: HashSet<u32> = [102, 117].into();
    for name in profile.syscalls.iter().filter(|rule| !rule.args.is_empty()).flat_map(|rule| &rule.names) {
        let arches = Arch::X86_64.family().iter().chain(Arch::Aarch64.family());
        checked.extend(arches.filter_map(|arch| syscalls::find(name)?.number(*arch)));
    }
    let edges = [0x000f_0000, 0x000f_0005, 0x000f_0010, X32_BIT - 1, u32::MAX, X32_BIT + 5000];
    let numbers: Vec<u32> = (0..600).chain((0..600).map(|number| number + X32_BIT)).chain(edges).collect();
    for arch in Arch::X86_64.family().iter().chain(Arch::Aarch64.family()) {
        for &number in &numbers {
            // Enough values for numbers that look at them, others of them for each number; else a few.
            let wanted = if checked.contains(&(number & !X32_BIT)) { 40 } else { 2 };
            let step = (values.len() / wanted).max(1);
            for (turn, &first) in values.iter().enumerate().skip(number as usize % step).step_by(step) {
                let other = values[(turn * 7 + number as usize) % values.len()];
                let arguments = [first, other, first ^ other, other, first, other];
                let call = Call { audit: arch.audit(), number, arguments };
                assert_eq!(run(&program, &call), reading.evaluate(&call), "{call:x?}");
            }
        }
    }
    program
}

fn rule(names: &[&str], action: LinuxSeccompAction, args: &[LinuxSeccompArg]) -> LinuxSyscall {
    let names = names.iter().map(|&name| name.to_owned()).collect();
    LinuxSyscall { names, action, errno_ret: None, args: args.to_vec() }
}

fn arg(index: u32, op: LinuxSeccompOperator, value: u64, value_two: u64) -> LinuxSeccompArg {
    LinuxSeccompArg { index, value, value_two, op }
}

const X86_FAMILY: [LinuxSeccompArch; 3] =
    [LinuxSeccompArch::X86_64, LinuxSeccompArch::X86, LinuxSeccompArch::X32];

const OPERATORS: [LinuxSeccompOperator; 7] = [
    LinuxSeccompOperator::Ne,
    LinuxSeccompOperator::Lt,
    LinuxSeccompOperator::Le,
    LinuxSeccompOperator::Eq,
    LinuxSeccompOperator::Ge,
    LinuxSeccompOperator::Gt,
    LinuxSeccompOperator::MaskedEq,
];

const ACTIONS: [LinuxSeccompAction; 9] = [
    LinuxSeccompAction::Kill,
    LinuxSeccompAction::KillProcess,
    LinuxSeccompAction::KillThread,
    LinuxSeccompAction::Trap,
    LinuxSeccompAction::Errno,
    LinuxSeccompAction::Trace,
    LinuxSeccompAction::Allow,
    LinuxSeccompAction::Log,
    LinuxSeccompAction::Notify,
];

/// A small generator, so that a failure is the same every time.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }

    fn of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }

    fn condition(&mut self) -> LinuxSeccompArg {
        let value = |random: &mut Self| match random.below(4) {
            0 => random.0,
            1 => u64::from(random.0 as u32),
            2 => random.below(64) as u64,
            _ => 1 << random.below(64),
        };
        let (first, second) = (value(self), value(self));
        arg(self.below(6) as u32, self.of(&OPERATORS), first, second)
    }

    fn profile(&mut self) -> LinuxSeccomp {
        let calls = syscalls::all();
        let mut profile = LinuxSeccomp {
            default_action: ACTIONS[self.below(8)],
            default_errno_ret: (self.below(3) == 0).then(|| self.below(200) as u32),
            ..LinuxSeccomp::default()
        };
        profile.architectures = X86_FAMILY
            .into_iter()
            .chain([LinuxSeccompArch::Arm, LinuxSeccompArch::S390x])
            .filter(|_| self.below(4) != 0)
            .collect();
        for _ in 0..self.below(30) {
            let names: Vec<&str> =
                (0..1 + self.below(20)).map(|_| calls[self.below(calls.len())].name()).collect();
            let conditions: Vec<_> = (0..self.below(4)).map(|_| self.condition()).collect();
            let mut rule = rule(&names, self.of(&ACTIONS), &conditions);
            rule.errno_ret = (self.below(2) == 0).then(|| self.below(200) as u32);
            rule.names.retain(|name| name != "write");
            profile.syscalls.push(rule);
        }
        profile
    }
}

#[test]
fn random_profiles_mean_what_they_say() {
    let mut random = Random(0x5eed_cafe_f00d_0001);
    for round in 0..60 {
        let native = if round % 3 == 0 { Arch::Aarch64 } else { Arch::X86_64 };
        let profile = random.profile();
        check(&profile, native);
    }
}

#[test]
fn an_allow_list_of_many_calls_is_short() {
    // Every second call in blocks of irregular length: as hard as Docker's default profile.
    let names: Vec<&str> = syscalls::all()
        .iter()
        .enumerate()
        .filter(|(at, _)| at % 11 > 2)
        .map(|(_, call)| call.name())
        .collect();
    let profile = LinuxSeccomp {
        default_action: LinuxSeccompAction::Errno,
        architectures: X86_FAMILY.to_vec(),
        syscalls: vec![rule(&names, LinuxSeccompAction::Allow, &[])],
        ..LinuxSeccomp::default()
    };
    let program = check(&profile, Arch::X86_64);
    assert!(program.len() < 1000, "{}", program.len());
}

#[test]
fn rules_for_one_call_are_taken_together() {
    let personality = |value| {
        rule(&["personality"], LinuxSeccompAction::Allow, &[arg(0, LinuxSeccompOperator::Eq, value, 0)])
    };
    let mut profile = LinuxSeccomp {
        default_action: LinuxSeccompAction::Errno,
        architectures: X86_FAMILY.to_vec(),
        syscalls: vec![personality(0), personality(8), personality(0xffff_ffff)],
        ..LinuxSeccomp::default()
    };
    profile.syscalls.push(rule(
        &["clone"],
        LinuxSeccompAction::Allow,
        &[arg(0, LinuxSeccompOperator::MaskedEq, 0x7e02_0000, 0)],
    ));
    profile.syscalls.push(rule(
        &["socket"],
        LinuxSeccompAction::Allow,
        &[arg(0, LinuxSeccompOperator::Lt, 12, 0)],
    ));
    profile.syscalls.push(rule(&["socketcall", "bind"], LinuxSeccompAction::Allow, &[]));
    let program = check(&profile, Arch::X86_64);
    let call = |number, first| {
        run(&program, &Call { audit: Arch::X86_64.audit(), number, arguments: [first, 0, 0, 0, 0, 0] })
    };
    assert_eq!((call(135, 8), call(135, 9), call(135, 0xffff_ffff)), (ALLOW, EPERM, ALLOW));
    // A value that only fits when the upper half is not looked at.
    assert_eq!((call(135, 8 | 1 << 32), call(41, 11), call(41, 11 | 1 << 32)), (EPERM, ALLOW, EPERM));
    assert_eq!((call(56, 0x11), call(56, 0x1000_0011)), (ALLOW, EPERM));
    assert_eq!((call(0, 0), call(400, 0)), (EPERM, ENOSYS));
}

#[test]
fn the_first_rule_without_conditions_decides() {
    let condition = [arg(1, LinuxSeccompOperator::Gt, 3, 0)];
    let profile = LinuxSeccomp {
        default_action: LinuxSeccompAction::Allow,
        syscalls: vec![
            rule(&["read"], LinuxSeccompAction::Trap, &condition),
            rule(&["read"], LinuxSeccompAction::Log, &[]),
            rule(&["read", "no_such_call"], LinuxSeccompAction::KillProcess, &[]),
        ],
        ..LinuxSeccomp::default()
    };
    let program = check(&profile, Arch::X86_64);
    let call = Call { audit: Arch::X86_64.audit(), number: 0, arguments: [9; 6] };
    assert_eq!(run(&program, &call), 0x7ffc_0000);
}

#[test]
fn an_architecture_that_is_not_listed_kills() {
    let profile = LinuxSeccomp { default_action: LinuxSeccompAction::Allow, ..LinuxSeccomp::default() };
    let program = check(&profile, Arch::X86_64);
    let call = |arch: Arch, number| run(&program, &Call { audit: arch.audit(), number, arguments: [0; 6] });
    assert_eq!(call(Arch::X86_64, 1), ALLOW);
    assert_eq!((call(Arch::X86, 1), call(Arch::X32, X32_BIT | 1)), (KILL_THREAD, KILL_THREAD));
}

#[test]
fn the_old_doors_of_i386_are_watched_too() {
    let profile = LinuxSeccomp {
        default_action: LinuxSeccompAction::Allow,
        architectures: X86_FAMILY.to_vec(),
        syscalls: vec![rule(&["socket", "shmget"], LinuxSeccompAction::Errno, &[])],
        ..LinuxSeccomp::default()
    };
    let program = check(&profile, Arch::X86_64);
    let call = |number, first| {
        run(&program, &Call { audit: Arch::X86.audit(), number, arguments: [first, 0, 0, 0, 0, 0] })
    };
    assert_eq!((call(359, 2), call(102, 1), call(102, 2)), (EPERM, EPERM, ALLOW));
    assert_eq!((call(395, 2), call(117, 23), call(117, 24)), (EPERM, EPERM, ALLOW));
}

#[test]
fn a_long_program_reaches_everywhere() {
    // Conditions of two arguments each, so that nothing can be put together.
    let calls: Vec<&str> = syscalls::all().iter().map(syscalls::Syscall::name).take(120).collect();
    let rules = calls.iter().zip(0..).map(|(name, number)| {
        let conditions =
            [arg(0, LinuxSeccompOperator::Ge, number, 0), arg(3, LinuxSeccompOperator::Ne, number << 33, 0)];
        rule(&[name], ACTIONS[number as usize % 8], &conditions)
    });
    let profile = LinuxSeccomp {
        default_action: LinuxSeccompAction::Errno,
        architectures: X86_FAMILY.to_vec(),
        syscalls: rules.collect(),
        ..LinuxSeccomp::default()
    };
    assert!(check(&profile, Arch::X86_64).len() > 1500);
    // And one that is too long for the kernel is told.
    let mut profile = profile;
    profile.syscalls = profile.syscalls.iter().cycle().take(1000).cloned().collect();
    assert!(matches!(compile_for(&profile, Arch::X86_64), Err(Error::TooLong(length)) if length > 4096));
}

#[test]
fn profiles_that_cannot_be_are_refused() {
    let profile =
        |action, rules| LinuxSeccomp { default_action: action, syscalls: rules, ..LinuxSeccomp::default() };
    let error = |profile: &LinuxSeccomp| compile_for(profile, Arch::X86_64).unwrap_err();
    assert_eq!(error(&profile(LinuxSeccompAction::Notify, Vec::new())), Error::NotifyByDefault);
    let notify = rule(&["write"], LinuxSeccompAction::Notify, &[]);
    assert_eq!(error(&profile(LinuxSeccompAction::Allow, vec![notify])), Error::NotifyWrite);
    let bad = rule(&["read"], LinuxSeccompAction::Errno, &[arg(6, LinuxSeccompOperator::Eq, 0, 0)]);
    let bad = profile(LinuxSeccompAction::Allow, vec![bad]);
    assert_eq!(error(&bad), Error::Argument { name: "read".to_owned(), index: 6 });
    let mut flags = profile(LinuxSeccompAction::Allow, Vec::new());
    flags.flags = Some(vec!["SECCOMP_FILTER_FLAG_NEW_LISTENER".to_owned()]);
    assert_eq!(error(&flags), Error::Flag("SECCOMP_FILTER_FLAG_NEW_LISTENER".to_owned()));
}

#[test]
fn flags_are_runcs() {
    let flags = |names: Option<&[&str]>, action| {
        let profile = LinuxSeccomp {
            default_action: LinuxSeccompAction::Allow,
            flags: names.map(|names| names.iter().map(|&name| name.to_owned()).collect()),
            syscalls: vec![rule(&["mkdir"], action, &[])],
            ..LinuxSeccomp::default()
        };
        compile_for(&profile, Arch::X86_64).unwrap().flags
    };
    assert_eq!(flags(None, LinuxSeccompAction::Errno), kernel::FLAG_SPEC_ALLOW);
    assert_eq!(flags(Some(&[]), LinuxSeccompAction::Errno), 0);
    assert_eq!(flags(Some(&["SECCOMP_FILTER_FLAG_LOG"]), LinuxSeccompAction::Errno), kernel::FLAG_LOG);
    let listener = kernel::FLAG_NEW_LISTENER | kernel::FLAG_TSYNC | kernel::FLAG_TSYNC_ESRCH;
    assert_eq!(flags(Some(&["SECCOMP_FILTER_FLAG_TSYNC"]), LinuxSeccompAction::Notify), listener);
}

#[test]
fn a_program_survives_as_bytes() {
    let profile = LinuxSeccomp {
        syscalls: vec![rule(&["read"], LinuxSeccompAction::Allow, &[])],
        ..LinuxSeccomp::default()
    };
    let program = compile_for(&profile, Arch::X86_64).unwrap();
    let bytes = program.to_bytes();
    assert_eq!(Program::from_bytes(&bytes), Ok(program));
    for broken in [&bytes[..0], &bytes[..4], &bytes[..bytes.len() - 1], &[0; 4 + 8 * 4097]] {
        assert_eq!(Program::from_bytes(broken), Err(Error::Malformed));
    }
}
