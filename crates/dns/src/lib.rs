//! Looks up the addresses of hosts by `/etc/hosts` and the name servers of `/etc/resolv.conf`, as both are at the moment
//! of the question: an engine runs for months, and a laptop changes its network, a server its name servers.
#![forbid(unsafe_code)]

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use berth_sys::file::Stamp;
use hickory_resolver::config::{NameServerConfigGroup, ResolverConfig, ResolverOpts};
use hickory_resolver::name_server::TokioConnectionProvider;
use hickory_resolver::system_conf::parse_resolv_conf;
use hickory_resolver::{Hosts, TokioResolver};

/// Why a host has no address, in the words of Go's programs.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// Neither the file nor a name server knows it.
    #[error("lookup {0}: no such host")]
    Unknown(String),
    /// Nobody could be asked.
    #[error("lookup {host}: {why}")]
    Failed {
        /// What was looked up.
        host: String,
        /// Why it failed.
        why: String,
    },
}

/// Looks hosts up. Keeps the answers of name servers as long as those allow, and as long as the files stay the same.
#[derive(Debug)]
pub struct Resolver {
    hosts: PathBuf,
    resolv_conf: PathBuf,
    made: Mutex<Option<Made>>,
}

#[derive(Debug)]
struct Made {
    of: [Option<Stamp>; 2],
    resolver: TokioResolver,
}

impl Default for Resolver {
    fn default() -> Self {
        Self::of("/etc/hosts", "/etc/resolv.conf")
    }
}

impl Resolver {
    /// A resolver that goes by other files than the system's; see hosts(5) and resolv.conf(5). Reads nothing yet.
    pub fn of(hosts: impl Into<PathBuf>, resolv_conf: impl Into<PathBuf>) -> Self {
        Self { hosts: hosts.into(), resolv_conf: resolv_conf.into(), made: Mutex::default() }
    }

    /// The addresses of a host, in the order in which they are to be tried; of an address, that one. Needs a Tokio
    /// runtime with time and network.
    ///
    /// Errors: [`LookupError`]; a `resolv.conf` that cannot be read.
    pub async fn lookup(&self, host: &str) -> Result<Vec<IpAddr>, LookupError> {
        if let Ok(address) = host.parse() {
            return Ok(vec![address]);
        }
        let failed = |why: String| LookupError::Failed { host: host.to_owned(), why };
        let resolver =
            self.current().map_err(|error| failed(format!("{}: {error}", self.resolv_conf.display())))?;
        match resolver.lookup_ip(host).await {
            Ok(found) => Ok(found.iter().collect()),
            Err(error) if error.is_no_records_found() => Err(LookupError::Unknown(host.to_owned())),
            Err(error) => Err(failed(error.to_string())),
        }
    }

    /// The resolver that goes by the files as they are.
    fn current(&self) -> io::Result<TokioResolver> {
        let of = [Stamp::of(&self.hosts), Stamp::of(&self.resolv_conf)];
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = made.as_ref().filter(|made| made.of == of) {
            return Ok(made.resolver.clone());
        }
        let resolver = self.make()?;
        *made = Some(Made { of, resolver: resolver.clone() });
        Ok(resolver)
    }

    fn make(&self) -> io::Result<TokioResolver> {
        let (config, options) = match std::fs::read(&self.resolv_conf) {
            Ok(text) if names_a_server(&text) => parse_resolv_conf(&text).map_err(io::Error::other)?,
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            // "On a normally configured system this file should not be necessary": the server of this machine is asked.
            _ => (local(), ResolverOpts::default()),
        };
        let builder = TokioResolver::builder_with_config(config, TokioConnectionProvider::default());
        let mut resolver = builder.with_options(options).build();
        let mut hosts = Hosts::default();
        // A line that makes no sense is no reason to know none.
        if let Ok(file) = std::fs::File::open(&self.hosts) {
            hosts.read_hosts_conf(file).ok();
        }
        resolver.set_hosts(Arc::new(hosts));
        Ok(resolver)
    }
}

fn names_a_server(resolv_conf: &[u8]) -> bool {
    resolv_conf.split(|byte| *byte == b'\n').any(|line| line.trim_ascii_start().starts_with(b"nameserver"))
}

fn local() -> ResolverConfig {
    let here = NameServerConfigGroup::from_ips_clear(&[[127, 0, 0, 1].into()], 53, true);
    ResolverConfig::from_parts(None, Vec::new(), here)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, UdpSocket};

    use super::*;

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
    }

    #[test]
    fn files_that_change_change_the_answers() {
        let dir = tempfile::tempdir().unwrap();
        let (hosts, resolv_conf) = (dir.path().join("hosts"), dir.path().join("resolv.conf"));
        let resolver = Resolver::of(&hosts, &resolv_conf);
        let lookup = |name: &str| block_on(resolver.lookup(name));
        std::fs::write(&hosts, "10.0.0.1 one.example one\n").unwrap();
        // Without a resolv.conf, too.
        assert_eq!(lookup("one.example").unwrap(), [Ipv4Addr::new(10, 0, 0, 1)]);
        assert_eq!(lookup("one").unwrap(), [Ipv4Addr::new(10, 0, 0, 1)]);
        assert_eq!(lookup("::1").unwrap().len(), 1);
        std::fs::write(&resolv_conf, "options timeout:1 attempts:1\n").unwrap();
        std::fs::write(&hosts, "10.0.0.2 one.example\n").unwrap();
        assert_eq!(lookup("one.example").unwrap(), [Ipv4Addr::new(10, 0, 0, 2)]);
        std::fs::rename(&hosts, dir.path().join("away")).unwrap();
        std::fs::write(&hosts, "10.0.0.3 one.example\n").unwrap();
        assert_eq!(lookup("one.example").unwrap(), [Ipv4Addr::new(10, 0, 0, 3)]);
    }

    /// A name server that knows nothing, on port 53 of an address of loopback.
    #[test]
    fn the_name_servers_of_the_moment_are_asked() {
        let dir = tempfile::tempdir().unwrap();
        let (hosts, resolv_conf) = (dir.path().join("hosts"), dir.path().join("resolv.conf"));
        let resolver = Resolver::of(&hosts, &resolv_conf);
        for last in [71, 72] {
            let address = Ipv4Addr::new(127, 87, 3, last);
            let server = UdpSocket::bind((address, 53)).unwrap();
            std::fs::write(&resolv_conf, format!("nameserver {address}\noptions timeout:5 attempts:1\n"))
                .unwrap();
            let answers = std::thread::spawn(move || {
                let mut packet = [0; 512];
                for _ in 0..2 {
                    let (length, from) = server.recv_from(&mut packet).unwrap();
                    // RFC 1035, section 4.1.1: an answer, and there is no such name.
                    packet[2] |= 0x80;
                    packet[3] = 0x83;
                    server.send_to(&packet[..length], from).unwrap();
                }
            });
            let error = block_on(resolver.lookup("none.example.")).unwrap_err();
            assert_eq!(error.to_string(), "lookup none.example.: no such host");
            answers.join().unwrap();
        }
    }
}
