//! The options of drivers, checked when a container is created.

use std::collections::BTreeMap;

use crate::address::{Address, Scheme};
use crate::{Driver, Error, fluentd, gelf, syslog};

/// Options that every driver takes: how its lines are handed over, and the copy that `logs` reads.
const COMMON: [&str; 6] =
    ["mode", "max-buffer-size", "cache-disabled", "cache-max-size", "cache-max-file", "cache-compress"];
/// Options that name attributes and the tag.
const ATTRIBUTES: [&str; 5] = ["labels", "labels-regex", "env", "env-regex", "tag"];

type Options = BTreeMap<String, String>;

/// Checks the options that every driver takes. Answers with those that are left.
///
/// # Errors
/// Docker's text.
pub fn check_common(options: &Options) -> Result<Vec<&str>, Error> {
    let mode = options.get("mode").map_or("", String::as_str);
    if !matches!(mode, "" | "blocking" | "non-blocking") {
        return Err(Error::new(format!("logger: logging mode not supported: {mode}")));
    }
    if let Some(size) = options.get("max-buffer-size") {
        if mode != "non-blocking" {
            let text = "logger: max-buffer-size option is only supported with 'mode=non-blocking'";
            return Err(Error::new(text));
        }
        check_size(size)
            .map_err(|error| Error::new(format!("error parsing option max-buffer-size: {error}")))?;
    }
    if let Some(value) = options.get("cache-disabled")
        && parse_bool(value).is_err()
    {
        return Err(Error::new(format!("invalid value for option cache-disabled: {value}")));
    }
    Ok(options.keys().map(String::as_str).filter(|name| !COMMON.contains(name)).collect())
}

/// Checks a driver's options.
///
/// # Errors
/// Docker's text.
pub fn check(driver: Driver, options: &Options) -> Result<(), Error> {
    let own = check_common(options)?;
    let known: &[&str] = match driver {
        Driver::Syslog => &[
            "syslog-address",
            "syslog-facility",
            "syslog-format",
            "syslog-tls-ca-cert",
            "syslog-tls-cert",
            "syslog-tls-key",
            "syslog-tls-skip-verify",
        ],
        Driver::Journald => &[],
        Driver::Gelf => &[
            "gelf-address",
            "gelf-compression-level",
            "gelf-compression-type",
            "gelf-tcp-max-reconnect",
            "gelf-tcp-reconnect-delay",
        ],
        Driver::Fluentd => &[
            "fluentd-address",
            "fluentd-async",
            "fluentd-async-connect",
            "fluentd-async-reconnect-interval",
            "fluentd-buffer-limit",
            "fluentd-max-retries",
            "fluentd-request-ack",
            "fluentd-retry-wait",
            "fluentd-sub-second-precision",
        ],
    };
    if let Some(name) = own.into_iter().find(|name| !known.contains(name) && !ATTRIBUTES.contains(name)) {
        let quote = if driver == Driver::Gelf { '"' } else { '\'' };
        let driver = driver.name();
        return Err(Error::new(format!("unknown log opt {quote}{name}{quote} for {driver} log driver")));
    }
    let option = |name: &str| options.get(name).map_or("", String::as_str);
    match driver {
        Driver::Syslog => {
            syslog::parse_address(option("syslog-address"))?;
            syslog::parse_facility(option("syslog-facility"))?;
            syslog::Format::parse(option("syslog-format"))?;
            Ok(())
        }
        Driver::Journald => Ok(()),
        Driver::Gelf => check_gelf(options),
        Driver::Fluentd => fluentd::Config::parse(options).map(drop),
    }
}

fn check_gelf(options: &Options) -> Result<(), Error> {
    let address = gelf::parse_address(options.get("gelf-address").map_or("", String::as_str))?;
    let is_udp = matches!(&address, Address::Network { scheme: Scheme::Udp, .. });
    let number = |value: &str, range: std::ops::RangeInclusive<i64>| {
        value.parse::<i64>().is_ok_and(|number| range.contains(&number))
    };
    for (name, value) in options {
        let is_good = match name.as_str() {
            "gelf-compression-level" | "gelf-compression-type" if !is_udp => {
                return Err(Error::new("compression is only supported on UDP"));
            }
            "gelf-tcp-max-reconnect" | "gelf-tcp-reconnect-delay" if is_udp => {
                return Err(Error::new(format!("{name:?} is only valid for TCP")));
            }
            "gelf-compression-level" => number(value, -1..=9),
            "gelf-compression-type" => matches!(value.as_str(), "gzip" | "zlib" | "none"),
            "gelf-tcp-max-reconnect" | "gelf-tcp-reconnect-delay" => number(value, 0..=i64::MAX),
            _ => true,
        };
        if !is_good {
            return Err(Error::new(format!(
                "unknown value {value:?} for log opt {name:?} for gelf log driver"
            )));
        }
    }
    Ok(())
}

/// A truth value as Go's `strconv.ParseBool` has them.
///
/// # Errors
/// Go's text.
pub fn parse_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("strconv.ParseBool: parsing {text:?}: invalid syntax")),
    }
}

/// A size as Docker's `units.RAMInBytes` takes it.
pub(crate) fn check_size(text: &str) -> Result<(), String> {
    let bare = text.trim_end_matches(['b', 'B']).trim_end_matches(['i', 'I']);
    let bare =
        bare.strip_suffix(['k', 'K', 'm', 'M', 'g', 'G', 't', 'T', 'p', 'P']).unwrap_or(bare).trim_end();
    match bare.parse::<f64>() {
        Ok(size) if size >= 0.0 && bare.starts_with(|first: char| first.is_ascii_digit()) => Ok(()),
        _ => Err(format!("invalid size: '{text}'")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(driver: Driver, options: &[(&str, &str)]) -> String {
        let options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        check(driver, &options).map_or_else(|error| error.to_string(), |()| "fine".to_owned())
    }

    #[test]
    fn options_of_every_driver() {
        let syslog = |options: &[(&str, &str)]| refusal(Driver::Syslog, options);
        assert_eq!(syslog(&[("mode", "zz")]), "logger: logging mode not supported: zz");
        assert_eq!(
            syslog(&[("mode", "non-blocking"), ("max-buffer-size", "zz")]),
            "error parsing option max-buffer-size: invalid size: 'zz'"
        );
        assert_eq!(
            syslog(&[("max-buffer-size", "1m")]),
            "logger: max-buffer-size option is only supported with 'mode=non-blocking'"
        );
        assert_eq!(syslog(&[("cache-disabled", "zz")]), "invalid value for option cache-disabled: zz");
        let all =
            [("mode", "non-blocking"), ("max-buffer-size", "1.5MiB"), ("cache-max-size", "1m"), ("tag", "x")];
        assert_eq!(syslog(&all), "fine");
    }

    #[test]
    fn refusals_are_dockers() {
        let syslog = |name: &str, value: &str| refusal(Driver::Syslog, &[(name, value)]);
        assert_eq!(syslog("foo", "x"), "unknown log opt 'foo' for syslog log driver");
        assert_eq!(syslog("max-size", "1m"), "unknown log opt 'max-size' for syslog log driver");
        assert_eq!(syslog("syslog-facility", "zz"), "invalid syslog facility");
        assert_eq!(syslog("syslog-format", "zz"), "Invalid syslog format");
        assert_eq!(syslog("syslog-address", "foo"), "unsupported scheme: ''");
        assert_eq!(
            syslog("syslog-address", "unix:///run/nothing-there"),
            "stat /run/nothing-there: no such file or directory"
        );
        assert_eq!(
            refusal(Driver::Journald, &[("foo", "1")]),
            "unknown log opt 'foo' for journald log driver"
        );
        assert_eq!(refusal(Driver::Journald, &[("labels-regex", "a")]), "fine");
        let gelf = |address: &str, more: &[(&str, &str)]| {
            refusal(Driver::Gelf, &[&[("gelf-address", address)], more].concat())
        };
        assert_eq!(gelf("", &[]), "gelf-address is a required parameter");
        assert_eq!(gelf("foo", &[]), "gelf: endpoint needs to be TCP or UDP");
        assert_eq!(gelf("http://127.0.0.1:1", &[]), "gelf: endpoint needs to be TCP or UDP");
        assert_eq!(gelf("udp://127.0.0.1", &[]), "gelf: please provide gelf-address as proto://host:port");
        let (udp, tcp) = ("udp://127.0.0.1:1", "tcp://127.0.0.1:1");
        assert_eq!(gelf(tcp, &[("gelf-compression-type", "gzip")]), "compression is only supported on UDP");
        let unknown = |name: &str| format!("unknown value \"zz\" for log opt {name:?} for gelf log driver");
        for name in ["gelf-compression-type", "gelf-compression-level"] {
            assert_eq!(gelf(udp, &[(name, "zz")]), unknown(name));
        }
        assert_eq!(
            gelf(udp, &[("gelf-tcp-max-reconnect", "1")]),
            "\"gelf-tcp-max-reconnect\" is only valid for TCP"
        );
        assert_eq!(gelf(udp, &[("foo", "1")]), "unknown log opt \"foo\" for gelf log driver");
        assert_eq!(gelf(tcp, &[("gelf-tcp-reconnect-delay", "3")]), "fine");
    }

    #[test]
    fn refusals_of_fluentd_are_dockers() {
        let fluentd = |name: &str, value: &str| refusal(Driver::Fluentd, &[(name, value)]);
        let bool = "strconv.ParseBool: parsing \"zz\": invalid syntax";
        assert_eq!(fluentd("fluentd-async", "zz"), bool);
        assert_eq!(fluentd("fluentd-request-ack", "zz"), bool);
        assert_eq!(
            fluentd("fluentd-address", "127.0.0.1:zz"),
            "invalid fluentd-address (127.0.0.1:zz): parse \"tcp://127.0.0.1:zz\": invalid port \":zz\" after host"
        );
        assert_eq!(
            fluentd("fluentd-address", "http://x/y"),
            "invalid fluentd-address (http://x/y): unsupported scheme: 'http'"
        );
        assert_eq!(fluentd("fluentd-buffer-limit", "zz"), "invalid size: 'zz'");
        assert_eq!(fluentd("fluentd-retry-wait", "zz"), "time: invalid duration \"zz\"");
        assert_eq!(fluentd("fluentd-max-retries", "zz"), "strconv.ParseUint: parsing \"zz\": invalid syntax");
        assert_eq!(fluentd("foo", "zz"), "unknown log opt 'foo' for fluentd log driver");
        assert_eq!(fluentd("fluentd-address", "unix:///run/x"), "fine");
        assert_eq!(fluentd("fluentd-address", "logs.example"), "fine");
    }
}
