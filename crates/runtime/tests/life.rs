//! The life of a container by the command line: create, start, state, kill, delete; what fails, and what is left.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests too")]

mod common;

use std::process::Stdio;

use common::{Bundle, cgroups_of, script, until};
use serde_json::{Value, json};

#[test]
fn run_gives_the_exit_code_and_leaves_nothing() {
    let bundle = Bundle::new("echo pid $$; exit 5");
    let said = bundle.run();
    assert_eq!((said.code, said.out.as_str()), (5, "pid 1"), "{said:?}");
    assert!(!bundle.state_dir().exists());
    assert!(cgroups_of(&bundle.id).is_empty());
}

#[test]
fn run_ends_with_the_signal_of_the_process() {
    let trapped = Bundle::new("trap 'exit 7' TERM; kill -TERM $$; sleep 1");
    assert_eq!(trapped.run().code, 7);
    let bundle = Bundle::new("exec sleep 100");
    bundle.write();
    let mut child = bundle.command(&["run", &bundle.id]).stdin(Stdio::null()).spawn().unwrap();
    until(|| bundle.state_dir().join("state.json").exists());
    bundle.wait_for_status("running");
    bundle.oci(&["kill", &bundle.id, "KILL"]).ok();
    assert_eq!(child.wait().unwrap().code(), Some(137));
}

#[test]
fn signals_of_run_go_to_the_process() {
    let bundle = Bundle::new("trap 'echo got it; exit 9' USR1; echo ready; while :; do sleep 0.05; done");
    bundle.write();
    let out = std::fs::File::create(bundle.path.join("out")).unwrap();
    let mut child = bundle.command(&["run", &bundle.id]).stdin(Stdio::null()).stdout(out).spawn().unwrap();
    until(|| bundle.written() == "ready");
    let pid = rustix::process::Pid::from_raw(child.id() as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::USR1).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(9));
    assert_eq!(bundle.written(), "ready\ngot it");
}

#[test]
fn create_start_state_kill_delete() {
    let mut bundle = Bundle::new("echo started; exec sleep 100");
    bundle.spec["annotations"] = json!({"a.b": "c"});
    let pid_file = bundle.path.join("pid");
    bundle.create(&["--pid-file", pid_file.to_str().unwrap()]).ok();
    assert_eq!(bundle.state("status"), "created");
    assert_eq!(bundle.state("annotations"), json!({"a.b": "c"}));
    let pid: i64 = std::fs::read_to_string(&pid_file).unwrap().parse().unwrap();
    assert_eq!(bundle.state("pid"), pid);
    assert_eq!(bundle.written(), "", "nothing runs before start");
    bundle.oci(&["start", &bundle.id]).ok();
    assert_eq!(bundle.state("status"), "running");
    until(|| bundle.written() == "started");
    assert!(bundle.oci(&["start", &bundle.id]).failed().contains("already running"));
    assert!(bundle.oci(&["delete", &bundle.id]).failed().contains("that is not stopped: running"));
    bundle.oci(&["kill", &bundle.id, "SIGKILL"]).ok();
    bundle.wait_for_status("stopped");
    assert_eq!(bundle.state("pid"), 0);
    assert!(bundle.oci(&["kill", &bundle.id, "9"]).failed().contains("container not running"));
    assert!(bundle.oci(&["start", &bundle.id]).failed().contains("has stopped"));
    bundle.oci(&["delete", &bundle.id]).ok();
    assert_eq!(bundle.oci(&["state", &bundle.id]).failed(), "container does not exist");
    assert!(cgroups_of(&bundle.id).is_empty());
}

#[test]
fn an_id_is_taken_once() {
    let bundle = Bundle::new("sleep 100");
    bundle.start();
    let said = bundle.oci(&["create", &bundle.id]).failed();
    assert!(said.contains("container with given ID already exists"), "{said}");
    assert_eq!(bundle.state("status"), "running", "the first one is unharmed");
    bundle.oci(&["delete", "-f", &bundle.id]).ok();
    assert!(bundle.oci(&["run", "../x"]).failed().contains("invalid container ID format"));
}

#[test]
fn a_created_container_can_be_deleted() {
    let bundle = Bundle::new("echo never");
    bundle.create(&[]).ok();
    bundle.oci(&["delete", &bundle.id]).ok();
    assert!(!bundle.state_dir().exists());
    assert_eq!(bundle.written(), "");
}

#[test]
fn what_cannot_be_executed_is_told_in_runcs_words() {
    let check = |args: Value, text: &str| {
        let mut bundle = Bundle::new("");
        bundle.spec["process"]["args"] = args;
        let said = bundle.create(&[]);
        assert_eq!(said.code, 1);
        let expected = format!("runc create failed: unable to start container process: exec: {text}");
        assert_eq!(said.err, expected);
        assert!(!bundle.state_dir().exists());
        assert!(cgroups_of(&bundle.id).is_empty());
    };
    check(json!(["no-such"]), r#""no-such": executable file not found in $PATH"#);
    check(json!(["/no/such"]), r#""/no/such": stat /no/such: no such file or directory"#);
    check(json!(["/tmp"]), r#""/tmp": is a directory"#);
    check(json!(["/etc/passwd"]), r#""/etc/passwd": permission denied"#);
}

#[test]
fn start_tells_why_execve_failed() {
    let mut bundle = Bundle::new("");
    std::fs::write(bundle.rootfs().join("broken"), "\x7fELF and no more").unwrap();
    script(&bundle.rootfs().join("no-interpreter"), "");
    std::fs::write(bundle.rootfs().join("no-interpreter"), "#!/no/such\n").unwrap();
    std::fs::set_permissions(
        bundle.rootfs().join("broken"),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    bundle.spec["process"]["args"] = json!(["/broken"]);
    bundle.create(&[]).ok();
    let said = bundle.oci(&["start", &bundle.id]).failed();
    assert!(said.contains(r#"exec: "/broken": exec format error"#), "{said}");
    bundle.wait_for_status("stopped");
    bundle.oci(&["delete", &bundle.id]).ok();
    bundle.spec["process"]["args"] = json!(["/no-interpreter"]);
    let said = bundle.run().failed();
    assert!(said.contains(r#"exec: "/no-interpreter": no such file or directory"#), "{said}");
}

#[test]
fn hooks_run_at_their_moments_with_the_state() {
    let mut bundle = Bundle::new("echo process >> /log; sleep 0.05");
    let log = bundle.rootfs().join("log");
    std::fs::write(&log, "").unwrap();
    let host = bundle.path.join("hook");
    // What a hook is told, and whether it sees the host's files (the script itself is one).
    let line = format!(
        "state=$(cat); status=$(echo \"$state\" | sed 's/.*\"status\":\"\\([a-z]*\\)\".*/\\1/'); \
         echo \"$1 $status $2\" >> {}",
        log.display()
    );
    script(&host, &line);
    script(
        &bundle.rootfs().join("hook"),
        "state=$(cat); case $state in *created*) echo startContainer created >> /log;; esac",
    );
    let hook = |name: &str| json!([{"path": host, "args": ["hook", name], "env": ["PATH=/usr/bin:/bin"]}]);
    bundle.spec["hooks"] = json!({
        "prestart": hook("prestart"),
        "createRuntime": hook("createRuntime"),
        "createContainer": hook("createContainer"),
        "startContainer": [{"path": "/hook", "env": ["PATH=/bin"]}],
        "poststart": hook("poststart"),
        "poststop": hook("poststop"),
    });
    bundle.run().ok();
    let text = std::fs::read_to_string(&log).unwrap();
    let mut lines: Vec<&str> = text.lines().map(str::trim).collect();
    // poststart runs beside the process
    let at = lines.iter().position(|line| *line == "poststart running").expect("poststart");
    assert!(at >= 4, "{lines:?}");
    lines.remove(at);
    let expected = [
        "prestart creating",
        "createRuntime creating",
        "createContainer creating",
        "startContainer created",
        "process",
        "poststop stopped",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn a_failing_hook_ends_the_container() {
    for name in ["prestart", "createRuntime", "createContainer"] {
        let mut bundle = Bundle::new("echo ran");
        script(&bundle.path.join("hook"), "echo that was it >&2; exit 3");
        bundle.spec["hooks"] = json!({name: [{"path": bundle.path.join("hook")}]});
        let said = bundle.create(&[]);
        let error = said.failed();
        let expected = format!("error running {name} hook #0: exit status 3, stdout: , stderr: that was it");
        assert!(error.ends_with(&expected), "{error}");
        assert!(!bundle.state_dir().exists());
        assert!(cgroups_of(&bundle.id).is_empty());
    }
    let mut bundle = Bundle::new("echo ran");
    script(&bundle.rootfs().join("hook"), "exit 4");
    bundle.spec["hooks"] = json!({"startContainer": [{"path": "/hook"}]});
    bundle.create(&[]).ok();
    let error = bundle.oci(&["start", &bundle.id]).failed();
    assert!(error.contains("error running startContainer hook #0: exit status 4"), "{error}");
    assert_eq!(bundle.written(), "");
}

#[test]
fn errors_are_logged_as_json() {
    let mut bundle = Bundle::new("");
    bundle.spec["process"]["args"] = json!(["no-such"]);
    bundle.write();
    bundle.oci(&["--log", "log.json", "--log-format=json", "run", &bundle.id]).failed();
    let text = std::fs::read_to_string(bundle.path.join("log.json")).unwrap();
    let line: Value = serde_json::from_str(text.trim_end()).unwrap();
    assert_eq!(line["level"], "error");
    assert!(line["msg"].as_str().unwrap().contains("executable file not found in $PATH"));
}

#[test]
fn list_shows_every_container() {
    let bundle = Bundle::new("sleep 100");
    assert_eq!(bundle.oci(&["list", "-q"]).ok(), "");
    bundle.start();
    assert_eq!(bundle.oci(&["list", "--quiet"]).ok(), bundle.id);
    let listed: Value = serde_json::from_str(&bundle.oci(&["list", "--format", "json"]).ok()).unwrap();
    assert_eq!((&listed[0]["id"], &listed[0]["status"]), (&json!(bundle.id), &json!("running")));
    assert!(bundle.oci(&["list"]).ok().lines().nth(1).unwrap().contains("running"));
    let pids: Vec<i64> =
        serde_json::from_str(&bundle.oci(&["ps", "--format", "json", &bundle.id]).ok()).unwrap();
    assert_eq!(pids, [bundle.state("pid").as_i64().unwrap()]);
    assert!(bundle.oci(&["ps", &bundle.id]).ok().contains("sleep 100"));
}

#[test]
fn pause_resume_update_events() {
    let bundle = Bundle::new("while :; do :; done");
    bundle.start();
    bundle.oci(&["pause", &bundle.id]).ok();
    assert_eq!(bundle.state("status"), "paused");
    assert!(bundle.oci(&["exec", &bundle.id, "true"]).failed().contains("paused"));
    bundle.oci(&["resume", &bundle.id]).ok();
    assert_eq!(bundle.state("status"), "running");
    assert!(bundle.oci(&["resume", &bundle.id]).failed().contains("not paused"));
    bundle.oci(&["update", "--memory", "32m", "--pids-limit", "20", &bundle.id]).ok();
    let stats: Value = serde_json::from_str(&bundle.oci(&["events", "--stats", &bundle.id]).ok()).unwrap();
    assert_eq!(stats["type"], "stats");
    assert_eq!(stats["data"]["memory"]["usage"]["limit"], 32 << 20);
    assert_eq!(stats["data"]["pids"]["limit"], 20);
    assert!(stats["data"]["cpu"]["usage"]["total"].as_u64().unwrap() > 0);
    // What was updated is part of the configuration, and a paused container can be killed.
    bundle.oci(&["pause", &bundle.id]).ok();
    bundle.oci(&["kill", &bundle.id, "KILL"]).ok();
    bundle.wait_for_status("stopped");
}

#[test]
fn a_container_without_its_own_pids_dies_as_a_whole() {
    let mut bundle = Bundle::new("sleep 1000 & sleep 1000 & wait");
    bundle.namespace("pid", None);
    bundle.start();
    let count = |bundle: &Bundle| {
        let text = bundle.oci(&["ps", "-f", "json", &bundle.id]).ok();
        serde_json::from_str::<Vec<i64>>(&text).unwrap().len()
    };
    until(|| count(&bundle) == 3);
    bundle.oci(&["kill", &bundle.id, "KILL"]).ok();
    until(|| count(&bundle) == 0);
    bundle.oci(&["delete", &bundle.id]).ok();
}

#[test]
fn descriptors_are_preserved_where_they_are() {
    let mut bundle = Bundle::new("cat <&3; cat <&4; ls /proc/self/fd");
    bundle.spec["process"]["args"] = json!(["sh", "-c", "cat <&3; cat <&4; echo /proc/self/fd/*"]);
    bundle.write();
    let shell = format!(
        "exec 3<<A 4<<B 5</dev/null 9</dev/null\nthree\nA\nfour\nB\nexec {} --root state run --preserve-fds 2 {}",
        common::program("oci").display(),
        bundle.id
    );
    let output =
        std::process::Command::new("bash").args(["-c", &shell]).current_dir(&bundle.path).output().unwrap();
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut lines = out.lines();
    assert_eq!((lines.next(), lines.next()), (Some("three"), Some("four")), "{output:?}");
    // 5 and 9 are not passed on; what more there is, the shell opened for itself.
    let open: Vec<&str> =
        lines.next().unwrap().split(' ').map(|path| path.rsplit('/').next().unwrap()).collect();
    assert!(["0", "1", "2", "3", "4"].iter().all(|fd| open.contains(fd)) && !open.contains(&"9"), "{open:?}");
    assert!(bundle.oci(&["run", "--preserve-fds", "7", &bundle.id]).failed().contains("is not valid"));
}

#[test]
fn spec_and_features_are_json() {
    let bundle = Bundle::new("");
    assert!(bundle.oci(&["spec"]).failed().contains("File config.json exists"));
    let features: Value = serde_json::from_str(&bundle.oci(&["features"]).ok()).unwrap();
    assert_eq!(features["ociVersionMin"], "1.0.0");
    assert!(bundle.oci(&["--version"]).ok().contains("spec: 1.2"));
    assert!(bundle.oci(&["fly"]).failed().contains("fly"));
    assert!(bundle.oci(&["run", "--fly", "x"]).failed().contains("flag provided but not defined: -fly"));
}

#[test]
fn the_library_in_one_step_and_in_two() {
    let mut bundle = Bundle::new("read line < /gate; echo $line; exit 6");
    bundle.spec["process"]["args"] = json!(["sh", "-c", "cat /gate; exit 6"]);
    rustix::fs::mknodat(
        rustix::fs::CWD,
        bundle.rootfs().join("gate"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    for environment in
        [&[("EXEC", "echo from exec > /gate; exit 3")][..], &[("STEPS", "1"), ("EXEC", "echo x > /gate")]]
    {
        let said = bundle.library(environment);
        assert_eq!(said.code, 6, "{said:?}");
        assert!(said.out.contains("exec ended with"), "{said:?}");
    }
}
