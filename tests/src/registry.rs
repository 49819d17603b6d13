//! Debian's `docker-registry`, as a process of the test.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::until;

/// A running registry; ends when it is dropped.
pub struct Registry {
    /// `127.0.0.1:port`.
    pub host: String,
    child: Child,
    dir: tempfile::TempDir,
}

impl Registry {
    /// A registry that is open to all.
    pub fn open() -> Self {
        Self::start("", |_| {})
    }

    /// A registry for user `u` with password `secret`.
    pub fn closed() -> Self {
        // htpasswd's bcrypt of "secret".
        const LINE: &str = "u:$2y$05$5bFOk0ANdFegQ/KXuVHrjureV.eWmuBO8uJEWWAGXLnp2npS4PZfq\n";
        Self::start("auth:\n  htpasswd:\n    realm: test\n    path: {dir}/users\n", |dir| {
            fs::write(dir.join("users"), LINE).unwrap();
        })
    }

    /// A registry that speaks TLS with a certificate of an authority of its own; that authority's certificate.
    pub fn with_tls() -> (Self, String) {
        Self::with_tls_and("")
    }

    /// The same, and clients must show a certificate of that authority; one such certificate and its key.
    pub fn with_client_certificates() -> (Self, [String; 3]) {
        let (registry, authority) = Self::with_tls_and("    clientcas:\n      - {dir}/ca.crt\n");
        let script = "set -e; cd \"$1\"; \
            openssl req -newkey rsa:2048 -nodes -subj /CN=client -keyout client.key -out client.csr; \
            openssl x509 -req -in client.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out client.crt";
        let made = Command::new("sh").args(["-c", script, "sh"]).arg(registry.dir.path()).output().unwrap();
        assert!(made.status.success(), "{made:?}");
        let read = |name: &str| fs::read_to_string(registry.dir.path().join(name)).unwrap();
        let files = [authority, read("client.crt"), read("client.key")];
        (registry, files)
    }

    /// A registry whose certificate is its own authority; that certificate.
    pub fn self_signed() -> (Self, String) {
        let tls = "  tls:\n    certificate: {dir}/server.crt\n    key: {dir}/server.key\n";
        let registry = Self::start(tls, |dir| {
            let script = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=registry -addext \
                subjectAltName=IP:127.0.0.1 -keyout \"$1/server.key\" -out \"$1/server.crt\"";
            let made = Command::new("sh").args(["-c", script, "sh"]).arg(dir).output().unwrap();
            assert!(made.status.success(), "{made:?}");
        });
        let certificate = fs::read_to_string(registry.dir.path().join("server.crt")).unwrap();
        (registry, certificate)
    }

    /// A registry that hands on what the one at `remote` has.
    pub fn mirror_of(remote: &str) -> Self {
        Self::start(&format!("proxy:\n  remoteurl: http://{remote}\n"), |_| {})
    }

    /// A registry that takes the tokens of the service at `realm`, signed by the owner of a certificate.
    pub fn with_tokens(realm: &str, certificate: &str) -> Self {
        let token = format!(
            "auth:\n  token:\n    realm: {realm}\n    service: registry.test\n    issuer: tokens.test\n    \
             rootcertbundle: {{dir}}/tokens.crt\n"
        );
        Self::start(&token, |dir| fs::write(dir.join("tokens.crt"), certificate).unwrap())
    }

    fn with_tls_and(more: &str) -> (Self, String) {
        let tls = format!("  tls:\n    certificate: {{dir}}/server.crt\n    key: {{dir}}/server.key\n{more}");
        let registry = Self::start(&tls, |dir| {
            let script = "set -e; cd \"$1\"; \
                openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=ca -keyout ca.key -out ca.crt; \
                openssl req -newkey rsa:2048 -nodes -subj /CN=registry -keyout server.key -out server.csr; \
                printf 'subjectAltName=IP:127.0.0.1' >ext; \
                openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile ext \
                -out server.crt";
            let made = Command::new("sh").args(["-c", script, "sh"]).arg(dir).output().unwrap();
            assert!(made.status.success(), "{made:?}");
        });
        let authority = fs::read_to_string(registry.dir.path().join("ca.crt")).unwrap();
        (registry, authority)
    }

    fn start(more: &str, prepare: impl FnOnce(&Path)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        prepare(dir.path());
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let host = format!("127.0.0.1:{port}");
        let root = dir.path().display().to_string();
        let config = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {root}/data\n\
             http:\n  addr: {host}\n{}",
            more.replace("{dir}", &root)
        );
        fs::write(dir.path().join("config.yml"), config).unwrap();
        let log = fs::File::create(dir.path().join("log")).unwrap();
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(dir.path().join("config.yml"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        until("the registry answers", 20, || TcpStream::connect(&host).is_ok());
        Self { host, child, dir }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", fs::read_to_string(self.dir.path().join("log")).unwrap_or_default());
        }
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}
