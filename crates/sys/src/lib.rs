//! Thin safe wrappers of the Linux system calls that rustix lacks.
