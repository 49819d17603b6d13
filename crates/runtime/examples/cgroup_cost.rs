//! cost
#![allow(unsafe_code, clippy::unwrap_used, missing_docs, clippy::print_stdout)]
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use berth_oci::runtime::*;
use berth_runtime::cgroup::{Cgroup, Hierarchies};

fn median(mut v: Vec<Duration>) -> f64 {
    v.sort();
    v[v.len() / 2].as_secs_f64() * 1e6
}

fn main() {
    let t = Instant::now();
    let h = Arc::new(Hierarchies::detect().unwrap());
    println!("detect {:?} {:?}", t.elapsed(), h.version());
    let t = Instant::now();
    let _ = h.support();
    println!("support {:?}", t.elapsed());
    let rules = |k: &str, a: i64, b: i64| LinuxDeviceCgroup { allow: true, kind: k.into(), major: Some(a), minor: Some(b), access: "rwm".into() };
    let resources = LinuxResources {
        devices: vec![LinuxDeviceCgroup::deny_all(), rules("c", 1, 5), rules("c", 1, 3), rules("c", 1, 9), rules("c", 1, 8), rules("c", 5, 0), rules("c", 5, 1)],
        memory: Some(LinuxMemory { limit: Some(100 << 20), swap: Some(200 << 20), ..LinuxMemory::default() }),
        pids: Some(LinuxPids { limit: 100 }),
        ..LinuxResources::default()
    };
    let plain = LinuxResources { devices: resources.devices.clone(), ..LinuxResources::default() };
    for (name, resources) in [("plain", &plain), ("limits", &resources)] {
        let (mut c, mut a, mut s, mut r, mut k, mut o) = (vec![], vec![], vec![], vec![], vec![], vec![]);
        for i in 0..200 {
            let path = format!("/cgroup-cost/{i}");
            let t = Instant::now();
            let g = Cgroup::create(&h, &path, resources).unwrap();
            c.push(t.elapsed());
            let t = Instant::now();
            let _w = g.watch_oom().unwrap();
            o.push(t.elapsed());
            // attach by self, measured in the child through a pipe
            let (rd, wr) = std::io::pipe().unwrap();
            let mut cmd = Command::new("/bin/true");
            let g = Arc::new(g);
            let g2 = Arc::clone(&g);
            unsafe {
                cmd.pre_exec(move || {
                    let t = Instant::now();
                    if std::env::args().nth(1).is_some() {
                        g2.attach(rustix::process::getpid()).unwrap();
                    } else {
                        g2.attach_self().unwrap();
                    }
                    let n = t.elapsed().as_nanos() as u64;
                    use std::io::Write;
                    (&wr).write_all(&n.to_ne_bytes())
                });
            }
            let mut child = cmd.spawn().unwrap();
            drop(cmd);
            let mut b = [0; 8];
            use std::io::Read;
            (&rd).read_exact(&mut b).unwrap();
            a.push(Duration::from_nanos(u64::from_ne_bytes(b)));
            child.wait().unwrap();
            let t = Instant::now();
            let _ = g.stats().unwrap();
            s.push(t.elapsed());
            let t = Instant::now();
            let _ = g.kill_all().unwrap();
            k.push(t.elapsed());
            let t = Instant::now();
            g.remove().unwrap();
            r.push(t.elapsed());
        }
        println!("{name}: create {:.0} watch {:.0} attach {:.0} stats {:.0} kill {:.0} remove {:.0} us", median(c), median(o), median(a), median(s), median(k), median(r));
    }
    h.prune("/cgroup-cost");
}
