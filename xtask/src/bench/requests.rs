//! How many requests a second an engine answers, on connections that stay open.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// Clients at once, each on its own connection.
const CLIENTS: usize = 8;
/// For how long they ask.
const TIME: Duration = Duration::from_secs(3);

/// The rate of a peer, for a table; nothing where it has no socket.
pub(super) fn of(words: &[&str]) -> String {
    let socket = words.iter().find_map(|word| word.strip_prefix("unix://"));
    let rate = socket.map(|socket| rate(Path::new(socket), "/v1.45/containers/json"));
    match rate {
        Some(Ok(rate)) => format!("{rate:.0}"),
        Some(Err(error)) => error.to_string(),
        None => "–".to_owned(),
    }
}

/// The rate of the engine behind a socket.
///
/// Errors: the first answer that is not a whole 200.
pub(super) fn rate(socket: &Path, path: &str) -> io::Result<f64> {
    let start = Instant::now();
    let counts: io::Result<Vec<usize>> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(|| client(socket, path, start + TIME))).collect();
        all.into_iter()
            .map(|thread| thread.join().map_err(|_| io::Error::other("a client failed"))?)
            .collect()
    });
    Ok(counts?.iter().sum::<usize>() as f64 / start.elapsed().as_secs_f64())
}

fn client(socket: &Path, path: &str, end: Instant) -> io::Result<usize> {
    let mut stream = UnixStream::connect(socket)?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: docker\r\n\r\n");
    let mut buffer = vec![0; 1 << 20];
    let mut count = 0;
    while Instant::now() < end {
        stream.write_all(request.as_bytes())?;
        let mut filled = 0;
        while !whole(&buffer[..filled])? {
            match stream.read(&mut buffer[filled..])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                size => filled += size,
            }
        }
        count += 1;
    }
    Ok(count)
}

/// Whether an answer has come to its end.
fn whole(answer: &[u8]) -> io::Result<bool> {
    let Some(head) = answer.windows(4).take(1024).position(|window| window == b"\r\n\r\n") else {
        return Ok(false);
    };
    let text = String::from_utf8_lossy(&answer[..head]).to_lowercase();
    if !text.starts_with("http/1.1 200") {
        return Err(io::Error::other(text));
    }
    match text.lines().find_map(|line| line.strip_prefix("content-length: ")) {
        Some(length) => Ok(answer.len() == head + 4 + length.parse::<usize>().unwrap_or(usize::MAX)),
        None => Ok(answer.ends_with(b"\r\n0\r\n\r\n")),
    }
}
