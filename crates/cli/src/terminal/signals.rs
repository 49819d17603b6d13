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
pub(crate) struct Forwarded {
    caught: Vec<(tokio::signal::unix::Signal, &'static str)>,
    /// Whether the container is to have them.
    pub(crate) pass_on: bool,
}

impl Forwarded {
    /// Catches signals from now on, to be passed on.
    pub(crate) fn catch() -> io::Result<Self> {
        Self::catch_those(|_| true, true)
    }

    /// Catches those that ask for the end, and keeps them from the container.
    pub(crate) fn hold_back() -> io::Result<Self> {
        Self::catch_those(|signal| matches!(signal, Signal::INT | Signal::TERM), false)
    }

    fn catch_those(wanted: fn(Signal) -> bool, pass_on: bool) -> io::Result<Self> {
        let caught = FORWARDED
            .iter()
            .filter(|(number, _)| wanted(*number))
            .map(|&(number, name)| Ok((signal(SignalKind::from_raw(number.as_raw()))?, name)));
        Ok(Self { caught: caught.collect::<io::Result<Vec<_>>>()?, pass_on })
    }

    /// The name of the next signal.
    pub(crate) async fn next(&mut self) -> &'static str {
        let mut any: FuturesUnordered<_> = self
            .caught
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
