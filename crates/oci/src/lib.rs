//! Value types of Berth: digests, references, manifests, runtime specs, container configurations.
#![forbid(unsafe_code)]

pub mod digest;
pub mod image;
pub mod platform;
pub mod reference;

pub use digest::{Algorithm, Digest};
pub use image::{Descriptor, ImageConfig, Index, Manifest};
pub use platform::Platform;
pub use reference::Reference;
