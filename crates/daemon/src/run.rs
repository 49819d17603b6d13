//! The life of the daemon: take the pidfile and the sockets, open the engine, serve, end.

use std::ffi::OsString;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use berth_engine::{Engine, LiveConfig};
use hyper::header::HeaderValue;
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{self, Config, Host, Invocation};
use crate::http::{self, Server};
use crate::listen::{self, Bound};
use crate::pidfile::{self, Pidfile};
use crate::systemd;

/// Threads that run tasks. What blocks (files, netlink, databases) has threads of its own.
const WORKERS: usize = 2;
/// Heaps that all threads share: more of them, and two hundred clients leave twice the memory behind.
const HEAPS: u8 = 2;
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

/// Runs the daemon until it is told to end. The arguments are read again when it is told to reload.
pub(crate) fn run(config: Config, arguments: &[OsString]) -> Result<(), Error> {
    let passed =
        systemd::sockets().map_err(|source| Error::Io { what: "cannot take over sockets", source })?;
    let level = log_to_stderr(&config);
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let _pidfile = Pidfile::take(&config.pidfile)?;
    let mut passed: Vec<_> = passed.into_iter().map(Some).collect();
    let mut bound = Vec::new();
    for host in &config.hosts {
        match host {
            Host::Fd(number) => bound.extend(listen::activated(&mut passed, *number)?),
            host => bound.push(listen::bind(host, &config.group)?),
        }
    }
    let sockets = Sockets(bound.iter().filter_map(|bound| bound.path.clone()).collect());
    raise_open_files();
    berth_sys::supervisor::share_heaps(HEAPS);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .max_blocking_threads(BLOCKING_MAX)
        .thread_keep_alive(BLOCKING_KEEP)
        .thread_name("berth")
        .enable_all()
        .build()
        .map_err(|source| Error::Io { what: "cannot start the runtime", source })?;
    let ended = runtime.block_on(serve(config, bound, level, arguments));
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

async fn serve(config: Config, bound: Vec<Bound>, level: Level, arguments: &[OsString]) -> Result<(), Error> {
    let failed = |source| Error::Io { what: "cannot listen to signals", source };
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut hang_up = signal(SignalKind::hangup()).map_err(failed)?;
    let engine = Engine::open(config.engine).await?;
    let (shut_down, shutdown) = watch::channel(false);
    let header = format!("Berth/{} (linux)", config.settings.version);
    let header = HeaderValue::from_str(&header).unwrap_or_else(|_| HeaderValue::from_static("Berth"));
    let settings = RwLock::new(Arc::new(config.settings));
    let server = Arc::new(Server {
        engine: engine.clone(),
        config: settings,
        header,
        summaries: http::Summaries::default(),
        requests: AtomicU64::new(0),
        shutdown,
    });
    let mut loops = JoinSet::new();
    loops.spawn(server.clone().tidy());
    for bound in bound {
        let listener = match bound.listener {
            listen::Listener::Unix(listener) => {
                tokio::net::UnixListener::from_std(listener).map(http::Listener::Unix)
            }
            listen::Listener::Tcp(listener) => {
                let tls = config.tls.as_ref().map(|tls| tls.acceptor.clone());
                tokio::net::TcpListener::from_std(listener).map(|listener| http::Listener::Tcp(listener, tls))
            }
        };
        let listener = listener.map_err(|source| Error::Io { what: "cannot listen", source })?;
        loops.spawn(http::serve(server.clone(), listener));
    }
    for host in &config.hosts {
        tracing::info!("API listen on {host}");
    }
    tell_systemd("READY=1");
    loop {
        tokio::select! {
            _ = terminate.recv() => break tracing::info!("told to end (SIGTERM): containers go on"),
            _ = interrupt.recv() => break tracing::info!("told to end (SIGINT): containers go on"),
            _ = hang_up.recv() => {
                tell_systemd("RELOADING=1");
                reload(&server, &level, arguments);
                tell_systemd("READY=1");
            }
        }
    }
    tell_systemd("STOPPING=1");
    let _ = shut_down.send(true);
    while loops.join_next().await.is_some() {}
    engine.close().await;
    Ok(())
}

fn tell_systemd(state: &str) {
    if let Err(error) = systemd::notify(state) {
        tracing::warn!(%error, "systemd could not be told {state}");
    }
}

/// Reads flags and file again and takes what can change while the daemon runs. What cannot waits for the next start;
/// where anything is wrong, all stays as it is.
fn reload(server: &Server, level: &Level, arguments: &[OsString]) {
    tracing::info!("Got signal to reload configuration");
    let config = match config::read(arguments.iter().cloned()) {
        Ok(Invocation::Run(config)) => config,
        Ok(_) => return,
        Err(error) => return tracing::error!("the configuration stays as it is: {error}"),
    };
    level(config.log_level);
    server.reload(config.settings);
    let live = LiveConfig::clone(&config.engine.live.get());
    match server.engine.reload(live, config.reloaded) {
        Ok(()) => tracing::info!("Reloaded configuration"),
        Err(error) => tracing::error!("a reload could not be told: {error}"),
    }
}

/// Sets the level of the log.
type Level = Box<dyn Fn(tracing::Level) + Send>;

/// Logs to standard error: ours at the level that was asked for, others' warnings only.
fn log_to_stderr(config: &Config) -> Level {
    let targets =
        |level: tracing::Level| Targets::new().with_default(LevelFilter::WARN).with_target("berth", level);
    let (filter, handle) = tracing_subscriber::reload::Layer::new(targets(config.log_level));
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(!config.raw_logs && std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_target(false);
    // A second daemon in one process (a test) has its log already.
    let _ = tracing_subscriber::registry().with(layer).with(filter).try_init();
    Box::new(move |level| {
        let _ = handle.reload(targets(level)); // the log of another daemon in this process stays as it is
    })
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
