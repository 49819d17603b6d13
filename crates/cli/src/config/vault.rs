//! Credentials in an encrypted file, and the credential helper that gives them to other programs.
//!
//! ```text
//! ~/.docker/berth-credentials.json         by registry: a nonce and what ChaCha20-Poly1305 makes of user and secret
//! ~/.local/share/berth/credentials.key     32 random bytes, for the owner alone; XDG_DATA_HOME moves it
//! ```
//!
//! The key is not where the credentials are: a copy of `~/.docker` in an image, a backup or a repository of dotfiles gives
//! nothing away. Each entry is sealed by itself under the name of its registry, so one that is damaged takes no other
//! with it, and none can be passed off as another's. Files are replaced whole, under a lock that all writers take.
//!
//! Linked as `docker-credential-berth` the program speaks the protocol of credential helpers, so that the real `docker`
//! reads and writes the same entries (`credHelpers` in `config.json`).

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom as _, SystemRandom};
use serde::{Deserialize, Serialize};

use crate::outcome::{Failure, io_text};

/// What `config.json` calls this helper.
pub(crate) const NAME: &str = "berth";

const KEY_BYTES: usize = 32;

/// The credentials of one directory of the client's files.
pub(crate) struct Vault {
    file: PathBuf,
    key: PathBuf,
}

/// The file.
#[derive(Default, Serialize, Deserialize)]
struct Kept {
    version: u32,
    entries: BTreeMap<String, Sealed>,
}

/// One entry, in base64.
#[derive(Serialize, Deserialize)]
struct Sealed {
    nonce: String,
    sealed: String,
}

impl Kept {
    /// Reads the file's text.
    ///
    /// # Errors
    /// What is wrong with it.
    fn parse(text: &[u8]) -> Result<Self, String> {
        let kept: Self = serde_json::from_slice(text).map_err(|error| {
            format!("no file of credentials ({error}): mend it, or remove it and log in again")
        })?;
        if kept.version != 1 {
            return Err(format!("version {} is newer than this program", kept.version));
        }
        Ok(kept)
    }
}

impl Sealed {
    /// Seals a secret under the name of its registry; nothing where it is too long for that.
    fn new(key: &LessSafeKey, server: &str, nonce: [u8; NONCE_LEN], secret: &Secret) -> Option<Self> {
        let mut sealed = serde_json::to_vec(secret).ok()?;
        let once = Nonce::assume_unique_for_key(nonce);
        key.seal_in_place_append_tag(once, Aad::from(server.as_bytes()), &mut sealed).ok()?;
        Some(Self { nonce: STANDARD.encode(nonce), sealed: STANDARD.encode(sealed) })
    }

    /// What was sealed with this key under this name; nothing if that is not so.
    fn open(&self, key: &LessSafeKey, server: &str) -> Option<Secret> {
        let nonce = Nonce::try_assume_unique_for_key(&STANDARD.decode(&self.nonce).ok()?).ok()?;
        let mut bytes = STANDARD.decode(&self.sealed).ok()?;
        let opened = key.open_in_place(nonce, Aad::from(server.as_bytes()), &mut bytes).ok()?;
        serde_json::from_slice(opened).ok()
    }
}

/// Reads a file of credentials, for its fuzz target: entries open under their own names alone, and what is sealed anew
/// opens again.
pub(crate) fn fuzz(text: &[u8]) {
    let Ok(kept) = Kept::parse(text) else { return };
    let Ok(key) = UnboundKey::new(&CHACHA20_POLY1305, &[7; KEY_BYTES]).map(LessSafeKey::new) else { return };
    for (server, sealed) in &kept.entries {
        let Some(secret) = sealed.open(&key, server) else { continue };
        assert_eq!(
            sealed.open(&key, &format!("{server}x")),
            None,
            "the entry of {server:?} opens for another"
        );
        let again = Sealed::new(&key, server, [9; NONCE_LEN], &secret);
        assert_eq!(again.and_then(|sealed| sealed.open(&key, server)), Some(secret));
    }
}

/// What is sealed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Secret {
    pub(crate) username: String,
    pub(crate) secret: String,
}

/// A lock on the client's files, held until it is dropped.
pub(crate) struct Lock {
    _file: File,
}

/// Waits until no other program of ours changes the files in `directory`.
///
/// # Errors
/// The lock cannot be made.
pub(crate) fn lock(directory: &Path) -> Result<Lock, Failure> {
    super::contexts::make_directory(directory, 0o700)?;
    let path = directory.join(".berth.lock");
    let failed = |error: std::io::Error| at(&path, io_text(&error));
    let file =
        File::options().create(true).truncate(false).write(true).mode(0o600).open(&path).map_err(failed)?;
    file.lock().map_err(failed)?;
    Ok(Lock { _file: file })
}

fn at(path: &Path, why: impl std::fmt::Display) -> Failure {
    Failure::new(format!("{}: {why}", path.display()))
}

impl Vault {
    /// The credentials beside this `config.json`. Nothing is opened yet.
    pub(crate) fn beside(config: &Path) -> Self {
        let folder = config.parent().unwrap_or(Path::new("."));
        let data = std::env::var_os("XDG_DATA_HOME").filter(|value| !value.is_empty()).map(PathBuf::from);
        let data = data.unwrap_or_else(|| super::home().join(".local/share"));
        Self { file: folder.join("berth-credentials.json"), key: data.join("berth/credentials.key") }
    }

    /// The entry of a registry.
    ///
    /// # Errors
    /// A file is damaged or may be read by others; the key is not there.
    pub(crate) fn get(&self, server: &str) -> Result<Option<Secret>, Failure> {
        match self.read()?.entries.get(server) {
            Some(sealed) => self.open(&self.existing_key()?, server, sealed).map(Some),
            None => Ok(None),
        }
    }

    /// The users by registry. An entry that cannot be opened is left out.
    ///
    /// # Errors
    /// As [`Vault::get`].
    pub(crate) fn list(&self) -> Result<BTreeMap<String, String>, Failure> {
        let kept = self.read()?;
        if kept.entries.is_empty() {
            return Ok(BTreeMap::new());
        }
        let key = self.existing_key()?;
        let open =
            |(server, sealed)| Some((String::clone(server), self.open(&key, server, sealed).ok()?.username));
        Ok(kept.entries.iter().filter_map(open).collect())
    }

    /// Keeps an entry. The caller holds the [`Lock`].
    ///
    /// # Errors
    /// As [`Vault::get`]; what is there already is left as it is then.
    pub(crate) fn store(&self, server: &str, secret: &Secret) -> Result<(), Failure> {
        let mut kept = self.read()?;
        let key = if kept.entries.is_empty() { self.make_key()? } else { self.existing_key()? };
        let failed = |_| at(&self.file, "the system gives no random numbers");
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).map_err(failed)?;
        let sealed = Sealed::new(&key, server, nonce, secret)
            .ok_or_else(|| at(&self.file, "the entry is too long"))?;
        kept.entries.insert(server.to_owned(), sealed);
        self.write(&kept)
    }

    /// Forgets an entry; whether there was one. The caller holds the [`Lock`].
    ///
    /// # Errors
    /// The file is damaged or cannot be written.
    pub(crate) fn erase(&self, server: &str) -> Result<bool, Failure> {
        let mut kept = self.read()?;
        let known = kept.entries.remove(server).is_some();
        if known {
            self.write(&kept)?;
        }
        Ok(known)
    }

    fn open(&self, key: &LessSafeKey, server: &str, sealed: &Sealed) -> Result<Secret, Failure> {
        let damaged = || {
            at(
                &self.file,
                format!("the credentials for {server} are damaged or sealed with another key: log in again"),
            )
        };
        sealed.open(key, server).ok_or_else(damaged)
    }

    fn read(&self) -> Result<Kept, Failure> {
        let text = match fs::read(&self.file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Kept { version: 1, entries: BTreeMap::new() });
            }
            Err(error) => return Err(at(&self.file, io_text(&error))),
        };
        Kept::parse(&text).map_err(|why| at(&self.file, why))
    }

    fn write(&self, kept: &Kept) -> Result<(), Failure> {
        let json = serde_json::to_string(kept).map_err(|error| Failure::new(error.to_string()))?;
        super::write_private(&self.file, crate::format::json::indent_by(&json, "\t").as_bytes())
    }

    fn existing_key(&self) -> Result<LessSafeKey, Failure> {
        let failed = |error: std::io::Error| {
            at(&self.key, format!("{}: {} cannot be opened without it", io_text(&error), self.file.display()))
        };
        let file = File::open(&self.key).map_err(failed)?;
        let meta = file.metadata().map_err(failed)?;
        if meta.mode() & 0o077 != 0 || meta.uid() != rustix::process::geteuid().as_raw() {
            return Err(at(
                &self.key,
                format!(
                    "others may read this key (mode {:04o}, owner {}): it must be yours alone, with mode 0600",
                    meta.mode() & 0o7777,
                    meta.uid()
                ),
            ));
        }
        let mut bytes = Vec::new();
        file.take(KEY_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
        self.key_of(&bytes)
    }

    fn key_of(&self, bytes: &[u8]) -> Result<LessSafeKey, Failure> {
        let key = UnboundKey::new(&CHACHA20_POLY1305, bytes);
        let key =
            key.map_err(|_| at(&self.key, format!("no key: {} bytes, and not {KEY_BYTES}", bytes.len())))?;
        Ok(LessSafeKey::new(key))
    }

    /// The key, made where there is none yet.
    fn make_key(&self) -> Result<LessSafeKey, Failure> {
        if self.key.exists() {
            return self.existing_key();
        }
        let mut bytes = [0; KEY_BYTES];
        SystemRandom::new()
            .fill(&mut bytes)
            .map_err(|_| at(&self.key, "the system gives no random numbers"))?;
        // Another directory's first log-in may make it at the same time: a key is never replaced.
        super::contexts::make_directory(self.key.parent().unwrap_or(Path::new("/")), 0o700)?;
        let beside = self.key.with_extension(format!("{}.tmp", std::process::id()));
        let write = || {
            let mut file =
                File::options().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            match fs::hard_link(&beside, &self.key) {
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
                linked => linked,
            }
        };
        let written = write();
        let _ = fs::remove_file(&beside); // it may not be there
        written.map_err(|error| at(&self.key, io_text(&error)))?;
        self.existing_key()
    }
}

/// What other programs of Docker's world say to a credential helper.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[derive(Default)]
struct Message {
    #[serde(rename = "ServerURL")]
    server_url: String,
    username: String,
    secret: String,
}

/// One call of the credential helper: `get`, `store`, `erase`, `list`. What it says goes to standard output, errors too.
///
/// Source: the README of `docker-credential-helpers`.
pub(crate) fn helper(words: &[String]) -> Result<String, Failure> {
    let config = super::directory("").join("config.json");
    let folder = config.parent().unwrap_or(Path::new("."));
    let vault = Vault::beside(&config);
    let input = || {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text)?;
        Ok::<_, Failure>(text.trim().to_owned())
    };
    let missing =
        |text: &str| if text.is_empty() { Err(Failure::new("no credentials server URL")) } else { Ok(()) };
    match words {
        [verb] if verb == "get" => {
            let server = input()?;
            missing(&server)?;
            let Some(Secret { username, secret }) = vault.get(&server)? else {
                return Err(Failure::new("credentials not found in native keychain"));
            };
            json(&Message { server_url: server, username, secret })
        }
        [verb] if verb == "store" => {
            let message: Message =
                serde_json::from_str(&input()?).map_err(|error| Failure::new(error.to_string()))?;
            missing(&message.server_url)?;
            let _lock = lock(folder)?;
            let secret = Secret { username: message.username, secret: message.secret };
            vault.store(&message.server_url, &secret).map(|()| String::new())
        }
        [verb] if verb == "erase" => {
            let server = input()?;
            missing(&server)?;
            let _lock = lock(folder)?;
            vault.erase(&server).map(|_| String::new())
        }
        [verb] if verb == "list" => json(&vault.list()?),
        [verb] if verb == "version" => {
            Ok(concat!("docker-credential-berth v", env!("CARGO_PKG_VERSION")).to_owned())
        }
        _ => Err(Failure::new("Usage: docker-credential-berth get|store|erase|list|version")),
    }
}

fn json(value: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string(value).map_err(|error| Failure::new(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vault(folder: &Path) -> Vault {
        Vault { file: folder.join("c.json"), key: folder.join("data/key") }
    }

    fn secret(text: &str) -> Secret {
        Secret { username: "u".to_owned(), secret: text.to_owned() }
    }

    #[test]
    fn what_is_kept_is_sealed_and_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let vault = vault(folder.path());
        assert_eq!(vault.get("a").unwrap(), None);
        vault.store("a", &secret("hunter2")).unwrap();
        vault.store("b", &secret("other")).unwrap();
        let text = fs::read_to_string(&vault.file).unwrap();
        assert!(!text.contains("hunter2") && !text.contains("\"u\"") && text.contains("\"a\""), "{text}");
        assert_eq!(vault.get("a").unwrap(), Some(secret("hunter2")));
        assert!(vault.erase("a").unwrap() && !vault.erase("a").unwrap());
        assert_eq!(vault.get("b").unwrap(), Some(secret("other")));
    }

    #[test]
    fn an_entry_opens_under_its_own_name_alone() {
        let kept = Kept::parse(crate::fuzz::CREDENTIALS.as_bytes()).unwrap();
        let key = LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &[7; KEY_BYTES]).unwrap());
        let opened = kept.entries.iter().filter_map(|(server, sealed)| sealed.open(&key, server));
        assert_eq!(opened.collect::<Vec<_>>(), [secret("s")]);
    }

    #[test]
    fn a_damaged_entry_takes_no_other_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let vault = vault(folder.path());
        vault.store("a", &secret("1")).unwrap();
        vault.store("b", &secret("2")).unwrap();
        let mut kept = vault.read().unwrap();
        // An entry under another's name is no entry.
        let other = kept.entries.remove("b").unwrap();
        kept.entries.insert("a".to_owned(), other);
        vault.write(&kept).unwrap();
        let failure = vault.get("a").unwrap_err().text;
        assert!(failure.contains("the credentials for a are damaged"), "{failure}");
        vault.store("c", &secret("3")).unwrap();
        assert_eq!(vault.get("c").unwrap(), Some(secret("3")));
        assert_eq!(vault.list().unwrap().keys().collect::<Vec<_>>(), ["c"]);
        // A file that is none is told of and left alone.
        fs::write(&vault.file, "{\"version\":1,\"entr").unwrap();
        for failure in [vault.get("c").unwrap_err(), vault.store("d", &secret("4")).unwrap_err()] {
            assert!(failure.text.contains("c.json: no file of credentials"), "{failure:?}");
        }
        assert_eq!(fs::read_to_string(&vault.file).unwrap(), "{\"version\":1,\"entr");
    }

    #[test]
    fn a_key_that_others_may_read_or_that_is_gone_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let vault = vault(folder.path());
        vault.store("a", &secret("1")).unwrap();
        fs::set_permissions(&vault.key, fs::Permissions::from_mode(0o644)).unwrap();
        let failure = vault.get("a").unwrap_err().text;
        assert!(failure.contains("others may read this key (mode 0644"), "{failure}");
        assert!(vault.store("b", &secret("2")).is_err());
        fs::remove_file(&vault.key).unwrap();
        // No new key is made while entries of the old one are there.
        assert!(vault.store("b", &secret("2")).unwrap_err().text.contains("cannot be opened without it"));
        assert!(!vault.key.exists());
        fs::write(&vault.key, "short").unwrap();
        fs::set_permissions(&vault.key, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(vault.get("a").unwrap_err().text.contains("no key: 5 bytes"));
    }
}
