//! An OCI runtime: namespaces, cgroups, root filesystems, seccomp, exec.
