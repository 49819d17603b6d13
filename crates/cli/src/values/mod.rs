//! The values of `run`'s flags: texts into the API's types, with the messages Docker has for those that are wrong.
//!
//! Everything here is pure but for the files a value names (`--env-file`, a seccomp profile).

pub(crate) mod csv;
pub(crate) mod devices;
pub(crate) mod environment;
pub(crate) mod gpus;
pub(crate) mod limits;
pub(crate) mod mounts;
pub(crate) mod names;
pub(crate) mod networks;
pub(crate) mod ports;
pub(crate) mod reference;
pub(crate) mod security;
pub(crate) mod volumes;
