//! Thin safe wrappers of the Linux system calls that rustix lacks, and of what else has no safe one.

pub mod bpf;
pub mod clone;
#[allow(unsafe_code)]
pub mod datagram;
#[allow(unsafe_code)]
pub mod file;
#[allow(unsafe_code)]
pub mod gzip;
pub mod link;
pub mod mount;
#[allow(unsafe_code)]
pub mod net;
pub mod process;
pub mod seccomp;
#[allow(unsafe_code)]
pub mod supervisor;
