//! What `run` and `create` share: their flags, the request that comes of them, and the streams of a container.

pub(crate) mod attach;
pub(crate) mod create;
mod flags;
pub(crate) mod options;
mod request;
mod surround;

pub(crate) use create::Pull;
pub(crate) use flags::{CREATE_FLAGS, FLAGS};
pub(crate) use options::Options;
pub(crate) use request::{check_system, plan};
pub(crate) use surround::surround;
