//! Thin safe wrappers of the Linux system calls that rustix lacks.

pub mod bpf;
pub mod seccomp;
#[allow(unsafe_code)]
pub mod net;
#[allow(unsafe_code)]
pub mod supervisor;
pub mod clone;
pub mod link;
pub mod mount;
pub mod process;
