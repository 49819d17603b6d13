//! From a plan to instructions.
//!
//! The program is written from its end to its start, so that whatever is jumped to is there already and every jump,
//! which classic BPF only knows forwards, has a known length. Numbers are found by halving; the instructions on the way
//! are those that the kernel can follow when it works out, at load, which calls need no filter at all (loads of the
//! number and the architecture, comparisons with constants, masks, returns).

use berth_oci::runtime::{LinuxSeccompArg, LinuxSeccompOperator};
use berth_sys::seccomp::Instruction;

use super::arch::{Arch, X32_BIT};
use super::plan::{Action, ArchPlan, Check, KILL_THREAD, Outcome, Plan};

// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const ARGUMENTS: u32 = 16;

// Operation codes. Source: `include/uapi/linux/bpf_common.h`.
const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const AND: u16 = 0x54; // BPF_ALU | BPF_AND | BPF_K
const JUMP: u16 = 0x05; // BPF_JMP | BPF_JA
const JUMP_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const JUMP_GREATER: u16 = 0x25; // BPF_JMP | BPF_JGT | BPF_K
const JUMP_GREATER_EQUAL: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
const RETURN: u16 = 0x06; // BPF_RET | BPF_K

/// Makes the instructions of a plan.
pub(super) fn emit(plan: &Plan) -> Vec<Instruction> {
    let mut code = Code { reversed: Vec::with_capacity(1024), returns: Vec::new() };
    // What is none of the architectures below.
    let mut next = code.action(KILL_THREAD);
    for arch in plan.arches.iter().rev().filter(|plan| plan.arch != Arch::X32) {
        let mut body = code.ranges(plan, arch);
        if arch.arch == Arch::X86_64 {
            let x32 = plan.arches.iter().find(|plan| plan.arch == Arch::X32);
            let other = match x32 {
                Some(x32) => code.ranges(plan, x32),
                None => code.action(KILL_THREAD),
            };
            body = code.branch(JUMP_GREATER_EQUAL, X32_BIT, other, body);
        }
        let body = code.load(NUMBER, body);
        next = code.branch(JUMP_EQUAL, arch.arch.audit(), body, next);
    }
    code.load(ARCH, next);
    code.reversed.reverse();
    code.reversed
}

/// A place in the program, counted from its end.
type Place = usize;

struct Code {
    reversed: Vec<Instruction>,
    /// Where returns are, by what they return: the latest of each.
    returns: Vec<(Action, Place)>,
}

impl Code {
    /// The numbers of one architecture, with the number loaded.
    fn ranges(&mut self, plan: &Plan, arch: &ArchPlan) -> Place {
        let wide = !arch.arch.is_32_bit();
        self.tree(&arch.ranges, &mut |code, outcome| match outcome {
            Outcome::Do(action) => code.action(action),
            Outcome::Check(check) => code.check(&plan.checks[check], plan.default, wide),
        })
    }

    /// Finds the range that the loaded word is in.
    fn tree<T: Copy + PartialEq>(
        &mut self,
        ranges: &[(u32, T)],
        leaf: &mut dyn FnMut(&mut Self, T) -> Place,
    ) -> Place {
        match ranges {
            // No number is before the first range.
            [] => self.action(KILL_THREAD),
            [(_, outcome)] => leaf(self, *outcome),
            // A single number among others needs one comparison instead of two.
            [(_, before), (start, inside), (end, after)] if before == after && *end == start + 1 => {
                let other = leaf(self, *before);
                let place = leaf(self, *inside);
                self.branch(JUMP_EQUAL, *start, place, other)
            }
            _ => {
                let (low, high) = ranges.split_at(split(ranges));
                let low_place = self.tree(low, leaf);
                let high_place = self.tree(high, leaf);
                self.branch(JUMP_GREATER_EQUAL, high[0].0, high_place, low_place)
            }
        }
    }

    /// Rules with conditions: the first that holds.
    fn check(&mut self, check: &Check, default: Action, wide: bool) -> Place {
        if let Some((index, ranges)) = intervals(check, default) {
            return self.intervals(index, &ranges, wide);
        }
        let mut next = self.action(default);
        for (conditions, action) in check.rules.iter().rev() {
            let mut place = self.action(*action);
            for condition in conditions.iter().rev() {
                place = self.condition(condition, place, next, wide);
            }
            next = place;
        }
        next
    }

    /// One argument against a row of values.
    fn intervals(&mut self, index: u32, ranges: &[(u64, Action)], wide: bool) -> Place {
        let above = ranges.last().map_or(KILL_THREAD, |(_, action)| *action);
        let low: Vec<(u32, Action)> =
            ranges.iter().filter_map(|(from, action)| Some((u32::try_from(*from).ok()?, *action))).collect();
        let place = self.tree(&low, &mut Self::action);
        let place = self.load_argument(index, Half::Low, place);
        if !wide || (low.len() == 1 && low[0].1 == above) {
            return place;
        }
        let above = self.action(above);
        let place = self.branch(JUMP_EQUAL, 0, place, above);
        self.load_argument(index, Half::High, place)
    }

    /// Goes on at `yes` or `no`.
    fn condition(&mut self, condition: &LinuxSeccompArg, yes: Place, no: Place, wide: bool) -> Place {
        let LinuxSeccompArg { index, value, value_two, op } = *condition;
        match op {
            LinuxSeccompOperator::Eq => self.equal(index, u64::MAX, value, yes, no, wide),
            LinuxSeccompOperator::Ne => self.equal(index, u64::MAX, value, no, yes, wide),
            LinuxSeccompOperator::MaskedEq => self.equal(index, value, value_two & value, yes, no, wide),
            LinuxSeccompOperator::Gt => self.greater(JUMP_GREATER, index, value, yes, no, wide),
            LinuxSeccompOperator::Ge => self.greater(JUMP_GREATER_EQUAL, index, value, yes, no, wide),
            LinuxSeccompOperator::Lt => self.greater(JUMP_GREATER_EQUAL, index, value, no, yes, wide),
            LinuxSeccompOperator::Le => self.greater(JUMP_GREATER, index, value, no, yes, wide),
        }
    }

    fn equal(&mut self, index: u32, mask: u64, value: u64, yes: Place, no: Place, wide: bool) -> Place {
        let mut place = yes;
        for half in [Half::Low, Half::High] {
            let (mask, value) = (half.of(mask), half.of(value));
            if mask == 0 {
                continue;
            }
            if !wide && half == Half::High {
                // Always clear there.
                return if value == 0 { place } else { no };
            }
            place = self.branch(JUMP_EQUAL, value, place, no);
            if mask != u32::MAX {
                self.fall_to(place);
                place = self.push(AND, mask);
            }
            place = self.load_argument(index, half, place);
        }
        place
    }

    fn greater(&mut self, jump: u16, index: u32, value: u64, yes: Place, no: Place, wide: bool) -> Place {
        let (high, low) = (Half::High.of(value), Half::Low.of(value));
        if !wide && high != 0 {
            return no;
        }
        let place = self.branch(jump, low, yes, no);
        let place = self.load_argument(index, Half::Low, place);
        if !wide {
            return place;
        }
        let place = self.branch(JUMP_EQUAL, high, place, no);
        let place = self.branch(JUMP_GREATER, high, yes, place);
        self.load_argument(index, Half::High, place)
    }

    fn load_argument(&mut self, index: u32, half: Half, next: Place) -> Place {
        // Both architectures that have tables are little-endian.
        let offset = ARGUMENTS + index * 8 + if half == Half::High { 4 } else { 0 };
        self.load(offset, next)
    }

    /// Loads a word and goes on at `next`.
    fn load(&mut self, offset: u32, next: Place) -> Place {
        self.fall_to(next);
        self.push(LOAD, offset)
    }

    /// Returns an action, by a return that is near enough to be jumped to, or a new one.
    fn action(&mut self, action: Action) -> Place {
        // Some room for the jump that leads there.
        const NEAR: usize = 240;
        let known = self.returns.iter().find(|(known, _)| *known == action);
        if let Some((_, place)) = known.filter(|(_, place)| self.reversed.len() - place < NEAR) {
            return *place;
        }
        self.new_return(action)
    }

    fn new_return(&mut self, action: Action) -> Place {
        let place = self.push(RETURN, action);
        match self.returns.iter_mut().find(|(known, _)| *known == action) {
            Some((_, latest)) => *latest = place,
            None => self.returns.push((action, place)),
        }
        place
    }

    /// Goes on at `yes` if the comparison holds, else at `no`.
    fn branch(&mut self, jump: u16, operand: u32, yes: Place, no: Place) -> Place {
        if yes == no {
            return yes;
        }
        let (yes, no) = self.reach(yes, no);
        let distance = |place: Place| {
            u8::try_from(self.reversed.len() - place - 1).expect("reach() has brought it near")
        };
        let (jump_true, jump_false) = (distance(yes), distance(no));
        self.reversed.push(Instruction { code: jump, jump_true, jump_false, operand });
        self.reversed.len() - 1
    }

    /// Both places, by way of a long jump where one is too far for a branch, which has eight bits.
    fn reach(&mut self, yes: Place, no: Place) -> (Place, Place) {
        // Two jumps at most come between, of which one is for the other place.
        let far = |code: &Self, place: Place| code.reversed.len() - place > 254;
        let no = if far(self, no) { self.jump(no) } else { no };
        let yes = if far(self, yes) { self.jump(yes) } else { yes };
        (yes, no)
    }

    /// An instruction that goes on at a place out of a branch's reach; where that only returns, it returns itself.
    fn jump(&mut self, to: Place) -> Place {
        let there = self.reversed[to];
        if there.code == RETURN {
            return self.new_return(there.operand);
        }
        let distance = self.reversed.len() - to - 1;
        self.push(JUMP, u32::try_from(distance).expect("programs are shorter than 2^32"))
    }

    /// Sees to it that the next instruction runs on into `place`.
    fn fall_to(&mut self, place: Place) {
        if place + 1 != self.reversed.len() {
            self.jump(place);
        }
    }

    fn push(&mut self, code: u16, operand: u32) -> Place {
        self.reversed.push(Instruction { code, jump_true: 0, jump_false: 0, operand });
        self.reversed.len() - 1
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Half {
    High,
    Low,
}

impl Half {
    const fn of(self, value: u64) -> u32 {
        match self {
            Self::High => (value >> 32) as u32,
            Self::Low => value as u32,
        }
    }
}

/// Where to halve: about the middle, but so that threes remain, which [`Code::tree`] handles in one.
fn split<T>(ranges: &[(u32, T)]) -> usize {
    (ranges.len() / 2) | 1
}

/// If all rules compare one and the same argument with a value below 2^32: from which value on what happens.
fn intervals(check: &Check, default: Action) -> Option<(u32, Vec<(u64, Action)>)> {
    let index = check.rules.first()?.0.first()?.index;
    let mut starts = vec![0_u64];
    for (conditions, _) in &check.rules {
        let [condition] = conditions.as_slice() else { return None };
        if condition.index != index || condition.value > u64::from(u32::MAX) {
            return None;
        }
        match condition.op {
            LinuxSeccompOperator::Eq | LinuxSeccompOperator::Ne => {
                starts.extend([condition.value, condition.value + 1]);
            }
            LinuxSeccompOperator::Lt | LinuxSeccompOperator::Ge => starts.push(condition.value),
            LinuxSeccompOperator::Le | LinuxSeccompOperator::Gt => starts.push(condition.value + 1),
            LinuxSeccompOperator::MaskedEq => return None,
        }
    }
    starts.sort_unstable();
    let mut ranges: Vec<(u64, Action)> = Vec::with_capacity(starts.len());
    for start in starts {
        let rule = check.rules.iter().find(|(conditions, _)| conditions.iter().all(|c| holds(c, start)));
        let action = rule.map_or(default, |(_, action)| *action);
        if ranges.last().is_none_or(|(_, last)| *last != action) {
            ranges.push((start, action));
        }
    }
    Some((index, ranges))
}

/// Does a condition hold for a value of its argument?
pub(super) fn holds(condition: &LinuxSeccompArg, argument: u64) -> bool {
    let LinuxSeccompArg { value, value_two, op, .. } = *condition;
    match op {
        LinuxSeccompOperator::Ne => argument != value,
        LinuxSeccompOperator::Lt => argument < value,
        LinuxSeccompOperator::Le => argument <= value,
        LinuxSeccompOperator::Eq => argument == value,
        LinuxSeccompOperator::Ge => argument >= value,
        LinuxSeccompOperator::Gt => argument > value,
        LinuxSeccompOperator::MaskedEq => argument & value == value_two & value,
    }
}
