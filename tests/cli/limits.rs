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
    for client in CLIENTS {
        // what the limit lets through is counted in the time that the processor gave, so a busy machine is no matter
        let count = "u() { cat /sys/fs/cgroup/cpuacct/cpuacct.usage; }; t() { cut -d' ' -f1 /proc/uptime | tr -d .; }; \
            a=$(u); b=$(t); timeout 3 sh -c 'while :; do :; done'; echo $(($(u)-a)) $(($(t)-b)); \
            cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us";
        let outcome = engine.run(client, &["run", "--rm", "--cpus", "0.5", "busybox", "sh", "-c", count]);
        let numbers: Vec<u64> =
            outcome.ok().split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let (used_ns, took_cs, quota_us) = (numbers[0], numbers[1], numbers[2]);
        assert!(used_ns < took_cs * 10_000_000 * 6 / 10, "{used_ns} ns of {took_cs} hundredths");
        assert_eq!(quota_us, 50_000, "{outcome:?}");
    }
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
