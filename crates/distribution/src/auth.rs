//! Who asks: challenges of registries, and the tokens that answer them.
//!
//! Sources: RFC 7235 (`WWW-Authenticate`); the token and OAuth protocols of the Docker registry.

use crate::options::without_port;

/// One way a registry offers to be convinced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Challenge {
    /// `basic` or `bearer`, or another that we do not know, in lower case.
    pub(crate) scheme: String,
    parameters: Vec<(String, String)>,
}

impl Challenge {
    /// A parameter of the challenge.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let found = self.parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

/// The challenges of one header. What is malformed ends it; what stands before is kept.
pub(crate) fn challenges(header: &str) -> Vec<Challenge> {
    let mut found: Vec<Challenge> = Vec::new();
    let mut rest = header.trim_start();
    while !rest.is_empty() {
        let (word, after) = token(rest);
        if word.is_empty() {
            return found;
        }
        let after_space = after.trim_start();
        if let Some(value) = after_space.strip_prefix('=') {
            let Some(challenge) = found.last_mut() else { return found };
            let Some((value, after)) = value_of(value.trim_start()) else { return found };
            challenge.parameters.push((word.to_owned(), value));
            rest = after.trim_start_matches([',', ' ', '\t']);
        } else {
            found.push(Challenge { scheme: word.to_ascii_lowercase(), parameters: Vec::new() });
            rest = after_space.trim_start_matches([',', ' ', '\t']);
        }
    }
    found
}

fn token(text: &str) -> (&str, &str) {
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    text.split_at(text.find(|c| !is_token(c)).unwrap_or(text.len()))
}

fn value_of(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let (word, rest) = token(text);
        return Some((word.to_owned(), rest));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(characters.next()?.1),
            _ => value.push(character),
        }
    }
    None
}

/// Whether credentials of a registry may be shown to a token service: the same host, or the same site, and never in
/// clear where the registry itself is reached by TLS.
pub(crate) fn trusts(registry: (&str, &str), realm: (&str, &str)) -> bool {
    let ((registry_scheme, registry), (realm_scheme, realm)) = (registry, realm);
    if registry_scheme == "https" && realm_scheme != "https" {
        return false;
    }
    let (registry, realm) = (without_port(registry), without_port(realm));
    registry == realm || site(registry).is_some_and(|one| Some(one) == site(realm))
}

/// The last two labels of a name of at least two; three where the last two are a country's second level.
fn site(host: &str) -> Option<&str> {
    if host.parse::<std::net::IpAddr>().is_ok() {
        return None;
    }
    let labels: Vec<&str> = host.rsplit('.').collect();
    let is_country = labels.len() > 2 && labels[0].len() == 2 && labels[1].len() <= 3;
    let kept = if is_country { 3 } else { 2 };
    if labels.len() < kept {
        return None;
    }
    let length = labels[..kept].iter().map(|label| label.len() + 1).sum::<usize>() - 1;
    Some(&host[host.len() - length..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_of_real_registries() {
        let header = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/busybox:pull""#;
        let found = challenges(header);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].scheme, "bearer");
        assert_eq!(found[0].get("Realm"), Some("https://auth.docker.io/token"));
        assert_eq!(found[0].get("scope"), Some("repository:library/busybox:pull"));
        let both = challenges(r#"Basic realm="a \"b\", c", Bearer realm=x , service=y"#);
        assert_eq!(both.len(), 2);
        assert_eq!(both[0].get("realm"), Some("a \"b\", c"));
        assert_eq!(both[1].get("service"), Some("y"));
        for broken in ["", "=", "realm=x", "Basic realm=\"open", "\"", ",,,"] {
            assert!(challenges(broken).iter().all(|challenge| challenge.get("realm").is_none()), "{broken}");
        }
    }

    #[test]
    fn credentials_stay_with_their_site() {
        for (registry, realm, expect) in [
            (("https", "registry-1.docker.io"), ("https", "auth.docker.io"), true),
            (("https", "registry.example.com:5000"), ("https", "gitlab.example.com"), true),
            (("https", "example.com"), ("https", "evil.com"), false),
            (("https", "a.co.uk"), ("https", "b.co.uk"), false),
            (("https", "r.a.co.uk"), ("https", "auth.a.co.uk"), true),
            (("https", "example.com"), ("http", "example.com"), false),
            (("http", "127.0.0.1:5000"), ("http", "127.0.0.1:5001"), true),
            (("http", "127.0.0.1:5000"), ("http", "127.0.0.2:5001"), false),
            (("https", "localhost"), ("https", "localhost"), true),
            (("https", "example.com"), ("https", "example.com.evil.com"), false),
        ] {
            assert_eq!(trusts(registry, realm), expect, "{registry:?} {realm:?}");
        }
    }
}
