//! Recipes: how to write a layer's tar again, byte for byte, from its unpacked files.
//!
//! ```text
//! zstd( "berth recipe 1\n" · record* · end )
//! raw    1 · length u32 · bytes                          headers and filling
//! file   2 · offset u64 · length u64 · path length u32 · path    the data of a file
//! more   3 · offset u64 · length u64                     more data of that file, if it is sparse
//! end    4
//! ```
//!
//! A layer is kept once: unpacked. Its tar is some hundred bytes an entry more.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;

use rustix::fs::{Mode, OFlags, ResolveFlags};

const MAGIC: &[u8] = b"berth recipe 1\n";
const RAW: u8 = 1;
const FILE: u8 = 2;
const MORE: u8 = 3;
const END: u8 = 4;
const LEVEL: i32 = 1;
const PATH_BYTES_MAX: usize = 1 << 16;

/// Writes a recipe while a layer is unpacked.
pub(super) struct RecipeWriter {
    stream: zstd::stream::write::Encoder<'static, BufWriter<File>>,
}

impl RecipeWriter {
    pub(super) fn new(file: File) -> io::Result<Self> {
        let mut stream = zstd::stream::write::Encoder::new(BufWriter::new(file), LEVEL)?;
        stream.write_all(MAGIC)?;
        Ok(Self { stream })
    }

    pub(super) fn raw(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(1 << 30));
            self.stream.write_all(&[RAW])?;
            self.stream.write_all(&u32::try_from(now.len()).unwrap_or(0).to_le_bytes())?;
            self.stream.write_all(now)?;
            bytes = later;
        }
        Ok(())
    }

    pub(super) fn file(&mut self, path: &[u8], offset: u64, length: u64) -> io::Result<()> {
        let path_length = u32::try_from(path.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        self.stream.write_all(&[FILE])?;
        self.stream.write_all(&offset.to_le_bytes())?;
        self.stream.write_all(&length.to_le_bytes())?;
        self.stream.write_all(&path_length.to_le_bytes())?;
        self.stream.write_all(path)
    }

    pub(super) fn more(&mut self, offset: u64, length: u64) -> io::Result<()> {
        self.stream.write_all(&[MORE])?;
        self.stream.write_all(&offset.to_le_bytes())?;
        self.stream.write_all(&length.to_le_bytes())
    }

    /// Completes the recipe; not synced.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.stream.write_all(&[END])?;
        self.stream.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?;
        Ok(())
    }
}

/// Reads a layer's tar as its recipe says. Not checked against a digest.
pub(crate) struct RecipeReader {
    recipe: BufReader<zstd::stream::read::Decoder<'static, BufReader<File>>>,
    /// `diff/` of the layer.
    diff: OwnedFd,
    /// Files that were replaced later in the same layer, in their order, for each path.
    replaced: HashMap<Vec<u8>, std::collections::VecDeque<File>>,
    /// The file whose data was last asked for.
    file: Option<File>,
    now: Now,
}

enum Now {
    Nothing,
    Raw(u64),
    File { offset: u64, left: u64 },
    End,
}

impl RecipeReader {
    pub(super) fn new(
        recipe: File,
        diff: OwnedFd,
        replaced: HashMap<Vec<u8>, std::collections::VecDeque<File>>,
    ) -> io::Result<Self> {
        let mut recipe = BufReader::new(zstd::stream::read::Decoder::new(recipe)?);
        let mut magic = [0; MAGIC.len()];
        recipe.read_exact(&mut magic)?;
        if magic != *MAGIC {
            return Err(damaged("recipe of an unknown version"));
        }
        Ok(Self { recipe, diff, replaced, file: None, now: Now::Nothing })
    }

    fn number<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.recipe.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn next(&mut self) -> io::Result<Now> {
        let [kind] = self.number::<1>()?;
        match kind {
            RAW => Ok(Now::Raw(u64::from(u32::from_le_bytes(self.number()?)))),
            FILE => {
                let offset = u64::from_le_bytes(self.number()?);
                let left = u64::from_le_bytes(self.number()?);
                let length = u32::from_le_bytes(self.number()?) as usize;
                if length > PATH_BYTES_MAX {
                    return Err(damaged("recipe with a path that is too long"));
                }
                let mut path = vec![0; length];
                self.recipe.read_exact(&mut path)?;
                self.file = Some(self.open(&path)?);
                Ok(Now::File { offset, left })
            }
            MORE => {
                let offset = u64::from_le_bytes(self.number()?);
                Ok(Now::File { offset, left: u64::from_le_bytes(self.number()?) })
            }
            END => Ok(Now::End),
            _ => Err(damaged("recipe with an unknown record")),
        }
    }

    fn open(&mut self, path: &[u8]) -> io::Result<File> {
        if let Some(file) = self.replaced.get_mut(path).and_then(std::collections::VecDeque::pop_front) {
            return Ok(file);
        }
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        let file = rustix::fs::openat2(self.diff.as_fd(), path, flags, Mode::empty(), resolve)?;
        Ok(File::from(file))
    }
}

fn at_most(left: u64, room: usize) -> usize {
    usize::try_from(left).unwrap_or(usize::MAX).min(room)
}

fn damaged(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

impl Read for RecipeReader {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if to.is_empty() {
            return Ok(0);
        }
        loop {
            match &mut self.now {
                Now::End => return Ok(0),
                Now::Raw(left) if *left > 0 => {
                    let limit = at_most(*left, to.len());
                    let read = self.recipe.read(&mut to[..limit])?;
                    if read == 0 {
                        return Err(damaged("recipe that is cut short"));
                    }
                    *left -= read as u64;
                    return Ok(read);
                }
                Now::File { offset, left } if *left > 0 => {
                    let limit = at_most(*left, to.len());
                    let Some(file) = &self.file else {
                        return Err(damaged("recipe that starts amid a file"));
                    };
                    let read = file.read_at(&mut to[..limit], *offset)?;
                    if read == 0 {
                        return Err(damaged("file of the layer that is cut short"));
                    }
                    *offset += read as u64;
                    *left -= read as u64;
                    return Ok(read);
                }
                _ => self.now = self.next()?,
            }
        }
    }
}
