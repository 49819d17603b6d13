//! Starting the engine when the first command finds none.
//!
//! Only root may, and only at the default host. Several first commands at once start one engine: the lock on
//! [`LOCK`] is held from the decision until the engine answers, and whoever gets it next looks for the engine first.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use berth_api::client::Client;
use rustix::fs::{FlockOperation, flock};

const LOCK: &str = "/run/berth.start";
const LOG: &str = "/var/log/berth.log";
/// An engine that has not answered by then will not.
const PATIENCE: Duration = Duration::from_secs(60);
const INTERVAL: Duration = Duration::from_millis(2);

/// Whether we are allowed to start an engine.
pub(crate) fn may_start() -> bool {
    rustix::process::geteuid().is_root()
}

/// Starts the engine and waits until it answers.
///
/// # Errors
/// A sentence that says why there is still no engine.
pub(crate) async fn start(client: &Client) -> Result<(), String> {
    let lock = File::create(LOCK).map_err(|error| format!("cannot open {LOCK}: {error}"))?;
    flock(&lock, FlockOperation::LockExclusive).map_err(|error| format!("cannot lock {LOCK}: {error}"))?;
    if client.connect().await.is_ok() {
        return Ok(());
    }
    // What earlier engines said is not the reason why this one does not start.
    let before = std::fs::metadata(LOG).map_or(0, |log| log.len());
    let mut engine = spawn().map_err(|error| format!("the engine could not be started: {error}"))?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        // An engine that listens may still find out that it cannot work: only its answer counts.
        if client.connect().await.is_ok() && client.server_version().await.is_ok() {
            return Ok(());
        }
        if let Ok(Some(status)) = engine.try_wait() {
            return Err(format!(
                "the engine was started and ended at once ({status}): see {LOG}{}",
                last_words(before)
            ));
        }
        if Instant::now() > deadline {
            return Err(format!(
                "the engine was started and does not answer: see {LOG}{}",
                last_words(before)
            ));
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// Runs `berth daemon`, out of our session and writing to its log.
fn spawn() -> std::io::Result<Child> {
    let log =
        OpenOptions::new().create(true).append(true).open(LOG).or_else(|_| File::create("/dev/null"))?;
    // `--detached` is taken by the program's entry: it leaves the session of the terminal before the engine starts.
    Command::new("/proc/self/exe")
        .args(["daemon", "--detached"])
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
}

/// The last lines that the log has got since it was that long.
fn last_words(before: u64) -> String {
    /// More would scroll away what was asked for.
    const LINES: usize = 10;
    let mut text = Vec::new();
    let read = File::open(Path::new(LOG)).and_then(|mut log| {
        log.seek(SeekFrom::Start(before))?;
        log.read_to_end(&mut text)
    });
    if read.is_err() {
        return String::new();
    }
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].iter().map(|line| format!("\n{line}")).collect()
}
