//! Thin safe wrappers of the Linux system calls that rustix lacks.

pub mod bpf;
pub mod clone;
#[allow(unsafe_code)]
pub mod datagram;
#[allow(unsafe_code)]
pub mod file;
pub mod link;
pub mod mount;
#[allow(unsafe_code)]
pub mod net;
pub mod process;
pub mod seccomp;
#[allow(unsafe_code)]
pub mod supervisor;
