//! TLS: `--tls`, `--tlsverify`, `--tlscacert`, `--tlscert`, `--tlskey`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use berth_api::client::{FileError, read_certificates, read_key};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use super::flags::Values;
use super::{flag, text};

/// What is needed to speak TLS.
#[derive(Clone)]
pub(crate) struct Tls {
    pub(crate) acceptor: TlsAcceptor,
    /// Clients must show a certificate that our authority signed.
    pub(crate) verify: bool,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("verify", &self.verify).finish_non_exhaustive()
    }
}

/// Reads the certificates, if TLS is asked for.
///
/// Errors: Docker's text for a certificate that cannot be read.
pub(super) fn read(values: &Values) -> Result<Option<Tls>, String> {
    let verify = flag(values, "tlsverify") == Some(true);
    if !verify && flag(values, "tls") != Some(true) {
        return Ok(None);
    }
    let acceptor = acceptor(
        verify.then(|| path(values, "tlscacert", "ca.pem")),
        &path(values, "tlscert", "cert.pem"),
        &path(values, "tlskey", "key.pem"),
    );
    Ok(Some(Tls { acceptor: acceptor.map_err(|why| format!("invalid TLS configuration: {why}"))?, verify }))
}

/// Says whether the user wrote that there is to be no TLS.
pub(super) fn is_refused(values: &Values) -> bool {
    flag(values, "tls") == Some(false) || flag(values, "tlsverify") == Some(false)
}

/// A path that was given, or the file of that name where Docker looks for it.
fn path(values: &Values, id: &str, name: &str) -> PathBuf {
    if let Some(path) = text(values, id) {
        return path.into();
    }
    let folder = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    folder("DOCKER_CERT_PATH")
        .or_else(|| folder("DOCKER_CONFIG"))
        .unwrap_or_else(|| folder("HOME").unwrap_or_else(|| "/root".into()).join(".docker"))
        .join(name)
}

fn acceptor(ca: Option<PathBuf>, certificate: &Path, key: &Path) -> Result<TlsAcceptor, String> {
    let pair = |error: String| {
        format!("Could not load X509 key pair (cert: {certificate:?}, key: {key:?}): {error}")
    };
    let certificates = read_certificates(certificate).map_err(|error| pair(error.to_string()))?;
    let private = read_key(key).map_err(|error| pair(error.to_string()))?;
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = match ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let unread = |error: FileError| match error {
                error @ FileError::Read { .. } => format!("could not read CA certificate {path:?}: {error}"),
                _ => format!("failed to append certificates from PEM file: {path:?}"),
            };
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(read_certificates(&path).map_err(unread)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().map_err(|error| error.to_string())?)
        }
    };
    let config = builder.with_single_cert(certificates, private).map_err(|error| pair(error.to_string()))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
