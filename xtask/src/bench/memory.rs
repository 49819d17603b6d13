//! Memory of engines and of the supervisors of their containers, as proportional set size.

use std::fs;

/// The PSS of the idle engines, for a table.
pub(super) fn engines() -> String {
    let berth = total(|line| line.starts_with("/usr/local/bin/berth daemon"));
    let docker = total(|line| line.starts_with("dockerd"));
    let containerd = total(|line| line == "containerd");
    let mb = |sum: (u64, u64)| sum.0 as f64 / 1024.0;
    format!("berth {:.1}, dockerd {:.1} + containerd {:.1}", mb(berth), mb(docker), mb(containerd))
}

/// The PSS in KB of one supervisor of a running container.
pub(super) fn supervisors(peer: &str) -> String {
    let sum = match peer {
        "berth" => total(|line| line.starts_with("berth shim") || line.contains("/berth shim")),
        "docker" => total(|line| line.contains("containerd-shim-runc-v2")),
        _ => total(|line| line.contains("/conmon ")),
    };
    let each = sum.0.checked_div(sum.1);
    each.map_or_else(|| "none found".to_owned(), |each| format!("{each} ({} processes)", sum.1))
}

/// The sum of the PSS of the processes whose command line fits, and how many they are.
fn total(fits: impl Fn(&str) -> bool) -> (u64, u64) {
    let mut sum = (0, 0);
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Ok(line) = fs::read(entry.path().join("cmdline")) else { continue };
        let words: Vec<&[u8]> = line.split(|byte| *byte == 0).filter(|word| !word.is_empty()).collect();
        let line = String::from_utf8_lossy(&words.join(&b' ')).into_owned();
        if !fits(&line) {
            continue;
        }
        let rollup = fs::read_to_string(entry.path().join("smaps_rollup")).unwrap_or_default();
        let pss = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
        let pss = pss.and_then(|rest| rest.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
        sum = (sum.0 + pss.unwrap_or(0), sum.1 + 1);
    }
    sum
}
