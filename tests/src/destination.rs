//! A server that logs are sent to, whatever their driver.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

/// What came, by container: the numbers of its lines in the order in which they came. The lines are `@name:number@`.
type Got = Arc<Mutex<BTreeMap<String, Vec<u32>>>>;

/// A server for TCP that looks for `@name:number@` in all that comes.
pub struct Destination {
    /// Where it listens.
    pub address: SocketAddr,
    got: Got,
}

impl Destination {
    /// One that takes what comes.
    pub fn open() -> Destination {
        Self::on(TcpListener::bind("127.0.0.1:0").expect("a port"))
    }

    /// One that takes what comes to a listener, also what waits there.
    pub fn on(listener: TcpListener) -> Destination {
        let address = listener.local_addr().expect("an address");
        let got = Got::default();
        let kept = got.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let got = kept.clone();
                std::thread::spawn(move || read(stream, &got));
            }
        });
        Destination { address, got }
    }

    /// The numbers of a container's lines so far.
    pub fn of(&self, name: &str) -> Vec<u32> {
        self.got.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned().unwrap_or_default()
    }
}

fn read(mut stream: TcpStream, got: &Got) {
    let mut buffer = vec![0; 64 << 10];
    let mut begun = Vec::new();
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        begun.extend_from_slice(&buffer[..length]);
        let mut parts = begun.split(|byte| *byte == b'@').collect::<Vec<_>>();
        // What may go on is looked at when more has come.
        let rest = parts.pop().map(<[u8]>::to_vec).unwrap_or_default();
        let lines = parts.into_iter().filter_map(|part| {
            let (name, number) = std::str::from_utf8(part).ok()?.split_once(':')?;
            Some((name.to_owned(), number.parse().ok()?))
        });
        let mut got = got.lock().unwrap_or_else(PoisonError::into_inner);
        lines.for_each(|(name, number)| got.entry(name).or_default().push(number));
        drop(got);
        begun = rest;
    }
}
