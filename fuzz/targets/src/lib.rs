//! Every parser of foreign bytes, as a function that must neither panic, hang nor take memory without bound.
//!
//! `fuzz/` drives them with libFuzzer on nightly (`cargo +nightly fuzz run http-target`); the tests here drive them on
//! stable with mutated seeds, always the same ones.

mod public;
#[cfg(test)]
mod tests;

/// A target's name, a few inputs that reach deep, and the function.
pub struct Target {
    /// As `cargo fuzz run` names it.
    pub name: &'static str,
    /// What mutation starts from.
    pub seeds: &'static [&'static str],
    /// Takes any bytes.
    pub run: fn(&[u8]),
}

/// All targets.
pub fn targets() -> Vec<Target> {
    let inside = [
        berth_daemon::fuzz::TARGETS,
        berth_engine::fuzz::TARGETS,
        berth_store::fuzz::TARGETS,
        berth_distribution::fuzz::TARGETS,
        berth_network::fuzz::TARGETS,
        berth_cli::fuzz::TARGETS,
    ];
    let rows = inside.into_iter().flatten().chain(public::TARGETS);
    rows.map(|&(name, seeds, run)| Target { name, seeds, run }).collect()
}

/// Runs one target by its name, for libFuzzer.
///
/// # Panics
/// Where there is no such target; and where the target finds a fault.
pub fn run(name: &str, data: &[u8]) {
    let targets = targets();
    let target = targets.iter().find(|target| target.name == name).expect("a target of that name");
    (target.run)(data);
}
