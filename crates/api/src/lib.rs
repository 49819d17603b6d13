//! The Docker Engine API: types, versions and a typed client.

#![forbid(unsafe_code)]

pub mod client;
