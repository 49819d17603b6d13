//! One side of the comparison: an engine, and how a step is asked of it.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::corpus::Step;
use super::json::Json;
use super::normalise::Rules;
use crate::setup;

/// A normalised answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Answer {
    /// Of a command.
    Shell { code: i32, stdout: Json, stderr: String },
    /// Of a request.
    Http { status: u16, kind: String, body: Json },
}

/// An engine to ask.
pub(super) struct Side {
    socket: PathBuf,
    rules: Rules,
    docker: PathBuf,
    /// The folder of root file systems, which steps call `$IMAGES`.
    images: PathBuf,
    /// Containers and images that were there before: they are somebody else's and stay.
    kept: Vec<String>,
    daemon: Option<(Child, PathBuf, String)>,
    /// `address:port` of a registry that the engine reaches, which steps call `$REGISTRY`.
    registry: String,
    /// The registry of a side of ours.
    _server: Option<Registry>,
}

/// The images that the corpus speaks of, on both sides.
const IMAGES: [&str; 1] = ["busybox"];

/// The real Docker of the peer lab, which is started where it does not run.
pub(super) fn peer() -> Result<Side, Box<dyn std::error::Error>> {
    for word in ["up", "registry"] {
        setup::call(Command::new(setup::root().join("tools/peer-lab.sh")).arg(word).stdout(Stdio::null()))?;
    }
    let lab = PathBuf::from(std::env::var_os("LAB").unwrap_or_else(|| "/srv/peer-lab".into()));
    // It is empty at the start.
    let _ = std::fs::remove_dir_all(lab.join("var/lib/registry-lab/docker"));
    let mut side = Side::at(lab.join("run/docker-lab.sock"))?;
    "127.0.0.1:5000".clone_into(&mut side.registry);
    Ok(side)
}

/// Debian's registry, empty; ends when it is dropped.
struct Registry(Child);

impl Registry {
    fn start(home: &Path) -> Result<(Self, String), Box<dyn std::error::Error>> {
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let host = format!("127.0.0.1:{port}");
        let config = home.join("registry.yml");
        let data = home.join("registry");
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: \"{host}\"}}\n",
            data.display()
        );
        std::fs::write(&config, text)?;
        let mut server = Command::new("docker-registry");
        server.arg("serve").arg(&config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let registry = Self(server.spawn()?);
        wait_for("the registry", || std::net::TcpStream::connect(&host).is_ok())?;
        Ok((registry, host))
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn wait_for(what: &str, is_there: impl Fn() -> bool) -> Result<(), String> {
    let end = Instant::now() + Duration::from_secs(20);
    while !is_there() {
        if Instant::now() > end {
            return Err(format!("{what} does not answer"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// The binary that is asked.
pub(super) fn binary() -> Result<PathBuf, Box<dyn std::error::Error>> {
    match std::env::var_os("BERTH_BIN") {
        Some(path) => Ok(PathBuf::from(path)),
        None => setup::binary("quick"),
    }
}

/// A fresh engine of ours; those that run at the same time have different numbers.
pub(super) fn ours(number: usize, binary: &Path) -> Result<Side, Box<dyn std::error::Error>> {
    let home = PathBuf::from(format!("/tmp/berth-conformance-{}{number}", std::process::id()));
    std::fs::create_dir_all(&home)?;
    let log = std::fs::File::create(home.join("log"))?;
    let mut daemon = Command::new(binary);
    daemon.arg("daemon").arg("--data-root").arg(home.join("data")).arg("--exec-root").arg(home.join("run"));
    daemon
        .arg("--pidfile")
        .arg(home.join("pid"))
        .arg("-H")
        .arg(format!("unix://{}", home.join("s").display()));
    let bridge = format!("btconf{number}");
    daemon.args(["--bridge", &bridge, "--bip", &format!("10.127.{}.1/24", 9 + number)]);
    daemon.args(["--cgroup-parent", &format!("/btconf{number}")]);
    let daemon = daemon.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
    let socket = home.join("s");
    let what = format!("our engine (its log is {})", home.join("log").display());
    wait_for(&what, || UnixStream::connect(&socket).is_ok())?;
    let mut side = Side::at(&socket)?;
    let (registry, host) = Registry::start(&home)?;
    (side.registry, side._server) = (host, Some(registry));
    side.daemon = Some((daemon, home, bridge));
    let folder = side.images.clone();
    for name in IMAGES {
        let changes = std::fs::read_to_string(folder.join(format!("{name}.changes")))?;
        let mut import = side.command("docker");
        import.arg("import");
        for change in changes.lines() {
            import.args(["--change", change]);
        }
        setup::output(import.arg(folder.join(format!("{name}.tar"))).arg(format!("{name}:latest")))?;
    }
    Ok(side)
}

impl Side {
    /// The engine behind a socket.
    pub(super) fn at(socket: impl AsRef<Path>) -> Result<Side, Box<dyn std::error::Error>> {
        let socket = socket.as_ref().to_path_buf();
        let (docker, images) = (setup::docker()?, setup::images(&IMAGES)?);
        let (kept, registry) = (Vec::new(), String::new());
        let rules = Rules::new();
        let mut side = Side { socket, rules, docker, images, kept, daemon: None, registry, _server: None };
        side.kept = side.things();
        Ok(side)
    }

    fn command(&self, program: &str) -> Command {
        let mut command =
            Command::new(if program == "docker" { self.docker.as_os_str() } else { program.as_ref() });
        command
            .env("DOCKER_HOST", format!("unix://{}", self.socket.display()))
            .env("DOCKER_API_VERSION", "1.45");
        command.env("IMAGES", &self.images).env("REGISTRY", &self.registry);
        command.env("DOCKER_CONFIG", "/nonexistent").env("DOCKER_CLI_HINTS", "false").stdin(Stdio::null());
        command
    }

    /// Asks one step.
    pub(super) fn answer(&mut self, step: &Step) -> Answer {
        match step {
            Step::Shell(line) => {
                let output = self.command("sh").args(["-c", line]).output().expect("sh runs");
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                Answer::Shell {
                    code: output.status.code().unwrap_or(-1),
                    stdout: self.value(&text(&output.stdout)),
                    stderr: self.rules.text(&self.unnamed(&text(&output.stderr))),
                }
            }
            Step::Http { method, path, body } => {
                let named = |text: &str| text.replace("$REGISTRY", &self.registry);
                let (status, kind, text) =
                    self.http(method, &named(path), body.as_deref().map(named).as_deref());
                Answer::Http { status, kind, body: self.value(&text) }
            }
        }
    }

    /// A text without the address of this side's registry.
    fn unnamed(&self, text: &str) -> String {
        match self.registry.as_str() {
            "" => text.to_owned(),
            host => text.replace(host, "<registry>"),
        }
    }

    /// Text as JSON where it is JSON, normalised.
    fn value(&self, text: &str) -> Json {
        let text = &*self.unnamed(text);
        match serde_json::from_str::<Json>(text) {
            Ok(mut value) if matches!(value, Json::Object(_) | Json::Array(_)) => {
                self.rules.json(&mut value);
                value
            }
            _ => Json::String(self.rules.text(text)),
        }
    }

    /// A request; the status, the content type and the body. A stream is read for a second at most.
    fn http(&self, method: &str, path: &str, body: Option<&str>) -> (u16, String, String) {
        let mut stream = UnixStream::connect(&self.socket).expect("the engine listens");
        stream.set_read_timeout(Some(Duration::from_secs(3))).expect("a timeout is set");
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n");
        if let Some(body) = body {
            head += &format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
        } else if method == "POST" {
            head += "Content-Length: 0\r\n";
        }
        let request = format!("{head}\r\n{}", body.unwrap_or(""));
        let mut answer = Vec::new();
        let _ = stream.write_all(request.as_bytes());
        let _ = stream.read_to_end(&mut answer);
        parse(&answer)
    }

    /// Removes the containers that a case left, and the images that it made.
    pub(super) fn clean(&self) {
        let left: Vec<String> =
            self.things().into_iter().filter(|thing| !self.kept.contains(thing)).collect();
        let (images, containers): (Vec<&String>, Vec<&String>) =
            left.iter().partition(|thing| thing.contains('@'));
        if !containers.is_empty() {
            let _ = self.command("docker").args(["rm", "-f", "-v"]).args(containers).output();
        }
        for image in images.iter().filter(|image| !image.starts_with("busybox:latest@")) {
            let (name, id) = image.split_once('@').unwrap_or((image, image));
            let name = if name.contains("<none>") { id } else { name };
            let _ = self.command("docker").args(["rmi", "-f", name]).output();
        }
    }

    /// The ids of all containers, and `name@id` of all images.
    fn things(&self) -> Vec<String> {
        let list = |args: &[&str]| setup::output(self.command("docker").args(args)).unwrap_or_default();
        let containers = list(&["ps", "-aq", "--no-trunc"]);
        let images = list(&["images", "--format", "{{.Repository}}:{{.Tag}}@{{.ID}}"]);
        containers.lines().chain(images.lines()).map(str::to_owned).collect()
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        let Some((mut daemon, home, bridge)) = self.daemon.take() else { return };
        let _ = Command::new("kill").arg(daemon.id().to_string()).status();
        let _ = daemon.wait();
        let _ = Command::new("ip").args(["link", "del", &bridge]).stderr(Stdio::null()).status();
        let table = format!("berth-{bridge}");
        let _ = Command::new("nft").args(["delete", "table", "inet", &table]).stderr(Stdio::null()).status();
        let _ = std::fs::remove_dir_all(home);
    }
}

fn parse(answer: &[u8]) -> (u16, String, String) {
    let Some(split) = answer.windows(4).position(|window| window == b"\r\n\r\n") else {
        return (0, String::new(), String::from_utf8_lossy(answer).into_owned());
    };
    let head = String::from_utf8_lossy(&answer[..split]).to_lowercase();
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    let kind = head.lines().find_map(|line| line.strip_prefix("content-type: ")).unwrap_or("").to_owned();
    let mut rest = &answer[split + 4..];
    if !head.contains("transfer-encoding: chunked") {
        return (status, kind, String::from_utf8_lossy(rest).into_owned());
    }
    let mut body = Vec::new();
    while let Some(end) = rest.windows(2).position(|window| window == b"\r\n") {
        let size =
            std::str::from_utf8(&rest[..end]).ok().and_then(|size| usize::from_str_radix(size, 16).ok());
        let Some(size) = size.filter(|size| *size > 0 && rest.len() >= end + 2 + size) else { break };
        body.extend_from_slice(&rest[end + 2..end + 2 + size]);
        rest = rest.get(end + 4 + size..).unwrap_or_default();
    }
    (status, kind, String::from_utf8_lossy(&body).into_owned())
}
