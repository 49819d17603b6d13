//! Uploads through a proxy that breaks connections, refuses what is large, or swallows answers.

use std::io::{self, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use berth_tests::Engine;

use crate::debian::Registry;

/// A request.
#[derive(Clone, Debug, Default)]
struct Seen {
    method: String,
    path: String,
    length: u64,
    range: Option<String>,
}

/// Reads all of a request but its body.
fn head(from: &mut impl io::BufRead) -> io::Result<Option<(Seen, String)>> {
    let (mut head, mut line) = (String::new(), String::new());
    let mut seen = Seen::default();
    while from.read_line(&mut line)? > 2 {
        match line.trim_end().split_once(": ").map(|(name, value)| (name.to_lowercase(), value)) {
            None => {
                let mut words = line.split(' ').map(str::to_owned);
                (seen.method, seen.path) = (words.next().unwrap(), words.next().unwrap());
            }
            Some((name, value)) if name == "content-length" => seen.length = value.parse().unwrap(),
            Some((name, value)) if name == "content-range" => seen.range = Some(value.to_owned()),
            Some(_) => {}
        }
        head += &line;
        line.clear();
    }
    Ok(Some((seen, head)).filter(|(_, head)| !head.is_empty()))
}

/// Serves each connection with one request.
fn listen(serve: impl Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let serve = Arc::new(serve);
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let serve = Arc::clone(&serve);
            std::thread::spawn(move || serve(client));
        }
    });
    host
}

/// What becomes of a request.
enum Fate {
    Passes,
    /// The connection ends after so many bytes of the body.
    Breaks(u64),
    /// It is refused for its size.
    IsTooLarge,
    /// It is served, and the answer is lost.
    IsNotAnswered,
}

/// Serves `registry` on another address, whose requests meet their fates.
fn proxy(
    registry: &str,
    fate: impl Fn(&Seen) -> Fate + Send + Sync + 'static,
) -> (String, Arc<Mutex<Vec<Seen>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (log, registry) = (Arc::clone(&seen), registry.to_owned());
    (listen(move |client| serve(&client, &registry, &log, &fate)), seen)
}

fn serve(
    client: &TcpStream,
    registry: &str,
    log: &Mutex<Vec<Seen>>,
    fate: &impl Fn(&Seen) -> Fate,
) -> io::Result<()> {
    let mut from = BufReader::new(client);
    let Some((seen, head)) = head(&mut from)? else { return Ok(()) };
    log.lock().unwrap().push(seen.clone());
    let fate = fate(&seen);
    if matches!(fate, Fate::IsTooLarge) {
        io::copy(&mut from.take(seen.length), &mut io::sink())?;
        let page = "<html>413 Request Entity Too Large</html>";
        return write!(
            &*client,
            "HTTP/1.1 413 Request Entity Too Large\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n{page}",
            page.len()
        );
    }
    let mut to = TcpStream::connect(registry)?;
    write!(to, "{head}Connection: close\r\n\r\n")?;
    let passes = if let Fate::Breaks(length) = fate { length } else { seen.length };
    io::copy(&mut from.take(passes), &mut to)?;
    match fate {
        Fate::Breaks(_) => Ok(()),
        Fate::IsNotAnswered => io::copy(&mut to, &mut io::sink()).map(drop),
        _ => io::copy(&mut to, &mut &*client).map(drop),
    }
}

/// Pushes an image of one layer through the proxy, pulls it from the registry itself, and gives what the proxy saw.
fn push(fate: impl Fn(&Seen) -> Fate + Send + Sync + 'static) -> Vec<Seen> {
    let registry = Registry::open();
    let (host, seen) = proxy(&registry.host, fate);
    let engine = Engine::with_images(&["busybox"]);
    engine.docker(&format!("tag busybox {host}/team/busybox:1")).ok();
    let pushed = engine.docker(&format!("push {host}/team/busybox:1"));
    let digest = pushed.ok().split("digest: ").nth(1).unwrap().split(' ').next().unwrap();
    let other = Engine::start();
    let name = format!("{}/team/busybox:1", registry.host);
    let pulled = other.docker(&format!("pull {name}"));
    assert!(pulled.ok().contains(&format!("Digest: {digest}\n")), "{pulled:?}");
    assert_eq!(other.docker(&format!("run --rm {name} echo whole")).ok(), "whole");
    seen.lock().unwrap().clone()
}

/// Only layers are as large.
fn is_layer(seen: &Seen) -> bool {
    seen.length > 100_000
}

const BREAKS: usize = 6;

/// A registry that takes uploads up where they broke, as the specification of OCI's distribution wants it ("Resuming
/// an upload"; Debian's does not), and breaks more of them than are tried where nothing comes of it.
#[derive(Default)]
struct Resuming {
    uploads: Mutex<Vec<Vec<u8>>>,
    blobs: Mutex<Vec<String>>,
    breaks: Mutex<usize>,
    seen: Mutex<Vec<Seen>>,
}

impl Resuming {
    fn serve(&self, client: &TcpStream) -> io::Result<()> {
        let mut from = BufReader::new(client);
        let Some((seen, _)) = head(&mut from)? else { return Ok(()) };
        self.seen.lock().unwrap().push(seen.clone());
        let (path, query) = seen.path.split_once('?').unwrap_or((&seen.path, ""));
        let last = path.rsplit('/').next().unwrap();
        let answer = |status: &str, headers: &str| {
            let close = "Connection: close\r\nContent-Length: 0";
            write!(&*client, "HTTP/1.1 {status}\r\n{close}\r\n{headers}\r\n")
        };
        let place = |number: usize| format!("Location: /v2/x/blobs/uploads/{number}\r\n");
        let mut uploads = self.uploads.lock().unwrap();
        let number = last.parse::<usize>().ok().filter(|_| path.contains("/uploads/"));
        match (seen.method.as_str(), number) {
            ("POST", _) => {
                uploads.push(Vec::new());
                answer("202 Accepted", &place(uploads.len() - 1))
            }
            ("GET", Some(number)) => {
                let range = format!("Range: 0-{}\r\n", uploads[number].len() - 1);
                answer("204 No Content", &(place(number) + &range))
            }
            ("PATCH" | "PUT", Some(number)) => {
                let upload = &mut uploads[number];
                let start =
                    seen.range.as_ref().map(|range| range.split('-').next().unwrap().parse().unwrap());
                if start.is_some_and(|start: usize| start != upload.len()) {
                    return answer("416 Requested Range Not Satisfiable", "");
                }
                let mut breaks = self.breaks.lock().unwrap();
                if seen.length > 10_000 && *breaks < BREAKS {
                    *breaks += 1;
                    return from.take(seen.length / 2).read_to_end(upload).map(drop);
                }
                from.take(seen.length).read_to_end(upload)?;
                if seen.method == "PATCH" {
                    return answer("202 Accepted", &place(number));
                }
                let digest = query.split("digest=").nth(1).unwrap().replace("%3A", ":");
                if digest != crate::lies::digest(upload) {
                    return answer("400 Bad Request", "");
                }
                self.blobs.lock().unwrap().push(digest);
                answer("201 Created", "")
            }
            ("HEAD", _) if !self.blobs.lock().unwrap().iter().any(|blob| blob == last) => {
                answer("404 Not Found", "")
            }
            _ => {
                io::copy(&mut from.take(seen.length), &mut io::sink())?;
                answer("201 Created", "")
            }
        }
    }
}

#[test]
fn an_upload_that_breaks_off_goes_on_where_it_broke() {
    let registry = Arc::new(Resuming::default());
    let serving = Arc::clone(&registry);
    let host = listen(move |client| serving.serve(&client));
    let engine = Engine::with_images(&["busybox"]);
    engine.docker(&format!("tag busybox {host}/x:1")).ok();
    engine.docker(&format!("push {host}/x:1")).ok();
    let seen = registry.seen.lock().unwrap();
    let layers: Vec<_> = seen.iter().filter(|seen| seen.length > 10_000).collect();
    assert_eq!(layers.len(), BREAKS + 1, "{layers:?}");
    // The whole, then what is left of it.
    assert!(layers[0].method == "PUT" && layers[0].range.is_none(), "{layers:?}");
    let last = layers[0].length - 1;
    for again in &layers[1..] {
        let range = format!("{}-{last}", last + 1 - again.length);
        assert!(again.method == "PATCH" && again.range.as_deref() == Some(&range), "{layers:?}");
    }
    assert!(layers.is_sorted_by(|one, next| one.length > next.length), "{layers:?}");
}

#[test]
fn a_registry_that_cannot_take_an_upload_up_gets_it_again() {
    let breaks = Mutex::new(2);
    let seen = push(move |seen| {
        let mut breaks = breaks.lock().unwrap();
        if !is_layer(seen) || *breaks == 0 {
            return Fate::Passes;
        }
        *breaks -= 1;
        Fate::Breaks(seen.length / 2)
    });
    assert_eq!(seen.iter().filter(|seen| is_layer(seen)).count(), 3, "{seen:?}");
}

#[test]
fn where_large_requests_are_refused_an_upload_comes_in_chunks() {
    const LARGEST: u64 = 300_000;
    let seen = push(|seen| if seen.length > LARGEST { Fate::IsTooLarge } else { Fate::Passes });
    let refused = seen.iter().filter(|seen| seen.length > LARGEST).count();
    assert!((1..=2).contains(&refused), "{seen:?}");
    let chunks: Vec<_> =
        seen.iter().filter(|seen| seen.method == "PATCH" && seen.length <= LARGEST).collect();
    assert!(chunks.len() > 2, "{seen:?}");
    let mut next = 0;
    for chunk in chunks {
        let range = format!("{next}-{}", next + chunk.length - 1);
        assert_eq!(chunk.range.as_deref(), Some(&*range), "{seen:?}");
        next += chunk.length;
    }
}

#[test]
fn a_registry_that_takes_nothing_is_told_of() {
    let registry = Registry::open();
    let (host, _) =
        proxy(&registry.host, |seen| if seen.length > 0 { Fate::IsTooLarge } else { Fate::Passes });
    let engine = Engine::with_images(&["busybox"]);
    engine.docker(&format!("tag busybox {host}/busybox:1")).ok();
    let failed = engine.docker(&format!("push {host}/busybox:1"));
    assert!(failed.fails(1).contains("413"), "{failed:?}");
}

#[test]
fn an_upload_whose_answer_is_lost_is_not_made_again() {
    let lost = Mutex::new(false);
    let seen = push(move |seen| {
        let mut lost = lost.lock().unwrap();
        if !is_layer(seen) || std::mem::replace(&mut *lost, true) {
            return Fate::Passes;
        }
        Fate::IsNotAnswered
    });
    assert_eq!(seen.iter().filter(|seen| is_layer(seen)).count(), 1, "{seen:?}");
}
