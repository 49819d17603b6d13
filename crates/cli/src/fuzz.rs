//! The parsers of words and templates, for the fuzz targets of `fuzz/targets`.

use std::path::Path;

use crate::format::template::{Missing, Template};
use crate::format::value::Value;
use crate::values;

/// A target's name, what mutation starts from, and the function.
pub type Row = (&'static str, &'static [&'static str], fn(&[u8]));

/// See `fuzz/targets`.
pub const TARGETS: &[Row] = &[
    (
        "template",
        &[
            "{{range $i, $e := .List}}{{if eq $i 0}}{{$e.Name | upper | printf \"%-5s\"}}{{else}}{{json .}}{{end}}{{end}}",
            "{{with .Map}}{{index . \"a\"}}{{end}}{{define \"x\"}}{{template \"x\" .}}{{end}}{{template \"x\" .}}{{slice .Text 1 2}}",
            "{{join (split .Text \",\") \"-\"}}{{len .List}}{{println 1.5 true nil}}{{/* c */}}{{- .Number -}}",
        ],
        template,
    ),
    (
        "flags",
        &[
            "127.0.0.1:8000-8010:80-90/tcp",
            "[::1]:1:2/udp",
            "/host:/there:ro,z",
            "name:/there",
            "type=bind,source=/a,target=/b,readonly,bind-propagation=rslave",
            "/dev/a:/dev/b:rwm",
            "name=bridge,alias=a,ip=1.2.3.4",
            "count=2,capabilities=gpu",
            "ctrl-p,ctrl-q",
            "1h2m3.5s",
            "1.5GiB",
        ],
        flags,
    ),
    ("credentials-file", &[CREDENTIALS], |data| crate::config::vault::fuzz(data)),
];

/// One entry that the key of the target opens, and two that it does not.
pub(crate) const CREDENTIALS: &str = r#"{"version":1,"entries":{"https://index.docker.io/v1/":{"nonce":"AQEBAQEBAQEBAQEB","sealed":"B2j0ZPWXT6xO7J7XUDwDyWw0gDywng7DH4a5YIAXkc2IEwnxXhh2iqPS3cgb"},"r.example":{"nonce":"AQEBAQEBAQEBAQEB","sealed":"B2j0ZPWXT6xO7J7XUDwDyWw0gDywng7DH4a5YIAXkc2IEwnxXhh2iqPS3cgb"},"x":{"nonce":"AAAA","sealed":""}}}"#;

fn template(data: &[u8]) {
    let Ok(source) = std::str::from_utf8(data) else { return };
    let Ok(template) = Template::parse(source) else { return };
    const DATA: &str = r#"{"List":[{"Name":"one"},{"Name":"two"}],"Map":{"a":1},"Text":"x,é,z","Number":-5}"#;
    let Ok(value) = serde_json::from_str::<Value>(DATA) else { return };
    for missing in [Missing::Print, Missing::Fail] {
        let mut out = String::new();
        drop(template.run(&value, missing, &mut out));
    }
}

fn flags(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let list = [text.to_owned()];
    drop(values::ports::parse_published(&list));
    drop(values::ports::parse_exposed(&list, &mut std::collections::BTreeMap::new()));
    drop(values::volumes::parse(&list, Path::new("/")));
    drop(values::volumes::parse_tmpfs(&list));
    drop(values::mounts::parse(text));
    drop(values::devices::parse(text));
    drop(values::networks::parse(text));
    drop(values::gpus::parse(text));
    drop(berth_oci::keys::parse(text));
    drop(crate::flags::number::parse_duration(text));
    drop(crate::flags::number::parse_int(text));
    drop(crate::format::units::parse_bytes(text));
}
