//! What tools with a screen ask of an engine, call by call, in their order.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::Stdio;

use crate::Target;
use berth_tests::{http, run};
use serde_json::{Value, json};

impl Target {
    fn call(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, String) {
        let socket = self.host.trim_start_matches("unix://");
        http(Path::new(socket), method, path, body.map(Value::to_string).as_deref())
    }

    /// A call that must answer with this status; the body as JSON, or null where there is none.
    #[track_caller]
    fn expect(&self, status: u16, method: &str, path: &str, body: Option<&Value>) -> Value {
        let (code, text) = self.call(method, path, body);
        assert_eq!(code, status, "{method} {path}: {text}");
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    #[track_caller]
    fn get(&self, path: &str) -> Value {
        self.expect(200, "GET", path, None)
    }
}

/// The dashboard of Portainer, its list of containers, and a container's pages.
#[test]
fn portainer_looks_around() {
    let target = Target::start();
    let body = json!({
        "Image": "busybox", "Cmd": ["sleep", "300"], "Labels": {"io.portainer.accesscontrol.public": ""}, "OpenStdin": true, "Tty": true,
        "ExposedPorts": {"80/tcp": {}}, "Env": [], "MacAddress": "", "Volumes": {},
        "HostConfig": {"RestartPolicy": {"Name": "no"}, "PortBindings": {"80/tcp": [{"HostPort": ""}]}, "PublishAllPorts": false,
            "Binds": [], "AutoRemove": false, "NetworkMode": "bridge", "Privileged": false, "Runtime": null, "ExtraHosts": [],
            "Devices": [], "CapAdd": [], "CapDrop": [], "Sysctls": {}, "ShmSize": 67108864, "LogConfig": {"Type": "", "Config": {}}},
        "NetworkingConfig": {"EndpointsConfig": {"bridge": {"IPAMConfig": {"IPv4Address": "", "IPv6Address": ""}}}},
    });
    let id = target.expect(201, "POST", "/containers/create?name=portainer-made", Some(&body));
    let id = id["Id"].as_str().unwrap().to_owned();
    target.expect(204, "POST", &format!("/containers/{id}/start"), Some(&json!({})));
    assert_eq!(target.call("GET", "/_ping", None), (200, "OK".to_owned()));
    assert!(target.get("/version")["ApiVersion"].is_string());
    assert_eq!(target.get("/info")["Swarm"]["LocalNodeState"], "inactive");
    let list = target.get("/containers/json?all=1&size=1");
    assert!(list[0]["SizeRootFs"].as_u64().unwrap() > 1_000_000 && list[0]["State"] == "running", "{list}");
    assert!(
        list[0]["NetworkSettings"]["Networks"]["bridge"]["IPAddress"]
            .as_str()
            .is_some_and(|ip| !ip.is_empty())
    );
    let filters = r#"{"label":["io.portainer.accesscontrol.public"]}"#.replace('"', "%22");
    assert_eq!(target.get(&format!("/containers/json?all=1&filters={filters}")).as_array().unwrap().len(), 1);
    assert!(target.get("/images/json?all=0").as_array().is_some_and(|images| !images.is_empty()));
    assert!(target.get("/networks").as_array().unwrap().iter().any(|network| network["Name"] == "bridge"));
    assert!(target.get("/volumes").is_object());
    assert!(target.get("/volumes?filters=%7B%22dangling%22:%5B%22true%22%5D%7D")["Warnings"].is_null());
    assert!(target.get("/events?since=1&until=2") == Value::Null);
    let one = target.get(&format!("/containers/{id}/json"));
    assert_eq!((&one["Name"], &one["State"]["Running"]), (&json!("/portainer-made"), &json!(true)));
    assert!(target.get(&format!("/images/{}/json", one["Image"].as_str().unwrap()))["Id"] == one["Image"]);
    let stats = target.get(&format!("/containers/{id}/stats?stream=false"));
    assert!(
        stats["cpu_stats"]["system_cpu_usage"].as_u64() > stats["precpu_stats"]["system_cpu_usage"].as_u64()
    );
    assert_eq!(target.get(&format!("/containers/{id}/top"))["Titles"][1], "PID");
    assert_eq!(
        target.call("GET", &format!("/containers/{id}/logs?stdout=1&stderr=1&tail=100&timestamps=0"), None),
        (200, String::new())
    );
    // its console
    let exec = json!({"AttachStdin": true, "AttachStdout": true, "AttachStderr": true, "Tty": true, "User": "", "Cmd": ["sh", "-c", "stty size; tty"]});
    let exec = target.expect(201, "POST", &format!("/containers/{id}/exec"), Some(&exec));
    let exec = exec["Id"].as_str().unwrap();
    let (code, text) = target.call(
        "POST",
        &format!("/exec/{exec}/start"),
        Some(&json!({"Tty": true, "Detach": false, "ConsoleSize": [24, 80]})),
    );
    assert!(code == 200 && text == "24 80\r\n/dev/pts/1\r\n", "{code} {text:?}");
    assert_eq!(target.get(&format!("/exec/{exec}/json"))["ExitCode"], 0);
    target.expect(204, "DELETE", &format!("/containers/{id}?force=true&v=1"), None);
}

/// Portainer's "Recreate": the old one is stopped, renamed and kept until the new one runs.
#[test]
fn portainer_recreates() {
    let target = Target::start();
    let create = json!({"Image": "busybox", "Cmd": ["sleep", "300"], "Env": ["KEPT=1"], "HostConfig": {"Binds": ["recreated:/data"], "RestartPolicy": {"Name": "always", "MaximumRetryCount": 0}}});
    let old = target.expect(201, "POST", "/containers/create?name=again", Some(&create))["Id"]
        .as_str()
        .unwrap()
        .to_owned();
    target.expect(204, "POST", &format!("/containers/{old}/start"), None);
    let was = target.get(&format!("/containers/{old}/json"));
    target.expect(204, "POST", &format!("/containers/{old}/stop?t=0"), None);
    target.expect(204, "POST", &format!("/containers/{old}/rename?name=again-old"), None);
    let mut body = was["Config"].clone();
    body["HostConfig"] = was["HostConfig"].clone();
    let network = json!({"NetworkID": was["NetworkSettings"]["Networks"]["bridge"]["NetworkID"], "Aliases": null, "IPAMConfig": null, "Links": null});
    body["NetworkingConfig"] = json!({"EndpointsConfig": {"bridge": network}});
    let new = target.expect(201, "POST", "/containers/create?name=again", Some(&body))["Id"]
        .as_str()
        .unwrap()
        .to_owned();
    target.expect(204, "POST", &format!("/containers/{new}/start"), None);
    target.expect(204, "DELETE", &format!("/containers/{old}?v=0&force=true"), None);
    let is = target.get(&format!("/containers/{new}/json"));
    assert_eq!(is["Config"], was["Config"]);
    assert_eq!(is["HostConfig"], was["HostConfig"]);
    assert_eq!(is["Mounts"], was["Mounts"]);
    let (code, text) = target.call("POST", &format!("/containers/{new}/rename?name=again"), None);
    assert!(code == 400 && text.contains("Renaming a container with the same name"), "{code} {text}");
    target.expect(204, "DELETE", &format!("/containers/{new}?v=1&force=true"), None);
}

/// VS Code's Dev Containers: `docker` as its extension calls it, from the search for a container to a shell in it.
#[test]
fn vscode_opens_a_folder() {
    let target = Target::start();
    let docker = |args: &[&str]| run(target.command(60, &berth_tests::docker_bin()).args(args));
    let version: Value = serde_json::from_str(docker(&["version", "--format", "{{json .}}"]).ok()).unwrap();
    assert_eq!(version["Server"]["Os"], "linux");
    let label = "label=devcontainer.local_folder=/tmp/project";
    assert_eq!(docker(&["ps", "-q", "-a", "--filter", label]).ok(), "");
    let image: Value = serde_json::from_str(docker(&["inspect", "--type", "image", "busybox"]).ok()).unwrap();
    assert!(image[0]["Config"]["Cmd"].is_array() && image[0]["Architecture"].is_string());
    // started in the foreground: the extension waits for the line, and goes on while it runs
    let keep =
        "echo Container started\ntrap \"exit 0\" 15\n\nexec \"$@\"\nwhile sleep 1 & wait $!; do :; done";
    let mut start = target.command(60, &berth_tests::docker_bin());
    start.args(["run", "--sig-proxy=false", "-a", "STDOUT", "-a", "STDERR"]);
    start.args([
        "--mount",
        "type=tmpfs,dst=/workspaces/project",
        "--mount",
        "type=volume,src=vscode,dst=/vscode",
    ]);
    start.args(["-l", "devcontainer.local_folder=/tmp/project", "-l", "devcontainer.metadata=[{\"a\":1}]"]);
    start.args(["--entrypoint", "/bin/sh", "busybox", "-c", keep, "-"]).stdout(Stdio::piped());
    let mut started = start.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(started.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "Container started\n");
    let id = docker(&["ps", "-q", "-a", "--filter", label]).ok().to_owned();
    let found: Value = serde_json::from_str(docker(&["inspect", "--type", "container", &id]).ok()).unwrap();
    assert_eq!(found[0]["Config"]["Labels"]["devcontainer.metadata"], "[{\"a\":1}]");
    assert_eq!(found[0]["Mounts"].as_array().unwrap().len(), 2);
    // its server of shells: one long exec that is fed scripts and answers between marks
    let mut shell = target.command(60, &berth_tests::docker_bin());
    shell.args(["exec", "-i", "-u", "root", "-e", "VSCODE=1", &id, "/bin/sh"]);
    let mut shell =
        shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut input = shell.stdin.take().unwrap();
    let mut output = BufReader::new(shell.stdout.take().unwrap());
    for (index, (script, said)) in [
        ("uname -s", "Linux\n"),
        ("echo ~root", "/root\n"),
        ("cat /nosuch 2>/dev/null; echo $?", "1\n"),
        ("echo $VSCODE", "1\n"),
    ]
    .iter()
    .enumerate()
    {
        writeln!(input, "echo -n mark{index}; ( {script} ); echo -n mark{index}; echo").unwrap();
        let mut answer = String::new();
        while !answer.ends_with(&format!("mark{index}\n")) {
            assert!(output.read_line(&mut answer).unwrap() > 0, "the shell ended: {answer:?}");
        }
        assert_eq!(answer, format!("mark{index}{said}mark{index}\n"));
    }
    drop(input);
    assert!(shell.wait().unwrap().success());
    // files go in through tar, as its server is installed
    let mut tar = target.command(60, &berth_tests::docker_bin());
    tar.args(["exec", "-i", &id, "/bin/sh", "-c", "cat > /vscode/file && wc -c < /vscode/file"]);
    let mut tar = tar.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    tar.stdin.take().unwrap().write_all(&vec![7; 3 << 20]).unwrap();
    let outcome = tar.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&outcome.stdout), format!("{}\n", 3 << 20));
    // the client rounds moments to seconds
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let until = (now + 1).to_string();
    let events = docker(&[
        "events",
        "--since",
        "1h",
        "--until",
        &until,
        "--filter",
        "event=start",
        "--format",
        "{{json .}}",
    ]);
    assert!(events.ok().contains("devcontainer.local_folder"), "{events:?}");
    docker(&["stop", "-t", "5", &id]).ok();
    assert_eq!(started.wait().unwrap().code(), Some(0));
    docker(&["rm", "-f", "-v", &id]).ok();
}
