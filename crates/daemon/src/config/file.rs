//! The configuration file: `/etc/berth/daemon.json`, with dockerd's keys.

use std::path::Path;

use berth_oci::json::Node;

use super::flags::Values;
use super::table::by_key;
use super::value::Value;

/// Reads the file; nothing if it is not there and was not asked for by name.
///
/// Errors: Docker's text.
pub(super) fn read(path: &Path, asked_for: bool) -> Result<Option<Values>, String> {
    let fail =
        |why: String| format!("unable to configure the Docker daemon with file {}: {why}", path.display());
    match std::fs::read(path) {
        Ok(text) => parse(&text).map(Some).map_err(fail),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !asked_for => Ok(None),
        Err(error) => {
            let why = match error.kind() {
                std::io::ErrorKind::NotFound => "no such file or directory".to_owned(),
                std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
                _ => error.to_string(),
            };
            Err(fail(format!("open {}: {why}", path.display())))
        }
    }
}

pub(super) fn parse(text: &[u8]) -> Result<Values, String> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    if text.iter().all(u8::is_ascii_whitespace) {
        return Ok(Values::new());
    }
    let node = Node::parse(text).map_err(|error| match error.to_string().as_str() {
        "unexpected EOF" => "unexpected end of JSON input".to_owned(),
        "unexpected content after JSON" => trailing(text),
        other => other.to_owned(),
    })?;
    let entries = match node {
        Node::Object(entries) => entries,
        other => {
            let found = other.kind();
            return Err(format!(
                "json: cannot unmarshal {found} into Go value of type map[string]interface {{}}"
            ));
        }
    };
    let entries = flatten(entries)?;
    let unknown: Vec<_> =
        entries.iter().map(|(key, _)| key.as_str()).filter(|key| by_key(key).is_none()).collect();
    if !unknown.is_empty() {
        return Err(format!(
            "the following directives don't match any configuration option: {}",
            unknown.join(", ")
        ));
    }
    let mut values = Values::new();
    for (key, node) in &entries {
        if let Some(row) = by_key(key).filter(|_| *node != Node::Null) {
            values.insert(row.id(), Value::from_file(row, node)?);
        }
    }
    Ok(values)
}

/// Go's words for what follows the value.
fn trailing(text: &[u8]) -> String {
    let mut values = serde_json::Deserializer::from_slice(text).into_iter::<serde::de::IgnoredAny>();
    let _ = values.next();
    let rest = String::from_utf8_lossy(&text[values.byte_offset()..]).trim_start().chars().next();
    format!("invalid character {:?} after top-level value", rest.unwrap_or(' '))
}

/// Puts the keys of `proxies` beside the others: there they have flags of their names.
fn flatten(entries: Vec<(String, Node)>) -> Result<Vec<(String, Node)>, String> {
    let mut flat = Vec::with_capacity(entries.len());
    for (key, node) in entries {
        match node {
            Node::Object(proxies) if key == "proxies" => flat.extend(proxies),
            Node::Null if key == "proxies" => {}
            other if key == "proxies" => {
                let found = other.kind();
                return Err(format!(
                    "json: cannot unmarshal {found} into Go struct field Config.CommonConfig.proxies of type \
                     config.Proxies"
                ));
            }
            node => flat.push((key, node)),
        }
    }
    Ok(flat)
}

/// Puts flags and file together. An option may stand in one of them only.
///
/// Errors: Docker's text.
pub(super) fn merge(path: &Path, flags: Values, file: Values) -> Result<Values, String> {
    let conflicts: Vec<_> = flags
        .iter()
        .filter_map(|(id, flag)| Some(format!("{id}: (from flag: {flag}, from file: {})", file.get(id)?)))
        .collect();
    if !conflicts.is_empty() {
        return Err(format!(
            "unable to configure the Docker daemon with file {}: the following directives are specified both as a flag \
             and in the configuration file: {}",
            path.display(),
            conflicts.join(", ")
        ));
    }
    let mut values = file;
    values.extend(flags);
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::table::Kind;

    #[test]
    fn dockers_keys_are_read() {
        let text = br#"{"debug":true,"hosts":["unix:///a"],"log-opts":{"max-size":"10m"},"dns":["1.1.1.1"],
            "default-ulimits":{"nofile":{"Name":"nofile","Hard":2,"Soft":1}},"runtimes":{"crun":{"path":"/usr/bin/crun","runtimeArgs":["--x"]}},
            "default-address-pools":[{"base":"10.1.0.0/16","size":24}],"default-shm-size":"64M","mtu":1400,"features":{"buildkit":true}}"#;
        let values = parse(text).unwrap();
        let show = |key: &str| values[key].to_string();
        assert_eq!(show("debug"), "true");
        assert_eq!(show("hosts"), "[unix:///a]");
        assert_eq!(show("log-opts"), "map[max-size:10m]");
        assert_eq!(show("dns"), "[1.1.1.1]");
        assert_eq!(show("default-ulimits"), "map[nofile:nofile=1:2]");
        assert_eq!(show("runtimes"), "map[crun:/usr/bin/crun]");
        assert_eq!(show("default-address-pools"), "[{10.1.0.0/16 24}]");
        assert_eq!(show("default-shm-size"), "67108864");
        assert_eq!(parse(b"").unwrap(), Values::new());
        let values = parse(br#"{"proxies":{"http-proxy":"http://a"},"host-gateway-ip":"1.2.3.4"}"#).unwrap();
        assert_eq!(values["http-proxy"].to_string(), "http://a");
        assert_eq!(values["host-gateway-ips"].to_string(), "[1.2.3.4]");
    }

    #[test]
    fn errors_have_dockers_texts() {
        let error = |text: &str| parse(text.as_bytes()).unwrap_err();
        assert_eq!(error("{"), "unexpected end of JSON input");
        assert_eq!(
            error(r#"{"debug":true,"foo":1,"bar":2}"#),
            "the following directives don't match any configuration option: foo, bar"
        );
        assert_eq!(
            error(r#"{"debug":"x"}"#),
            "json: cannot unmarshal string into Go struct field Config.CommonConfig.debug of type bool"
        );
        let cannot = |what: &str| format!("json: cannot unmarshal {what}");
        for (text, what) in [
            (
                r#"{"dns":"1.1.1.1"}"#,
                "string into Go struct field Config.CommonConfig.DNSConfig.dns of type []net.IP",
            ),
            (
                r#"{"log-opts":{"max-size":10}}"#,
                "number into Go struct field Config.CommonConfig.LogConfig.log-opts of type string",
            ),
            (
                r#"{"shutdown-timeout":"5"}"#,
                "string into Go struct field Config.CommonConfig.shutdown-timeout of type int",
            ),
            (r#"{"init":"x"}"#, "string into Go struct field Config.init of type bool"),
            (
                r#"{"userland-proxy":"x"}"#,
                "string into Go struct field Config.CommonConfig.BridgeConfig.userland-proxy of type bool",
            ),
            (
                r#"{"mtu":1.5}"#,
                "number 1.5 into Go struct field Config.CommonConfig.BridgeConfig.DefaultBridgeConfig.mtu of type int",
            ),
            (
                r#"{"features":{"x":1}}"#,
                "number into Go struct field Config.CommonConfig.features of type bool",
            ),
            ("[]", "array into Go value of type map[string]interface {}"),
        ] {
            assert_eq!(error(text), cannot(what), "{text}");
        }
        assert_eq!(error(r#"{"debug":true}garbage"#), "invalid character 'g' after top-level value");
        assert!(error(r#"{"runtimes":{"x":{}}}"#).contains("runtime x: "));
    }

    #[test]
    fn an_option_stands_in_one_place_only() {
        let from = |key: &'static str, kind, text: &str| {
            Values::from([(key, Value::from_flag(kind, text).unwrap())])
        };
        let merged =
            merge(Path::new("/f"), from("labels", Kind::List, "c=d"), from("labels", Kind::List, "a=b"));
        assert_eq!(
            merged.unwrap_err(),
            "unable to configure the Docker daemon with file /f: the following directives are specified both as a flag \
             and in the configuration file: labels: (from flag: [c=d], from file: [a=b])"
        );
        let merged =
            merge(Path::new("/f"), from("debug", Kind::Bool, "true"), from("icc", Kind::Bool, "false"))
                .unwrap();
        assert_eq!(merged.len(), 2);
    }
}
