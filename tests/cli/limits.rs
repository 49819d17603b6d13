//! Limits: what a container may use of the machine.

use berth_tests::{CLIENTS, Engine};

#[test]
fn a_memory_limit_kills_with_137_and_says_so() {
    let engine = Engine::with_images(&["busybox"]);
    for client in CLIENTS {
        let eat = "x=a; while true; do x=$x$x; done";
        let args =
            ["run", "--name", "eater", "-m", "16m", "--memory-swap", "16m", "busybox", "sh", "-c", eat];
        assert_eq!(engine.run(client, &args).code, 137);
        let state =
            engine.run(client, &["inspect", "-f", "{{.State.OOMKilled}} {{.State.ExitCode}}", "eater"]);
        assert_eq!(state.ok(), "true 137");
        engine.run(client, &["rm", "eater"]).ok();
    }
}

#[test]
fn a_cpu_limit_halves_the_work() {
    let engine = Engine::with_images(&["busybox"]);
    let work = |limit: &[&str]| -> u64 {
        let count =
            "i=0; end=$(($(date +%s)+3)); while [ $(date +%s) -lt $end ]; do i=$((i+1)); done; echo $i";
        let args = [&["run", "--rm", "--net", "none"], limit, &["busybox", "sh", "-c", count]].concat();
        engine.run(berth_tests::Client::Berth, &args).ok().trim().parse().unwrap()
    };
    let (whole, half) = (work(&[]), work(&["--cpus", "0.5"]));
    assert!(half * 10 < whole * 8, "half a processor did {half} rounds, a whole one {whole}");
}

#[test]
fn a_process_limit_holds() {
    let engine = Engine::with_images(&["busybox"]);
    for client in CLIENTS {
        let script = "for i in 1 2 3 4 5 6 7 8 9 10; do sleep 5 & done; wait";
        let outcome =
            engine.run(client, &["run", "--rm", "--pids-limit", "5", "busybox", "sh", "-c", script]);
        assert!(outcome.stderr.contains("can't fork"), "{outcome:?}");
    }
}
