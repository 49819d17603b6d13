//! Content-addressed blobs, layers, snapshots, image names and the metadata database of Berth.
//!
//! The store owns everything below one directory, the data root's `store`, and knows nothing of registries, HTTP
//! or processes. Root filesystems leave it as [`berth_oci::Mount`]s that somebody else mounts.
//!
//! ```text
//! <root>/
//! ├── lock                    held while a store is open
//! ├── database.redb           records: images, names, and what the engine keeps (see `database`)
//! ├── journal.0, journal.1    changes that are not in the database yet
//! ├── blobs/sha256/<hex>      manifests, configurations and compressed layers, each named by its digest
//! ├── layers/<24 hex>/        one unpacked layer, named by the start of its diff ID
//! │   ├── diff/               its files, as overlay wants them
//! │   ├── layer.json          what it is, and what it leaves to the layers below it
//! │   └── recipe              how to write its tar again, byte for byte
//! ├── fixups/<24 hex>/        directories and links that a stack of layers needs on top of them
//! ├── snapshots/<key>/        one writable snapshot: `upper`, `work`, and `image`, a link that names its image
//! ├── ingest/<n>/             what is being written; emptied when the store is opened
//! └── trash/                  what is being deleted; emptied in the background
//! ```
//!
//! A name in `blobs`, `layers` or `fixups` is visible only after all below it has reached the disk; a record in
//! the database only after all that it names is visible. So a process killed, a disk full or power lost at any
//! step leaves at most something in `ingest` or `trash`, or an unreferenced name, and the next open removes it.
#![forbid(unsafe_code)]

pub mod check;
mod content;
pub mod database;
mod dir;
mod error;
#[doc(hidden)]
pub mod fuzz;
pub mod image;
mod ingest;
pub mod layer;
mod snapshot;
mod store;
pub mod tar;
mod trash;
mod visit;

pub use berth_sys::file::lock;
pub use content::{Content, digest_of};
pub use database::{Batch, Commit, Database, DatabaseError, Record};
pub use error::{Error, Kind};
pub use image::{Image, Images};
pub use snapshot::{Snapshots, Usage};
pub use store::{Options, Store};
pub use visit::{Bind, Visit, VisitOptions, path_of};
