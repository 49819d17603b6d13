//! Black-box tests: network.
