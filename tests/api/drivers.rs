//! Log drivers that send lines elsewhere, to destinations that come and go.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{TcpListener, UdpSocket};
use std::sync::mpsc;
use std::time::Duration;

use berth_tests::destination::Destination;
use berth_tests::{Client, Engine, Outcome, until};

fn words(line: &str) -> Vec<&str> {
    line.split(' ').collect()
}

fn run(engine: &Engine, flags: &str, script: &str) -> Outcome {
    let flags = format!("run --log-driver {flags} busybox sh -c");
    engine.run(Client::Berth, &[words(&flags), vec![script]].concat())
}

/// The numbers at the ends of a connection's lines, until either side is gone.
fn collect(listener: &TcpListener) -> mpsc::Receiver<u32> {
    let (sender, receiver) = mpsc::channel();
    let listener = listener.try_clone().unwrap();
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if sender.send(line.rsplit(' ').next().unwrap().parse().unwrap()).is_err() {
                break;
            }
        }
    });
    receiver
}

/// The first and the last of numbers, none of which is missing between them.
fn whole(mut numbers: Vec<u32>) -> (u32, u32) {
    numbers.sort_unstable();
    numbers.dedup();
    let (first, last) = (numbers[0], numbers[numbers.len() - 1]);
    assert_eq!(numbers, (first..=last).collect::<Vec<_>>());
    (first, last)
}

#[test]
fn syslog_gets_packets_and_logs_are_read_all_the_same() {
    let engine = Engine::with_images(&["busybox"]);
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    server.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let flags = format!(
        "syslog --log-opt syslog-address=udp://{} --log-opt syslog-facility=local3 --log-opt tag={{{{.Name}}}} --name far",
        server.local_addr().unwrap()
    );
    run(&engine, &flags, "echo one; sleep 0.1; echo two >&2; sleep 0.1; printf three").ok();
    let mut buffer = [0; 2048];
    for (priority, text) in [(158, "one"), (155, "two"), (158, "three")] {
        let length = server.recv(&mut buffer).unwrap();
        let packet = String::from_utf8_lossy(&buffer[..length]);
        let shape = format!("<{priority}>");
        assert!(packet.starts_with(&shape), "{packet:?}");
        assert!(packet.ends_with(&format!(" far[{}]: {text}\n", engine.pid())), "{packet:?}");
    }
    assert_eq!(engine.berth("logs far").stdout, "one\nthree");
    assert_eq!(engine.berth("inspect -f {{.LogPath}}/{{.HostConfig.LogConfig.Type}} far").ok(), "/syslog");

    let flags = format!("{flags}2 --log-opt cache-disabled=true");
    run(&engine, &flags, "echo only far away").ok();
    let length = server.recv(&mut buffer).unwrap();
    assert!(String::from_utf8_lossy(&buffer[..length]).ends_with("]: only far away\n"));
    let refused = engine.berth("logs far2");
    assert_eq!(
        refused.fails(1),
        "Error response from daemon: configured logging driver does not support reading"
    );
    engine.remove_all();
    engine.assert_clean();
}

#[test]
fn a_destination_that_goes_and_an_engine_that_dies_cost_no_line() {
    let mut engine = Engine::with_images(&["busybox"]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let flags = format!(
        "syslog --log-opt syslog-address=tcp://{} --log-opt cache-max-size=2k --name far -d",
        listener.local_addr().unwrap()
    );
    let first = collect(&listener);
    run(&engine, &flags, "i=0; while [ $i -lt 300 ]; do echo line $i; i=$((i+1)); sleep 0.01; done").ok();
    let mut got: Vec<u32> = first.iter().take(20).collect();
    // The engine dies; what is written meanwhile is in the log's files, the oldest of it compressed.
    engine.kill9();
    got.extend(first.iter());
    std::thread::sleep(Duration::from_millis(300));
    let second = collect(&listener);
    engine.up();
    got.extend(second.iter().take(60));
    assert_eq!(whole(got).0, 0);
    // The destination breaks the connection off, and is there again. What was on its way then is lost.
    drop(second);
    let third = collect(&listener);
    engine.berth("wait far").ok();
    let mut got = Vec::new();
    until("the last line came", 30, || {
        got.extend(third.try_iter());
        got.last() == Some(&299)
    });
    assert_eq!(whole(got).1, 299);
    engine.remove_all();
    engine.assert_clean();
}

#[test]
fn a_container_without_its_destination_does_not_start() {
    let engine = Engine::with_images(&["busybox"]);
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let begun = "failed to create task for container: failed to initialize logging driver";
    for driver in [
        "syslog --log-opt syslog-address=tcp",
        "gelf --log-opt gelf-address=tcp",
        "fluentd --log-opt fluentd-address=tcp",
    ] {
        let refused = run(&engine, &format!("{driver}://{closed} --rm"), "true");
        let said = refused.fails(125);
        assert!(
            said.contains(begun) && said.contains(&format!("dial tcp {closed}: connect: connection refused")),
            "{said}"
        );
    }
    let refused = run(&engine, "awslogs", "true");
    let expect = "error looking up logging plugin awslogs: plugin \"awslogs\" not found";
    assert!(refused.fails(125).contains(expect), "{refused:?}");
    let refused = run(&engine, "json-file --log-opt tag={{.Foo}}", "true");
    assert!(refused.fails(125).contains("can't evaluate field Foo in type *logger.Info"), "{refused:?}");
    engine.remove_all();
    engine.assert_clean();
}

#[test]
fn fluentd_may_come_later_and_gets_pieces_of_long_lines() {
    let engine = Engine::with_images(&["busybox"]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let flags =
        format!("fluentd --log-opt fluentd-async=true --log-opt fluentd-address={address} --name far -d");
    run(&engine, &flags, "head -c 40000 /dev/zero | tr '\\0' x; echo; sleep 60").ok();
    let listener = until_bound(address);
    let (mut stream, _) = listener.accept().unwrap();
    let mut got = Vec::new();
    let mut buffer = vec![0; 65536];
    while !contains(&got, b"\xacpartial_last\xa4true") {
        let length = stream.read(&mut buffer).unwrap();
        assert!(length > 0, "the engine broke off");
        got.extend_from_slice(&buffer[..length]);
    }
    for part in [&b"\xafpartial_ordinal\xa11"[..], b"\xafpartial_ordinal\xa13", b"\xaecontainer_name\xa4/far"]
    {
        assert!(contains(&got, part), "{:?} is missing", part.escape_ascii().to_string());
    }
    engine.berth("rm -f far").ok();
    engine.assert_clean();
}

fn contains(whole: &[u8], part: &[u8]) -> bool {
    whole.windows(part.len()).any(|window| window == part)
}

fn until_bound(address: std::net::SocketAddr) -> TcpListener {
    let mut bound = None;
    until("the port is free", 10, || {
        bound = TcpListener::bind(address).ok();
        bound.is_some()
    });
    bound.unwrap()
}

#[test]
fn a_removal_does_not_wait_for_a_destination_that_is_away() {
    let engine = Engine::with_images(&["busybox"]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let flags =
        format!("syslog --log-opt syslog-address=tcp://{} --name far -d", listener.local_addr().unwrap());
    run(&engine, &flags, "sleep 0.5; echo too late; sleep 60").ok();
    let (stream, _) = listener.accept().unwrap();
    drop((stream, listener));
    std::thread::sleep(Duration::from_millis(700));
    engine.berth("rm -f far").ok();
    assert_eq!(engine.berth("ps -aq").ok(), "");
    engine.assert_clean();
}

#[test]
fn an_engine_does_not_start_with_options_that_no_container_could_have() {
    let directory = tempfile::tempdir().unwrap();
    let place = |name: &str| directory.path().join(name).display().to_string();
    let mut command = std::process::Command::new(berth_tests::berth_bin());
    command.args([
        "daemon",
        "--data-root",
        &place("data"),
        "--exec-root",
        &place("run"),
        "--pidfile",
        &place("pid"),
    ]);
    command.args(["-H", &format!("unix://{}", place("s")), "--log-driver", "syslog", "--log-opt", "foo=bar"]);
    let refused = berth_tests::run(&mut command);
    let expect =
        "failed to start daemon: failed to set log opts: unknown log opt 'foo' for syslog log driver";
    assert!(refused.fails(1).contains(expect), "{refused:?}");
}

/// A figure of the engine's memory, in kilobytes.
fn memory(engine: &Engine, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", engine.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim_matches(|c: char| !c.is_ascii_digit()).parse().unwrap()
}

#[test]
fn fifty_at_once_arrive_whole_and_in_order() {
    let engine = Engine::with_images(&["busybox"]);
    let destination = Destination::open();
    let address = destination.address;
    let drivers = [
        format!("syslog --log-opt syslog-address=tcp://{address}"),
        format!("gelf --log-opt gelf-address=tcp://{address}"),
        format!("fluentd --log-opt fluentd-address={address}"),
    ];
    std::fs::write(format!("/proc/{}/clear_refs", engine.pid()), "5").unwrap();
    let before = memory(&engine, "VmRSS:");
    let name = |number: usize| format!("far{number}");
    let script = "i=0; while [ $i -lt 2000 ]; do echo @$0:$i@; i=$((i+1)); done; exec sleep 1000";
    std::thread::scope(|scope| {
        for part in 0..5 {
            let (engine, drivers) = (&engine, &drivers);
            scope.spawn(move || {
                for number in (part..50).step_by(5) {
                    let flags = format!(
                        "run -d --name {} --log-driver {} busybox sh -c",
                        name(number),
                        drivers[number % 3]
                    );
                    let own = name(number);
                    engine.run(Client::Berth, &[words(&flags), vec![script, &own]].concat()).ok();
                }
            });
        }
    });
    let expect: Vec<u32> = (0..2000).collect();
    for number in 0..50 {
        let name = name(number);
        until("its last line came", 60, || destination.of(&name).len() >= expect.len());
        assert_eq!(destination.of(&name), expect, "{name}");
    }
    let more = memory(&engine, "VmHWM:").saturating_sub(before);
    assert!(more < 48 << 10, "{more} KB more than the {before} KB of before");
    engine.remove_all();
    engine.assert_clean();
}

/// A port where connections are accepted, by the kernel, and little is taken.
fn stalled() -> TcpListener {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    rustix::net::sockopt::set_socket_recv_buffer_size(&listener, 64 << 10).unwrap();
    listener
}

#[test]
fn a_destination_that_lags_behind_gets_what_is_kept_and_the_rest_is_told() {
    let engine = Engine::with_images(&["busybox"]);
    let flood = "seq 0 99999 | sed 's/.*/@far:&@ ................................................../'";
    for (files, is_enough) in [(1000, true), (2, false)] {
        let listener = stalled();
        let flags = format!(
            "syslog --log-opt syslog-address=tcp://{} --log-opt cache-max-size=200k --log-opt cache-max-file={files} \
             --name far",
            listener.local_addr().unwrap()
        );
        run(&engine, &flags, flood).ok();
        let destination = Destination::on(listener);
        until("the last line came", 60, || destination.of("far").last() == Some(&99_999));
        let got = destination.of("far");
        let bad = got.windows(2).find(|pair| pair[0] >= pair[1]);
        assert_eq!(bad, None, "in order, and none twice");
        let missing = 100_000 - got.len() as u64;
        let log = engine.log();
        let told = log.lines().filter_map(|line| {
            line.split(" bytes of its log were rotated away").next()?.rsplit(' ').next()?.parse::<u64>().ok()
        });
        let told: u64 = told.sum();
        if is_enough {
            assert_eq!((missing, told), (0, 0));
        } else {
            // A line of a log has some more bytes than its text.
            assert!(missing > 0 && (100..200).contains(&(told / missing)), "{told} bytes of {missing} lines");
        }
        engine.berth("rm far").ok();
    }
    engine.assert_clean();
}

#[test]
fn a_destination_that_takes_nothing_holds_up_no_removal() {
    let engine = Engine::with_images(&["busybox"]);
    let listener = stalled();
    let flags =
        format!("syslog --log-opt syslog-address=tcp://{} --name far", listener.local_addr().unwrap());
    run(&engine, &flags, "yes | head -c 9000000").ok();
    engine.berth("rm -f far").ok();
    assert!(engine.log().contains("not all of its log was sent"), "{}", engine.log());
    engine.assert_clean();
}
