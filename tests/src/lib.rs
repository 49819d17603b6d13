//! The harness of the black-box tests: a private engine with real clients around it.
//!
//! Every [`Engine`] has its own data root, exec root, socket, bridge and cgroup parent, so that tests run side by side
//! and beside an engine that is in use. Dropping it removes the containers, ends the engine and checks that nothing is
//! left of it on the host: no mount, link, cgroup or process.
//!
//! The binary under test is `$BERTH_BIN`, the images are root file systems in `$BERTH_IMAGES` (both set by
//! `cargo xtask test`), the real client is `docker` from the `PATH` or `$BERTH_DOCKER`.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "the library of the tests: a panic is a failed test"
)]

pub mod destination;
pub mod disk;
pub mod hostile;
pub mod registry;
pub mod terminal;

use std::ffi::OsStr;
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// What a command left: its code and its two streams as text.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The exit code; 128 + n where signal n ended the command.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Outcome {
    /// Standard output without the last line break; fails the test where the command failed.
    #[track_caller]
    pub fn ok(&self) -> &str {
        assert_eq!(self.code, 0, "the command failed: {self:?}");
        self.stdout.strip_suffix('\n').unwrap_or(&self.stdout)
    }

    /// Standard error; fails the test where the command's code is another one.
    #[track_caller]
    pub fn fails(&self, code: i32) -> &str {
        assert_eq!(self.code, code, "another exit code: {self:?}");
        self.stderr.trim_end()
    }
}

/// Runs a command to its end and keeps what it said.
pub fn run(command: &mut Command) -> Outcome {
    use std::os::unix::process::ExitStatusExt as _;
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    Outcome {
        code: output.status.code().unwrap_or_else(|| 128 + output.status.signal().unwrap_or(0)),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Writes a shell script that can be run at once. A process of its own writes it: what another test starts just now would
/// hold a file of ours open for writing, for a moment, and such a file is not run.
pub fn script(path: &Path, text: &str) {
    let words = ["-c", "printf '#!/bin/sh\\n%s\\n' \"$2\" > \"$1\" && chmod 755 \"$1\"", "sh"];
    run(Command::new("sh").args(words).arg(path).arg(text)).ok();
}

/// The binary under test.
pub fn berth_bin() -> PathBuf {
    from_environment("BERTH_BIN")
}

/// The folder of root file systems (`busybox.tar`, `debian.tar`, …) with their `.changes`.
pub fn images() -> PathBuf {
    from_environment("BERTH_IMAGES")
}

/// The folder of what `cargo xtask dist` makes.
pub fn packages() -> PathBuf {
    from_environment("BERTH_PACKAGES")
}

fn from_environment(name: &str) -> PathBuf {
    let Some(path) = std::env::var_os(name) else {
        panic!("{name} is not set: these tests are run by `cargo xtask test`");
    };
    PathBuf::from(path)
}

/// The real Docker client.
pub fn docker_bin() -> PathBuf {
    std::env::var_os("BERTH_DOCKER").map_or_else(|| PathBuf::from("docker"), PathBuf::from)
}

/// Waits until `check` holds, for at most `seconds`; fails the test with `what` otherwise.
#[track_caller]
pub fn until(what: &str, seconds: u64, mut check: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(seconds);
    while !check() {
        assert!(Instant::now() < end, "not within {seconds} s: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Which client speaks to the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    /// Our own command line.
    Berth,
    /// The real `docker` command line.
    Docker,
}

/// Both clients, for tests that must hold with either.
pub const CLIENTS: [Client; 2] = [Client::Berth, Client::Docker];

/// A private engine.
pub struct Engine {
    /// Everything of this engine lies below.
    pub dir: PathBuf,
    /// The name of its bridge.
    pub bridge: String,
    daemon: Option<Child>,
    number: u32,
    flags: Vec<String>,
}

/// How many containers, links, mounts and cgroups of an engine the host has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Leftovers {
    /// Mount points below the engine's directory.
    pub mounts: Vec<String>,
    /// Links enslaved to its bridge.
    pub links: Vec<String>,
    /// Cgroups below its parent.
    pub cgroups: Vec<String>,
    /// Processes that name its directory.
    pub processes: Vec<String>,
}

impl Engine {
    /// An engine with nothing in it.
    pub fn start() -> Engine {
        Self::start_with(&[])
    }

    /// An engine with further flags of `berth daemon`.
    pub fn start_with(flags: &[&str]) -> Engine {
        let mut engine = Self::prepare(flags);
        engine.up();
        engine
    }

    /// An engine whose data root is this directory, which may be a file system of its own.
    pub fn start_in(data_root: &Path) -> Engine {
        let mut engine = Self::prepare(&[]);
        std::os::unix::fs::symlink(data_root, engine.data_root()).unwrap();
        engine.up();
        engine
    }

    fn prepare(flags: &[&str]) -> Engine {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = (std::process::id() % 20_000) * 100 + NEXT.fetch_add(1, Ordering::Relaxed) % 100;
        let dir = PathBuf::from(format!("/tmp/berth-test-{number}"));
        fs::create_dir_all(&dir).unwrap();
        Engine {
            bridge: format!("bt{number}"),
            dir,
            daemon: None,
            number,
            flags: flags.iter().map(ToString::to_string).collect(),
        }
    }

    /// An engine with these images in it.
    pub fn with_images(names: &[&str]) -> Engine {
        let engine = Self::start();
        for name in names {
            engine.import(name);
        }
        engine
    }

    /// The path of its socket.
    pub fn socket(&self) -> PathBuf {
        self.dir.join("s")
    }

    /// The engine's `--data-root`.
    pub fn data_root(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// The process of the daemon.
    pub fn pid(&self) -> u32 {
        self.daemon.as_ref().expect("the daemon runs").id()
    }

    /// Starts the daemon (again).
    pub fn up(&mut self) {
        let (a, b) = (64 + self.number / 100 % 64, self.number % 100);
        let log = fs::File::options().create(true).append(true).open(self.dir.join("log")).unwrap();
        let mut command = Command::new(berth_bin());
        command.arg("daemon").arg("--data-root").arg(self.data_root());
        command.arg("--exec-root").arg(self.dir.join("run")).arg("--pidfile").arg(self.dir.join("pid"));
        command.args(["--bridge", &self.bridge, "--bip", &format!("10.{a}.{b}.1/24")]);
        command.args(["--cgroup-parent", &format!("/bt{}", self.number)]);
        command.arg("-H").arg(format!("unix://{}", self.socket().display())).args(&self.flags);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.daemon = Some(command.spawn().unwrap());
        let socket = self.socket();
        let log = self.dir.join("log");
        let daemon = self.daemon.as_mut().expect("just started");
        until("the engine answers", 20, || {
            if let Some(status) = daemon.try_wait().unwrap() {
                panic!("the engine ended ({status}): {}", fs::read_to_string(&log).unwrap_or_default());
            }
            is_served(&socket)
        });
    }

    /// Kills the daemon as a crash would. Its containers go on.
    pub fn kill9(&mut self) {
        let mut daemon = self.daemon.take().expect("the daemon runs");
        daemon.kill().unwrap();
        daemon.wait().unwrap();
    }

    /// Ends the daemon as an operator would, and waits for it.
    pub fn stop(&mut self) -> i32 {
        let mut daemon = self.daemon.take().expect("the daemon runs");
        let pid = daemon.id().to_string();
        run(Command::new("kill").arg(pid));
        daemon.wait().unwrap().code().unwrap_or(-1)
    }

    /// A command of a client, addressed to this engine.
    pub fn command<S: AsRef<OsStr>>(&self, client: Client, args: &[S]) -> Command {
        let program = match client {
            Client::Berth => berth_bin(),
            Client::Docker => docker_bin(),
        };
        let mut command = Command::new(program);
        command.args(args).env("DOCKER_HOST", format!("unix://{}", self.socket().display()));
        command.env("DOCKER_CONFIG", self.dir.join("config")).env("XDG_DATA_HOME", self.dir.join("share"));
        command.stdin(Stdio::null());
        command
    }

    /// Runs a command of a client to its end.
    pub fn run<S: AsRef<OsStr>>(&self, client: Client, args: &[S]) -> Outcome {
        run(&mut self.command(client, args))
    }

    /// Runs a command of ours, its words separated by blanks.
    pub fn berth(&self, line: &str) -> Outcome {
        self.run(Client::Berth, &line.split_whitespace().collect::<Vec<_>>())
    }

    /// Runs a command of the real `docker`, its words separated by blanks.
    pub fn docker(&self, line: &str) -> Outcome {
        self.run(Client::Docker, &line.split_whitespace().collect::<Vec<_>>())
    }

    /// Imports one of the root file systems of [`images`] as `name:latest`.
    pub fn import(&self, name: &str) {
        let folder = images();
        let changes = fs::read_to_string(folder.join(format!("{name}.changes"))).unwrap_or_default();
        let mut args: Vec<String> = vec!["import".into()];
        for change in changes.lines() {
            args.extend(["--change".into(), change.into()]);
        }
        args.push(folder.join(format!("{name}.tar")).display().to_string());
        args.push(format!("{name}:latest"));
        self.run(Client::Berth, &args).ok();
    }

    /// One HTTP request on a connection of its own: the status and the body (chunks put together).
    pub fn http(&self, method: &str, path: &str, body: Option<&str>) -> (u16, String) {
        http(&self.socket(), method, path, body)
    }

    /// [`Self::http`] with the body as JSON.
    pub fn json(&self, method: &str, path: &str, body: Option<&str>) -> (u16, serde_json::Value) {
        let (status, text) = self.http(method, path, body);
        let value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}: {text}"));
        (status, value)
    }

    /// What the host has of this engine's containers now.
    pub fn leftovers(&self) -> Leftovers {
        let below = self.dir.display().to_string();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let mounts = mounts.lines().filter(|line| line.contains(&below)).map(str::to_owned).collect();
        let ports = format!("/sys/class/net/{}/brif", self.bridge);
        let mut cgroups = Vec::new();
        for controller in entries(Path::new("/sys/fs/cgroup")) {
            let parent = controller.join(format!("bt{}", self.number));
            cgroups.extend(entries(&parent).into_iter().filter(|path| path.is_dir()));
        }
        let daemon = self.daemon.as_ref().map(|daemon| daemon.id().to_string());
        let processes = entries(Path::new("/proc")).into_iter().filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let line = fs::read(path.join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            name.bytes().all(|byte| byte.is_ascii_digit()) && line.contains(&below) && Some(name) != daemon
        });
        Leftovers {
            mounts,
            links: entries(Path::new(&ports)).iter().map(|path| path.display().to_string()).collect(),
            cgroups: cgroups.iter().map(|path| path.display().to_string()).collect(),
            processes: processes.map(|path| path.display().to_string()).collect(),
        }
    }

    /// Fails the test where containers left anything on the host (with a few seconds of grace for what is removed in
    /// the background).
    #[track_caller]
    pub fn assert_clean(&self) {
        let end = Instant::now() + Duration::from_secs(10);
        while self.leftovers() != Leftovers::default() {
            assert!(Instant::now() < end, "left behind: {:#?}", self.leftovers());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Removes every container.
    pub fn remove_all(&self) {
        let ids = self.berth("ps -aq");
        let ids: Vec<&str> = ids.stdout.split_whitespace().collect();
        if !ids.is_empty() {
            self.run(Client::Berth, &[&["rm", "-f", "-v"], ids.as_slice()].concat());
        }
    }

    /// The daemon's log so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if self.daemon.is_none() {
            self.up();
        }
        self.remove_all();
        let failed = std::thread::panicking();
        if failed {
            eprintln!("--- the engine's log:\n{}", self.log());
        } else {
            self.assert_clean();
        }
        self.stop();
        run(Command::new("ip").args(["link", "del", &self.bridge]));
        run(Command::new("nft").args(["delete", "table", "inet", &format!("berth-{}", self.bridge)]));
        for controller in entries(Path::new("/sys/fs/cgroup")) {
            let _ = fs::remove_dir(controller.join(format!("bt{}", self.number)));
        }
        if !failed {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

/// Whether an engine answers. That the socket takes connections says little: a child that an engine was making when it
/// was killed has the socket, too, for a moment.
fn is_served(socket: &Path) -> bool {
    let ask = || -> std::io::Result<usize> {
        let mut stream = UnixStream::connect(socket)?;
        stream.write_all(b"GET /_ping HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        stream.read(&mut [0; 16])
    };
    ask().is_ok_and(|size| size > 0)
}

/// One HTTP request to the engine behind a socket: the status and the body (chunks put together).
pub fn http(socket: &Path, method: &str, path: &str, body: Option<&str>) -> (u16, String) {
    let mut stream = UnixStream::connect(socket).unwrap();
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
    if let Some(body) = body {
        head += &format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
    }
    stream.write_all(format!("{head}\r\n{}", body.unwrap_or("")).as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    parse_answer(&answer)
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).map(|list| list.flatten().map(|entry| entry.path()).collect()).unwrap_or_default()
}

fn parse_answer(answer: &[u8]) -> (u16, String) {
    let split = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("a whole head");
    let head = String::from_utf8_lossy(&answer[..split]).to_lowercase();
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    let mut rest = &answer[split + 4..];
    if !head.contains("transfer-encoding: chunked") {
        return (status, String::from_utf8_lossy(rest).into_owned());
    }
    let mut body = Vec::new();
    while let Some(end) = rest.windows(2).position(|window| window == b"\r\n") {
        let size =
            std::str::from_utf8(&rest[..end]).ok().and_then(|size| usize::from_str_radix(size, 16).ok());
        let Some(size) = size.filter(|size| *size > 0 && rest.len() >= end + 2 + size) else { break };
        body.extend_from_slice(&rest[end + 2..end + 2 + size]);
        rest = rest.get(end + 4 + size..).unwrap_or_default();
    }
    (status, String::from_utf8_lossy(&body).into_owned())
}
