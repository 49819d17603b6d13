//! Where a container's output goes: the log file, bounded unless told otherwise, and the options of the drivers.
//!
//! Every driver but `none` has a log file: `json-file` and `local` are nothing else, and those that send lines elsewhere
//! send them from there.

use std::collections::BTreeMap;
use std::path::PathBuf;

use berth_logging::Driver;
use berth_oci::container::LogConfig;
use berth_shim::LogFile;

use super::Record;
use crate::error::{Error, Result};

/// A log is rotated when it has reached this many bytes.
const SIZE_DEFAULT: u64 = 10 * 1000 * 1000;
/// So many files are kept.
const FILES_DEFAULT: u32 = 3;
/// The drivers there are.
pub(crate) const DRIVERS: [&str; 7] = ["fluentd", "gelf", "journald", "json-file", "local", "none", "syslog"];
/// Options of `json-file`.
const OPTIONS: [&str; 8] =
    ["max-file", "max-size", "compress", "labels", "labels-regex", "env", "env-regex", "tag"];
/// Options of `local`, which Docker keeps in a form of its own. Nobody but the engine reads it: ours is the same as that
/// of `json-file`.
const LOCAL_OPTIONS: [&str; 3] = ["max-file", "max-size", "compress"];
/// The bounds of `local`, and of the log files of drivers that send lines elsewhere.
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
    let kind = config.kind.as_str();
    let refuse = |error: berth_logging::Error| Error::invalid(error.to_string());
    let known: &[&str] = match (kind, Driver::named(kind)) {
        ("none", _) => return Ok(()),
        (_, Some(driver)) => return berth_logging::check(driver, own).map_err(refuse),
        ("json-file", _) => &OPTIONS,
        ("local", _) => &LOCAL_OPTIONS,
        ("logentries", _) => {
            return Err(Error::invalid("the logentries logging driver has been deprecated and removed"));
        }
        _ => {
            return Err(Error::invalid(format!(
                "error looking up logging plugin {kind}: plugin \"{kind}\" not found"
            )));
        }
    };
    let rest = berth_logging::check_common(own).map_err(refuse)?;
    match rest.into_iter().find(|name| !known.contains(name)) {
        Some(name) if kind == "local" => {
            Err(Error::invalid(format!("unknown log opt '{name}' for log driver local")))
        }
        Some(name) => Err(Error::invalid(format!("unknown log opt '{name}' for {kind} log driver"))),
        None => Ok(()),
    }
}

/// Checks the options that the engine gives to containers, when it opens. A driver that is not there is told to whoever
/// creates a container, as with Docker.
///
/// Errors: `InvalidParameter` with Docker's text.
pub(crate) fn check_default(driver: &str, options: &BTreeMap<String, String>) -> Result<()> {
    if !DRIVERS.contains(&driver) {
        return Ok(());
    }
    check(&mut LogConfig::default(), driver, options)
        .map_err(|error| Error::invalid(format!("failed to set log opts: {error}")))
}

/// Docker's error for a log that cannot be begun.
pub(crate) fn failed(text: &str) -> Error {
    Error::Refused(format!(
        "failed to create task for container: failed to initialize logging driver: {text}"
    ))
}

/// Whether `logs` may read the log file.
pub(crate) fn is_readable(record: &Record) -> bool {
    let config = &record.host_config.log_config;
    let option = config.config.as_ref().and_then(|options| options.get("cache-disabled"));
    let is_disabled = option.is_some_and(|value| berth_logging::parse_bool(value) == Ok(true));
    !is_disabled || Driver::named(&config.kind).is_none()
}

/// A container as drivers and tags know it.
pub(crate) fn described(record: &Record) -> berth_logging::Container {
    let config = &record.host_config.log_config;
    let is_file = config.kind == "json-file";
    berth_logging::Container {
        id: record.id.clone(),
        name: record.name.clone(),
        image_id: record.image.clone(),
        image_name: record.config.image.clone(),
        entrypoint: record.path.clone(),
        args: record.args.clone(),
        created: record.created.to_string(),
        env: record.config.env.clone().unwrap_or_default(),
        labels: record.config.labels.clone().unwrap_or_default().into_iter().collect(),
        log_path: if is_file { path(record).to_string_lossy().into_owned() } else { String::new() },
        options: config.config.clone().unwrap_or_default().into_iter().collect(),
    }
}

fn path(record: &Record) -> PathBuf {
    record.directory.join(format!("{}-json.log", record.id))
}

/// The log file of a container; none with the driver `none`.
///
/// Errors: Docker's text for a value that cannot be read (which Docker finds at the start only).
pub(crate) fn log_file(record: &Record) -> Result<Option<LogFile>> {
    let config = &record.host_config.log_config;
    if config.kind == "none" {
        return Ok(None);
    }
    let options = config.config.clone().unwrap_or_default();
    let option = |name: &str| options.get(name).map(String::as_str);
    if Driver::named(&config.kind).is_some() {
        // As with Docker, what cannot be read of these options is passed over.
        return Ok(Some(LogFile {
            path: path(record),
            max_size_bytes: option("cache-max-size").and_then(parse_size).unwrap_or(LOCAL_DEFAULT.0),
            max_files: option("cache-max-file").and_then(|text| text.parse().ok()).unwrap_or(LOCAL_DEFAULT.1),
            compress: option("cache-compress")
                .is_none_or(|value| berth_logging::parse_bool(value) != Ok(false)),
            attrs: String::new(),
        }));
    }
    let (size_default, files_default) =
        if config.kind == "local" { LOCAL_DEFAULT } else { (SIZE_DEFAULT, FILES_DEFAULT) };
    let max_size_bytes = match option("max-size") {
        None => size_default,
        Some("-1") => 0,
        Some(text) => parse_size(text).ok_or_else(|| failed(&format!("invalid size: '{text}'")))?,
    };
    let max_files = match option("max-file") {
        None => files_default,
        Some(text) => match text.parse::<i64>() {
            Ok(files) if files >= 1 => u32::try_from(files).unwrap_or(u32::MAX),
            Ok(_) => return Err(failed("max-file cannot be less than 1")),
            Err(_) => return Err(failed(&format!("strconv.Atoi: parsing {text:?}: invalid syntax"))),
        },
    };
    let compress = match option("compress") {
        None => true,
        Some(text) => berth_logging::parse_bool(text).map_err(|error| failed(&error))?,
    };
    let attrs = if config.kind == "json-file" && !options.is_empty() {
        attributes(record).map_err(|error| failed(&error.to_string()))?
    } else {
        String::new()
    };
    Ok(Some(LogFile { path: path(record), max_size_bytes, max_files, compress, attrs }))
}

/// The attributes of every line: labels and variables that the options name, and the tag.
fn attributes(record: &Record) -> std::result::Result<String, berth_logging::Error> {
    let described = described(record);
    let mut attributes = berth_logging::attributes(&described, str::to_owned)?;
    let tag = berth_logging::render_tag(&described, "")?;
    if !tag.is_empty() {
        attributes.insert("tag".to_owned(), tag);
    }
    Ok(if attributes.is_empty() { String::new() } else { serde_json::json!(attributes).to_string() })
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
