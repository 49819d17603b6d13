//! The first command starts the engine: one engine, however many first commands there are.
//!
//! Each test has its own mounts, network and processes, so the default places of the engine are its own too.

use std::process::Command;

use berth_tests::{Outcome, berth_bin, run};

/// Runs a script where `/run`, `/var/lib` and `/var/log` are empty; `$BERTH` is the program.
fn inside(script: &str) -> Outcome {
    let prologue =
        "set -e; ip link set lo up; for d in /run /var/lib /var/log; do mount -t tmpfs none $d; done
        engines() {
            count=0
            for process in /proc/[0-9]*; do
                word=$(tr '\\0' '\\n' < $process/cmdline 2>/dev/null | sed -n 2p)
                if [ \"$word\" = daemon ]; then count=$((count + 1)); fi
            done
            echo $count
        }
        set +e\n";
    let mut command = Command::new("unshare");
    command.args([
        "--mount",
        "--net",
        "--pid",
        "--fork",
        "--mount-proc",
        "--propagation",
        "private",
        "bash",
        "-c",
    ]);
    command.arg(format!("{prologue}{script}")).env("BERTH", berth_bin());
    for name in ["DOCKER_HOST", "BERTH_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG"] {
        command.env_remove(name);
    }
    run(command.env("HOME", "/run"))
}

#[test]
fn first_commands_at_once_start_one_engine() {
    let outcome = inside(
        "for i in 1 2 3 4 5 6 7 8; do $BERTH ps -q & pids=\"$pids $!\"; done
        for pid in $pids; do wait $pid || echo \"failed: $?\"; done
        echo engines: $(engines)",
    );
    assert_eq!(outcome.ok(), "engines: 1", "{outcome:?}");
}

#[test]
fn what_a_killed_engine_left_is_no_hindrance() {
    let outcome = inside(
        "$BERTH ps -q
        first=$(cat /run/berth.pid)
        kill -9 $first
        while kill -0 $first 2>/dev/null; do sleep 0.05; done
        test -S /run/berth.sock && echo socket left
        $BERTH version --format '{{.Server.Os}}'
        echo engines: $(engines)",
    );
    assert_eq!(outcome.ok(), "socket left\nlinux\nengines: 1", "{outcome:?}");
}

#[test]
fn a_start_that_fails_says_why() {
    let outcome = inside("echo > /var/lib/berth; $BERTH ps; echo code: $?; echo engines: $(engines)");
    assert_eq!(outcome.ok(), "code: 1\nengines: 0", "{outcome:?}");
    assert!(outcome.stderr.contains("see /var/log/berth.log"), "{outcome:?}");
    assert!(outcome.stderr.contains("/var/lib/berth"), "the reason from the log: {outcome:?}");
}
