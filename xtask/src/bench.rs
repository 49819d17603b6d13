//! `cargo xtask bench run`: the start path beside Docker, Podman and crun, in one run and one place.
//!
//! The peers live in the peer lab (`tools/peer-lab.sh`: a Debian tree with a network namespace of its own). Our binary
//! and this program are copied there, so that every row has the same file system, network and cgroups. Rounds of the
//! engines alternate, so that the machine's moods hit all of them alike; a figure is the median of its rounds.

mod memory;
mod oci;
mod requests;
mod ship;

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::{Outcome, setup};

/// Where our engine lives inside the lab.
const HOME: &str = "/var/tmp/berth-bench";

/// One engine of the comparison, as the words before a verb.
struct Peer {
    name: &'static str,
    words: &'static [&'static str],
    image: &'static str,
    /// Removal at once: Podman would wait for SIGTERM's effect first.
    remove: &'static [&'static str],
}

const PEERS: [Peer; 3] = [
    Peer {
        name: "berth",
        words: &["/usr/local/bin/berth", "-H", "unix:///var/tmp/berth-bench/s"],
        image: "busybox",
        remove: &["rm", "-f"],
    },
    Peer {
        name: "docker",
        words: &["docker", "-H", "unix:///run/docker-lab.sock"],
        image: "busybox",
        remove: &["rm", "-f"],
    },
    Peer { name: "podman", words: &["podman"], image: "localhost/busybox", remove: &["rm", "-f", "-t", "0"] },
];

impl Peer {
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.words[0]);
        command.args(&self.words[1..]).args(args);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command
    }

    /// Runs a verb; its time. Panics where it fails: a figure of a failure is none.
    fn time(&self, args: &[&str]) -> Duration {
        let start = Instant::now();
        let output = self.command(args).output().unwrap_or_else(|error| panic!("{}: {error}", self.name));
        let took = start.elapsed();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{} {args:?}: {stderr}", self.name);
        took
    }
}

/// `cargo xtask bench requests SOCKET [PATH]`: the rate of one engine that is there already.
pub(crate) fn requests(socket: &str, path: &str) -> Outcome {
    println!("{path}: {:.0} a second", requests::rate(std::path::Path::new(socket), path)?);
    Ok(())
}

/// Builds, enters the lab and prints the tables.
pub(crate) fn run(name: &str) -> Outcome {
    setup::need_root()?;
    setup::packages(&[])?;
    let binary = setup::binary("release")?;
    let lab_script = setup::root().join("tools/peer-lab.sh");
    setup::call(Command::new(&lab_script).arg("up"))?;
    if name == "ship" {
        setup::call(Command::new(&lab_script).arg("registry"))?;
    }
    let lab = PathBuf::from(std::env::var_os("LAB").unwrap_or_else(|| "/srv/peer-lab".into()));
    install(&binary, &lab.join("usr/local/bin/berth"))?;
    install(&std::env::current_exe()?, &lab.join("usr/local/bin/xtask"))?;
    setup::call(Command::new(&lab_script).args(["in", "/usr/local/bin/xtask", "bench-inside", name]))
}

/// Copies by rename: the old file may be running.
fn install(from: &std::path::Path, to: &std::path::Path) -> Outcome {
    let part = to.with_extension("part");
    std::fs::copy(from, &part)?;
    Ok(std::fs::rename(part, to)?)
}

/// The part that runs in the lab.
pub(crate) fn inside(name: &str) -> Outcome {
    let mut daemon = start_engine()?;
    let pid = daemon.id();
    let result = std::panic::catch_unwind(|| match name {
        "run" => {
            tables();
            Ok(())
        }
        "ship" => ship::tables(pid).map_err(|error| error.to_string()),
        _ => Err(format!("no benchmark named {name}")),
    });
    for peer in &PEERS {
        remove_all(peer);
    }
    setup::call(Command::new("kill").arg(daemon.id().to_string()))?;
    daemon.wait()?;
    let _ = std::fs::remove_dir_all(HOME);
    result.map_err(|_| "a measurement failed")??;
    Ok(())
}

fn start_engine() -> Result<std::process::Child, Box<dyn std::error::Error>> {
    let _ = std::fs::remove_dir_all(HOME);
    std::fs::create_dir_all(HOME)?;
    let log = std::fs::File::create("/var/tmp/berth-bench.log")?;
    let mut daemon = Command::new("/usr/local/bin/berth");
    daemon.args(["daemon", "--data-root", &format!("{HOME}/data"), "--exec-root", &format!("{HOME}/run")]);
    daemon.args(["--pidfile", &format!("{HOME}/pid"), "-H", &format!("unix://{HOME}/s")]);
    daemon.args(["--cgroup-parent", "/berth-bench", "--bridge", "berthbench0"]);
    let daemon = daemon.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
    let end = Instant::now() + Duration::from_secs(20);
    while std::os::unix::net::UnixStream::connect(format!("{HOME}/s")).is_err() {
        if Instant::now() > end {
            return Err("the engine does not answer: see /var/tmp/berth-bench.log in the lab".into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    PEERS[0].time(&["import", "--change", "CMD [\"sh\"]", "/var/tmp/images/busybox.tar", "busybox:latest"]);
    Ok(daemon)
}

fn tables() {
    println!("| idle memory, PSS in MB | {} |", memory::engines());
    println!("| work, median ms | berth | docker 26 | podman 5 | docker / berth |");
    println!("| --- | --- | --- | --- | --- |");
    row("run --rm busybox true", 15, &|peer| peer.time(&["run", "--rm", peer.image, "true"]));
    row("run --rm --net none", 15, &|peer| peer.time(&["run", "--rm", "--net", "none", peer.image, "true"]));
    row("run --rm --net host", 15, &|peer| peer.time(&["run", "--rm", "--net", "host", peer.image, "true"]));
    row("run -d, then rm -f", 9, &|peer| {
        let first = peer.time(&["run", "-d", "--name", "bench", peer.image, "sleep", "600"]);
        first + peer.time(&[peer.remove, &["bench"]].concat())
    });
    for peer in &PEERS {
        peer.time(&["run", "-d", "--name", "bench", peer.image, "sleep", "600"]);
    }
    row("exec true", 15, &|peer| peer.time(&["exec", "bench", "true"]));
    for peer in &PEERS {
        remove_all(peer);
    }
    fifty();
    oci::table();
}

/// Fifty containers, eight at a time; what can be asked of them; and their end.
fn fifty() {
    let mut rows: Vec<(&str, Vec<Duration>)> =
        ["50 started, 8 at a time", "ps", "stats --no-stream", "inspect of one", "rm -f of 50"]
            .map(|name| (name, Vec::new()))
            .into();
    let mut each = Vec::new();
    let mut rates = Vec::new();
    for peer in &PEERS {
        let start = Instant::now();
        std::thread::scope(|scope| {
            for worker in 0..8 {
                scope.spawn(move || {
                    for number in (worker..50).step_by(8) {
                        peer.time(&[
                            "run",
                            "-d",
                            "--name",
                            &format!("b{number}"),
                            peer.image,
                            "sleep",
                            "600",
                        ]);
                    }
                });
            }
        });
        rows[0].1.push(start.elapsed());
        each.push(format!("{} {}", peer.name, memory::supervisors(peer.name)));
        rates.push(requests::of(peer.words));
        rows[1].1.push(median(15, || peer.time(&["ps"])));
        rows[2].1.push(median(5, || peer.time(&["stats", "--no-stream"])));
        rows[3].1.push(median(15, || peer.time(&["inspect", "b1"])));
        let names: Vec<String> = (0..50).map(|number| format!("b{number}")).collect();
        let words: Vec<&str> = peer.remove.iter().copied().chain(names.iter().map(String::as_str)).collect();
        rows[4].1.push(peer.time(&words));
    }
    for (name, times) in rows {
        print_row(&format!("{name} (50 running)"), &times);
    }
    println!("| containers/json a second (50 running) | {} |", rates.join(" | "));
    println!("| memory a container, PSS in KB | {} |", each.join(", "));
}

/// Rounds of every peer in turn.
fn row(name: &str, rounds: usize, work: &dyn Fn(&Peer) -> Duration) {
    let mut times: Vec<Vec<Duration>> = vec![Vec::new(); PEERS.len()];
    for round in 0..=rounds {
        for (index, peer) in PEERS.iter().enumerate() {
            let took = work(peer);
            if round > 0 {
                times[index].push(took);
            }
        }
    }
    let medians: Vec<Duration> = times.into_iter().map(middle).collect();
    print_row(name, &medians);
}

fn print_row(name: &str, times: &[Duration]) {
    let ms: Vec<f64> = times.iter().map(|time| time.as_secs_f64() * 1e3).collect();
    let cells: Vec<String> = ms.iter().map(|ms| format!("{ms:.1}")).collect();
    println!("| {name} | {} | {:.1} |", cells.join(" | "), ms[1] / ms[0]);
}

fn median(rounds: usize, mut work: impl FnMut() -> Duration) -> Duration {
    middle((0..rounds).map(|_| work()).collect())
}

fn middle(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn remove_all(peer: &Peer) {
    let Ok(ids) = setup::output(peer.command(&["ps", "-aq"]).stdout(Stdio::piped())) else { return };
    let ids: Vec<&str> = ids.split_whitespace().collect();
    if !ids.is_empty() {
        let _ = peer.command(&[peer.remove, ids.as_slice()].concat()).output();
    }
}
