//! The store of contexts.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use berth_oci::json::Node;
use sha2::{Digest, Sha256};

use crate::format::natural;
use crate::outcome::{Failure, io_text};

/// The files of a context's TLS, below the name of its endpoint.
pub(crate) const TLS_FILES: [&str; 3] = ["ca.pem", "cert.pem", "key.pem"];

/// The contexts below one directory.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    directory: PathBuf,
}

/// Which engine a context means.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// Its address.
    pub(crate) host: String,
    /// Its certificate is not looked at.
    pub(crate) skip_tls_verify: bool,
    /// PEM texts by the name of their file.
    pub(crate) tls: BTreeMap<String, Vec<u8>>,
}

/// A context.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) name: String,
    /// `meta.json`, with all that others have put into it.
    pub(crate) meta: Node,
}

impl Entry {
    /// A context with a Docker endpoint.
    pub(crate) fn new(name: &str, description: &str, endpoint: &Endpoint) -> Self {
        let mut metadata = Vec::new();
        if !description.is_empty() {
            metadata.push(("Description".to_owned(), Node::string(description)));
        }
        let mut entry = Self {
            name: name.to_owned(),
            meta: Node::Object(vec![
                ("Name".to_owned(), Node::string(name)),
                ("Metadata".to_owned(), Node::Object(metadata)),
                ("Endpoints".to_owned(), Node::Object(Vec::new())),
            ]),
        };
        entry.set_endpoint(endpoint);
        entry
    }

    /// What the user said of it.
    pub(crate) fn description(&self) -> &str {
        text(self.meta.get("Metadata").and_then(|metadata| metadata.get("Description")))
    }

    /// Says something else of it.
    pub(crate) fn set_description(&mut self, description: &str) {
        if let Some(metadata) = self.meta.get_mut("Metadata") {
            metadata.set("Description", Node::string(description));
        }
    }

    /// Which engine it means; its TLS files are the store's.
    pub(crate) fn endpoint(&self) -> Endpoint {
        let docker = self.meta.get("Endpoints").and_then(|endpoints| endpoints.get("docker"));
        let skip = docker.and_then(|docker| docker.get("SkipTLSVerify"));
        Endpoint {
            host: text(docker.and_then(|docker| docker.get("Host"))).to_owned(),
            skip_tls_verify: matches!(skip, Some(Node::Bool(true))),
            tls: BTreeMap::new(),
        }
    }

    /// Makes it mean another engine.
    pub(crate) fn set_endpoint(&mut self, endpoint: &Endpoint) {
        if let Some(endpoints) = self.meta.get_mut("Endpoints") {
            endpoints.set(
                "docker",
                Node::Object(vec![
                    ("Host".to_owned(), Node::string(&endpoint.host)),
                    ("SkipTLSVerify".to_owned(), Node::Bool(endpoint.skip_tls_verify)),
                ]),
            );
        }
    }
}

fn text(node: Option<&Node>) -> &str {
    match node {
        Some(Node::String(text)) => text,
        _ => "",
    }
}

impl Store {
    /// The store below the directory of the client's files.
    pub(crate) fn new(config: &Path) -> Self {
        Self { directory: config.join("contexts") }
    }

    /// Where the metadata of a context is.
    pub(crate) fn meta_path(&self, name: &str) -> PathBuf {
        self.directory.join("meta").join(hash(name))
    }

    /// Where its TLS files are.
    pub(crate) fn tls_path(&self, name: &str) -> PathBuf {
        self.directory.join("tls").join(hash(name))
    }

    /// Whether there is one of that name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.meta_path(name).join("meta.json").exists()
    }

    /// The context of that name.
    ///
    /// # Errors
    /// Docker's text.
    pub(crate) fn get(&self, name: &str) -> Result<Entry, Failure> {
        let path = self.meta_path(name).join("meta.json");
        let bytes = fs::read(&path).map_err(|error| {
            let what = if error.kind() == std::io::ErrorKind::NotFound { "context not found: " } else { "" };
            Failure::new(format!("context \"{name}\": {what}open {}: {}", path.display(), io_text(&error)))
        })?;
        let meta = Node::parse(&bytes).map_err(|error| {
            Failure::new(format!("context \"{name}\": parsing {}: {error}", path.display()))
        })?;
        Ok(Entry { name: name.to_owned(), meta })
    }

    /// All contexts, by name.
    pub(crate) fn list(&self) -> Vec<Entry> {
        let folders = fs::read_dir(self.directory.join("meta")).into_iter().flatten().flatten();
        let entries = folders.filter_map(|folder| {
            let meta = Node::parse(&fs::read(folder.path().join("meta.json")).ok()?).ok()?;
            let name = text(meta.get("Name")).to_owned();
            Some(Entry { name, meta })
        });
        let mut entries: Vec<Entry> = entries.collect();
        entries.sort_by(|a, b| natural::compare(&a.name, &b.name));
        entries
    }

    /// The TLS files of a context's Docker endpoint.
    pub(crate) fn tls(&self, name: &str) -> BTreeMap<String, Vec<u8>> {
        let folder = self.tls_path(name).join("docker");
        let files = fs::read_dir(folder).into_iter().flatten().flatten();
        let files = files.filter_map(|file| {
            Some((file.file_name().to_string_lossy().into_owned(), fs::read(file.path()).ok()?))
        });
        files.collect()
    }

    /// Writes a context; `tls` replaces its TLS files where it is given.
    ///
    /// # Errors
    /// What cannot be written.
    pub(crate) fn put(&self, entry: &Entry, tls: Option<&BTreeMap<String, Vec<u8>>>) -> Result<(), Failure> {
        let folder = self.meta_path(&entry.name);
        make_directory(&folder, 0o755)?;
        let json = berth_oci::json::to_vec(&entry.meta).map_err(|error| Failure::new(error.to_string()))?;
        write_as(&folder.join("meta.json"), &json, 0o644)?;
        let Some(tls) = tls else { return Ok(()) };
        let folder = self.tls_path(&entry.name);
        let _ = fs::remove_dir_all(&folder); // there may be none
        for (name, bytes) in tls {
            let folder = folder.join("docker");
            make_directory(&folder, 0o700)?;
            write_as(&folder.join(name), bytes, 0o600)?;
        }
        Ok(())
    }

    /// Takes a context away.
    ///
    /// # Errors
    /// What cannot be removed.
    pub(crate) fn remove(&self, name: &str) -> Result<(), Failure> {
        for folder in [self.meta_path(name), self.tls_path(name)] {
            match fs::remove_dir_all(&folder) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Failure::new(format!(
                        "failed to remove context {name}: {}: {}",
                        folder.display(),
                        io_text(&error)
                    )));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn hash(name: &str) -> String {
    Sha256::digest(name.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Refuses what cannot be the name of a context.
///
/// # Errors
/// Docker's text.
pub(crate) fn check_name(name: &str) -> Result<(), Failure> {
    if name.is_empty() {
        return Err(Failure::new("context name cannot be empty"));
    }
    if name == "default" {
        return Err(Failure::new("\"default\" is a reserved context name"));
    }
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    let rest = bytes.len() > 0 && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"_.+-".contains(&byte));
    if first && rest {
        return Ok(());
    }
    Err(Failure::new(format!(
        "context name {} is invalid, names are validated against regexp \"^[a-zA-Z0-9][a-zA-Z0-9_.+-]+$\"",
        crate::flags::quote(name)
    )))
}

pub(super) fn make_directory(path: &Path, mode: u32) -> Result<(), Failure> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .map_err(|error| Failure::new(format!("mkdir {}: {}", path.display(), io_text(&error))))
}

/// Writes a file that only its owner reads, whole or not at all.
///
/// # Errors
/// What cannot be written.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    if let Some(folder) = path.parent() {
        make_directory(folder, 0o700)?;
    }
    write_as(path, bytes, 0o600)
}

fn write_as(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Failure> {
    // A file that is a link stays one: what it points to is written.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let beside = path.with_extension(format!("{}.tmp", std::process::id()));
    let write = || {
        let mut options = fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(mode).open(&beside)?;
        file.write_all(bytes)?;
        file.sync_data()?;
        fs::rename(&beside, &path)
    };
    write().map_err(|error: std::io::Error| {
        let _ = fs::remove_file(&beside); // the first error is the one that matters
        Failure::new(format!("open {}: {}", path.display(), io_text(&error)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_are_where_docker_looks_for_them() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::new(directory.path());
        let endpoint = Endpoint { host: "tcp://h:1".into(), ..Endpoint::default() };
        let tls = [("ca.pem".to_owned(), b"x".to_vec())].into();
        store.put(&Entry::new("foo", "a b", &endpoint), Some(&tls)).unwrap();
        let path = "contexts/meta/2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae/meta.json";
        assert_eq!(
            fs::read_to_string(directory.path().join(path)).unwrap(),
            r#"{"Name":"foo","Metadata":{"Description":"a b"},"Endpoints":{"docker":{"Host":"tcp://h:1","SkipTLSVerify":false}}}"#
        );
        assert_eq!(store.get("foo").unwrap().endpoint(), endpoint);
        assert_eq!(store.tls("foo")["ca.pem"], b"x");
        assert_eq!(store.list().len(), 1);
        store.remove("foo").unwrap();
        assert!(!store.has("foo") && store.tls("foo").is_empty());
        let error = store.get("foo").unwrap_err().text;
        assert!(error.starts_with("context \"foo\": context not found: open "), "{error}");
    }

    #[test]
    fn names() {
        assert!(check_name("a-b.c_d+1").is_ok());
        for name in ["a", "a b", "-ab", "", "default"] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
