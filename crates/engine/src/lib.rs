//! Containers, images, events and everything that decides in Berth.

pub mod embedded;
