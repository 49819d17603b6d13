//! Health checks: a command that runs inside a container from time to time and says whether it is well.
//!
//! ```text
//!  start ─► starting ──a check succeeds──────────────────────────────► healthy ◄─┐
//!              │                                                          │      │ a check succeeds
//!              └─ so many fail in a row, the start period being over ─► unhealthy┘
//! ```
//!
//! A task for each running container with a check; it ends with the run. It decides, the container's own task writes.

use std::sync::Arc;
use std::time::Duration;

use berth_oci::container::{Config, Healthcheck};
use tokio::io::AsyncReadExt as _;
use tokio::net::UnixStream;

use super::registry::Slot;
use super::task::Command;
use super::{Health, HealthResult, Status, WaitCondition};
use crate::Inner;
use crate::error::Result;
use crate::exec::{ExecConfig, ExecStart};
use crate::time::Time;

/// What a check that says nothing of it has.
const INTERVAL: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(30);
const START_INTERVAL: Duration = Duration::from_secs(5);
const RETRIES: i64 = 3;
/// So many results are kept.
const RESULTS: usize = 5;
/// And so much of what each wrote.
const OUTPUT_BYTES: usize = 4096;
/// The exit code of a check that could not be run or took too long.
const NO_CODE: i32 = -1;

/// The health of a container that has just been started; `None` without a check.
pub(crate) fn initial(config: &Config) -> Option<Health> {
    command(config).map(|_| Health { status: "starting".to_owned(), ..Health::default() })
}

/// Begins to check a container that runs.
pub(crate) fn watch(engine: &Arc<Inner>, slot: &Arc<Slot>) {
    let container = slot.get();
    let config = &container.record.config;
    let (Some(command), Some(check)) = (command(config), config.healthcheck.clone()) else { return };
    let started = container.state.started_at;
    let health = container.state.health.clone().unwrap_or_default();
    let watcher = Watcher {
        engine: engine.clone(),
        slot: slot.clone(),
        command,
        plan: Plan::new(&check),
        started,
        health,
    };
    let ended = slot.subscribe(WaitCondition::NextExit);
    tokio::spawn(async move {
        tokio::select! {
            () = watcher.run() => {}
            _ = ended => {}
        }
    });
}

/// The program of a container's check.
fn command(config: &Config) -> Option<Vec<String>> {
    let test = config.healthcheck.as_ref()?.test.as_deref()?;
    match test {
        [kind, command @ ..] if kind == "CMD" && !command.is_empty() => Some(command.to_vec()),
        [kind, line, ..] if kind == "CMD-SHELL" => {
            let shell = config.shell.clone().filter(|shell| !shell.is_empty());
            let mut command = shell.unwrap_or_else(|| vec!["/bin/sh".to_owned(), "-c".to_owned()]);
            command.push(line.clone());
            Some(command)
        }
        _ => None,
    }
}

/// When checks are made and what they mean.
#[derive(Clone, Copy, Debug)]
struct Plan {
    interval: Duration,
    timeout: Duration,
    start_period: Duration,
    start_interval: Duration,
    retries: i64,
}

impl Plan {
    fn new(check: &Healthcheck) -> Plan {
        let or = |nanos: i64, default: Duration| match u64::try_from(nanos) {
            Ok(nanos) if nanos > 0 => Duration::from_nanos(nanos),
            _ => default,
        };
        Plan {
            interval: or(check.interval, INTERVAL),
            timeout: or(check.timeout, TIMEOUT),
            start_period: or(check.start_period, Duration::ZERO),
            start_interval: or(check.start_interval, START_INTERVAL),
            retries: if check.retries > 0 { i64::from(check.retries) } else { RETRIES },
        }
    }

    /// How long to wait before the next check.
    fn pause(&self, health: &Health, ran: Duration) -> Duration {
        if health.status == "starting" && ran < self.start_period {
            self.start_interval
        } else {
            self.interval
        }
    }

    /// The health after one more result, `ran` after the start. Pure.
    fn next(&self, health: &Health, result: HealthResult, ran: Duration) -> Health {
        let mut next = health.clone();
        if result.exit_code == 0 {
            next.failing_streak = 0;
            "healthy".clone_into(&mut next.status);
        } else if !(health.status == "starting" && ran < self.start_period) {
            next.failing_streak += 1;
            if next.failing_streak >= self.retries {
                "unhealthy".clone_into(&mut next.status);
            }
        }
        next.log.push(result);
        let excess = next.log.len().saturating_sub(RESULTS);
        next.log.drain(..excess);
        next
    }
}

struct Watcher {
    engine: Arc<Inner>,
    slot: Arc<Slot>,
    command: Vec<String>,
    plan: Plan,
    started: Time,
    health: Health,
}

impl Watcher {
    async fn run(mut self) {
        loop {
            tokio::time::sleep(self.plan.pause(&self.health, self.ran())).await;
            // A frozen container cannot answer; it is not ill for that.
            if self.slot.get().state.status != Status::Running {
                continue;
            }
            let result = self.check().await;
            let next = self.plan.next(&self.health, result, self.ran());
            let changed = next.status != self.health.status;
            self.health = next.clone();
            self.slot.tell(Command::Health(Some(next)));
            if changed {
                let action = format!("health_status: {}", self.health.status);
                self.engine.container_event(&self.slot.get(), &action, []);
            }
        }
    }

    fn ran(&self) -> Duration {
        Time::now().since(self.started)
    }

    async fn check(&self) -> HealthResult {
        let start = Time::now();
        let outcome = match tokio::time::timeout(self.plan.timeout, self.probe()).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => (NO_CODE, error.to_string()),
            Err(_) => (NO_CODE, format!("Health check exceeded timeout ({})", show(self.plan.timeout))),
        };
        HealthResult { start, end: Time::now(), exit_code: outcome.0, output: outcome.1 }
    }

    /// Runs the check once; when this is dropped in the middle, the check is killed.
    async fn probe(&self) -> Result<(i32, String)> {
        let config = ExecConfig {
            attach_stdout: true,
            attach_stderr: true,
            command: self.command.clone(),
            ..ExecConfig::default()
        };
        let id = self.engine.exec_create(self.slot.id(), config)?;
        let mut kill = KillOnDrop { engine: &self.engine, slot: &self.slot, exec: &id, armed: true };
        let started = self.engine.exec_start(&id, ExecStart::default()).await?;
        let output = match started.and_then(|attached| attached.stream) {
            Some(stream) => read_output(stream).await,
            None => String::new(),
        };
        let code = self.engine.execs.ended(&id).await;
        kill.armed = false;
        Ok((code, output))
    }
}

struct KillOnDrop<'a> {
    engine: &'a Inner,
    slot: &'a Slot,
    exec: &'a str,
    armed: bool,
}

impl Drop for KillOnDrop<'_> {
    fn drop(&mut self) {
        let runs = self.engine.execs.get(self.exec).is_ok_and(|exec| exec.running);
        if let (true, true, Ok(shim)) = (self.armed, runs, self.slot.shim()) {
            let target = berth_shim::client::Target::Exec(self.exec.to_owned());
            tokio::spawn(async move {
                // It may have ended meanwhile.
                let _ = shim.signal(&target, super::signal::KILL).await;
            });
        }
    }
}

/// The text of the frames of a stream, as much of it as is kept; the rest is read and dropped.
async fn read_output(mut stream: UnixStream) -> String {
    let mut output = Vec::new();
    let mut header = [0; 8];
    while stream.read_exact(&mut header).await.is_ok() {
        let length = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
        let mut frame = (&mut stream).take(u64::from(length));
        let wanted = (OUTPUT_BYTES - output.len()) as u64;
        let kept = (&mut frame).take(wanted).read_to_end(&mut output).await;
        if kept.is_err() || tokio::io::copy(&mut frame, &mut tokio::io::sink()).await.is_err() {
            break;
        }
    }
    String::from_utf8_lossy(&output).into_owned()
}

/// A duration as Go shows it.
fn show(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    match duration.as_secs() {
        0 => format!("{}ms", seconds * 1e3),
        whole if whole < 60 => format!("{seconds}s"),
        whole if whole < 3600 => format!("{}m{}s", whole / 60, whole % 60),
        whole => format!("{}h{}m{}s", whole / 3600, whole / 60 % 60, whole % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(exit_code: i32) -> HealthResult {
        HealthResult { exit_code, ..HealthResult::default() }
    }

    #[test]
    fn failures_in_a_row_make_a_container_unhealthy() {
        let plan =
            Plan::new(&Healthcheck { retries: 2, start_period: 10_000_000_000, ..Healthcheck::default() });
        let mut health = Health { status: "starting".to_owned(), ..Health::default() };
        let mut step = |code: i32, ran: u64, expect: (&str, i64)| {
            health = plan.next(&health, result(code), Duration::from_secs(ran));
            assert_eq!((health.status.as_str(), health.failing_streak), expect);
        };
        step(1, 5, ("starting", 0));
        step(1, 11, ("starting", 1));
        step(0, 12, ("healthy", 0));
        step(1, 13, ("healthy", 1));
        step(-1, 14, ("unhealthy", 2));
        step(0, 15, ("healthy", 0));
        assert_eq!(health.log.len(), RESULTS);
    }

    #[test]
    fn commands_and_pauses() {
        let config = |test: &[&str]| Config {
            healthcheck: Some(Healthcheck {
                test: Some(test.iter().map(|word| (*word).to_owned()).collect()),
                ..Healthcheck::default()
            }),
            ..Config::default()
        };
        assert_eq!(command(&config(&["CMD", "a", "b"])).unwrap(), ["a", "b"]);
        assert_eq!(command(&config(&["CMD-SHELL", "a b"])).unwrap(), ["/bin/sh", "-c", "a b"]);
        assert!(command(&config(&["NONE"])).is_none() && command(&config(&["CMD"])).is_none());
        assert!(initial(&Config::default()).is_none());
        assert_eq!(show(Duration::from_secs(30)), "30s");
        assert_eq!(show(Duration::from_secs(90)), "1m30s");
    }
}
