//! Docker's framing of stdout and stderr on one stream: stream number, three zero bytes, length, data.

/// One of the two outputs of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// What is wrong with a framed stream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A stream number that does not exist.
    #[error("unrecognized stream: {0}")]
    Stream(u8),
    /// The engine reports an error inside the stream.
    #[error("error from daemon in stream: {0}")]
    Daemon(String),
}

/// Takes frames apart; feed it pieces of any size.
///
/// Data is handed on as it comes, also before its frame is complete, and never copied.
#[derive(Debug, Default)]
pub struct Demultiplexer {
    header: [u8; 8],
    header_length: usize,
    left: usize,
    error: Vec<u8>,
}

const HEADER: usize = 8;
const SYSTEM_ERROR: u8 = 3;

impl Demultiplexer {
    /// Takes `bytes` apart and calls `sink` with each run of data in order.
    ///
    /// # Errors
    /// [`FrameError`] for a header that is none and for an error that the engine sends as a frame; and `sink`'s own.
    pub fn push<E: From<FrameError>>(
        &mut self,
        mut bytes: &[u8],
        mut sink: impl FnMut(Output, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        while !bytes.is_empty() {
            if self.left == 0 {
                let size = (HEADER - self.header_length).min(bytes.len());
                self.header[self.header_length..][..size].copy_from_slice(&bytes[..size]);
                self.header_length += size;
                bytes = &bytes[size..];
                if self.header_length < HEADER {
                    return Ok(());
                }
                let [kind, _, _, _, length @ ..] = self.header;
                if kind > SYSTEM_ERROR {
                    return Err(FrameError::Stream(kind).into());
                }
                self.left = u32::from_be_bytes(length) as usize;
                if self.left == 0 {
                    self.header_length = 0;
                    continue;
                }
            }
            let size = self.left.min(bytes.len());
            let (data, rest) = bytes.split_at(size);
            bytes = rest;
            self.left -= size;
            match self.header[0] {
                SYSTEM_ERROR => self.error.extend_from_slice(data),
                2 => sink(Output::Stderr, data)?,
                _ => sink(Output::Stdout, data)?,
            }
            if self.left == 0 {
                self.header_length = 0;
                if self.header[0] == SYSTEM_ERROR {
                    let text = String::from_utf8_lossy(&self.error).into_owned();
                    return Err(FrameError::Daemon(text).into());
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, data: &[u8]) -> Vec<u8> {
        let mut frame = vec![kind, 0, 0, 0];
        frame.extend_from_slice(&u32::try_from(data.len()).unwrap().to_be_bytes());
        frame.extend_from_slice(data);
        frame
    }

    fn split(pieces: &[&[u8]]) -> Result<(Vec<u8>, Vec<u8>), FrameError> {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut demultiplexer = Demultiplexer::default();
        for piece in pieces {
            demultiplexer.push(piece, |output, data| {
                if output == Output::Stdout { &mut out } else { &mut err }.extend_from_slice(data);
                Ok::<(), FrameError>(())
            })?;
        }
        Ok((out, err))
    }

    #[test]
    fn frames_are_taken_apart_wherever_they_are_cut() {
        let whole = [frame(1, b"hello"), frame(2, b"oops"), frame(1, b""), frame(0, b" world")].concat();
        for at in 0..whole.len() {
            let (first, second) = whole.split_at(at);
            let (out, err) = split(&[first, second]).unwrap();
            assert_eq!((out.as_slice(), err.as_slice()), (b"hello world".as_slice(), b"oops".as_slice()));
        }
    }

    #[test]
    fn foreign_streams_and_engine_errors_are_errors() {
        assert_eq!(split(&[&frame(9, b"x")]), Err(FrameError::Stream(9)));
        assert_eq!(split(&[&frame(3, b"no disk")]), Err(FrameError::Daemon("no disk".to_owned())));
    }
}
