//! TLS: who shows a certificate of our authority is served, and nobody else.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use berth_api::client::{Client, Error, Host, Tls, TlsOptions};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use super::{Daemon, rest};

/// An authority, the engine's certificate, a client's, and one of a stranger.
pub(crate) struct Certificates(PathBuf);

impl Certificates {
    pub(crate) fn make(folder: &Path) -> Self {
        let authority = || {
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
        };
        let (ours, other) = (authority(), authority());
        std::fs::write(folder.join("ca.pem"), ours.pem()).unwrap();
        std::fs::write(folder.join("other-ca.pem"), other.pem()).unwrap();
        for (name, issuer) in [("engine", &ours), ("client", &ours), ("stranger", &other)] {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(vec!["127.0.0.1".to_owned(), "engine".to_owned()]).unwrap();
            std::fs::write(folder.join(name), params.signed_by(&key, issuer).unwrap().pem()).unwrap();
            std::fs::write(folder.join(format!("{name}-key")), key.serialize_pem()).unwrap();
        }
        Self(folder.to_owned())
    }

    pub(crate) fn flags(&self) -> Vec<String> {
        let path = |name: &str| self.0.join(name).display().to_string();
        vec![
            "--tlsverify".to_owned(),
            format!("--tlscacert={}", path("ca.pem")),
            format!("--tlscert={}", path("engine")),
            format!("--tlskey={}", path("engine-key")),
        ]
    }

    fn options(&self, who: Option<&str>, ca: Option<&str>) -> TlsOptions {
        let path = |name: &str| Some(self.0.join(name));
        TlsOptions {
            ca: ca.and_then(path),
            certificate: who.and_then(path),
            key: who.and_then(|who| path(&format!("{who}-key"))),
            ..TlsOptions::default()
        }
    }
}

fn ask(daemon: &Daemon, options: &TlsOptions) -> Result<Vec<u8>, Error> {
    let host = Host::parse(&format!("tcp://127.0.0.1:{}", daemon.tcp)).unwrap();
    let client = Client::new(host, None).with_tls(Tls::load(options).unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let query = berth_api::client::Query::new();
    runtime
        .block_on(client.bytes(hyper::Method::GET, "/_ping", &query, None::<&()>))
        .map(|(_, body)| body.to_vec())
}

pub(crate) fn clients_show_certificates(daemon: &Daemon) {
    let options = |who, ca| daemon.certificates.options(who, ca);
    assert_eq!(ask(daemon, &options(Some("client"), Some("ca.pem"))).unwrap(), b"OK");
    // The engine is not asked who it is; we are.
    let anyone = TlsOptions { skip_verify: true, ..options(Some("client"), None) };
    assert_eq!(ask(daemon, &anyone).unwrap(), b"OK");
    let named =
        TlsOptions { server_name: Some("engine".to_owned()), ..options(Some("client"), Some("ca.pem")) };
    assert_eq!(ask(daemon, &named).unwrap(), b"OK");
    let wrong = TlsOptions { server_name: Some("elsewhere".to_owned()), ..named };
    for (why, refused) in [
        ("no certificate", options(None, Some("ca.pem"))),
        ("a stranger's certificate", options(Some("stranger"), Some("ca.pem"))),
        ("an engine of another authority", options(Some("client"), Some("other-ca.pem"))),
        ("an engine that the system does not trust", options(Some("client"), None)),
        ("another engine", wrong),
    ] {
        let error = ask(daemon, &refused).expect_err(why);
        assert!(!matches!(error, Error::Api { .. }), "{why}: {error}");
    }
    // Who speaks no TLS is told so; who says nothing holds up nobody.
    let _silent = TcpStream::connect(("127.0.0.1", daemon.tcp)).unwrap();
    let mut plain = TcpStream::connect(("127.0.0.1", daemon.tcp)).unwrap();
    plain.write_all(b"GET /_ping HTTP/1.1\r\nHost: d\r\n\r\n").unwrap();
    plain.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(
        rest(&mut plain),
        "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"
    );
    let mut noise = TcpStream::connect(("127.0.0.1", daemon.tcp)).unwrap();
    noise.write_all(&[0x16, 3, 1, 0, 3, 1, 2, 3]).unwrap();
    noise.shutdown(std::net::Shutdown::Write).unwrap();
    let _ = noise.read_to_end(&mut Vec::new()); // an alert, or a reset
    assert_eq!(ask(daemon, &options(Some("client"), Some("ca.pem"))).unwrap(), b"OK");
}
