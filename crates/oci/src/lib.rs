//! Value types of Berth: digests, references, manifests, runtime specs, container configurations.
#![forbid(unsafe_code)]

pub mod container;
pub mod digest;
pub mod image;
pub mod json;
pub mod keys;
pub mod mount;
pub mod platform;
pub mod reference;
pub mod runtime;
pub mod units;

pub use digest::{Algorithm, Digest};
pub use image::{Descriptor, ImageConfig, Index, Manifest};
pub use mount::Mount;
pub use platform::Platform;
pub use reference::Reference;
pub use runtime::Spec;
