//! The Docker Engine API: types, versions and a typed client.
//!
//! The types are those of the newest version ([`version::Version::NEWEST`]), in the order of Docker's own structs.
//! Older versions are made of them by the tables of [`version::Change`]s that stand beside the types. What a client
//! sends is read with [`berth_oci::json::from_slice`], which has Go's rules.
//!
//! A list is a plain `Vec` where Docker always answers a list, and an `Option` where it may answer `null`.

#![forbid(unsafe_code)]

pub mod archive;
pub mod check;
pub mod client;
pub mod container;
pub mod error;
pub mod event;
pub mod exec;
pub mod filters;
pub mod image;
pub mod network;
pub mod older;
pub mod progress;
pub mod registry;
pub mod stats;
pub mod system;
pub mod version;
pub mod volume;

pub use error::ErrorResponse;
pub use version::Version;
