//! The Docker Engine API: types, versions and a typed client.
