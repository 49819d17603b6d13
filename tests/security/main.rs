//! Black-box tests: security.
