//! The server of the Docker Engine API.
