//! A line on the terminal that counts what has been moved.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use crate::format::units::human_size_with;
use crate::printer::Printer;

/// How often the line is drawn again.
const REFRESH: Duration = Duration::from_millis(200);

/// Counts bytes on a line of standard error. Where that is no terminal nothing is shown.
pub(crate) struct Counter {
    printer: Printer,
    title: String,
    bytes: u64,
    /// When the line was last drawn, or when there was nothing yet to draw.
    since: Instant,
    shown: bool,
    is_terminal: bool,
}

impl Counter {
    /// Nothing moved yet.
    pub(crate) fn new(printer: Printer, title: String) -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        Self { printer, title, bytes: 0, since: Instant::now(), shown: false, is_terminal }
    }

    /// So much more was moved.
    pub(crate) fn add(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        if self.is_terminal && self.since.elapsed() >= REFRESH {
            self.since = Instant::now();
            self.shown = true;
            self.printer.talk(format!("\r\x1b[2K{}: {}", self.title, human_size_with(self.bytes as f64, 4)));
        }
    }

    /// Takes the line away again.
    pub(crate) fn clear(&mut self) {
        if std::mem::take(&mut self.shown) {
            self.printer.talk("\r\x1b[2K");
        }
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        self.clear();
    }
}
