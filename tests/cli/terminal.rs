//! `run -it`, `attach` and `exec -it` in a real terminal.

use std::io::BufRead as _;
use std::process::{Command, Stdio};

use berth_tests::terminal::Terminal;
use berth_tests::{CLIENTS, Engine, run, until};

#[test]
fn a_shell_in_a_real_terminal() {
    let engine = Engine::with_images(&["busybox"]);
    for client in CLIENTS {
        let command = engine.command(client, &["run", "-it", "--name", "shell", "busybox", "sh"]);
        let mut terminal = Terminal::spawn(&command, 33, 101);
        terminal.expect("# ");
        terminal.send("stty size\r");
        terminal.expect("33 101");
        terminal.resize(44, 99);
        until("the new size", 10, || {
            let size = engine.docker("exec shell stty -F /dev/pts/0 size");
            size.stdout.trim() == "44 99"
        });
        terminal.send("sleep 100\r");
        std::thread::sleep(std::time::Duration::from_millis(300));
        terminal.send("\x03");
        terminal.send("echo after-$((20+3))\r");
        terminal.expect("after-23");
        terminal.send("\x10\x11");
        assert_eq!(terminal.wait(), 0, "detached");
        assert_eq!(engine.docker("ps -q").ok().lines().count(), 1, "it goes on");

        let mut again = Terminal::spawn(&engine.command(client, &["attach", "shell"]), 24, 80);
        again.send("\recho back-$((40+2))\r");
        again.expect("back-42");
        again.send("exit 7\r");
        assert_eq!(again.wait(), 7);
        engine.berth("rm shell").ok();
    }
}

#[test]
fn exec_in_a_real_terminal() {
    let engine = Engine::with_images(&["busybox"]);
    engine.berth("run -d --name box busybox sleep 600").ok();
    for client in CLIENTS {
        let mut terminal = Terminal::spawn(&engine.command(client, &["exec", "-it", "box", "sh"]), 40, 120);
        terminal.expect("# ");
        terminal.send("stty size; tty\r");
        terminal.expect("40 120");
        terminal.expect("/dev/pts/");
        terminal.send("exit 9\r");
        assert_eq!(terminal.wait(), 9);
    }
}

#[test]
fn who_leaves_an_exec_leaves_it_running() {
    let engine = Engine::with_images(&["busybox"]);
    engine.berth("run -d --name box busybox sleep 600").ok();
    let inside = ["box", "sh", "-c", "echo ready; exec sleep 300"];
    for client in CLIENTS {
        for flags in [&[][..], &["-i"], &["-t"]] {
            let mut command = engine.command(client, &[&["exec"], flags, &inside].concat());
            let mut terminal = Terminal::spawn(&command, 24, 80);
            terminal.expect("ready");
            terminal.send("\x03");
            assert_eq!(terminal.wait(), 0, "{client:?} {flags:?}");

            for signal in ["-INT", "-TERM"] {
                let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
                let mut line = String::new();
                std::io::BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
                run(Command::new("kill").args([signal, &child.id().to_string()]));
                assert_eq!(child.wait().unwrap().code(), Some(0), "{client:?} {flags:?} {signal}");
            }
        }
    }
    let running = engine.berth("exec box pidof sleep").ok().split(' ').count();
    assert_eq!(running, 1 + CLIENTS.len() * 3 * 3);
}
