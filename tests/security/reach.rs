//! What a container can reach of the engine: rows 7 and 17 of the list of lessons; and other users: row 8.

use std::collections::HashSet;
use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use berth_tests::{Client, Engine, run};

/// The processes whose command line names the engine's directory: the engine itself, its supervisors.
fn processes(engine: &Engine) -> Vec<PathBuf> {
    let name = engine.dir.display().to_string();
    let all = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    let own = Some(PathBuf::from(format!("/proc/{}", engine.pid())));
    all.filter(|path| {
        let line = fs::read(path.join("cmdline")).unwrap_or_default();
        let text = String::from_utf8_lossy(&line).replace('\0', " ");
        Some(path.clone()) == own || text.contains(&name) || text.contains("shim")
    })
    .collect()
}

/// The inodes of all sockets that a process has open.
fn sockets(process: &Path) -> HashSet<String> {
    let list = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
    list.filter_map(|entry| {
        let target = fs::read_link(entry.path()).ok()?;
        Some(target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())
    })
    .collect()
}

/// CVE-2020-15257: abstract sockets are reachable with host networking.
#[test]
fn with_the_hosts_network_no_control_socket_is_reached() {
    let engine = Engine::with_images(&["busybox"]);
    engine.berth("run -d --net host busybox sleep 600").ok();
    engine.berth("run -d busybox sleep 600").ok();
    let inodes: HashSet<String> = processes(&engine).iter().flat_map(|path| sockets(path)).collect();
    assert!(inodes.len() > 2, "the engine has sockets: {inodes:?}");
    let table = fs::read_to_string("/proc/net/unix").unwrap();
    let own = table.lines().filter(|line| line.split_whitespace().nth(6).is_some_and(|i| inodes.contains(i)));
    let own: Vec<&str> = own.collect();
    assert!(own.iter().any(|line| line.ends_with("/s")), "the API's socket is among them: {own:?}");
    assert!(!own.iter().any(|line| line.contains(" @")), "one is abstract: {own:?}");
    // Those with a path lie where the container has no path to.
    let found = engine.docker("run --rm --net host busybox find / -xdev -type s");
    assert_eq!(found.ok(), "");
    // Nor is there a port.
    let owner = format!("pid={},", engine.pid());
    assert!(!run(Command::new("ss").arg("-ltnp")).ok().contains(&owner));
}

/// CVE-2025-9074: the API is reachable from containers. CVE-2020-8558: so is what listens on the host's loopback.
#[test]
fn no_container_reaches_a_port_of_the_api() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let host = format!("tcp://127.0.0.1:{port}");
    let engine = Engine::start_with(&["-H", &host, "--tlsverify=false"]);
    engine.import("busybox");
    let ping = |at: &str| format!("wget -q -T 2 -O - http://{at}:{port}/_ping");
    let outside = run(Command::new("curl").args(["-s", &format!("http://127.0.0.1:{port}/_ping")]));
    assert_eq!(outside.ok(), "OK", "the test would say nothing otherwise");
    // A published port makes the host route loopback addresses, which must not lead back.
    engine.berth("run -d --name published -p 127.0.0.1:0:80 busybox httpd -f -p 80").ok();
    let gateway = "gw=$(ip route | sed -n 's/default via \\([^ ]*\\).*/\\1/p')";
    let loopback = "ip addr del 127.0.0.1/8 dev lo; ip route add 127.0.0.0/8 via $gw || exit 9";
    for (what, script) in [
        ("gateway", format!("{gateway}; {}", ping("$gw"))),
        ("name", ping("host.docker.internal")),
        ("loopback", ping("127.0.0.1")),
        ("routed loopback", format!("{gateway}; {loopback}; {}", ping("127.0.0.1"))),
        ("default port", format!("{gateway}; nc -w 2 $gw 2375 </dev/null || nc -w 2 $gw 2376 </dev/null")),
    ] {
        let args = [
            "run",
            "--rm",
            "--cap-add",
            "NET_ADMIN",
            "--add-host",
            "host.docker.internal:host-gateway",
            "busybox",
            "sh",
            "-c",
            &script,
        ];
        let inside = engine.run(Client::Docker, &args);
        assert!(![0, 9].contains(&inside.code) && !inside.stdout.contains("OK"), "{what}: {inside:?}");
    }
}

/// CVE-2021-41091, -41103, 2024-25621: another user can neither list nor execute anything under the state root.
#[test]
fn another_user_sees_and_executes_nothing_below_the_roots() {
    let engine = Engine::with_images(&["busybox"]);
    engine
        .run(
            Client::Berth,
            &["run", "-d", "-v", "named:/v", "busybox", "sh", "-c", "cp /bin/busybox /v/own; sleep 600"],
        )
        .ok();
    let roots = [engine.data_root(), engine.dir.join("run")];
    let mut paths = Vec::new();
    let mut waiting: Vec<PathBuf> = roots.to_vec();
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                waiting.push(entry.path());
            }
            paths.push(entry.path());
        }
    }
    let programs: Vec<_> = paths.iter().filter(|path| path.ends_with("bin/busybox")).collect();
    assert!(!programs.is_empty() && paths.iter().any(|path| path.ends_with("_data")), "{paths:?}");
    // The directory above is everyone's to pass: what protects the rest is the roots themselves.
    let script = "while read -r path; do [ ! -e \"$path\" ] || echo \"$path\"; done; for path; do ls \"$path\" && echo \"$path\"; done; exit 0";
    let mut nobody = Command::new("setpriv");
    nobody.args(["--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c", script, "sh"]).args(&roots);
    let mut child =
        nobody.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let list: String = paths.iter().map(|path| format!("{}\n", path.display())).collect();
    let mut input = child.stdin.take().unwrap();
    let writing = std::thread::spawn(move || input.write_all(list.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writing.join().unwrap().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stdout), "", "seen by another user");
    // By a shell: `setpriv` itself still has root's capabilities when it executes.
    let mut execute = Command::new("setpriv");
    execute.args(["--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c", "\"$0\" true"]);
    let run_it = run(execute.arg(programs[0]));
    assert_ne!(run_it.code, 0, "{run_it:?}");
}

/// What lies in a volume is the containers' making: no link in it leads a mount of a part of it out of it.
#[test]
fn a_part_of_a_volume_is_never_outside_of_it() {
    let engine = Engine::with_images(&["busybox"]);
    let part = |subpath: &str, script: &str| {
        let mount = format!("type=volume,src=shared,dst=/part,volume-subpath={subpath}");
        engine.run(Client::Docker, &["run", "--rm", "--mount", &mount, "busybox", "sh", "-c", script])
    };
    let script = "cd /v; ln -s / root; ln -s /etc absolute; ln -s ../../../../../../etc up; mkdir -p d/e; ln -s d in; \
                  echo inside >d/e/file";
    engine.run(Client::Docker, &["run", "--rm", "-v", "shared:/v", "busybox", "sh", "-c", script]).ok();
    for subpath in ["d/e", "in/e"] {
        assert_eq!(part(subpath, "cat /part/file").ok(), "inside", "{subpath}");
    }
    let base = engine.data_root().join("volumes/shared/_data");
    let base = base.display();
    for subpath in ["root", "absolute", "up", "root/etc", "in/../../x"] {
        let refused = part(subpath, "true");
        assert_ne!(refused.code, 0, "{subpath}");
        let escapes =
            format!("path concatenation escapes the base directory, base: {base}, subpath: {subpath}");
        let relative = "subpath must be a relative path within the volume";
        assert!(refused.stderr.contains(&escapes) || refused.stderr.contains(relative), "{refused:?}");
    }
    let missing = format!("cannot access path {base}/nope: lstat {base}/nope: no such file or directory");
    assert!(part("nope", "true").stderr.contains(&missing));

    // A container that swaps a directory for a link all the time finds no moment at which it helps.
    let swap =
        "cd /v; while :; do mkdir swap; usleep 9000; rmdir swap; ln -s / swap; usleep 1000; rm swap; done";
    engine
        .run(Client::Docker, &["run", "-d", "--name", "swap", "-v", "shared:/v", "busybox", "sh", "-c", swap])
        .ok();
    let (mut started, mut refused) = (0, 0);
    for _ in 0..60 {
        let seen = part("swap", "ls -A /part");
        match seen.code {
            0 => {
                assert_eq!(seen.stdout, "", "the root of the host");
                started += 1;
            }
            _ => refused += 1,
        }
    }
    assert!(started > 0 && refused > 0, "{started} started, {refused} refused: nothing was swapped");
    engine.berth("rm -f swap").ok();
}
