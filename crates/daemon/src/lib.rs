//! The server of the Docker Engine API.
#![forbid(unsafe_code)]

mod http;
