//! Ports that a shim relays: TCP with half-closes, slow readers and resets, UDP with answers from the right address.
#![allow(clippy::unwrap_used)] // a helper may fail like a test

mod common;

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use berth_shim::Target;
use berth_shim::client::{Relay, Shim, Started};
use common::*;

/// A server that answers each connection by a closure, and the relay before it.
struct Relayed {
    host: Host,
    shim: Shim,
    started: Started,
    /// Where clients go.
    port: u16,
    is_udp: bool,
}

impl Relayed {
    async fn tcp(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Relayed {
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let target = server.local_addr().unwrap();
        let serve = std::sync::Arc::new(serve);
        std::thread::spawn(move || {
            for stream in server.incoming() {
                let serve = std::sync::Arc::clone(&serve);
                std::thread::spawn(move || serve(stream.unwrap()));
            }
        });
        let socket = TcpListener::bind("[::1]:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let port = socket.local_addr().unwrap().port();
        Relayed::start(Relay { socket: socket.into(), is_udp: false, target }, port).await
    }

    async fn start(relay: Relay, port: u16) -> Relayed {
        let host = Host::new();
        let mut order = host.container("a", &["sleep", "1000"]);
        let is_udp = relay.is_udp;
        order.relays.push(relay);
        let (shim, started) = host.start(order).await;
        Relayed { host, shim, started, port, is_udp }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("::1", self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.started.shim_pid)).unwrap().count()
    }

    /// Ends the container; the port is free then.
    async fn end(mut self) {
        self.shim.signal(&Target::Container, 9).await.unwrap();
        exited(&mut self.started).await;
        let address: SocketAddr = format!("[::1]:{}", self.port).parse().unwrap();
        if self.is_udp {
            UdpSocket::bind(address).unwrap();
        } else {
            assert!(TcpStream::connect_timeout(&address, Duration::from_secs(5)).is_err(), "nobody listens");
        }
        self.shim.shutdown().await.unwrap();
        assert!(self.host.is_gone("a"));
    }
}

/// Some data that no two blocks of are alike.
fn data(bytes: usize) -> Vec<u8> {
    (0..bytes / 8)
        .flat_map(|number| (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes())
        .collect()
}

fn echo(mut stream: TcpStream) {
    let mut reader = stream.try_clone().unwrap();
    // A client that is gone is no failure here.
    let _ = std::io::copy(&mut reader, &mut stream);
    let _ = stream.shutdown(Shutdown::Write);
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_arrives_both_ways_and_ends_where_it_ended() {
    let relayed = Relayed::tcp(|mut stream| {
        // All of the question first, and only then the answer: the end of one half must not be the end of both.
        let mut question = Vec::new();
        stream.read_to_end(&mut question).unwrap();
        stream.write_all(&question).unwrap();
        stream.write_all(b"end").unwrap();
    })
    .await;
    let sent = data(3 << 20);
    let mut stream = relayed.connect();
    stream.write_all(&sent).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert_eq!(answer.len(), sent.len() + 3);
    assert!(answer.starts_with(&sent) && answer.ends_with(b"end"));
    relayed.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_clients_at_once_and_slow_ones() {
    let relayed = Relayed::tcp(echo).await;
    let before = relayed.descriptors();
    // Who does not read is in nobody's way, and what it does not read is not kept in the shim.
    let mut idle: Vec<TcpStream> = (0..20).map(|_| relayed.connect()).collect();
    for stream in &mut idle {
        stream.set_nonblocking(true).unwrap();
        while stream.write(&[7; 65536]).is_ok() {}
    }
    let port = relayed.port;
    let clients: Vec<_> = (0..30)
        .map(|number| {
            std::thread::spawn(move || {
                let sent = data((number + 1) * 40_000);
                let stream = TcpStream::connect(("::1", port)).unwrap();
                let mut writer = stream.try_clone().unwrap();
                let for_writer = sent.clone();
                let writing = std::thread::spawn(move || {
                    writer.write_all(&for_writer).unwrap();
                    writer.shutdown(Shutdown::Write).unwrap();
                });
                let mut answer = Vec::new();
                (&stream).read_to_end(&mut answer).unwrap();
                writing.join().unwrap();
                assert_eq!(answer, sent);
            })
        })
        .collect();
    clients.into_iter().for_each(|client| client.join().unwrap());
    let rollup = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", relayed.started.shim_pid)).unwrap();
    let anonymous = rollup.lines().find(|line| line.starts_with("Anonymous:")).unwrap().to_owned();
    let anonymous: u64 = anonymous.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(anonymous < 1500, "{anonymous} KiB with twenty full connections");
    drop(idle);
    // Resets by clients that left with unread data, and all else, are noticed: nothing stays open.
    eventually("connections are closed", || relayed.descriptors() <= before + 8).await;
    relayed.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_ends_the_connection() {
    let nobody = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let socket = TcpListener::bind("[::1]:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    let port = socket.local_addr().unwrap().port();
    let relayed = Relayed::start(Relay { socket: socket.into(), is_udp: false, target: nobody }, port).await;
    for _ in 0..100 {
        let mut stream = relayed.connect();
        // An end or a reset.
        assert!(matches!(stream.read(&mut [0; 1]), Ok(0) | Err(_)));
    }
    relayed.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn datagrams_find_their_way_back() {
    let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let target = server.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut buffer = vec![0; 65536];
        while let Ok((length, from)) = server.recv_from(&mut buffer) {
            buffer[..length].reverse();
            server.send_to(&buffer[..length], from).unwrap();
        }
    });
    let socket = UdpSocket::bind("[::]:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    let port = socket.local_addr().unwrap().port();
    let relayed = Relayed::start(Relay { socket: socket.into(), is_udp: true, target }, port).await;
    let clients: Vec<UdpSocket> = (0..1100)
        .map(|_| {
            let client = UdpSocket::bind("[::1]:0").unwrap();
            client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            // A connected socket takes answers from the right address alone.
            client.connect(("::1", port)).unwrap();
            client
        })
        .collect();
    let mut buffer = vec![0; 65536];
    for (number, client) in clients.iter().enumerate() {
        client.send(format!("{number:05}").as_bytes()).unwrap();
        let length = client.recv(&mut buffer).unwrap();
        let expect: String = format!("{number:05}").chars().rev().collect();
        assert_eq!(&buffer[..length], expect.as_bytes());
    }
    let large = data(60_000);
    clients[0].send(&large).unwrap();
    assert_eq!(clients[0].recv(&mut buffer).unwrap(), large.len(), "forgotten ones are taken up again");
    assert!(relayed.descriptors() < 1100, "there is a limit");
    relayed.end().await;
}
