//! What is sent while it is read: archives and blobs.

use std::fs::File;
use std::io;

use bytes::Bytes;
use futures_util::Stream;
use rustix::buffer::spare_capacity;
use tokio::sync::mpsc;

/// Files are read and sent in pieces of this size: each costs a change of threads.
const PIECE: usize = 512 << 10;
/// As many pieces are read ahead.
const AHEAD: usize = 4;

/// The pieces of a body, in their order; an error breaks the request off.
pub trait Upload: Stream<Item = io::Result<Bytes>> + Send + Sync + 'static {}

impl<T: Stream<Item = io::Result<Bytes>> + Send + Sync + 'static> Upload for T {}

/// The bytes of a file, a pipe or a terminal from where it stands to its end, read by a thread of their own. What is
/// there is sent at once. The thread ends with the stream, at the latest when it has read once more.
pub fn file_pieces(file: File) -> impl Upload {
    let (sender, receiver) = mpsc::channel(AHEAD);
    std::thread::spawn(move || {
        loop {
            let mut piece = Vec::with_capacity(PIECE);
            let read = match rustix::io::read(&file, spare_capacity(&mut piece)) {
                Ok(0) => return,
                Ok(_) => Ok(piece.into()),
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => Err(error.into()),
            };
            let is_last = read.is_err();
            if sender.blocking_send(read).is_err() || is_last {
                return;
            }
        }
    });
    futures_util::stream::unfold(receiver, |mut receiver: mpsc::Receiver<io::Result<Bytes>>| async move {
        receiver.recv().await.map(|piece| (piece, receiver))
    })
}

/// Bytes in memory.
pub fn bytes_piece(bytes: &'static [u8]) -> impl Upload {
    futures_util::stream::iter([Ok(Bytes::from_static(bytes))])
}
