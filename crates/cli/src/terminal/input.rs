//! Standard input as pieces that arrive beside everything else.
//!
//! Reading blocks, and making a terminal or a shared pipe non-blocking would change it for its other users, so a
//! thread reads. Nobody waits for that thread: it ends with the process.

use std::io::Read;

use tokio::sync::mpsc;

/// Pieces of standard input.
pub(crate) struct Input(mpsc::Receiver<Vec<u8>>);

const PIECE: usize = 32 << 10;

impl Input {
    /// Starts reading.
    pub(crate) fn open() -> Self {
        let (sender, receiver) = mpsc::channel(4);
        std::thread::spawn(move || {
            let mut stdin = std::io::stdin().lock();
            let mut buffer = vec![0; PIECE];
            loop {
                match stdin.read(&mut buffer) {
                    Ok(0) => return,
                    Ok(size) => {
                        if sender.blocking_send(buffer[..size].to_vec()).is_err() {
                            return;
                        }
                    }
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                    Err(_) => return,
                }
            }
        });
        Self(receiver)
    }

    /// The next piece; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<Vec<u8>> {
        self.0.recv().await
    }
}
