//! What the clients of TLS share, those of engines and those of registries: certificates and keys from PEM files, whom
//! the system trusts, and the check that takes everyone, where the user asks for that.
//!
//! It opens no connection and decides nothing: whom to trust is its users' matter.
#![forbid(unsafe_code)]

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::client::{VerifierBuilderError, WebPkiServerVerifier, verify_server_name};
use tokio_rustls::rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::{self, DigitallySignedStruct, RootCertStore, SignatureScheme};

/// A file that cannot be used; the text names it.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("open {}: {}", path.display(), reason(source))]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It has none of what it should have.
    #[error("{}: no {what} in PEM form is in it", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
        /// A certificate, or a private key.
        what: &'static str,
    },
}

/// A system error as Docker's tools tell it.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}

/// All certificates of a PEM file.
///
/// Errors: [`FileError`]; a file without any is none.
pub fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let text = read(path)?;
    let certificates = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(FileError::Empty { path: path.to_owned(), what: "certificate" }),
    }
}

/// The first private key of a PEM file.
///
/// Errors: [`FileError`].
pub fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, FileError> {
    let text = read(path)?;
    PrivateKeyDer::from_pem_slice(&text)
        .map_err(|_| FileError::Empty { path: path.to_owned(), what: "private key" })
}

fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    std::fs::read(path).map_err(|source| FileError::Read { path: path.to_owned(), source })
}

/// Where systems have their bundle of trusted certificates: Debian, Fedora, SUSE, Alpine.
const SYSTEM_ROOTS: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The files that may say whom the system trusts, the first that does being the one.
pub fn system_files() -> impl Iterator<Item = PathBuf> {
    let stated = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    stated.into_iter().chain(SYSTEM_ROOTS.map(PathBuf::from))
}

/// Whom the system trusts: what `SSL_CERT_FILE` names, or the first bundle that is there. Empty on a system without.
pub fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    for file in system_files() {
        // One that cannot be read as a whole is of use as far as it can.
        if let Ok(certificates) = CertificateDer::pem_file_iter(file) {
            roots.add_parsable_certificates(certificates.flatten());
            if !roots.is_empty() {
                return roots;
            }
        }
    }
    roots
}

/// Checks a server's certificate by these authorities. One that is itself among `own`, those that the user has named, is
/// right as well: `openssl req -x509` makes certificates that are their own authority, and what says that it may sign
/// others is otherwise refused as a server's.
///
/// Errors: there is no authority at all.
pub fn verifier(
    roots: RootCertStore,
    own: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, VerifierBuilderError> {
    let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build()?;
    Ok(Arc::new(Named { inner, own }))
}

#[derive(Debug)]
struct Named {
    inner: Arc<WebPkiServerVerifier>,
    own: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for Named {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        stapled: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let refused = match self.inner.verify_server_cert(certificate, chain, name, stapled, now) {
            Ok(verified) => return Ok(verified),
            Err(refused) => refused,
        };
        // The time has been looked at before this is found; the name has not.
        if !is_authority(&refused) || !self.own.iter().any(|own| own == certificate) {
            return Err(refused);
        }
        verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// Whether a certificate was refused for being an authority's, and for nothing else.
fn is_authority(error: &rustls::Error) -> bool {
    let rustls::Error::InvalidCertificate(rustls::CertificateError::Other(other)) = error else {
        return false;
    };
    // The library that found it is not among ours; its words are all there is.
    other.to_string() == "CaUsedAsEndEntity"
}

/// Accepts every certificate, as the user asked for; the connection is still encrypted, with whoever owns it.
#[derive(Debug)]
pub struct Anyone(pub Arc<CryptoProvider>);

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_that_is_its_own_authority_is_right_if_it_was_named() {
        let made = |name: &str, until: (i32, u8, u8)| {
            let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
            params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            params.not_before = rcgen::date_time_ymd(2000, 1, 1);
            params.not_after = rcgen::date_time_ymd(until.0, until.1, until.2);
            let key = rcgen::KeyPair::generate().unwrap();
            params.self_signed(&key).unwrap().der().clone()
        };
        let check = |certificate: &CertificateDer<'static>, own: &CertificateDer<'static>, name: &str| {
            let mut roots = RootCertStore::empty();
            roots.add(own.clone()).unwrap();
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let verifier = verifier(roots, vec![own.clone()], provider).unwrap();
            let name = ServerName::try_from(name.to_owned()).unwrap();
            verifier.verify_server_cert(certificate, &[], &name, &[], UnixTime::now()).is_ok()
        };
        let far = (2500, 1, 1);
        let (right, other, old) =
            (made("r.example", far), made("r.example", far), made("r.example", (2001, 1, 1)));
        assert!(check(&right, &right, "r.example"));
        assert!(!check(&right, &right, "other.example"), "the name");
        assert!(!check(&right, &other, "r.example"), "another one");
        assert!(!check(&old, &old, "r.example"), "the time");
    }

    #[test]
    fn files_that_are_none_are_told_of_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.pem");
        let none = read_certificates(&path).unwrap_err().to_string();
        assert_eq!(none, format!("open {}: no such file or directory", path.display()));
        std::fs::write(&path, "text").unwrap();
        let empty = read_certificates(&path).unwrap_err().to_string();
        assert_eq!(empty, format!("{}: no certificate in PEM form is in it", path.display()));
        let key = read_key(&path).unwrap_err().to_string();
        assert_eq!(key, format!("{}: no private key in PEM form is in it", path.display()));
    }
}
