//! What all connections share, and the loops that accept them.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use berth_engine::Engine;
use hyper::header::HeaderValue;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::connection;
use super::containers::list::Summaries;
use super::stream::Socket;

/// How long a shutdown waits for requests that are being answered. Streams (events, logs, attached terminals) would
/// never end by themselves: they are cut after it, and their clients come back to the next engine.
const DRAIN: Duration = Duration::from_secs(1);

/// What all connections share.
pub(crate) struct Server {
    pub(crate) engine: Engine,
    pub(crate) config: RwLock<Arc<Settings>>,
    /// The `Server` header.
    pub(crate) header: HeaderValue,
    /// Containers as lists tell them.
    pub(crate) summaries: Summaries,
    /// How many requests there were.
    pub(crate) requests: AtomicU64,
    /// Becomes true when the daemon ends.
    pub(crate) shutdown: watch::Receiver<bool>,
}

/// The part of the daemon's configuration that answers show.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    pub(crate) version: &'static str,
    pub(crate) experimental: bool,
    /// Mirrors by registry.
    pub(crate) mirrors: BTreeMap<String, Vec<String>>,
    pub(crate) insecure_registries: Vec<String>,
    pub(crate) http_proxy: String,
    pub(crate) https_proxy: String,
    pub(crate) no_proxy: String,
}

/// How often it is looked whether memory should be given back.
const TIDY_PAUSE: Duration = Duration::from_secs(5);
/// Under requests without a pause, memory is given back after so many looks.
const TIDY_PATIENCE: u32 = 12;

impl Server {
    /// Gives memory that requests needed back to the system when they pause: the allocator keeps it otherwise, for
    /// each of its arenas. An engine that nobody asks does nothing.
    pub(crate) async fn tidy(self: Arc<Self>) {
        let (mut tidied, mut seen, mut looks) = (0, 0, 0);
        let mut shutdown = self.shutdown.clone();
        while tokio::time::timeout(TIDY_PAUSE, ended(&mut shutdown)).await.is_err() {
            let now = self.requests.load(Ordering::Relaxed);
            let quiet = now == seen;
            seen = now;
            if now == tidied {
                continue;
            }
            looks += 1;
            if quiet || looks >= TIDY_PATIENCE {
                (tidied, looks) = (now, 0);
                // It takes a millisecond or two, and fails only where the runtime ends.
                let _ = tokio::task::spawn_blocking(berth_sys::supervisor::trim_heap).await;
            }
        }
    }

    /// The settings as they are now.
    pub(crate) fn settings(&self) -> Arc<Settings> {
        // Nothing panics while the lock is held, so a poisoned one still holds whole settings.
        self.config.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes those of other settings that can change while the daemon runs.
    pub(crate) fn reload(&self, settings: Settings) {
        let Settings { mirrors, insecure_registries, .. } = settings;
        let mut config = self.config.write().unwrap_or_else(PoisonError::into_inner);
        *config = Arc::new(Settings { mirrors, insecure_registries, ..Settings::clone(&config) });
    }
}

/// A socket that clients connect to.
pub(crate) enum Listener {
    Unix(UnixListener),
    /// With what is needed to speak TLS, where it is spoken.
    Tcp(TcpListener, Option<TlsAcceptor>),
}

impl Listener {
    async fn accept(&self) -> io::Result<Socket> {
        match self {
            Self::Unix(listener) => listener.accept().await.map(|(socket, _)| Socket::Unix(socket)),
            Self::Tcp(listener, _) => {
                let (socket, _) = listener.accept().await?;
                socket.set_nodelay(true)?;
                Ok(Socket::Tcp(socket))
            }
        }
    }
}

/// Accepts connections until the shutdown, then waits a moment for those that are being served.
pub(crate) async fn serve(server: Arc<Server>, listener: Listener) {
    let mut shutdown = server.shutdown.clone();
    let mut connections = JoinSet::new();
    let tls = match &listener {
        Listener::Tcp(_, tls) => tls.clone(),
        Listener::Unix(_) => None,
    };
    loop {
        tokio::select! {
            () = ended(&mut shutdown) => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept() => match accepted {
                Ok(socket) => {
                    connections.spawn(connection::serve(server.clone(), socket, tls.clone()));
                }
                Err(error) => {
                    // Out of descriptors, or a client that went away at once: others may still come.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
        }
    }
    drop(listener);
    let _ = tokio::time::timeout(DRAIN, async { while connections.join_next().await.is_some() {} }).await;
}

/// Waits for the shutdown.
pub(crate) async fn ended(shutdown: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone, and with it the daemon.
    let _ = shutdown.wait_for(|down| *down).await;
}
