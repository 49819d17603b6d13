//! Berth, a container platform in one static binary.

fn main() {}
