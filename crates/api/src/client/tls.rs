//! TLS to an engine: who it must be, and who we are.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::{self, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

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
    /// A file cannot be read.
    #[error("open {}: {}", path.display(), reason(source))]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file has none of what it should have.
    #[error("{}: no {what} in PEM form is in it", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
        /// A certificate, or a private key.
        what: &'static str,
    },
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

/// A system error as Docker's tools tell it.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
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
            builder.with_root_certificates(roots(options.ca.as_deref())?)
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

/// Where the system's bundle of trusted certificates is: Debian, Fedora, SUSE, Alpine.
const SYSTEM_ROOTS: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

fn roots(ca: Option<&Path>) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    let certificates = match ca {
        Some(path) => read_certificates(path)?,
        // A system without any trusts nobody.
        None => {
            SYSTEM_ROOTS.iter().find_map(|path| read_certificates(Path::new(path)).ok()).unwrap_or_default()
        }
    };
    let (added, _) = roots.add_parsable_certificates(certificates);
    match ca {
        Some(path) if added == 0 => Err(TlsError::Empty { path: path.to_owned(), what: "certificate" }),
        _ => Ok(roots),
    }
}

/// All certificates of a PEM file.
///
/// # Errors
/// [`TlsError::Read`] and [`TlsError::Empty`].
pub fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read(path)?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&text).flatten().collect();
    if certificates.is_empty() {
        return Err(TlsError::Empty { path: path.to_owned(), what: "certificate" });
    }
    Ok(certificates)
}

/// The first private key of a PEM file.
///
/// # Errors
/// [`TlsError::Read`] and [`TlsError::Empty`].
pub fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let text = read(path)?;
    PrivateKeyDer::from_pem_slice(&text)
        .map_err(|_| TlsError::Empty { path: path.to_owned(), what: "private key" })
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Read { path: path.to_owned(), source })
}

/// Accepts every certificate, as the user asked for; the connection is still encrypted.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
