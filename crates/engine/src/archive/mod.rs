//! Files of containers from outside: copying in and out, what changed, the whole of it as an archive.
//!
//! ```text
//!            copy out, copy in                       changes, export, commit
//!  place: root by descriptor ─► pack, unpack      rootfs: layers seen as one ─► changes ─► pack
//! ```
//!
//! What is inside belongs to the container, which may change it at any moment. So every path is resolved by the kernel
//! inside the container's root and never outside of it (`place`), and everything else goes by descriptor and name
//! without following links.

mod changes;
mod commit;
mod kernel;
mod pack;
mod path;
mod place;
mod transfer;
mod tree;
mod unpack;

pub use changes::{Change, ChangeKind};
pub use commit::Commit;
pub use path::PathStat;
pub use transfer::{CopyIn, CopyOut};
