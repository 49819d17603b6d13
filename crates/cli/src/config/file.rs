//! `config.json`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use berth_oci::json::Node;
use serde::Deserialize;

use crate::outcome::{Failure, io_text};

/// What the user has configured. What Berth does not know is left alone.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Config {
    /// Said in every request.
    #[serde(rename = "HttpHeaders")]
    pub(crate) http_headers: BTreeMap<String, String>,
    /// `--format` of `ps`.
    pub(crate) ps_format: String,
    /// `--format` of `images`.
    pub(crate) images_format: String,
    /// `--format` of `stats`.
    pub(crate) stats_format: String,
    /// `--format` of `volume ls`.
    pub(crate) volumes_format: String,
    /// Keys that detach from a container.
    pub(crate) detach_keys: String,
    /// The context that is used when nobody names one.
    pub(crate) current_context: String,
    /// Proxies for containers, by the host of the engine or `default`.
    pub(crate) proxies: BTreeMap<String, Proxies>,
    /// Filters of every prune.
    pub(crate) prune_filters: Vec<String>,
    /// Commands by other names.
    pub(crate) aliases: BTreeMap<String, String>,
    /// More directories of plug-ins.
    #[serde(rename = "cliPluginsExtraDirs")]
    pub(crate) plugin_directories: Vec<PathBuf>,
}

/// Proxies for the containers of one engine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Proxies {
    pub(crate) http_proxy: String,
    pub(crate) https_proxy: String,
    pub(crate) no_proxy: String,
    pub(crate) ftp_proxy: String,
    pub(crate) all_proxy: String,
}

impl Config {
    /// Reads the file. A file that is not there says nothing.
    ///
    /// # Errors
    /// Docker's text, for a warning: the command goes on without the file.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => {
                return Err(format!(
                    "Error loading config file: open {}: {}",
                    path.display(),
                    io_text(&error)
                ));
            }
        };
        let wrong = |reason: String| format!("Error parsing config file ({}): {reason}", path.display());
        if text.trim_ascii().is_empty() {
            return Err(wrong("EOF".to_owned()));
        }
        berth_oci::json::from_slice(&text).map_err(|error| wrong(error.to_string()))
    }

    /// The proxies of containers of the engine at `host`.
    pub(crate) fn proxies(&self, host: &str) -> Option<&Proxies> {
        self.proxies.get(host).or_else(|| self.proxies.get("default"))
    }
}

impl Proxies {
    /// Adds the variables that nobody has set, each in both spellings.
    pub(crate) fn add_to(&self, variables: &mut Vec<String>) {
        let all = [
            ("ALL_PROXY", &self.all_proxy),
            ("FTP_PROXY", &self.ftp_proxy),
            ("HTTPS_PROXY", &self.https_proxy),
            ("HTTP_PROXY", &self.http_proxy),
            ("NO_PROXY", &self.no_proxy),
        ];
        for (name, value) in all.into_iter().filter(|(_, value)| !value.is_empty()) {
            for name in [name.to_owned(), name.to_lowercase()] {
                let is_set = variables.iter().any(|variable| variable.split('=').next() == Some(&name));
                if !is_set {
                    variables.push(format!("{name}={value}"));
                }
            }
        }
    }
}

/// Makes `name` the context that is used when nobody names one. The rest of the file stays as it is.
///
/// # Errors
/// A file that cannot be read as JSON or cannot be written.
pub(crate) fn set_current_context(path: &Path, name: &str) -> Result<(), Failure> {
    let text = std::fs::read(path).unwrap_or_default();
    let mut config = if text.trim_ascii().is_empty() {
        Node::Object(vec![("auths".to_owned(), Node::Object(Vec::new()))])
    } else {
        Node::parse(&text).map_err(|error| Failure::new(format!("{}: {error}", path.display())))?
    };
    match name {
        "" => config.remove("currentContext"),
        name => config.set("currentContext", Node::string(name)),
    }
    let json = berth_oci::json::to_vec(&config).map_err(|error| Failure::new(error.to_string()))?;
    let json = crate::format::json::indent_by(&String::from_utf8_lossy(&json), "\t");
    super::contexts::write_private(path, json.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_understood_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.json");
        std::fs::write(&path, r#"{"psFormat":"{{.ID}}","mine":{"b":1,"a":[]},"credsStore":"x"}"#).unwrap();
        assert_eq!(Config::read(&path).unwrap().ps_format, "{{.ID}}");
        set_current_context(&path, "far").unwrap();
        assert_eq!(Config::read(&path).unwrap().current_context, "far");
        set_current_context(&path, "").unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(
            text,
            "{\n\t\"psFormat\": \"{{.ID}}\",\n\t\"mine\": {\n\t\t\"b\": 1,\n\t\t\"a\": []\n\t},\n\t\"credsStore\": \"x\"\n}"
        );
    }

    #[test]
    fn a_broken_file_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.json");
        std::fs::write(&path, "{bad").unwrap();
        let text = Config::read(&path).unwrap_err();
        assert!(text.starts_with(&format!("Error parsing config file ({}): ", path.display())), "{text}");
        assert!(Config::read(&directory.path().join("none")).unwrap().aliases.is_empty());
    }

    #[test]
    fn proxies_do_not_overrule() {
        let proxies = Proxies { http_proxy: "http://p".into(), no_proxy: "a,b".into(), ..Proxies::default() };
        let mut variables = vec!["http_proxy=mine".to_owned(), "NO_PROXY".to_owned()];
        proxies.add_to(&mut variables);
        assert_eq!(variables, ["http_proxy=mine", "NO_PROXY", "HTTP_PROXY=http://p", "no_proxy=a,b"]);
    }
}
