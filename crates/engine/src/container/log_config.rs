//! Where a container's output goes: the log options of the `json-file` driver, bounded unless told otherwise.

use std::collections::BTreeMap;

use berth_oci::container::LogConfig;
use berth_shim::LogFile;

use super::Record;
use crate::error::{Error, Result};

/// A log is rotated when it has reached this many bytes.
const SIZE_DEFAULT: u64 = 10 * 1000 * 1000;
/// So many files are kept.
const FILES_DEFAULT: u32 = 3;
/// The drivers there are.
pub(crate) const DRIVERS: [&str; 3] = ["json-file", "local", "none"];
/// Options of `json-file`.
const OPTIONS: [&str; 10] = [
    "max-file",
    "max-size",
    "compress",
    "labels",
    "labels-regex",
    "env",
    "env-regex",
    "tag",
    "mode",
    "max-buffer-size",
];

/// Options of `local`, which Docker keeps in a form of its own. Nobody but the engine reads it: ours is the same as that
/// of `json-file`.
const LOCAL_OPTIONS: [&str; 3] = ["max-file", "max-size", "compress"];
/// The bounds of `local`.
const LOCAL_DEFAULT: (u64, u32) = (20 * 1000 * 1000, 5);

/// Fills in the engine's driver where the request names none, and checks the options.
///
/// Errors: `InvalidParameter` with Docker's text.
pub(crate) fn check(config: &mut LogConfig, driver: &str, options: &BTreeMap<String, String>) -> Result<()> {
    if config.kind.is_empty() {
        driver.clone_into(&mut config.kind);
    }
    let own = config.config.get_or_insert_default();
    if config.kind == driver {
        for (name, value) in options {
            own.entry(name.clone()).or_insert_with(|| value.clone());
        }
    }
    let kind = &config.kind;
    if !DRIVERS.contains(&kind.as_str()) {
        return Err(Error::invalid(format!(
            "error looking up logging plugin {kind}: plugin \"{kind}\" not found"
        )));
    }
    let known = |name: &str| match kind.as_str() {
        "json-file" => OPTIONS.contains(&name),
        "local" => LOCAL_OPTIONS.contains(&name),
        _ => false,
    };
    match own.keys().find(|name| !known(name)) {
        Some(name) if kind == "local" => {
            Err(Error::invalid(format!("unknown log opt '{name}' for log driver local")))
        }
        Some(name) if kind != "none" => {
            Err(Error::invalid(format!("unknown log opt '{name}' for {kind} log driver")))
        }
        _ => Ok(()),
    }
}

/// The log file of a container; none with the driver `none`.
///
/// Errors: Docker's text for a value that cannot be read (which Docker finds at the start only).
pub(crate) fn log_file(record: &Record) -> Result<Option<LogFile>> {
    let config = &record.host_config.log_config;
    if config.kind == "none" {
        return Ok(None);
    }
    let failed = |text: String| {
        Error::Refused(format!(
            "failed to create task for container: failed to initialize logging driver: {text}"
        ))
    };
    let options = config.config.clone().unwrap_or_default();
    let (size_default, files_default) =
        if config.kind == "local" { LOCAL_DEFAULT } else { (SIZE_DEFAULT, FILES_DEFAULT) };
    let max_size_bytes = match options.get("max-size").map(String::as_str) {
        None => size_default,
        Some("-1") => 0,
        Some(text) => parse_size(text).ok_or_else(|| failed(format!("invalid size: '{text}'")))?,
    };
    let max_files = match options.get("max-file") {
        None => files_default,
        Some(text) => match text.parse::<i64>() {
            Ok(files) if files >= 1 => u32::try_from(files).unwrap_or(u32::MAX),
            Ok(_) => return Err(failed("max-file cannot be less than 1".to_owned())),
            Err(_) => return Err(failed(format!("strconv.Atoi: parsing {text:?}: invalid syntax"))),
        },
    };
    let compress = match options.get("compress").map(String::as_str) {
        None | Some("1" | "t" | "T" | "true" | "TRUE" | "True") => true,
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") => false,
        Some(text) => return Err(failed(format!("strconv.ParseBool: parsing {text:?}: invalid syntax"))),
    };
    let path = record.directory.join(format!("{}-json.log", record.id));
    Ok(Some(LogFile { path, max_size_bytes, max_files, compress, attrs: attributes(record, &options)? }))
}

/// The attributes of every line: labels and variables that the options name, and the tag.
fn attributes(record: &Record, options: &BTreeMap<String, String>) -> Result<String> {
    let mut attributes = BTreeMap::new();
    let names = |option: &str| {
        let list = options.get(option).map(String::as_str).unwrap_or_default();
        list.split(',').map(str::to_owned).collect::<Vec<_>>()
    };
    for name in names("labels") {
        if let Some(value) = record.config.labels.as_ref().and_then(|labels| labels.get(&name)) {
            attributes.insert(name, value.clone());
        }
    }
    let wanted = names("env");
    for (name, value) in record.config.env.iter().flatten().filter_map(|variable| variable.split_once('=')) {
        if wanted.iter().any(|want| want == name) {
            attributes.insert(name.to_owned(), value.to_owned());
        }
    }
    if let Some(tag) = options.get("tag").filter(|tag| !tag.is_empty()) {
        attributes.insert("tag".to_owned(), render_tag(tag, record));
    }
    if attributes.is_empty() {
        return Ok(String::new());
    }
    serde_json::to_string(&attributes).map_err(|error| Error::internal("log attributes", &error))
}

/// The tag with the names that Docker's templates know filled in.
fn render_tag(tag: &str, record: &Record) -> String {
    let short = |id: &str| id.strip_prefix("sha256:").unwrap_or(id).chars().take(12).collect::<String>();
    let mut text = tag.to_owned();
    for (name, value) in [
        ("ID", short(&record.id)),
        ("FullID", record.id.clone()),
        ("Name", record.name.clone()),
        ("ImageID", short(&record.image)),
        ("ImageFullID", record.image.clone()),
        ("ImageName", record.config.image.clone()),
        ("DaemonName", "docker".to_owned()),
    ] {
        text = text.replace(&format!("{{{{.{name}}}}}"), &value);
    }
    text
}

/// A size as Docker's `units.FromHumanSize` reads it: decimal units, an optional `b`.
fn parse_size(text: &str) -> Option<u64> {
    let lower = text.to_ascii_lowercase();
    let unit_at =
        lower.find(|character: char| !character.is_ascii_digit() && character != '.').unwrap_or(lower.len());
    let (number, unit) = lower.split_at(unit_at);
    let number: f64 = number.parse().ok()?;
    let exponent = match unit.trim().trim_end_matches('b').trim_end_matches('i') {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return None,
    };
    let bytes = number * 1000_f64.powi(exponent);
    (bytes.is_finite() && bytes >= 0.0).then_some(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(options: &[(&str, &str)]) -> Result<Option<LogFile>> {
        let mut record = Record { id: "abc".to_owned(), ..Record::default() };
        record.name = "web".to_owned();
        record.config.labels = Some([("a".to_owned(), "1".to_owned())].into());
        record.config.env = Some(vec!["E=x=y".to_owned(), "F=2".to_owned()]);
        let options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        record.host_config.log_config = LogConfig { kind: "json-file".to_owned(), config: Some(options) };
        log_file(&record)
    }

    #[test]
    fn logs_are_bounded_unless_told_otherwise() {
        let default = file(&[]).unwrap().unwrap();
        assert_eq!((default.max_size_bytes, default.max_files, default.compress), (10_000_000, 3, true));
        let own = file(&[("max-size", "1.5k"), ("max-file", "7"), ("compress", "false")]).unwrap().unwrap();
        assert_eq!((own.max_size_bytes, own.max_files, own.compress), (1500, 7, false));
        assert_eq!(file(&[("max-size", "-1")]).unwrap().unwrap().max_size_bytes, 0);
        let attributes = file(&[("labels", "a,b"), ("env", "E"), ("tag", "{{.Name}}/x")]).unwrap().unwrap();
        assert_eq!(attributes.attrs, r#"{"E":"x=y","a":"1","tag":"web/x"}"#);
    }

    #[test]
    fn refusals_are_dockers() {
        let at_start = "failed to create task for container: failed to initialize logging driver: ";
        let text = |options: &[(&str, &str)]| file(options).unwrap_err().to_string();
        assert_eq!(text(&[("max-size", "x")]), format!("{at_start}invalid size: 'x'"));
        assert_eq!(text(&[("max-file", "0")]), format!("{at_start}max-file cannot be less than 1"));
        let refused = |kind: &str, option: &str| {
            let config = Some([(option.to_owned(), "x".to_owned())].into());
            let mut config = LogConfig { kind: kind.to_owned(), config };
            check(&mut config, "json-file", &BTreeMap::new()).unwrap_err().to_string()
        };
        assert_eq!(refused("foo", "x"), "error looking up logging plugin foo: plugin \"foo\" not found");
        assert_eq!(refused("json-file", "foo"), "unknown log opt 'foo' for json-file log driver");
        assert_eq!(refused("local", "labels"), "unknown log opt 'labels' for log driver local");
    }
}
