//! Connections to registries: names, proxies, TLS with the certificates of each registry.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use base64::Engine as _;
use berth_dns::{LookupError, Resolver};
use berth_sys::file::Stamp;
use berth_tls::{Anyone, read_certificates, read_key, system_files, system_roots, verifier};
use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::Uri;
use hyper::rt::ReadBufCursor;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

use crate::Options;
use crate::error::NO_TLS;
use crate::options::without_port;

/// The body of a request.
pub(crate) type Body = UnsyncBoxBody<Bytes, io::Error>;
type BoxError = Box<dyn std::error::Error + Send + Sync>;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// The largest answer of a proxy to CONNECT.
const PROXY_ANSWER_BYTES_MAX: usize = 16 << 10;

/// The connections to all registries; those of one host share a pool.
pub(crate) struct Transport {
    options: Arc<Options>,
    pools: Mutex<HashMap<String, Pool>>,
    resolver: Arc<Resolver>,
}

struct Pool {
    /// What was known of whom to trust when it was made.
    of: Vec<(PathBuf, Option<Stamp>)>,
    client: Client<Connector, Body>,
}

impl Transport {
    pub(crate) fn new(options: Arc<Options>) -> Self {
        Self { options, pools: Mutex::default(), resolver: Arc::default() }
    }

    /// The connections to `host[:port]`. New ones once a certificate of that host or of the system has changed.
    ///
    /// Errors: a certificate of that host cannot be used.
    pub(crate) fn pool(&self, host: &str) -> Result<Client<Connector, Body>, String> {
        let files = OwnCertificates::files(&self.options, host).into_iter().chain(system_files());
        let of: Vec<_> = files.map(|file| (file.clone(), Stamp::of(&file))).collect();
        if let Some(pool) = self.pools().get(host).filter(|pool| pool.of == of) {
            return Ok(pool.client.clone());
        }
        let connector = Connector {
            options: Arc::clone(&self.options),
            resolver: Arc::clone(&self.resolver),
            tls: TlsConnector::from(Arc::new(tls_config(&self.options, host)?)),
        };
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_timer(TokioTimer::new())
            .build(connector);
        self.pools().insert(host.to_owned(), Pool { of, client: client.clone() });
        Ok(client)
    }

    fn pools(&self) -> MutexGuard<'_, HashMap<String, Pool>> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes one connection.
#[derive(Clone)]
pub(crate) struct Connector {
    options: Arc<Options>,
    resolver: Arc<Resolver>,
    tls: TlsConnector,
}

impl tower_service::Service<Uri> for Connector {
    type Response = Stream;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let this = self.clone();
        Box::pin(async move {
            match tokio::time::timeout(CONNECT_TIMEOUT, this.connect(&uri)).await {
                Ok(stream) => stream,
                Err(_) => {
                    Err(format!("dial tcp {}: i/o timeout", uri.authority().map_or("", |a| a.as_str()))
                        .into())
                }
            }
        })
    }
}

impl Connector {
    async fn connect(&self, uri: &Uri) -> Result<Stream, BoxError> {
        let is_https = uri.scheme_str() == Some("https");
        let host = uri.host().ok_or("the URL has no host")?;
        let port = uri.port_u16().unwrap_or(if is_https { 443 } else { 80 });
        let tcp = match self.options.proxies.choose(is_https, host, port) {
            Some(proxy) => self.through(proxy, host, port).await?,
            None => self.dial(host, port).await?,
        };
        tcp.set_nodelay(true)?;
        if !is_https {
            return Ok(Stream(TokioIo::new(Box::new(tcp))));
        }
        let name = ServerName::try_from(without_port(host).to_owned())?;
        let tls = self.tls.connect(name, tcp).await.map_err(|error| tls_words(&error))?;
        Ok(Stream(TokioIo::new(Box::new(tls))))
    }

    /// Connects to the first address that answers.
    async fn dial(&self, host: &str, port: u16) -> Result<TcpStream, BoxError> {
        let mut last: BoxError = format!("dial tcp: lookup {host}: no such host").into();
        for address in self.resolve(host).await? {
            let address = SocketAddr::new(address, port);
            match TcpStream::connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = format!("dial tcp {address}: connect: {}", go_words(&error)).into(),
            }
        }
        Err(last)
    }

    async fn resolve(&self, host: &str) -> Result<Vec<IpAddr>, BoxError> {
        let words = |error| match error {
            LookupError::Failed { host, why } => format!("dial tcp: lookup {host}: {}", plainly(&why)),
            unknown @ LookupError::Unknown(_) => format!("dial tcp: {unknown}"),
        };
        Ok(self.resolver.lookup(without_port(host)).await.map_err(words)?)
    }

    /// A connection through a proxy, by CONNECT, which serves plain HTTP as well.
    async fn through(&self, proxy: &str, host: &str, port: u16) -> Result<TcpStream, BoxError> {
        let proxy = if proxy.contains("://") { proxy.to_owned() } else { format!("http://{proxy}") };
        let uri: Uri = proxy.parse().map_err(|_| format!("proxy {proxy:?} is no URL"))?;
        if uri.scheme_str() != Some("http") {
            return Err(format!("proxy {proxy}: only http proxies are spoken to").into());
        }
        let authority = uri.authority().ok_or("the proxy has no host")?;
        let mut stream = self.dial(authority.host(), authority.port_u16().unwrap_or(80)).await?;
        let mut request = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n");
        if let Some((user, _)) = authority.as_str().rsplit_once('@') {
            let user = percent_encoding::percent_decode_str(user).decode_utf8_lossy();
            let encoded = base64::engine::general_purpose::STANDARD.encode(user.as_bytes());
            request.push_str(&format!("Proxy-Authorization: Basic {encoded}\r\n"));
        }
        request.push_str("\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        // Byte by byte: what follows the answer belongs to the other side.
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(stream.read_u8().await?);
            if answer.len() > PROXY_ANSWER_BYTES_MAX {
                return Err("proxyconnect tcp: the answer of the proxy does not end".into());
            }
        }
        let first = String::from_utf8_lossy(&answer);
        let first = first.lines().next().unwrap_or_default();
        match first.split(' ').nth(1) {
            Some("200") => Ok(stream),
            _ => Err(format!("proxyconnect tcp: {first}").into()),
        }
    }
}

/// The TLS settings for a registry.
fn tls_config(options: &Options, host: &str) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let own = OwnCertificates::read(options, host)?;
    let builder = if options.is_insecure(host) && own.authorities.is_empty() {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(Anyone(Arc::clone(&provider))))
    } else {
        let mut roots = trusted();
        roots.add_parsable_certificates(own.authorities.iter().cloned());
        match verifier(roots, own.authorities, provider) {
            Ok(verifier) => builder.dangerous().with_custom_certificate_verifier(verifier),
            // Nobody is trusted: every certificate is refused, when there is one.
            Err(_) => builder.with_root_certificates(RootCertStore::empty()),
        }
    };
    match own.client {
        Some((chain, key)) => builder
            .with_client_auth_cert(chain, key)
            .map_err(|error| format!("client certificate for {host}: {error}")),
        None => Ok(builder.with_no_client_auth()),
    }
}

/// The authorities of the system, or Mozilla's where the system has none.
fn trusted() -> RootCertStore {
    let mut roots = system_roots();
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    roots
}

/// What `certs.d` has for a registry.
#[derive(Default)]
struct OwnCertificates {
    authorities: Vec<CertificateDer<'static>>,
    client: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
}

impl OwnCertificates {
    /// The files of a registry, in their order.
    fn files(options: &Options, host: &str) -> Vec<PathBuf> {
        // A host with a slash or dots only would name another directory.
        if host.contains('/') || host.trim_matches('.').is_empty() {
            return Vec::new();
        }
        let mut files = Vec::new();
        for directory in &options.certificates {
            let Ok(entries) = std::fs::read_dir(directory.join(host)) else { continue };
            let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
            paths.sort();
            files.extend(paths);
        }
        files
    }

    fn read(options: &Options, host: &str) -> Result<Self, String> {
        let mut own = Self::default();
        for path in Self::files(options, host) {
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("crt") => own.authorities.extend(certificates(&path)?),
                Some("cert") => {
                    let key = path.with_extension("key");
                    let parsed = read_key(&key).map_err(|error| {
                        format!(
                            "missing or unusable key {} for client certificate {}: {error}",
                            key.display(),
                            path.display()
                        )
                    })?;
                    own.client = Some((certificates(&path)?, parsed));
                }
                _ => {}
            }
        }
        Ok(own)
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    read_certificates(path).map_err(|error| format!("certificate {}: {error}", path.display()))
}

/// What Go says about a failed handshake.
fn tls_words(error: &io::Error) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidMessage(_)) => NO_TLS.to_owned(),
        Some(rustls::Error::InvalidCertificate(
            rustls::CertificateError::UnknownIssuer | rustls::CertificateError::BadSignature,
        )) => "tls: failed to verify certificate: x509: certificate signed by unknown authority".to_owned(),
        Some(rustls::Error::InvalidCertificate(rustls::CertificateError::Expired)) => {
            "tls: failed to verify certificate: x509: certificate has expired or is not yet valid".to_owned()
        }
        Some(rustls::Error::InvalidCertificate(other)) => {
            format!("tls: failed to verify certificate: x509: {other}")
        }
        Some(rustls::Error::AlertReceived(_)) => go_words(error),
        Some(other) => format!("tls: {other}"),
        None if error.kind() == io::ErrorKind::UnexpectedEof => "EOF".to_owned(),
        None => go_words(error),
    }
}

/// What Go says for an error number.
pub(crate) fn go_words(error: &io::Error) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    if let Some(rustls::Error::AlertReceived(alert)) = inner {
        // `CertificateRequired` is `certificate required`.
        let name = format!("{alert:?}");
        let words = name.char_indices().map(|(at, letter)| match letter.is_ascii_uppercase() && at > 0 {
            true => format!(" {}", letter.to_ascii_lowercase()),
            false => letter.to_ascii_lowercase().to_string(),
        });
        return format!("remote error: tls: {}", words.collect::<String>());
    }
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::ConnectionReset => "connection reset by peer".to_owned(),
        io::ErrorKind::NetworkUnreachable => "network is unreachable".to_owned(),
        io::ErrorKind::HostUnreachable => "no route to host".to_owned(),
        io::ErrorKind::TimedOut => "connection timed out".to_owned(),
        _ => error.to_string(),
    }
}

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A connection, with TLS or without.
pub(crate) struct Stream(TokioIo<Box<dyn Duplex>>);

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl hyper::rt::Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl hyper::rt::Write for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
/// Why a name could not be looked up, without the layers that the reason has come through.
fn plainly(why: &str) -> String {
    let why = why.trim_start_matches("proto error: ").trim_start_matches("io error: ");
    why.split(" (os error").next().unwrap_or(why).to_lowercase()
}
