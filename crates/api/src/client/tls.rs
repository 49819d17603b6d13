//! TLS to an engine: who it must be, and who we are.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use berth_tls::{Anyone, system_roots, verifier};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

pub use berth_tls::{FileError, read_certificates, read_key};

/// Where the certificates of a client are, and what is asked of the engine's. Empty paths are not used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsOptions {
    /// Who signs the engines' certificates (PEM). Without it those that the system trusts.
    pub ca: Option<PathBuf>,
    /// Our certificate (PEM). It needs [`TlsOptions::key`].
    pub certificate: Option<PathBuf>,
    /// Its key (PEM, not encrypted).
    pub key: Option<PathBuf>,
    /// Speak to whoever answers (`--tls` without `--tlsverify`, a context with `SkipTLSVerify`).
    pub skip_verify: bool,
    /// The name in the engine's certificate, where it is not that of the host.
    pub server_name: Option<String>,
}

/// Certificates that cannot be used; the text names the file.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or has none of what it should have.
    #[error(transparent)]
    File(#[from] FileError),
    /// One of certificate and key is missing.
    #[error("a client certificate and its key are needed together: {0} is missing")]
    Half(&'static str),
    /// Certificate and key do not fit, or are of a kind that nobody accepts.
    #[error("could not load X509 key pair: {0}")]
    Pair(rustls::Error),
    /// The name of the host cannot stand in a certificate.
    #[error("{0:?} is no name that a certificate can have")]
    Name(String),
}

/// What is needed to speak TLS to engines; made once from files.
#[derive(Clone)]
pub struct Tls {
    connector: TlsConnector,
    server_name: Option<String>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("server_name", &self.server_name).finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// [`TlsError`] for files that cannot be used.
    pub fn load(options: &TlsOptions) -> Result<Self, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Pair)?;
        let builder = if options.skip_verify {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Anyone(provider)))
        } else {
            let (roots, own) = roots(options.ca.as_deref())?;
            match verifier(roots, own, provider) {
                Ok(verifier) => builder.dangerous().with_custom_certificate_verifier(verifier),
                // Nobody is trusted: every certificate is refused, when there is one.
                Err(_) => builder.with_root_certificates(RootCertStore::empty()),
            }
        };
        let config = match (&options.certificate, &options.key) {
            (None, None) => builder.with_no_client_auth(),
            (Some(certificate), Some(key)) => builder
                .with_client_auth_cert(read_certificates(certificate)?, read_key(key)?)
                .map_err(TlsError::Pair)?,
            (None, Some(_)) => return Err(TlsError::Half("the certificate")),
            (Some(_), None) => return Err(TlsError::Half("the key")),
        };
        Ok(Self {
            connector: TlsConnector::from(Arc::new(config)),
            server_name: options.server_name.clone().filter(|name| !name.is_empty()),
        })
    }

    /// The connector, and the name that the certificate of `host` must have.
    pub(crate) fn connector(&self, host: &str) -> Result<(&TlsConnector, ServerName<'static>), TlsError> {
        let name = self.server_name.as_deref().unwrap_or(host);
        let name = ServerName::try_from(name.to_owned()).map_err(|_| TlsError::Name(name.to_owned()))?;
        Ok((&self.connector, name))
    }
}

/// Whom to trust, and the certificates that the user has named.
fn roots(ca: Option<&Path>) -> Result<(RootCertStore, Vec<CertificateDer<'static>>), TlsError> {
    // A system without any trusts nobody.
    let Some(path) = ca else { return Ok((system_roots(), Vec::new())) };
    let mut roots = RootCertStore::empty();
    let own = read_certificates(path)?;
    let (added, _) = roots.add_parsable_certificates(own.iter().cloned());
    if added == 0 {
        return Err(FileError::Empty { path: path.to_owned(), what: "certificate" }.into());
    }
    Ok((roots, own))
}
