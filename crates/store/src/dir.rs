//! Directories of the store.
