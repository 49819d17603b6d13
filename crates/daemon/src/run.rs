//! The life of the daemon: take the pidfile and the sockets, open the engine, serve, end.

use std::sync::Arc;
use std::time::Duration;

use berth_engine::Engine;
use hyper::header::HeaderValue;
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::Config;
use crate::http::{self, Server};
use crate::listen::{self, Bound};
use crate::pidfile::{self, Pidfile};

/// Threads that run tasks. What blocks (files, netlink, databases) has threads of its own.
const WORKERS: usize = 2;
/// Threads for what blocks, at most; they end when they are idle.
const BLOCKING_MAX: usize = 64;
const BLOCKING_KEEP: Duration = Duration::from_secs(5);

/// Why the daemon did not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Pidfile(#[from] pidfile::Error),
    #[error(transparent)]
    Listen(#[from] listen::Error),
    #[error(transparent)]
    Engine(#[from] berth_engine::Error),
    #[error("{what}: {source}")]
    Io { what: &'static str, source: std::io::Error },
}

/// Runs the daemon until it is told to end.
pub(crate) fn run(config: Config) -> Result<(), Error> {
    log_to_stderr(&config);
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let _pidfile = Pidfile::take(&config.pidfile)?;
    let mut bound = Vec::new();
    for host in &config.hosts {
        bound.push(listen::bind(host, &config.group)?);
    }
    let sockets = Sockets(bound.iter().filter_map(|bound| bound.path.clone()).collect());
    raise_open_files();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .max_blocking_threads(BLOCKING_MAX)
        .thread_keep_alive(BLOCKING_KEEP)
        .thread_name("berth")
        .enable_all()
        .build()
        .map_err(|source| Error::Io { what: "cannot start the runtime", source })?;
    let ended = runtime.block_on(serve(config, bound));
    // What still runs (streams to clients, reads of files) has nothing to lose.
    runtime.shutdown_timeout(Duration::from_millis(200));
    drop(sockets);
    ended
}

/// The paths of our sockets; removed at the end.
struct Sockets(Vec<std::path::PathBuf>);

impl Drop for Sockets {
    fn drop(&mut self) {
        for path in &self.0 {
            let _ = std::fs::remove_file(path); // it may be gone already
        }
    }
}

async fn serve(config: Config, bound: Vec<Bound>) -> Result<(), Error> {
    let failed = |source| Error::Io { what: "cannot listen to signals", source };
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut hang_up = signal(SignalKind::hangup()).map_err(failed)?;
    let engine = Engine::open(config.engine).await?;
    let (shut_down, shutdown) = watch::channel(false);
    let header = format!("Berth/{} (linux)", config.settings.version);
    let header = HeaderValue::from_str(&header).unwrap_or_else(|_| HeaderValue::from_static("Berth"));
    let server = Arc::new(Server { engine: engine.clone(), config: config.settings, header, shutdown });
    let mut loops = JoinSet::new();
    for bound in bound {
        let listener = match bound.listener {
            listen::Listener::Unix(listener) => {
                tokio::net::UnixListener::from_std(listener).map(http::Listener::Unix)
            }
            listen::Listener::Tcp(listener) => {
                tokio::net::TcpListener::from_std(listener).map(http::Listener::Tcp)
            }
        };
        let listener = listener.map_err(|source| Error::Io { what: "cannot listen", source })?;
        loops.spawn(http::serve(server.clone(), listener));
    }
    for host in &config.hosts {
        tracing::info!("API listen on {host}");
    }
    loop {
        tokio::select! {
            _ = terminate.recv() => break tracing::info!("told to end (SIGTERM): containers go on"),
            _ = interrupt.recv() => break tracing::info!("told to end (SIGINT): containers go on"),
            _ = hang_up.recv() => tracing::warn!("reloading the configuration (SIGHUP) is not built yet"),
        }
    }
    let _ = shut_down.send(true);
    while loops.join_next().await.is_some() {}
    engine.close().await;
    Ok(())
}

/// Logs to standard error: ours at the level that was asked for, others' warnings only.
fn log_to_stderr(config: &Config) {
    let targets = Targets::new().with_default(LevelFilter::WARN).with_target("berth", config.log_level);
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(!config.raw_logs && std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_target(false);
    // A second daemon in one process (a test) has its log already.
    let _ = tracing_subscriber::registry().with(layer).with(targets).try_init();
}

/// Takes as many descriptors as the system gives: a container needs some.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) =
        setrlimit(Resource::Nofile, rustix::process::Rlimit { current: limit.maximum, ..limit })
    {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
}
