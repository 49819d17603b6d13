//! How long a sandbox takes: `cargo run --profile quick -p berth-network --example bench`, as root.
//!
//! In a network namespace of its own: the machine's network is not touched.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::{
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use berth_network::{Network, NetworkConfig, PortSpec, Protocol, Request, Started};

fn main() {
    thread::spawn(|| {
        berth_sys::net::unshare_network().unwrap();
        let locks = tempfile::tempdir().unwrap();
        let config = NetworkConfig { lock_dir: locks.path().to_owned(), ..NetworkConfig::default() };
        let network = Network::open(config).unwrap();
        network.adopt(&[]).unwrap();
        settle();
        println!("{:<44} {:>8} {:>8} {:>8} {:>8}", "µs", "p10", "median", "p90", "max");
        for life in [0, 2, 5, 10, 50] {
            one_after_the_other(&network, Duration::from_millis(life), &[]);
        }
        let published = [PortSpec {
            container_port: 80,
            protocol: Protocol::Tcp,
            host_ip: None,
            host_ports: Some(8080..=8080),
        }];
        one_after_the_other(&network, Duration::from_millis(5), &published);
        for workers in [8, 50] {
            side_by_side(&network, workers);
        }
        network.remove().unwrap();
    })
    .join()
    .unwrap();
}

fn one_after_the_other(network: &Network, life: Duration, ports: &[PortSpec]) {
    let (mut starts, mut releases) = (Vec::new(), Vec::new());
    let begin = Instant::now();
    for number in 0..200 {
        let id = format!("container{number}");
        let (started, time) = timed(|| start(network, &id, ports));
        starts.push(time);
        thread::sleep(life);
        releases.push(timed(|| release(network, started)).1);
    }
    let name = format!("one by one, {life:?} of life, {} ports", ports.len());
    report(&format!("start   {name}"), &mut starts);
    report(&format!("release {name}"), &mut releases);
    println!("  {:?} each in all", begin.elapsed() / 200);
    settle();
}

fn side_by_side(network: &Network, workers: usize) {
    let (starts, running) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    let next = AtomicUsize::new(0);
    let begin = Instant::now();
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= 50 {
                        return;
                    }
                    let (started, time) = timed(|| start(network, &format!("container{number}"), &[]));
                    starts.lock().unwrap().push(time);
                    running.lock().unwrap().push(started);
                }
            });
        }
    });
    let took = begin.elapsed();
    report(&format!("start   50, {workers} at a time"), &mut starts.into_inner().unwrap());
    println!("  {took:?} for all 50");
    let mut releases: Vec<Duration> = running
        .into_inner()
        .unwrap()
        .into_iter()
        .map(|started| timed(|| release(network, started)).1)
        .collect();
    report("release 50", &mut releases);
    settle();
}

fn start(network: &Network, id: &str, ports: &[PortSpec]) -> Started {
    network.start(Request { container_id: id, ports, ..Request::default() }).unwrap()
}

fn release(network: &Network, started: Started) {
    drop(started.port_sockets);
    network.release(&started.endpoint, Some(started.netns));
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let result = work();
    (result, start.elapsed())
}

/// Lets the kernel take down what was released.
fn settle() {
    thread::sleep(Duration::from_secs(1));
}

fn report(name: &str, times: &mut [Duration]) {
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_micros();
    println!("{name:<44} {:>8} {:>8} {:>8} {:>8}", at(10), at(50), at(90), at(100));
}
