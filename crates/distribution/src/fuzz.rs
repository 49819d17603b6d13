//! The parsers of what registries say, for the fuzz targets of `fuzz/targets`.

use crate::endpoint::Endpoint;
use crate::options::without_port;
use crate::{auth, download, pull, session};

/// A target's name, what mutation starts from, and the function.
pub type Row = (&'static str, &'static [&'static str], fn(&[u8]));

/// See `fuzz/targets`.
pub const TARGETS: &[Row] = &[
    (
        "auth-challenge",
        &[
            r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/busybox:pull""#,
            r#"Basic realm="a \"quoted\" one", Bearer realm=x,error=insufficient_scope"#,
        ],
        auth_challenge,
    ),
    ("content-range", &["bytes 100-199/200", "bytes 0-0/*"], content_range),
    (
        "token-answer",
        &[
            r#"{"token":"t0ken","access_token":"other","expires_in":60,"issued_at":"2020-01-02T03:04:05Z"}"#,
            r#"{"access_token":"t"}"#,
        ],
        token_answer,
    ),
    (
        "registry-refusal",
        &[
            r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown","detail":{"Tag":"1"}}]}"#,
            r#"{"details":"incorrect username or password"}"#,
        ],
        registry_refusal,
    ),
    (
        "next-link",
        &[
            r#"</v2/a/tags/list?last=x&n=2>; rel="next""#,
            "<https://r/v2/_catalog?n=1>; rel=next",
            "<//h:1/p>; rel=next",
        ],
        next_link,
    ),
    (
        "mirror",
        &["https://m.example:5000/hub/", "http://[::1]:5000", "https:///path", "http://a b/c"],
        mirror,
    ),
];

fn text(data: &[u8], run: impl FnOnce(&str)) {
    if let Ok(text) = std::str::from_utf8(data) {
        run(text);
    }
}

/// Parameters are pieces of the header; a token service is trusted by a registry of its own host alone, or its site.
fn auth_challenge(data: &[u8]) {
    text(data, |header| {
        let found = auth::challenges(header);
        let mut length = 0;
        for challenge in &found {
            assert_eq!(challenge.scheme, challenge.scheme.to_ascii_lowercase());
            for name in ["realm", "service", "scope", "error"] {
                length += challenge.get(name).map_or(0, str::len);
            }
            if let Some((scheme, host)) = challenge.get("realm").and_then(session::origin) {
                let registry = ("https", "registry.example.org");
                let trusted = auth::trusts(registry, (scheme, host));
                assert!(!trusted || scheme == "https", "credentials in clear for {host:?}");
                assert!(!trusted || without_port(host).ends_with("example.org"), "credentials for {host:?}");
            }
        }
        assert!(length <= header.len(), "more parameters than the header holds");
    });
}

fn content_range(data: &[u8]) {
    text(data, |range| {
        if let Some(start) = download::range_start(range) {
            assert!(range.contains(&start.to_string()), "{start} is not in {range:?}");
        }
    });
}

/// A token is never empty, and one that no header could hold is not sent.
fn token_answer(data: &[u8]) {
    if let Ok((token, _)) = session::token_of(data) {
        assert!(!token.is_empty());
    }
}

/// What a user is shown has nothing that a terminal obeys.
fn registry_refusal(data: &[u8]) {
    for status in [401, 403, 404, 429, 500] {
        let Ok(status) = hyper::StatusCode::from_u16(status) else { continue };
        let (_, words) = session::refusal(status, data);
        let obeyed = |character: char| character.is_control() && character != '\n';
        assert!(!words.unwrap_or_default().contains(obeyed), "a terminal would obey");
    }
}

/// A page leads to another one of a registry, by HTTP or HTTPS.
fn next_link(data: &[u8]) {
    text(data, |link| {
        let base = "https://registry.example.org/v2/_catalog?n=1000";
        if let Some(next) = pull::next_page(link).and_then(|target| session::resolve(base, target)) {
            assert!(session::origin(&next).is_some(), "{next:?}");
        }
    });
}

/// What is taken for a mirror can be asked, where it says and as it says.
fn mirror(data: &[u8]) {
    text(data, |url| {
        let Ok(endpoint) = Endpoint::mirror(url) else { return };
        let asked = endpoint.url("library/busybox/manifests/latest");
        let (scheme, host) = session::origin(&asked).expect("a mirror has a host");
        assert!(asked.parse::<hyper::Uri>().is_ok(), "{asked:?}");
        assert!(url.starts_with(&format!("{scheme}://{host}")), "{asked:?} is not at {url:?}");
    });
}
