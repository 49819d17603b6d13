//! The only place that writes to the terminal: standard output is data, standard error is talk.

use std::io::{self, Write};

/// Writes for one command. Writing to a closed pipe is not an error worth a message: whoever reads has left.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Printer;

impl Printer {
    /// Data, as it is.
    pub(crate) fn data(self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes.as_ref())?;
        stdout.flush()
    }

    /// A line of data.
    pub(crate) fn line(self, text: impl AsRef<str>) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_ref().as_bytes())?;
        stdout.write_all(b"\n")
    }

    /// Bytes to standard error, as they are.
    pub(crate) fn talk(self, bytes: impl AsRef<[u8]>) {
        let _ = io::stderr().lock().write_all(bytes.as_ref()); // nobody is left to be told
    }

    /// A line to standard error.
    pub(crate) fn say(self, text: impl AsRef<str>) {
        self.talk(format!("{}\n", text.as_ref()));
    }
}
