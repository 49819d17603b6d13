//! What two engines need not have in common: ids, times, addresses, versions, sizes of the machine.

use super::json::Json;
use regex::Regex;

/// Replacements in text, in order.
const TEXT: [(&str, &str); 22] = [
    (r"\x1b\[[0-9;]*[A-Za-z]", ""),
    (r"sha256:[0-9a-f]{64}", "<digest>"),
    (r"\b[0-9a-f]{64}\b", "<id>"),
    (r"\b[0-9a-f]{12}\b", "<short>"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", "<time>"),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)? [+-]\d{4} [A-Z]+", "<time>"),
    (r"\b([0-9a-f]{2}:){5}[0-9a-f]{2}\b", "<mac>"),
    (r"\b(172\.1[7-9]|172\.[23]\d|10|192\.168)(\.\d{1,3}){2,3}(/\d+)?", "<ip>"),
    (r"\b(fe80|fd[0-9a-f]{2}):[0-9a-f:]+(/\d+)?", "<ip6>"),
    (
        r"(Less than a second|About a minute|About an hour|\d+ (seconds?|minutes?|hours?|days?|weeks?|months?))( ago)?",
        "<ago>",
    ),
    (
        r"/var/lib/docker|/var/lib/berth|/tmp/berth-conformance-?\d*/data|/var/tmp/berth-conformance/data",
        "<root>",
    ),
    (r"/run/docker|/tmp/berth-conformance-?\d*/run", "<exec-root>"),
    (r"/tmp/\.?tmp[A-Za-z0-9_-]+|/tmp/conf\.\w+", "<tmp>"),
    (r"docker-runc|crun|runc", "<runtime>"),
    (r"\b[a-z]+_[a-z]+\b(?P<n>\d?)$", "<name>"),
    (r"available: [\d,-]+", "available: <set>"),
    (r"pid=\d+|pid \d+", "<pid>"),
    (r#""Pid":[1-9]\d*"#, "\"Pid\":<pid>"),
    (r"\b(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) [ \d]\d  ?\d\d:\d\d", "<date>"),
    (r"dial unix [^:]*:", "dial unix <socket>:"),
    (r"unix:///[^ \n]*", "<host>"),
    (r"(docker0|berth0|btconf\w*)", "<bridge>"),
];

/// Keys whose values say nothing about likeness.
const KEYS: [&str; 36] = [
    "Id",
    "Created",
    "StartedAt",
    "FinishedAt",
    "Pid",
    "SandboxID",
    "SandboxKey",
    "NetworkID",
    "EndpointID",
    "MacAddress",
    "IPAddress",
    "Gateway",
    "ResolvConfPath",
    "HostnamePath",
    "HostsPath",
    "LogPath",
    "GraphDriver",
    "time",
    "timeNano",
    "SystemTime",
    "MemTotal",
    "KernelVersion",
    "OperatingSystem",
    "OSVersion",
    "ServerVersion",
    "DockerRootDir",
    "ID",
    "BuildTime",
    "GitCommit",
    "DockerVersion",
    "IPPrefixLen",
    "GoVersion",
    "HostPort",
    "LastTagTime",
    "Hostname",
    "VirtualSize",
];

/// The rules, compiled once.
pub(super) struct Rules {
    text: Vec<(Regex, &'static str)>,
}

impl Rules {
    pub(super) fn new() -> Rules {
        let compile = |row: &(&str, &'static str)| (Regex::new(row.0).expect("a pattern of ours"), row.1);
        Rules { text: TEXT.iter().map(compile).collect() }
    }

    /// Text without what must differ.
    pub(super) fn text(&self, text: &str) -> String {
        let replace =
            |text: String, (rule, with): &(Regex, &'static str)| rule.replace_all(&text, *with).into_owned();
        let text = self.text.iter().fold(text.to_owned(), replace);
        // columns are as wide as their widest cell: widths differ where cells do
        let squeezed = text.lines().map(|line| squeeze(line.trim_end())).collect::<Vec<_>>().join("\n");
        if text.ends_with('\n') { squeezed + "\n" } else { squeezed }
    }

    /// JSON without what must differ; types, order and emptiness stay.
    pub(super) fn json(&self, value: &mut Json) {
        match value {
            Json::String(text) => *text = self.text(text),
            Json::Array(list) => list.iter_mut().for_each(|value| self.json(value)),
            Json::Object(fields) => {
                for (key, value) in fields.iter_mut() {
                    if KEYS.contains(&key.as_str()) {
                        *value = kind(value);
                    } else {
                        self.json(value);
                    }
                    if let ("Ports", Json::Array(list)) = (key.as_str(), &mut *value) {
                        // Docker lists them in the order of a hash table
                        list.sort_by_cached_key(ToString::to_string);
                    }
                    *key = self.text(key);
                }
            }
            Json::Null | Json::Bool(_) | Json::Number(_) => {}
        }
    }
}

/// A value's type, and whether it is empty.
fn kind(value: &Json) -> Json {
    match value {
        Json::String(text) if text.is_empty() => "".into(),
        Json::String(_) => "<string>".into(),
        Json::Number(number) if number.as_f64() == Some(0.0) => "<zero>".into(),
        Json::Number(_) => "<number>".into(),
        Json::Object(_) => "<object>".into(),
        Json::Array(list) if !list.is_empty() => "<array>".into(),
        other => other.clone(),
    }
}

/// Runs of blanks as two: enough to see columns, whatever their width.
fn squeeze(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut blanks = 0;
    for letter in line.chars() {
        blanks = if letter == ' ' { blanks + 1 } else { 0 };
        if blanks <= 2 {
            out.push(letter);
        }
    }
    out
}
