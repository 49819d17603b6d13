//! The daemon on the wire: HTTP as old, new, slow and rude clients speak it. A real engine is behind it, with no
//! containers; streams of containers are tested from outside, with the whole program.
//!
//! Needs root, as the engine does.

#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

#[path = "protocol/tls.rs"]
mod tls;

/// A daemon in this process.
struct Daemon {
    dir: tempfile::TempDir,
    main: JoinHandle<ExitCode>,
    /// The port that is spoken TLS on.
    tcp: u16,
    certificates: tls::Certificates,
}

impl Daemon {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        // A port that was free a moment ago.
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let certificates = tls::Certificates::make(dir.path());
        let mut flags = roots(dir.path());
        flags.push(format!("--host=tcp://127.0.0.1:{tcp}"));
        flags.push(format!("--config-file={}", dir.path().join("daemon.json").display()));
        std::fs::write(dir.path().join("daemon.json"), r#"{"labels":["a=1"]}"#).unwrap();
        flags.extend(certificates.flags());
        let main = std::thread::spawn(move || berth_daemon::main(flags.into_iter().map(Into::into)));
        let daemon = Self { dir, main, tcp, certificates };
        until("the daemon listens", || UnixStream::connect(daemon.socket()).is_ok());
        daemon
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("berth.sock")
    }

    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(self.socket()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    /// Sends bytes, ends the sending side, and returns all that is answered.
    fn raw(&self, request: &str) -> String {
        let mut stream = self.connect();
        stream.write_all(request.as_bytes()).unwrap();
        rest(&mut stream)
    }

    /// The status and the body of one request.
    fn ask(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let kind = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
        let length = body.len();
        let answer = self.raw(&format!(
            "{method} {path} HTTP/1.1\r\nHost: d\r\nConnection: close\r\n{kind}Content-Length: {length}\r\n\r\n{body}"
        ));
        parse(&answer)
    }

    fn message(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let (status, body) = self.ask(method, path, body);
        let error: berth_api::ErrorResponse = serde_json::from_str(&body).unwrap_or_default();
        (status, error.message)
    }
}

fn roots(dir: &Path) -> Vec<String> {
    let path = |name: &str| dir.join(name).display().to_string();
    vec![
        format!("--data-root={}", path("data")),
        format!("--exec-root={}", path("run")),
        format!("--pidfile={}", path("pid")),
        format!("--host=unix://{}", path("berth.sock")),
        format!("--cgroup-parent=/berth-protocol-{}", std::process::id()),
        "--bridge=none".to_owned(),
        "--log-level=error".to_owned(),
    ]
}

fn until(what: &str, mut check: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !check() {
        assert!(Instant::now() < end, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn rest(stream: &mut impl Read) -> String {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

/// One whole answer with a known length from a connection that goes on.
fn one_answer(stream: &mut impl Read) -> (u16, String) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let mut body = vec![0; header(&head, "content-length").map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut body).unwrap();
    parse(&(head + std::str::from_utf8(&body).unwrap()))
}

fn parse(answer: &str) -> (u16, String) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.trim_end().to_owned())
}

fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines()
        .find_map(|line| line.split_once(": ").filter(|(key, _)| key.eq_ignore_ascii_case(name)))
        .map(|(_, value)| value)
}

/// One daemon for all checks, as signals are for the whole process.
#[test]
fn the_daemon_on_the_wire() {
    let daemon = Daemon::start();
    versions_are_negotiated(&daemon);
    headers_are_dockers(&daemon);
    wrong_requests_have_dockers_texts(&daemon);
    what_is_absent_says_so(&daemon);
    connections_are_kept_and_pipelined(&daemon);
    what_is_not_http_is_refused_in_gos_words(&daemon);
    bodies_are_read_in_one_way_only(&daemon);
    requests_that_become_streams_are_recognised_however_they_arrive(&daemon);
    streams_end_with_their_clients(&daemon);
    targets_are_taken_as_go_takes_them(&daemon);
    paths_have_one_spelling(&daemon);
    bodies_may_be_waited_for_and_have_trailers(&daemon);
    tls::clients_show_certificates(&daemon);
    the_configuration_is_reloaded(&daemon);
    a_second_daemon_is_refused(&daemon);
    the_daemon_ends_when_it_is_told(daemon);
}

fn versions_are_negotiated(daemon: &Daemon) {
    for path in ["/_ping", "/v1.24/_ping", "/v1.52/_ping"] {
        assert_eq!(daemon.ask("GET", path, ""), (200, "OK".to_owned()), "{path}");
    }
    let (status, text) = daemon.message("GET", "/v1.53/version", "");
    assert_eq!(
        (status, text.as_str()),
        (400, "client version 1.53 is too new. Maximum supported API version is 1.52")
    );
    let (status, text) = daemon.message("GET", "/v1.23/version", "");
    assert_eq!(status, 400);
    assert_eq!(
        text,
        "client version 1.23 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version"
    );
    for path in ["/nothing", "/v1.45/nothing", "/vabc/version", "/v1.45", "/"] {
        assert_eq!(daemon.message("GET", path, ""), (404, "page not found".to_owned()), "{path}");
    }
    assert_eq!(daemon.message("POST", "/version", ""), (404, "page not found".to_owned()));
}

fn headers_are_dockers(daemon: &Daemon) {
    let answer = daemon.raw("HEAD /_ping HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n");
    for line in [
        "Api-Version: 1.52",
        "Ostype: linux",
        "Docker-Experimental: false",
        "Swarm: inactive",
        "Content-Length: 0",
    ] {
        assert!(answer.contains(&format!("\r\n{line}\r\n")), "{line}: {answer}");
    }
    assert!(answer.ends_with("\r\n\r\n"), "a body: {answer}");
    assert!(header(&answer, "server").unwrap().ends_with(" (linux)"));
    // What is no route has none of them.
    let answer = daemon.raw("GET /nothing HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n");
    assert_eq!(header(&answer, "api-version"), None);
}

fn wrong_requests_have_dockers_texts(daemon: &Daemon) {
    let create = |body: &str| daemon.message("POST", "/containers/create", body).1;
    assert_eq!(create(""), "invalid JSON: got EOF while reading request body");
    assert_eq!(create("{"), "invalid JSON: unexpected EOF");
    assert_eq!(create("null"), "config cannot be empty in order to create a container");
    assert_eq!(create("{}"), "config cannot be empty in order to create a container");
    assert_eq!(create(r#"{"Image":"a"} x"#), "unexpected content after JSON");
    assert_eq!(
        create(r#"{"Image":5}"#),
        "invalid JSON: json: cannot unmarshal number into Go struct field ContainerConfigWrapper.Config.Image of type string"
    );
    assert_eq!(daemon.message("GET", "/containers/json?filters=bad", ""), (400, "invalid filter".to_owned()));
    assert_eq!(daemon.message("GET", "/containers/json?filters=%zz", "").0, 400);
    assert_eq!(
        daemon.message("GET", "/containers/nobody/json", ""),
        (404, "No such container: nobody".to_owned())
    );
    assert_eq!(daemon.message("GET", "/containers/a%2Fb/json", "").0, 404);
    let (status, text) = daemon.message("GET", "/containers/nobody/logs", "");
    assert_eq!((status, text.as_str()), (400, "Bad parameters: you must choose at least one stream"));
}

fn what_is_absent_says_so(daemon: &Daemon) {
    let (status, text) = daemon.message("POST", "/build", "");
    assert_eq!(status, 501);
    assert!(text.ends_with("is not built yet"), "{text}");
    assert_eq!(daemon.message("GET", "/nodes", "").0, 503);
    assert_eq!(daemon.ask("GET", "/plugins", ""), (200, "[]".to_owned()));
}

fn connections_are_kept_and_pipelined(daemon: &Daemon) {
    let mut stream = daemon.connect();
    let ping = "GET /_ping HTTP/1.1\r\nHost: d\r\n\r\n";
    stream.write_all(format!("{ping}{ping}").as_bytes()).unwrap();
    for _ in 0..2 {
        assert_eq!(one_answer(&mut stream), (200, "OK".to_owned()));
    }
    // A body that its handler did not want is not taken for the next request.
    let junk = "GET /nothing HTTP/1.1\r\n\r\n".repeat(100);
    let length = junk.len();
    let head = format!(
        "POST /containers/create HTTP/1.1\r\nHost: d\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    std::thread::sleep(Duration::from_millis(20));
    stream.write_all(junk.as_bytes()).unwrap();
    let (status, text) = one_answer(&mut stream);
    assert_eq!(status, 400);
    assert!(
        text.contains("unsupported Content-Type header (text/plain): must be 'application/json'"),
        "{text}"
    );
    stream.write_all(ping.as_bytes()).unwrap();
    assert_eq!(one_answer(&mut stream), (200, "OK".to_owned()));
}

/// Lesson of CVE-2024-41110 and its kin: what is judged and what is done must be read from the same bytes.
/// What the real Docker answered to the same bytes, but for the date.
fn what_is_not_http_is_refused_in_gos_words(daemon: &Daemon) {
    let refused = |request: &str, status: &str| {
        let text = "Content-Type: text/plain; charset=utf-8\r\nConnection: close";
        assert_eq!(daemon.raw(request), format!("HTTP/1.1 {status}\r\n{text}\r\n\r\n{status}"), "{request}");
    };
    refused("garbage\r\n\r\n", "400 Bad Request");
    refused("GET /_ping HTTP/1.1\r\nHost: d\r\nbad header\r\n\r\n", "400 Bad Request");
    refused("GET /_ping HTTP/1.1\r\nHost: d\r\nContent-Length: x\r\n\r\n", "400 Bad Request");
    refused("GE(T /_ping HTTP/1.1\r\nHost: d\r\n\r\n", "400 Bad Request");
    let begins = |request: &str, expect: &str| {
        let answer = daemon.raw(request);
        assert!(answer.starts_with(expect), "{request}: {answer}");
        answer
    };
    begins("GET /_ping HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "HTTP/1.1 400 Bad Request\r\n");
    begins("GET /_ping HTTP/1.1\r\nHost: d\r\nExpect: foo\r\n\r\n", "HTTP/1.1 417 Expectation Failed\r\n");
    let end = "HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n";
    let answer = begins(&format!("OPTIONS * {end}"), "HTTP/1.1 200 OK\r\n");
    assert!(header(&answer, "content-length") == Some("0") && header(&answer, "api-version").is_none());
    let answer = begins(&format!("OPTIONS / {end}"), "HTTP/1.1 200 OK\r\n");
    assert!(header(&answer, "api-version").is_some(), "{answer}");
    let answer = begins(&format!("GET * {end}"), "HTTP/1.1 301 Moved Permanently\r\n");
    assert_eq!(header(&answer, "location"), Some("/%2A"));
}

fn bodies_are_read_in_one_way_only(daemon: &Daemon) {
    let body = r#"{"Image":"nobody-has-this"}"#;
    let chunked = format!(
        "POST /containers/create HTTP/1.1\r\nHost: d\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
        body.len()
    );
    assert_eq!(parse(&daemon.raw(&chunked)).0, 404);
    for (path, fields) in [
        ("/containers/create", "Content-Length: 5\r\nContent-Length: 6\r\n"),
        ("/containers/create", "Content-Length: x\r\n"),
        ("/exec/nobody/start", "Content-Length: 5\r\nContent-Length: 6\r\n"),
        ("/exec/nobody/start", "Content-Length: -1\r\n"),
        ("/exec/nobody/start", "Bad Header: 1\r\n"),
    ] {
        let mut stream = daemon.connect();
        stream.write_all(format!("POST {path} HTTP/1.1\r\nHost: d\r\n{fields}\r\n{{}}").as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let answer = rest(&mut stream);
        assert!(answer.starts_with("HTTP/1.1 400 "), "{path} {fields}: {answer}");
    }
    let long = format!("GET /{} HTTP/1.1\r\nHost: d\r\n\r\n", "a".repeat(100 << 10));
    let mut stream = daemon.connect();
    let _ = stream.write_all(long.as_bytes()); // it may be refused before it is all sent
    let mut status = [0; 12];
    if stream.read_exact(&mut status).is_ok() {
        assert!(status.starts_with(b"HTTP/1.1 4"), "{status:?}");
    }
    assert_eq!(daemon.ask("GET", "/_ping", "").0, 200);
}

fn requests_that_become_streams_are_recognised_however_they_arrive(daemon: &Daemon) {
    // As Docker: whoever attaches is told in plain text.
    let missing = (404, "No such container: nobody".to_owned());
    for upgrade in ["", "Connection: Upgrade\r\nUpgrade: tcp\r\n"] {
        let request = format!(
            "POST /v1.24/containers/nobody/attach?stream=1&stdout=1 HTTP/1.1\r\nHost: d\r\n{upgrade}\r\n"
        );
        assert_eq!(parse(&daemon.raw(&request)), missing, "{upgrade}");
        // Later on a connection it is hyper's.
        let mut stream = daemon.connect();
        stream.write_all(format!("GET /_ping HTTP/1.1\r\nHost: d\r\n\r\n{request}").as_bytes()).unwrap();
        assert_eq!(one_answer(&mut stream).0, 200);
        assert_eq!(one_answer(&mut stream), missing, "{upgrade}");
    }
    // Byte by byte, with a body.
    let request = "POST /exec/nobody/start HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
    let mut stream = daemon.connect();
    for byte in request.bytes() {
        stream.write_all(&[byte]).unwrap();
    }
    assert_eq!(
        parse(&rest(&mut stream)),
        (404, "{\"message\":\"No such exec instance: nobody\"}".to_owned())
    );
    // A client that goes away in the middle leaves nothing behind but its end.
    for cut in [1, 10, 40, request.len() - 1] {
        daemon.connect().write_all(&request.as_bytes()[..cut]).unwrap();
    }
    assert_eq!(daemon.ask("GET", "/_ping", "").0, 200);
}

fn streams_end_with_their_clients(daemon: &Daemon) {
    let listeners = || {
        let (status, info) = daemon.ask("GET", "/info", "");
        assert_eq!(status, 200, "{info}");
        let info: serde_json::Value = serde_json::from_str(&info).unwrap();
        info["NEventsListener"].as_i64().unwrap()
    };
    assert_eq!(listeners(), 0);
    let mut stream = daemon.connect();
    stream.write_all(b"GET /events HTTP/1.1\r\nHost: d\r\n\r\n").unwrap();
    // The head comes at once, although nothing has happened yet.
    let mut head = [0; 15];
    stream.read_exact(&mut head).unwrap();
    assert_eq!(&head, b"HTTP/1.1 200 OK");
    assert_eq!(listeners(), 1);
    drop(stream);
    until("the listener is gone", || listeners() == 0);
    let (status, body) = daemon.ask("GET", "/events?since=1&until=2", "");
    assert_eq!((status, body.contains("\"Type\"")), (200, false));
}

fn targets_are_taken_as_go_takes_them(daemon: &Daemon) {
    let get = |target: &str| {
        parse(&daemon.raw(&format!("GET {target} HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n")))
    };
    assert_eq!(get(r#"/containers/json?filters={"name":["nobody|é"]}"#), (200, "[]".to_owned()));
    assert_eq!(get("/containers/json?all=1#x"), (200, "[]".to_owned()));
    assert_eq!(
        get(r#"/containers/a"b|c/json"#),
        (404, r#"{"message":"No such container: a\"b|c"}"#.to_owned())
    );
    assert_eq!(get("/containers/json?filters={\"a b\":1}").0, 400);
    assert_eq!(
        get("/containers/json?a;b"),
        (400, r#"{"message":"invalid semicolon separator in query"}"#.to_owned())
    );
    assert_eq!(get("/containers/%zz/json"), (400, "400 Bad Request".to_owned()));
    assert_eq!(get("http://elsewhere/_ping"), (200, "OK".to_owned()));
    // Also behind a body, on the same connection, and where the connection becomes a stream.
    let mut stream = daemon.connect();
    let body = "GET /{} HTTP/1.1\r\n\r\n";
    let create = format!(
        "POST /containers/create?name={{x}} HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let list = "GET /images/json?filters={\"reference\":[\"nobody\"]} HTTP/1.1\r\nHost: d\r\n\r\n";
    stream.write_all(format!("{list}{create}{list}").as_bytes()).unwrap();
    assert_eq!(one_answer(&mut stream), (200, "[]".to_owned()));
    assert_eq!(one_answer(&mut stream).0, 400);
    assert_eq!(one_answer(&mut stream), (200, "[]".to_owned()));
    let answer = daemon.raw("POST /containers/{x}/attach?stream=1 HTTP/1.1\r\nHost: d\r\n\r\n");
    assert_eq!(parse(&answer), (404, "No such container: {x}".to_owned()));
    // A request of HTTP/1.1 names its host.
    assert!(
        daemon
            .raw("GET /_ping HTTP/1.1\r\nConnection: close\r\n\r\n")
            .contains("missing required Host header")
    );
    assert!(daemon.raw("GET /_ping HTTP/1.0\r\n\r\n").starts_with("HTTP/1.0 200 "));
}

fn paths_have_one_spelling(daemon: &Daemon) {
    for (path, location) in [
        ("//version", "/version"),
        ("/containers/../version?a=b", "/version?a=b"),
        ("/v1.45/containers//json", "/v1.45/containers/json"),
        ("/images/a%2F%2Fb%20c/json", "/images/a/b%20c/json"),
    ] {
        let answer = daemon.raw(&format!("GET {path} HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n"));
        assert!(answer.starts_with("HTTP/1.1 301 "), "{path}: {answer}");
        assert_eq!(header(&answer, "location"), Some(location), "{path}");
    }
}

fn bodies_may_be_waited_for_and_have_trailers(daemon: &Daemon) {
    let mut stream = daemon.connect();
    let body = r#"{"Image":"nobody-has-this"}"#;
    let head = "POST /containers/create HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\n";
    stream
        .write_all(format!("{head}Expect: 100-continue\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes())
        .unwrap();
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(body.as_bytes()).unwrap();
    assert_eq!(one_answer(&mut stream).0, 404);
    let (first, second) = body.split_at(9);
    let chunked = format!(
        "{head}Transfer-Encoding: chunked\r\nTrailer: X\r\n\r\n{:x}\r\n{first}\r\n{:X};ext=1\r\n{second}\r\n0\r\nX: y\r\n\r\n",
        first.len(),
        second.len()
    );
    stream.write_all(chunked.as_bytes()).unwrap();
    assert_eq!(one_answer(&mut stream).0, 404);
    // What is cut off in the middle is no body.
    let cut = format!("{head}Transfer-Encoding: chunked\r\n\r\n5\r\n{{\"I");
    let mut stream = daemon.connect();
    stream.write_all(cut.as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert!(!rest(&mut stream).starts_with("HTTP/1.1 2"));
}

fn the_configuration_is_reloaded(daemon: &Daemon) {
    let info = || serde_json::from_str::<serde_json::Value>(&daemon.ask("GET", "/info", "").1).unwrap();
    assert_eq!(info()["Labels"], serde_json::json!(["a=1"]));
    assert_eq!(info()["Debug"], false);
    let mut events = daemon.connect();
    events.write_all(b"GET /events?filters={\"type\":[\"daemon\"]} HTTP/1.0\r\n\r\n").unwrap();
    let mut head = [0; 15];
    events.read_exact(&mut head).unwrap();
    let file = daemon.dir.path().join("daemon.json");
    let hang_up =
        || rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::HUP).unwrap();
    // A file that is wrong changes nothing.
    std::fs::write(&file, r#"{"labels":["x"],"debug":true}"#).unwrap();
    hang_up();
    let text = r#"{"labels":["b=2"],"debug":true,"insecure-registries":["here:5000"],"registry-mirrors":["https://mirror/"],
        "runtimes":{"other":{"path":"/bin/true"}},"default-runtime":"other"}"#;
    // Signals that come together are one.
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(info()["Labels"], serde_json::json!(["a=1"]));
    std::fs::write(&file, text).unwrap();
    hang_up();
    until("the labels are the new ones", || info()["Labels"] == serde_json::json!(["b=2"]));
    let now = info();
    assert_eq!(now["Debug"], true);
    assert_eq!(now["DefaultRuntime"], "other");
    assert_eq!(now["Runtimes"]["other"]["path"], "/bin/true");
    assert_eq!(now["RegistryConfig"]["IndexConfigs"]["here:5000"]["Secure"], false);
    assert_eq!(now["RegistryConfig"]["Mirrors"], serde_json::json!(["https://mirror/"]));
    let mut event = Vec::new();
    until("the event", || {
        let mut bytes = [0; 4096];
        let size = events.read(&mut bytes).unwrap();
        event.extend_from_slice(&bytes[..size]);
        event.ends_with(b"}\n")
    });
    let event = String::from_utf8(event).unwrap();
    for part in [
        r#""Type":"daemon""#,
        r#""Action":"reload""#,
        r#""labels":"[\"b=2\"]""#,
        r#""default-runtime":"other""#,
    ] {
        assert!(event.contains(part), "{part}: {event}");
    }
}

fn a_second_daemon_is_refused(daemon: &Daemon) {
    let failed = |flags: Vec<String>| {
        let code = berth_daemon::main(flags.into_iter().map(Into::into));
        assert_ne!(format!("{code:?}"), format!("{:?}", ExitCode::SUCCESS));
    };
    // By the pidfile, and by the socket.
    failed(roots(daemon.dir.path()));
    let mut flags = roots(daemon.dir.path());
    flags.push(format!("--pidfile={}", daemon.dir.path().join("other-pid").display()));
    failed(flags);
    assert_eq!(daemon.ask("GET", "/_ping", "").0, 200);
}

fn the_daemon_ends_when_it_is_told(daemon: Daemon) {
    // An idle connection, one that has begun a request, and a stream do not hold it up.
    let _idle = daemon.connect();
    let mut slow = daemon.connect();
    slow.write_all(b"POST /exec/").unwrap();
    let mut events = daemon.connect();
    events.write_all(b"GET /events HTTP/1.1\r\nHost: d\r\n\r\n").unwrap();
    let pidfile = daemon.dir.path().join("pid");
    assert_eq!(std::fs::read_to_string(&pidfile).unwrap(), std::process::id().to_string());
    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TERM).unwrap();
    let code = daemon.main.join().unwrap();
    assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::SUCCESS));
    assert!(!pidfile.exists());
    assert!(!daemon.dir.path().join("berth.sock").exists());
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains(&daemon.dir.path().display().to_string()), "{mounts}");
}
