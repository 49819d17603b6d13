//! Where a repository can be had: its mirrors, then the registry itself.

use berth_oci::Reference;
use hyper::Uri;

use crate::{Error, Options};

/// The base of a registry's API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// `https` or `http`.
    pub(crate) scheme: &'static str,
    /// `host[:port]`.
    pub(crate) host: String,
    /// What stands before `/v2/`, without a slash at its end; mostly empty.
    pub(crate) prefix: String,
    /// Whether it stands in for another registry: it gets none of that one's credentials.
    pub(crate) is_mirror: bool,
}

/// The name of Docker Hub in references, and where it lives.
pub(crate) const HUB: &str = "docker.io";
const HUB_HOST: &str = "registry-1.docker.io";

impl Endpoint {
    /// The registry of a reference itself: by TLS, and where that may be wrong, plain as second choice.
    pub(crate) fn own(options: &Options, domain: &str) -> Vec<Self> {
        let host = if domain == HUB || domain == "index.docker.io" { HUB_HOST } else { domain };
        let at = |scheme| Self { scheme, host: host.to_owned(), prefix: String::new(), is_mirror: false };
        let mut endpoints = vec![at("https")];
        if options.is_insecure(domain) {
            endpoints.push(at("http"));
        }
        endpoints
    }

    /// All endpoints for pulls of a reference, in the order to ask them.
    ///
    /// Errors: a mirror is no URL.
    pub(crate) fn all(options: &Options, reference: &Reference) -> Result<Vec<Self>, Error> {
        let mut endpoints = Vec::new();
        if let Some(registry) = options.registries.get(reference.domain()) {
            for mirror in &registry.mirrors {
                endpoints.push(Self::mirror(mirror)?);
            }
        }
        endpoints.extend(Self::own(options, reference.domain()));
        Ok(endpoints)
    }

    /// The host of a URL that belongs to no registry.
    pub(crate) fn stranger(url: &str) -> Option<Self> {
        let (scheme, host) = crate::session::origin(url)?;
        let scheme = if scheme == "https" { "https" } else { "http" };
        Some(Self { scheme, host: host.to_owned(), prefix: String::new(), is_mirror: true })
    }

    /// A mirror by its base URL.
    ///
    /// Errors: it is none that could be asked.
    pub(crate) fn mirror(url: &str) -> Result<Self, Error> {
        let invalid =
            || Error::Invalid(format!("invalid mirror: {url:?} is not a valid URL of http or https"));
        let (scheme, rest) = url.split_once("://").ok_or_else(invalid)?;
        let scheme = match scheme {
            "https" => "https",
            "http" => "http",
            _ => return Err(invalid()),
        };
        let (host, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if rest.contains(['?', '#', '@']) {
            return Err(invalid());
        }
        let prefix = prefix.trim_end_matches('/');
        let prefix = if prefix.is_empty() { String::new() } else { format!("/{prefix}") };
        let endpoint = Self { scheme, host: host.to_owned(), prefix, is_mirror: true };
        let uri: Uri = endpoint.url("").parse().map_err(|_| invalid())?;
        if uri.host().is_none_or(str::is_empty) { Err(invalid()) } else { Ok(endpoint) }
    }

    /// A URL below `/v2/`.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}://{}{}/v2/{path}", self.scheme, self.host, self.prefix)
    }

    /// Whether a failure here is no reason to give up while other endpoints are left.
    pub(crate) fn passes_on(&self, error: &Error) -> bool {
        // A certificate that is not right, theirs or ours, is no reason to go on in clear.
        let speaks_tls = |why: &str| why.contains("x509:") || why.contains("remote error: tls:");
        if !self.is_mirror && matches!(error, Error::Transport { why, .. } if speaks_tls(why)) {
            return false;
        }
        let refused = self.is_mirror
            && (matches!(error, Error::Unconvinced { .. }) || error.status() >= 400 || error.is_lie());
        refused || matches!(error, Error::Transport { .. }) || error.is_passing()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Registry;

    #[test]
    fn mirrors_come_first_and_plain_http_only_where_allowed() {
        let mut options = Options::default();
        let mirrors = vec!["http://127.0.0.1:5000".to_owned(), "https://m.example/hub/".to_owned()];
        options.registries.insert(HUB.to_owned(), Registry { mirrors });
        let reference = Reference::parse("busybox").unwrap();
        let urls: Vec<String> =
            Endpoint::all(&options, &reference).unwrap().iter().map(|endpoint| endpoint.url("")).collect();
        assert_eq!(
            urls,
            ["http://127.0.0.1:5000/v2/", "https://m.example/hub/v2/", "https://registry-1.docker.io/v2/"]
        );
        let local = Endpoint::all(&options, &Reference::parse("localhost:5000/a").unwrap()).unwrap();
        assert_eq!(local.iter().map(|e| e.scheme).collect::<Vec<_>>(), ["https", "http"]);
        for bad in ["ftp://x", "https://", "https:///path", "http://a b", "https://u@h", "https://h/?a", "h"]
        {
            let registry = Registry { mirrors: vec!["https://good".to_owned(), bad.to_owned()] };
            assert!(registry.check().is_err(), "{bad}");
            options.registries.insert(HUB.to_owned(), registry);
            assert!(Endpoint::all(&options, &reference).is_err(), "{bad}");
        }
    }
}
