//! The client's own files: `config.json`, and the contexts that say which engine to speak to.
//!
//! ```text
//! ~/.docker/                      --config, DOCKER_CONFIG
//! ├── config.json
//! ├── cli-plugins/docker-<name>
//! ├── berth-credentials.json         see `vault`
//! └── contexts/
//!     ├── meta/<sha256 of the name>/meta.json
//!     └── tls/<sha256 of the name>/docker/{ca,cert,key}.pem
//! ```
//!
//! Everything is where Docker has it and as Docker writes it, so both command lines share it.

mod contexts;
pub(crate) mod credentials;
mod file;
pub(crate) mod vault;

pub(crate) use contexts::{Endpoint, Entry, Store, TLS_FILES, check_name, write_private};
pub(crate) use file::{Config, set_current_context};

use std::path::PathBuf;

/// The directory of the client's files.
pub(crate) fn directory(flag: &str) -> PathBuf {
    if !flag.is_empty() {
        return PathBuf::from(flag);
    }
    if let Some(directory) = std::env::var_os("DOCKER_CONFIG").filter(|value| !value.is_empty()) {
        return PathBuf::from(directory);
    }
    home().join(".docker")
}

/// The user's directory: `HOME`, else what the passwd file says.
fn home() -> PathBuf {
    if let Some(home) = std::env::var_os("HOME").filter(|value| !value.is_empty()) {
        return PathBuf::from(home);
    }
    let uid = rustix::process::geteuid().as_raw().to_string();
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let home = users.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        (fields.get(2) == Some(&uid.as_str())).then(|| fields.get(5).map(PathBuf::from)).flatten()
    });
    home.unwrap_or_else(|| PathBuf::from("/"))
}
