//! What a client says before anything is done for it.

use berth_oci::keys::{self, Watcher};
use bytes::BytesMut;
use hyper::Method;

use super::attach::Frames;
use super::connection::{Head, looks_like};
use super::query::{Query, decode_path};
use super::router::{find, negotiate, split_version};
use super::time::parse_moment;
use crate::fuzz::Row;

/// See `fuzz/targets`.
pub const TARGETS: &[Row] = &[
    (
        "http-target",
        &["/v1.45/containers/a%20b/json?all=1&filters=%7B%22id%22:%5B%22x%22%5D%7D&t=-1", "/exec/x/start"],
        target,
    ),
    (
        "http-head",
        &["POST /v1.45/exec/x/start?a=b HTTP/1.1\r\nHost: d\r\nUpgrade: tcp\r\nContent-Length: 3\r\n\r\n{} "],
        head,
    ),
    ("detach-keys", &["ctrl-p,ctrl-q", "a,b,ctrl-[,ctrl-\u{40}"], detach_keys),
    ("frames", &["\u{1}\0\0\0\0\0\0\u{5}hello\u{2}\0\0\0\0\0\0\u{0}"], frames),
    ("moment", &["2020-01-02T03:04:05.678901234+01:00", "1600000000.000000001", "10m"], moment),
    (
        "daemon-json",
        &[
            r#"{"hosts":["unix:///x"],"data-root":"/d","bip":"10.0.0.1/24","log-opts":{"max-size":"1m"},"tls":true}"#,
        ],
        daemon_json,
    ),
    (
        "registries",
        &[
            r#"{"registries":{"r.example:5000":{"mirrors":["https://m/hub","http://[::1]:1"],"insecure":true}}}"#,
            r#"{"registry-mirrors":["https://m"],"insecure-registries":["10.0.0.0/8"],"max-download-attempts":3}"#,
            r#"{"no-proxy":"a, b","http-proxy":"http://p:1","max-concurrent-uploads":0,"registries":{}}"#,
        ],
        registries,
    ),
];

fn text(data: &[u8], run: impl FnOnce(&str)) {
    if let Ok(text) = std::str::from_utf8(data) {
        run(text);
    }
}

fn target(data: &[u8]) {
    text(data, |text| {
        let (path, query) = text.split_once('?').unwrap_or((text, ""));
        let (version, path) = split_version(path);
        drop(negotiate(version));
        for method in [Method::GET, Method::POST, Method::DELETE, Method::HEAD, Method::PUT] {
            if let Some((_, name)) = find(&method, path) {
                drop(decode_path(name));
            }
        }
        if let Ok(query) = Query::parse(query) {
            drop(query.filters());
            let _ = query.number::<i64>("t").is_ok();
            let _ = (query.flag("all"), query.all("filters").count());
        }
    });
}

fn head(data: &[u8]) {
    let _ = looks_like(data);
    drop(Head::parse(data));
}

/// The keys are the first line; what is typed is the rest, and none of it may be lost but the keys themselves.
fn detach_keys(data: &[u8]) {
    text(data, |text| {
        let (keys, typed) = text.split_once('\n').unwrap_or((text, text));
        let Ok(keys) = keys::parse(keys) else { return };
        let mut watcher = Watcher::new(keys);
        let mut passed = Vec::new();
        watcher.pass(typed.as_bytes(), &mut passed);
        assert!(passed.len() <= typed.len(), "more was passed on than was typed");
    });
}

/// However a stream is cut, the same text comes out.
fn frames(data: &[u8]) {
    let strip = |size: usize| {
        let (mut state, mut all) = (Frames::default(), BytesMut::new());
        for piece in data.chunks(size) {
            let mut piece = BytesMut::from(piece);
            state.strip(&mut piece);
            all.extend_from_slice(&piece);
        }
        all
    };
    assert_eq!(strip(7), strip(data.len().max(1)));
}

fn moment(data: &[u8]) {
    text(data, |text| drop(parse_moment(text)));
}

fn daemon_json(data: &[u8]) {
    let _ = crate::config::parse_file(data);
}

/// Names are hosts, and mirrors are URLs of them; neither changes on its way.
fn registries(data: &[u8]) {
    let Some(options) = crate::config::parse_registries(data) else { return };
    assert!(options.attempts > 0, "nothing would ever be asked");
    for (name, registry) in &options.registries {
        assert!(!name.is_empty() && !name.contains('/'), "{name:?}");
        assert!(registry.check().is_ok(), "{registry:?}");
    }
}
