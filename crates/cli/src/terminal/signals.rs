//! Signals that are passed on to the container instead of ending us.

use std::io;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};

/// Signals and the names under which the API takes them.
const FORWARDED: &[(Signal, &str)] = &[
    (Signal::HUP, "HUP"),
    (Signal::INT, "INT"),
    (Signal::QUIT, "QUIT"),
    (Signal::USR1, "USR1"),
    (Signal::USR2, "USR2"),
    (Signal::ALARM, "ALRM"),
    (Signal::TERM, "TERM"),
    (Signal::CONT, "CONT"),
    (Signal::TSTP, "TSTP"),
    (Signal::TTIN, "TTIN"),
    (Signal::TTOU, "TTOU"),
    (Signal::POWER, "PWR"),
];

/// Signals that we have received.
pub(crate) struct Forwarded(Vec<(tokio::signal::unix::Signal, &'static str)>);

impl Forwarded {
    /// Catches signals from now on.
    pub(crate) fn catch() -> io::Result<Self> {
        let caught = FORWARDED
            .iter()
            .map(|&(number, name)| Ok((signal(SignalKind::from_raw(number.as_raw()))?, name)));
        caught.collect::<io::Result<Vec<_>>>().map(Self)
    }

    /// The name of the next signal.
    pub(crate) async fn next(&mut self) -> &'static str {
        let mut any: FuturesUnordered<_> = self
            .0
            .iter_mut()
            .map(|(signal, name)| async move {
                match signal.recv().await {
                    Some(()) => *name,
                    None => std::future::pending().await,
                }
            })
            .collect();
        match any.next().await {
            Some(name) => name,
            None => std::future::pending().await,
        }
    }
}
