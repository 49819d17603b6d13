//! A log that is sent away from a disk that is full.

use berth_tests::destination::Destination;
use berth_tests::disk::Disk;
use berth_tests::{Client, Engine, until};

#[test]
fn a_sender_that_cannot_record_its_position_loses_nothing() {
    let disk = Disk::new(48);
    let mut engine = Engine::start_in(&disk.at);
    engine.import("busybox");
    let destination = Destination::open();
    let script = "go= i=0; trap 'go=1' USR1; while true; do while [ -z \"$go\" ]; do sleep 0.05; done; go=; \
                  n=$((i+10)); while [ $i -lt $n ]; do echo @far:$i@; i=$((i+1)); done; done";
    let address = format!("syslog-address=tcp://{}", destination.address);
    let flags = ["run", "-d", "--name", "far", "--log-driver", "syslog", "--log-opt", &address, "busybox"];
    engine.run(Client::Berth, &[&flags[..], &["sh", "-c", script]].concat()).ok();
    let more = |engine: &Engine, count: usize| {
        engine.docker("kill -s USR1 far").ok();
        until("the lines came", 20, || destination.of("far").len() >= count);
    };
    let recorded = || {
        let containers =
            std::fs::read_dir(disk.at.join("containers")).unwrap().map(|entry| entry.unwrap().path());
        let mut texts =
            containers.map(|path| std::fs::read_to_string(path.join("forwarded")).unwrap_or_default());
        texts.any(|text| !text.is_empty())
    };
    // There is one page for the lines, and none for how far they were sent.
    disk.leave(4096);
    more(&engine, 10);
    until("it is told", 10, || engine.log().contains("how far its log was sent cannot be recorded"));
    more(&engine, 20);
    assert!(!recorded());
    assert_eq!(engine.log().matches("cannot be recorded").count(), 1);
    disk.free();
    more(&engine, 30);
    until("it is recorded", 10, recorded);
    assert!(engine.log().contains("how far its log was sent is recorded again"));
    // So that the next engine goes on there.
    engine.kill9();
    engine.up();
    more(&engine, 40);
    assert_eq!(destination.of("far"), (0..40).collect::<Vec<_>>());
    engine.remove_all();
    engine.assert_clean();
}
