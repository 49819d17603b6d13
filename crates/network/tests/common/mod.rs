//! A host of its own for each test: a fresh network namespace, with a neighbour outside and containers inside.
//!
//! Needs root, `ip` (iproute2) and `nft` (nftables). The machine's own network is never touched.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::{
    fs::File,
    io::{ErrorKind, Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use berth_network::{Endpoint, Network, NetworkConfig, PortSpec, Protocol, Request, Started};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Address of the host towards the neighbour, and of the neighbour.
pub const HOST: &str = "203.0.113.1";
pub const OUTSIDE: &str = "203.0.113.2";

/// How long a packet that must not come through is waited for.
const SILENCE: Duration = Duration::from_millis(700);
/// How long anything that must happen is waited for.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Runs a test in a network namespace of its own.
pub fn on_host(test: impl FnOnce(&Host) + Send) {
    let result = thread::scope(|scope| {
        scope
            .spawn(|| {
                let locks = tempfile::tempdir().unwrap();
                berth_sys::net::unshare_network().unwrap();
                ip("link set lo up");
                let outside = namespace();
                let netns = OwnedFd::from(File::open("/proc/thread-self/ns/net").unwrap());
                let host = Host { locks: locks.path().to_owned(), netns, outside };
                host.connect_outside();
                test(&host);
            })
            .join()
    });
    if let Err(panic) = result {
        std::panic::resume_unwind(panic);
    }
}

/// The test's host. Its thread, and all threads that it starts, are in the host's namespace.
pub struct Host {
    locks: std::path::PathBuf,
    /// The host itself.
    pub netns: OwnedFd,
    /// A neighbour, by whom nothing but published ports must be reached.
    pub outside: OwnedFd,
}

impl Host {
    pub fn config(&self) -> NetworkConfig {
        NetworkConfig { lock_dir: self.locks.clone(), ..NetworkConfig::default() }
    }

    /// A network with the defaults, with nothing running.
    pub fn network(&self) -> Network {
        self.open(self.config())
    }

    pub fn open(&self, config: NetworkConfig) -> Network {
        let network = Network::open(config).unwrap();
        network.adopt(&[]).unwrap();
        network
    }

    fn connect_outside(&self) {
        ip("link add out0 type veth peer name eth0");
        move_link("eth0", self.outside.as_fd());
        ip(&format!("addr add {HOST}/24 dev out0"));
        ip("addr add 2001:db8::1/64 dev out0 nodad");
        ip("link set out0 up");
        inside(self.outside.as_fd(), || {
            ip("link set lo up");
            ip(&format!("addr add {OUTSIDE}/24 dev eth0"));
            ip("addr add 2001:db8::2/64 dev eth0 nodad");
            ip("link set eth0 up");
            ip(&format!("route add default via {HOST}"));
        });
    }
}

/// Whether frames between ports of a bridge pass the firewall, where the kernel can do that.
pub fn bridge_netfilter(value: &str) {
    for which in ["iptables", "ip6tables"] {
        let path = format!("/proc/sys/net/bridge/bridge-nf-call-{which}");
        if Path::new(&path).exists() {
            std::fs::write(path, value).unwrap();
        }
    }
}

/// A fresh namespace.
pub fn namespace() -> OwnedFd {
    thread::spawn(|| {
        berth_sys::net::unshare_network().unwrap();
        OwnedFd::from(File::open("/proc/thread-self/ns/net").unwrap())
    })
    .join()
    .unwrap()
}

/// Moves a link of the host into a namespace.
pub fn move_link(name: &str, netns: BorrowedFd<'_>) {
    // `ip` takes a process; any thread in the namespace is one to it.
    let (sender, ready) = std::sync::mpsc::channel();
    let (done, wait) = std::sync::mpsc::channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            enter(netns);
            sender.send(rustix::thread::gettid().as_raw_nonzero()).unwrap();
            let _ = wait.recv();
        });
        let tid = ready.recv().unwrap();
        ip(&format!("link set {name} netns {tid}"));
        drop(done);
    });
}

/// Runs a closure in a namespace, on a thread of its own.
pub fn inside<T: Send>(netns: BorrowedFd<'_>, work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            enter(netns);
            work()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn enter(netns: BorrowedFd<'_>) {
    move_into_link_name_space(netns, Some(LinkNameSpaceType::Network)).unwrap();
}

/// Runs `ip` in the namespace of the calling thread.
pub fn ip(arguments: &str) -> String {
    run("ip", arguments)
}

/// Runs `nft` in the namespace of the calling thread.
pub fn nft(arguments: &str) -> String {
    run("nft", arguments)
}

fn run(program: &str, arguments: &str) -> String {
    let output = Command::new(program).args(arguments.split(' ')).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments}: {text}");
    String::from_utf8(output.stdout).unwrap()
}

/// `nft`, where failing is expected. Whether it succeeded.
pub fn try_nft(arguments: &str) -> bool {
    attempt("nft", arguments)
}

/// `ip`, where failing is expected. Whether it succeeded.
pub fn try_ip(arguments: &str) -> bool {
    attempt("ip", arguments)
}

fn attempt(program: &str, arguments: &str) -> bool {
    Command::new(program).args(arguments.split(' ')).output().unwrap().status.success()
}

/// A port to publish, as in `8080:80/tcp`, `127.0.0.1:8080:80/udp`, `[::]:0:80/tcp`, `8000-8005:80/tcp`.
pub fn port(text: &str) -> PortSpec {
    let (rest, protocol) = text.rsplit_once('/').unwrap_or((text, "tcp"));
    let (rest, container_port) = rest.rsplit_once(':').unwrap();
    let (host_ip, host_ports) = match rest.rsplit_once(':') {
        Some((ip, ports)) => (Some(ip.trim_matches(['[', ']']).parse().unwrap()), ports),
        None => (None, rest),
    };
    let (first, last) = host_ports.split_once('-').unwrap_or((host_ports, host_ports));
    let (first, last): (u16, u16) = (first.parse().unwrap(), last.parse().unwrap());
    PortSpec {
        container_port: container_port.parse().unwrap(),
        protocol: protocol.parse::<Protocol>().unwrap(),
        host_ip,
        host_ports: (first != 0).then_some(first..=last),
    }
}

/// A container: a namespace with servers in it.
pub struct Container {
    pub started: Started,
    servers: Vec<Server>,
}

impl Container {
    pub fn start(network: &Network, id: &str, ports: &[&str]) -> Container {
        let ports: Vec<PortSpec> = ports.iter().map(|text| port(text)).collect();
        let request = Request { container_id: id, ports: &ports, ..Request::default() };
        Container { started: network.start(request).unwrap(), servers: Vec::new() }
    }

    /// Answers on a TCP port of all its addresses with its name and the client's address.
    pub fn serve(mut self, port: u16) -> Container {
        let id = self.endpoint().container_id.clone();
        self.servers.push(inside(self.netns(), || Server::tcp(&id, port)));
        self
    }

    /// Answers on a UDP port in the same way.
    pub fn serve_udp(mut self, port: u16) -> Container {
        let id = self.endpoint().container_id.clone();
        self.servers.push(inside(self.netns(), || Server::udp(&id, port)));
        self
    }

    pub fn endpoint(&self) -> &Endpoint {
        &self.started.endpoint
    }

    pub fn ip(&self) -> String {
        self.endpoint().ipv4.to_string()
    }

    pub fn netns(&self) -> BorrowedFd<'_> {
        self.started.netns.as_fd()
    }

    /// Its processes die, and the engine gives its network back.
    pub fn die(self, network: &Network) {
        drop(self.servers);
        network.release(&self.started.endpoint, Some(self.started.netns));
    }
}

/// A thread that answers until it is dropped.
pub struct Server {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// In the namespace of the calling thread.
    pub fn tcp(name: &str, port: u16) -> Server {
        let listener = TcpListener::bind(any(port)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let name = name.to_owned();
        Server::run(move || match listener.accept() {
            Ok((mut stream, peer)) => {
                let _ = write!(stream, "{name} {}", plain(peer.ip()));
                true
            }
            Err(error) => error.kind() != ErrorKind::WouldBlock,
        })
    }

    /// In the namespace of the calling thread.
    pub fn udp(name: &str, port: u16) -> Server {
        let socket = UdpSocket::bind(any(port)).unwrap();
        socket.set_nonblocking(true).unwrap();
        let name = name.to_owned();
        Server::run(move || match socket.recv_from(&mut [0; 16]) {
            Ok((_, peer)) => {
                let _ = socket.send_to(format!("{name} {}", plain(peer.ip())).as_bytes(), peer);
                true
            }
            Err(error) => error.kind() != ErrorKind::WouldBlock,
        })
    }

    fn run(mut answer: impl FnMut() -> bool + Send + 'static) -> Server {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                if !answer() {
                    thread::sleep(Duration::from_millis(2));
                }
            }
        });
        Server { stop, thread: Some(thread) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// All addresses, of both families where the namespace has IPv6.
fn any(port: u16) -> SocketAddr {
    let v6 = Path::new("/proc/sys/net/ipv6").exists();
    if v6 { format!("[::]:{port}").parse().unwrap() } else { format!("0.0.0.0:{port}").parse().unwrap() }
}

fn plain(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// Connects from the namespace of the calling thread. What the server answers.
pub fn ask(address: &str) -> Option<String> {
    connect(address, PATIENCE)
}

/// As [`ask`], where nobody is expected to answer.
pub fn try_ask(address: &str) -> Option<String> {
    connect(address, SILENCE)
}

fn connect(address: &str, patience: Duration) -> Option<String> {
    let address: SocketAddr = address.parse().unwrap();
    let mut stream = TcpStream::connect_timeout(&address, patience).ok()?;
    stream.set_read_timeout(Some(patience)).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    (!answer.is_empty()).then_some(answer)
}

/// Sends datagrams from the namespace of the calling thread. What the server answers.
pub fn ask_udp(address: &str) -> Option<String> {
    (0..5).find_map(|_| try_ask_udp(address))
}

/// As [`ask_udp`], where nobody is expected to answer.
pub fn try_ask_udp(address: &str) -> Option<String> {
    let address: SocketAddr = address.parse().unwrap();
    let socket = UdpSocket::bind(any_of(address)).unwrap();
    socket.connect(address).ok()?;
    socket.set_read_timeout(Some(SILENCE)).unwrap();
    socket.send(b"?").ok()?;
    let mut answer = [0; 128];
    let len = socket.recv(&mut answer).ok()?;
    Some(String::from_utf8(answer[..len].to_vec()).unwrap())
}

fn any_of(address: SocketAddr) -> SocketAddr {
    if address.is_ipv4() { "0.0.0.0:0".parse().unwrap() } else { "[::]:0".parse().unwrap() }
}

/// Waits until a condition holds.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Names of all links of the calling thread's namespace.
pub fn links() -> Vec<String> {
    let text = ip("-o link");
    text.lines().filter_map(|line| Some(line.split(": ").nth(1)?.split('@').next()?.to_owned())).collect()
}

/// The host's ends of containers' links.
pub fn container_links() -> Vec<String> {
    links().into_iter().filter(|name| name.starts_with("veth")).collect()
}

/// Whether the kernel says that something can be read.
pub fn readable(fd: BorrowedFd<'_>, within: Duration) -> bool {
    let mut polled = [rustix::event::PollFd::from_borrowed_fd(fd, rustix::event::PollFlags::IN)];
    let timeout = rustix::time::Timespec::try_from(within).unwrap();
    rustix::event::poll(&mut polled, Some(&timeout)).unwrap() > 0
}
