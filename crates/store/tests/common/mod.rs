//! What the tests of the store share: stores in temporary directories, archives made in memory, trees compared.

#![allow(dead_code, reason = "each test binary uses its own part")]
#![allow(clippy::unwrap_used, reason = "all of this is for tests")]

pub(crate) mod gnu;

use std::collections::BTreeMap;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use berth_oci::{Digest, ImageConfig, Reference};
use berth_store::image::{Import, Loaded, Parts};
use berth_store::tar::{Entry, Kind, Writer};
use berth_store::{Error, Options, Store, digest_of};

/// A store in a directory that goes away with it.
pub(crate) struct Fixture {
    pub(crate) store: Store,
    pub(crate) dir: tempfile::TempDir,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("berth-store-").tempdir().unwrap();
        let store = Store::open(&Options::new(dir.path().join("data"))).unwrap();
        Self { store, dir }
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Closes the store and opens it again.
    pub(crate) fn reopen(self) -> Self {
        let Self { store, dir } = self;
        drop(store);
        let store = Store::open(&Options::new(dir.path().join("data"))).unwrap();
        Self { store, dir }
    }

    pub(crate) fn import(&self, tar: &[u8]) -> Result<Digest, Error> {
        self.store.images().import(&mut &tar[..], &Import::default())
    }

    /// Imports a tar and gives the directory of its one layer.
    pub(crate) fn unpack(&self, tar: &[u8]) -> Result<PathBuf, Error> {
        let id = self.import(tar)?;
        Ok(self.lower(&id).swap_remove(0))
    }

    /// The directories of an image, topmost first.
    pub(crate) fn lower(&self, id: &Digest) -> Vec<PathBuf> {
        let mount = self.store.snapshots().view(id).unwrap().swap_remove(0);
        if mount.is_bind() {
            return vec![mount.source.into()];
        }
        let lower = mount.options.iter().find_map(|option| option.strip_prefix("lowerdir=")).unwrap();
        lower.split(':').map(PathBuf::from).collect()
    }

    pub(crate) fn load(&self, archive: &[u8]) -> Result<Vec<Loaded>, Error> {
        self.store.images().load(archive, &|_| {})
    }

    pub(crate) fn save(&self, names: &[&str]) -> Result<Vec<u8>, Error> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut archive = Vec::new();
        self.store.images().save(&names, &mut archive)?;
        Ok(archive)
    }

    /// Adds an image of these layers.
    pub(crate) fn add(&self, name: &str, layers: &[&[u8]]) -> Result<Digest, Error> {
        let names: Vec<Reference> = if name.is_empty() { vec![] } else { vec![name.parse().unwrap()] };
        let config = config(layers, name);
        self.store.images().add(&Parts { config: &config, layers, names: &names })
    }

    /// What is in the directories that must be empty when nothing is going on; the trash may still be emptied.
    pub(crate) fn leftovers(&self) -> Vec<String> {
        let mut left = names_in(&self.root().join("ingest"));
        for _ in 0..500 {
            if names_in(&self.root().join("trash")).is_empty() {
                return left;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        left.extend(names_in(&self.root().join("trash")));
        left
    }
}

pub(crate) fn names_in(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// A configuration for these plain layers; `mark` makes it different from others.
pub(crate) fn config(layers: &[&[u8]], mark: &str) -> Vec<u8> {
    let mut config = ImageConfig {
        architecture: "amd64".to_owned(),
        os: "linux".to_owned(),
        author: mark.to_owned(),
        ..ImageConfig::default()
    };
    config.rootfs.kind = "layers".to_owned();
    config.rootfs.diff_ids = layers.iter().map(|layer| digest_of(layer)).collect();
    serde_json::to_vec(&config).unwrap()
}

pub(crate) fn file(path: &str) -> Entry {
    Entry { path: path.as_bytes().to_vec(), mode: 0o644, mtime: (1_700_000_000, 0), ..Entry::default() }
}

pub(crate) fn directory(path: &str) -> Entry {
    Entry { kind: Kind::Directory, mode: 0o755, ..file(path) }
}

pub(crate) fn link(kind: Kind, path: &str, target: &str) -> Entry {
    Entry { kind, link: target.as_bytes().to_vec(), mode: 0o777, ..file(path) }
}

/// A tar of entries with their data.
pub(crate) fn tar(entries: &[(Entry, &[u8])]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for (entry, data) in entries {
        if entry.kind == Kind::File {
            writer.file(entry, data).unwrap();
        } else {
            writer.start(entry).unwrap();
        }
    }
    writer.finish().unwrap()
}

/// A tar of one file.
pub(crate) fn tar_of(path: &str, data: &[u8]) -> Vec<u8> {
    tar(&[(file(path), data)])
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

/// Runs a program that must succeed.
pub(crate) fn run(program: &str, arguments: &[&str], dir: &Path) -> Vec<u8> {
    let output = std::process::Command::new(program)
        .args(arguments)
        .current_dir(dir)
        .env("LC_ALL", "C")
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {error}");
    output.stdout
}

/// One line for each entry of a tree: all that a tar can carry, but for times of the root.
pub(crate) fn tree(root: &Path) -> BTreeMap<Vec<u8>, String> {
    let mut found = BTreeMap::new();
    let mut inodes: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    walk(root, root, &mut found, &mut inodes);
    found
}

fn walk(root: &Path, dir: &Path, found: &mut BTreeMap<Vec<u8>, String>, inodes: &mut BTreeMap<u64, Vec<u8>>) {
    let mut entries: Vec<PathBuf> =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        let stat = path.symlink_metadata().unwrap();
        let name = path.strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec();
        let mut line = format!(
            "{:o} {}:{} {}.{:09}",
            stat.mode(),
            stat.uid(),
            stat.gid(),
            stat.mtime(),
            stat.mtime_nsec()
        );
        let kind = stat.file_type();
        if kind.is_symlink() {
            line += &format!(" -> {}", std::fs::read_link(&path).unwrap().display());
        } else if kind.is_file() {
            let first = inodes.entry(stat.ino()).or_insert_with(|| name.clone());
            let first = String::from_utf8_lossy(first).into_owned();
            line += &format!(" {} {} {first}", stat.len(), digest_of(&std::fs::read(&path).unwrap()));
        } else if !kind.is_dir() {
            line += &format!(" {:x}", stat.rdev());
        }
        line += &xattrs(&path);
        found.insert(name, line);
        if kind.is_dir() {
            walk(root, &path, found, inodes);
        }
    }
}

fn xattrs(path: &Path) -> String {
    let mut list = vec![0; 65536];
    let length = rustix::fs::llistxattr(path, &mut list).unwrap_or(0);
    let mut all = Vec::new();
    for name in list[..length].split(|b| *b == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; 65536];
        let length = rustix::fs::lgetxattr(path, name, &mut value).unwrap_or(0);
        let name = std::ffi::OsString::from_vec(name.to_vec());
        all.push(format!(" {}={}", name.display(), digest_of(&value[..length]).short()));
    }
    all.sort();
    all.concat()
}
