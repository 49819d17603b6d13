//! Black-box tests: api.
