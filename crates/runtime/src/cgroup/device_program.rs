//! Device rules as an eBPF program for cgroup version 2.
//!
//! The kernel calls it with what is to be done with which device; nought in `r0` refuses. One block of instructions
//! an exception, the default at the end.
//!
//! Source: `struct bpf_cgroup_dev_ctx` in `include/uapi/linux/bpf.h`.

use berth_sys::bpf::Instruction;

use super::device::{Exception, Rules};

// Offsets in `struct bpf_cgroup_dev_ctx`.
const ACCESS_AND_TYPE: i16 = 0;
const MAJOR: i16 = 4;
const MINOR: i16 = 8;

const TYPE_BLOCK: i32 = 1;
const TYPE_CHARACTER: i32 = 2;

// Registers: the result, the context, and what is in it.
const R0: u8 = 0;
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
const ACCESS: u8 = 3;
const DEVICE_MAJOR: u8 = 4;
const DEVICE_MINOR: u8 = 5;
const SCRATCH: u8 = 6;

/// The program for these rules. Not to be attached for rules that allow everything: then none is needed.
pub(super) fn compile(rules: &Rules) -> Vec<Instruction> {
    let mut program = vec![
        // type in the low half of the first word, access in the high half
        load(KIND, ACCESS_AND_TYPE),
        move_register(ACCESS, KIND),
        and(KIND, 0xffff),
        shift_right(ACCESS, 16),
        load(DEVICE_MAJOR, MAJOR),
        load(DEVICE_MINOR, MINOR),
    ];
    for exception in &rules.exceptions {
        let block = exception_block(exception, rules.allow);
        program.extend(block);
    }
    program.extend([move_immediate(R0, rules.allow.into()), exit()]);
    program
}

/// Leaves the program with the contrary of the default if the exception is met, else falls through.
fn exception_block(exception: &Exception, default: bool) -> Vec<Instruction> {
    let kind = if exception.devices.block { TYPE_BLOCK } else { TYPE_CHARACTER };
    // Each is "go on if this holds, else skip to the end of the block".
    let mut tests = vec![(KIND, kind)];
    tests.extend(exception.devices.major.map(|major| (DEVICE_MAJOR, major.cast_signed())));
    tests.extend(exception.devices.minor.map(|minor| (DEVICE_MINOR, minor.cast_signed())));
    let bits = i32::from(exception.access.bits());
    let access = if default {
        // Denied is what asks for anything that the exception takes away.
        vec![move_register(SCRATCH, ACCESS), and(SCRATCH, bits), skip_if_equal(SCRATCH, 0, 2)]
    } else if exception.access == super::device::Access::ALL {
        Vec::new()
    } else {
        // Allowed is what asks for nothing beyond what the exception gives.
        vec![move_register(SCRATCH, ACCESS), and(SCRATCH, !bits), skip_if_not_equal(SCRATCH, 0, 2)]
    };
    let length = tests.len() + access.len() + 2;
    let mut block = Vec::with_capacity(length);
    for (register, value) in tests {
        // A block has at most eight instructions.
        let behind = (length - block.len() - 1) as i16;
        block.push(skip_if_not_equal(register, value, behind));
    }
    block.extend(access);
    block.extend([move_immediate(R0, (!default).into()), exit()]);
    block
}

// The few instructions that are used, 32 bits wide: no value here is wider.

const fn load(register: u8, offset: i16) -> Instruction {
    Instruction::new(0x61, register, CONTEXT, offset, 0) // BPF_LDX | BPF_MEM | BPF_W
}

const fn move_register(to: u8, from: u8) -> Instruction {
    Instruction::new(0xbc, to, from, 0, 0) // BPF_ALU | BPF_MOV | BPF_X
}

const fn move_immediate(register: u8, value: i32) -> Instruction {
    Instruction::new(0xb4, register, 0, 0, value) // BPF_ALU | BPF_MOV | BPF_K
}

const fn and(register: u8, value: i32) -> Instruction {
    Instruction::new(0x54, register, 0, 0, value) // BPF_ALU | BPF_AND | BPF_K
}

const fn shift_right(register: u8, bits: i32) -> Instruction {
    Instruction::new(0x74, register, 0, 0, bits) // BPF_ALU | BPF_RSH | BPF_K
}

const fn skip_if_equal(register: u8, value: i32, count: i16) -> Instruction {
    Instruction::new(0x16, register, 0, count, value) // BPF_JMP32 | BPF_JEQ | BPF_K
}

const fn skip_if_not_equal(register: u8, value: i32, count: i16) -> Instruction {
    Instruction::new(0x56, register, 0, count, value) // BPF_JMP32 | BPF_JNE | BPF_K
}

const fn exit() -> Instruction {
    Instruction::new(0x95, 0, 0, 0, 0) // BPF_JMP | BPF_EXIT
}
