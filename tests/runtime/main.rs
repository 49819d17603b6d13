//! Black-box tests: runtime.
