//! Credentials of registries: with a helper program that keeps them, in our own encrypted file, or, where the user asks
//! for it, in `config.json`.
//!
//! A helper is `docker-credential-<name>`; it is told `get`, `store` or `erase` as its argument and reads the rest from
//! its standard input. `credHelpers` names one for a registry, `credsStore` one for all.
//!
//! `berth` is a helper like others for those who read `config.json`; we open its file ourselves ([`super::vault`]).
//!
//! Source: the README of `docker-credential-helpers`.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use berth_api::registry::AuthConfig;
use berth_oci::json::Node;
use serde::{Deserialize, Serialize};

use super::vault::{self, Vault};
use crate::outcome::{Failure, io_text};

/// The key of Docker Hub's credentials.
pub(crate) const HUB: &str = "https://index.docker.io/v1/";

/// The name under which a helper keeps a token instead of a password.
const TOKEN_USER: &str = "<token>";

/// The part of `config.json` that is about credentials.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Stores {
    auths: BTreeMap<String, Kept>,
    creds_store: String,
    cred_helpers: BTreeMap<String, String>,
}

/// Credentials in the file itself.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default)]
struct Kept {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
    registrytoken: String,
}

/// What a helper reads and writes.
#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Secret {
    #[serde(rename = "ServerURL")]
    server_url: String,
    username: String,
    secret: String,
}

/// The key of a registry's credentials: `docker.io` is [`HUB`], others are their host.
pub(crate) fn key(registry: &str) -> String {
    let host = registry.split_once("://").map_or(registry, |(_, rest)| rest);
    let host = host.split('/').next().unwrap_or_default();
    match host {
        "" | "docker.io" | "index.docker.io" | "registry-1.docker.io" => HUB.to_owned(),
        host => host.to_owned(),
    }
}

/// The credentials of a registry, if the user has logged in.
///
/// # Errors
/// A helper that fails. A file that cannot be read has been warned of already and holds none.
pub(crate) fn get(config: &Path, registry: &str) -> Result<Option<AuthConfig>, Failure> {
    let stores = read(config);
    let key = key(registry);
    match helper(&stores, &key).as_deref() {
        Some(vault::NAME) => {
            let found = Vault::beside(config).get(&key)?;
            return Ok(found.and_then(|it| credentials_of(&key, it.username, it.secret)));
        }
        Some(helper) => return ask(helper, &key),
        None => {}
    }
    let found = stores.auths.get(&key).or_else(|| {
        // Older clients kept them by URL.
        stores.auths.iter().find(|(name, _)| self::key(name) == key).map(|(_, kept)| kept)
    });
    Ok(found.map(|kept| opened(kept, &key)))
}

/// Where credentials went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// To a helper of the user's.
    Helper,
    /// Into our encrypted file.
    Vault,
    /// Into `config.json`, where whoever reads the file reads them.
    Plain,
}

/// Keeps credentials: with the helper that is configured, else encrypted, or `plain` where the user asks for that.
///
/// # Errors
/// A file cannot be read or written; a helper that fails.
pub(crate) fn store(config: &Path, auth: &AuthConfig, plain: bool) -> Result<Place, Failure> {
    let _lock = vault::lock(config.parent().unwrap_or(Path::new(".")))?;
    let key = key(&auth.server_address);
    let with_token = !auth.identity_token.is_empty();
    let helper = helper(&read(config), &key).filter(|name| !(plain && name == vault::NAME));
    let (username, secret) = match with_token {
        true => (TOKEN_USER.to_owned(), auth.identity_token.clone()),
        false => (auth.username.clone(), auth.password.clone()),
    };
    match helper.as_deref() {
        None if plain => {}
        None | Some(vault::NAME) => {
            Vault::beside(config).store(&key, &vault::Secret { username, secret })?;
            // One registry's helper: the others are as they were for every program that reads this file.
            change(config, |root| {
                if helper.is_none() {
                    root.entry("credHelpers").set(&key, Node::string(vault::NAME));
                }
                root.entry("auths").set(&key, Node::Object(Vec::new()));
            })?;
            return Ok(Place::Vault);
        }
        Some(helper) => {
            let secret = Secret { server_url: key.clone(), username, secret };
            let input = serde_json::to_vec(&secret).map_err(|error| Failure::new(error.to_string()))?;
            call(helper, "store", &input)?;
            change(config, |root| root.entry("auths").set(&key, Node::Object(Vec::new())))?;
            return Ok(Place::Helper);
        }
    }
    let mut kept = Vec::new();
    let both = STANDARD.encode(format!("{}:{}", auth.username, auth.password));
    kept.push(("auth".to_owned(), Node::string(&both)));
    if with_token {
        kept.push(("identitytoken".to_owned(), Node::string(&auth.identity_token)));
    }
    change(config, |root| {
        root.entry("auths").set(&key, Node::Object(kept));
        forget_vault(root, &key);
    })?;
    Vault::beside(config).erase(&key)?;
    Ok(Place::Plain)
}

/// Takes back what says that we keep a registry's credentials.
fn forget_vault(root: &mut Node, key: &str) {
    let Some(helpers) = root.get_mut("credHelpers") else { return };
    if helpers.get(key) == Some(&Node::string(vault::NAME)) {
        helpers.remove(key);
    }
    if *helpers == Node::Object(Vec::new()) {
        root.remove("credHelpers");
    }
}

/// Forgets credentials; whether there were any.
///
/// # Errors
/// As [`store`].
pub(crate) fn erase(config: &Path, registry: &str) -> Result<bool, Failure> {
    let key = key(registry);
    if !config.exists() {
        return Ok(false);
    }
    let _lock = vault::lock(config.parent().unwrap_or(Path::new(".")))?;
    let stores = read(config);
    let known = stores.auths.keys().any(|name| self::key(name) == key);
    match helper(&stores, &key).as_deref() {
        Some(vault::NAME) => {
            Vault::beside(config).erase(&key)?;
        }
        Some(helper) => {
            call(helper, "erase", key.as_bytes())?;
        }
        None => {}
    }
    let is_ours = stores.cred_helpers.get(&key).is_some_and(|name| name == vault::NAME);
    if known || is_ours {
        let names: Vec<String> = stores.auths.into_keys().filter(|name| self::key(name) == key).collect();
        change(config, |root| {
            let auths = root.entry("auths");
            names.iter().for_each(|name| auths.remove(name));
            forget_vault(root, &key);
        })?;
    }
    Ok(known || is_ours)
}

/// Whether other programs find the helper that opens our file.
pub(crate) fn has_our_helper() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let program = format!("docker-credential-{}", vault::NAME);
    std::env::split_paths(&path).any(|folder| folder.join(&program).is_file())
}

fn read(config: &Path) -> Stores {
    let text = std::fs::read(config).unwrap_or_default();
    berth_oci::json::from_slice(&text).unwrap_or_default()
}

fn helper(stores: &Stores, key: &str) -> Option<String> {
    let named = stores.cred_helpers.get(key).or(Some(&stores.creds_store));
    named.filter(|name| !name.is_empty()).cloned()
}

fn opened(kept: &Kept, key: &str) -> AuthConfig {
    let mut auth = AuthConfig {
        username: kept.username.clone(),
        password: kept.password.clone(),
        server_address: key.to_owned(),
        identity_token: kept.identitytoken.clone(),
        registry_token: kept.registrytoken.clone(),
        ..AuthConfig::default()
    };
    if let Ok(both) = STANDARD.decode(kept.auth.trim())
        && let Some((user, password)) = String::from_utf8_lossy(&both).split_once(':')
    {
        user.clone_into(&mut auth.username);
        password.trim_end_matches('\0').clone_into(&mut auth.password);
    }
    auth
}

fn ask(helper: &str, key: &str) -> Result<Option<AuthConfig>, Failure> {
    let answer = match call(helper, "get", key.as_bytes()) {
        Ok(answer) => answer,
        Err(failure) if failure.text.contains("credentials not found") => return Ok(None),
        Err(failure) => return Err(failure),
    };
    let secret: Secret = serde_json::from_slice(&answer)
        .map_err(|error| Failure::new(format!("docker-credential-{helper} answers nonsense: {error}")))?;
    Ok(credentials_of(key, secret.username, secret.secret))
}

/// Credentials as a helper has them.
fn credentials_of(key: &str, username: String, secret: String) -> Option<AuthConfig> {
    let mut auth = AuthConfig { server_address: key.to_owned(), ..AuthConfig::default() };
    if username == TOKEN_USER {
        auth.identity_token = secret;
    } else {
        (auth.username, auth.password) = (username, secret);
    }
    Some(auth).filter(|auth| !auth.username.is_empty() || !auth.identity_token.is_empty())
}

/// Runs a helper.
fn call(helper: &str, verb: &str, input: &[u8]) -> Result<Vec<u8>, Failure> {
    let program = format!("docker-credential-{helper}");
    let failed =
        |why: String| Failure::new(format!("error getting credentials - err: {why}, program: {program}"));
    let mut command = Command::new(&program);
    command.arg(verb).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let mut child =
        command.spawn().map_err(|error| failed(format!("exec: \"{program}\": {}", io_text(&error))))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A helper that does not read says why by itself.
        let _ = stdin.write_all(input);
    }
    let output = child.wait_with_output()?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Err(failed(format!("{}, out: `{said}`", output.status)))
}

/// Changes the file, what is not understood left as it is. The caller holds the lock.
fn change(path: &Path, action: impl FnOnce(&mut Node)) -> Result<(), Failure> {
    let text = std::fs::read(path).unwrap_or_default();
    let mut config = if text.trim_ascii().is_empty() {
        Node::Object(Vec::new())
    } else {
        Node::parse(&text).map_err(|error| Failure::new(format!("{}: {error}", path.display())))?
    };
    action(&mut config);
    let json = berth_oci::json::to_vec(&config).map_err(|error| Failure::new(error.to_string()))?;
    let json = crate::format::json::indent_by(&String::from_utf8_lossy(&json), "\t");
    super::contexts::write_private(path, json.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn auth(server: &str) -> AuthConfig {
        AuthConfig {
            username: "u".to_owned(),
            password: "p:w".to_owned(),
            server_address: server.to_owned(),
            ..AuthConfig::default()
        }
    }

    #[test]
    fn what_is_kept_is_found_and_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.json");
        std::fs::write(&path, r#"{"psFormat":"x"}"#).unwrap();
        for server in ["r.example:5000", ""] {
            assert_eq!(store(&path, &auth(server), true).unwrap(), Place::Plain);
        }
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(
            text.contains("psFormat") && text.contains("\"auth\": \"dTpwOnc=\"") && text.contains(HUB),
            "{text}"
        );
        for name in ["r.example:5000", "https://r.example:5000/v2/"] {
            assert_eq!(get(&path, name).unwrap().unwrap().password, "p:w");
        }
        assert_eq!(get(&path, "docker.io").unwrap().unwrap().username, "u");
        assert_eq!(get(&path, "other.example").unwrap(), None);
        assert!(erase(&path, "r.example:5000").unwrap());
        assert!(!erase(&path, "r.example:5000").unwrap());
        assert_eq!(get(&path, "r.example:5000").unwrap(), None);
    }
}
