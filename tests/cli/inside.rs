//! What a container sees: itself, and nothing of the host.

use berth_tests::{CLIENTS, Client, Engine};

#[test]
fn only_itself_is_seen() {
    let engine = Engine::with_images(&["busybox"]);
    for client in CLIENTS {
        let shell = |script: &str| engine.run(client, &["run", "--rm", "busybox", "sh", "-c", script]);
        assert_eq!(shell("echo $$").ok(), "1");
        assert_eq!(shell("set -- /proc/[0-9]*; echo $#").ok(), "1", "nobody but the shell");
        assert_eq!(shell("ls /sys/class/net").ok(), "eth0\nlo");
        let capabilities = shell("grep -E 'Cap(Eff|Bnd|Amb)' /proc/1/status | cut -f2").ok().to_owned();
        assert_eq!(capabilities, "00000000a80425fb\n00000000a80425fb\n0000000000000000");
        assert_eq!(shell("grep Seccomp: /proc/1/status | cut -f2").ok(), "2");
        assert_eq!(shell("cat /proc/kcore | wc -c").stdout.trim(), "0");
        assert_ne!(shell("echo 1 > /proc/sys/kernel/printk").code, 0);
        assert_ne!(shell("mount -t tmpfs none /mnt").code, 0);
        let id = engine.run(client, &["run", "-d", "busybox", "hostname"]).ok().to_owned();
        engine.run(client, &["wait", &id]).ok();
        assert_eq!(engine.run(client, &["logs", &id]).ok(), &id[..12]);
        engine.run(client, &["rm", &id]).ok();
    }
}

#[test]
fn volumes_environment_user_and_workdir() {
    let engine = Engine::with_images(&["busybox"]);
    let shared = engine.dir.join("shared");
    std::fs::create_dir_all(&shared).unwrap();
    for client in CLIENTS {
        let run = |args: &[&str]| engine.run(client, &[&["run", "--rm"], args].concat());
        let bind = format!("{}:/data", shared.display());
        run(&["-v", &bind, "busybox", "sh", "-c", "echo from inside > /data/file"]).ok();
        assert_eq!(std::fs::read_to_string(shared.join("file")).unwrap(), "from inside\n");
        let read_only = format!("{bind}:ro");
        assert_ne!(run(&["-v", &read_only, "busybox", "touch", "/data/x"]).code, 0);
        run(&["-v", "named:/data", "busybox", "sh", "-c", "echo kept > /data/file"]).ok();
        assert_eq!(run(&["-v", "named:/data", "busybox", "cat", "/data/file"]).ok(), "kept");
        assert_eq!(
            run(&["-e", "A=b c", "-w", "/tmp/new", "busybox", "sh", "-c", "echo $A $PWD"]).ok(),
            "b c /tmp/new"
        );
        assert_eq!(run(&["-u", "65534:65534", "busybox", "id", "-u"]).ok(), "65534");
        assert_eq!(run(&["-u", "nobody", "busybox", "id", "-un"]).ok(), "nobody");
        assert_eq!(run(&["--hostname", "here", "busybox", "hostname"]).ok(), "here");
        assert_eq!(run(&["--tmpfs", "/t:size=1m", "busybox", "sh", "-c", "df -k /t | tail -1"]).code, 0);
        assert_ne!(run(&["--read-only", "busybox", "touch", "/x"]).code, 0);
        assert_eq!(run(&["--init", "busybox", "sh", "-c", "cat /proc/1/comm"]).ok(), "docker-init");
        assert_eq!(run(&["--entrypoint", "/bin/echo", "busybox", "said"]).ok(), "said");
        assert!(
            run(&["--add-host", "db:10.1.2.3", "busybox", "cat", "/etc/hosts"]).ok().contains("10.1.2.3\tdb")
        );
    }
}

#[test]
fn apt_get_install_through_the_nat() {
    let engine = Engine::with_images(&["debian"]);
    let script = "apt-get update -qq && apt-get install -y -qq hello >/dev/null && hello";
    let outcome = engine.run(Client::Docker, &["run", "--rm", "debian", "sh", "-c", script]);
    assert!(outcome.ok().ends_with("Hello, world!"), "{outcome:?}");
}

#[test]
fn a_working_directory_is_made_for_the_first_process_only() {
    let engine = Engine::with_images(&["busybox"]);
    engine.berth("run -d --name box -w /made busybox sleep 60").ok();
    for client in CLIENTS {
        let exec = |args: &[&str]| engine.run(client, &[&["exec"], args].concat());
        assert_eq!(exec(&["box", "pwd"]).ok(), "/made");
        let refused = exec(&["-w", "/missing", "box", "pwd"]);
        assert_eq!(refused.code, 126, "{refused:?}");
        assert!(refused.stdout.contains("chdir to cwd (\"/missing\")"), "{refused:?}");
    }
}
