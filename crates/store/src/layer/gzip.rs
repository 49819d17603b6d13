//! Compressing of layers that leave for a registry.
//!
//! A stream is cut into pieces of one size, and each becomes a member of the file (RFC 1952, section 2.2: a file is a
//! series of members). Whole pieces in memory are what libdeflate wants, which needs half the time of zlib for the
//! same number of bytes. The same stream makes the same file.

use std::fs::File;
use std::io::{self, Read, Write as _};

use berth_oci::Digest;
use libdeflater::{CompressionLvl, Compressor};
use sha2::Digest as _;

use crate::dir::Behind;

/// The bytes of a member before compression. Larger ones hardly compress better.
const MEMBER: usize = 1 << 20;
/// How hard to compress. Further levels cost far more time than they save bytes.
const LEVEL: i32 = 1;

/// Compresses a stream into an empty file; the digest and length of what is in the file then.
///
/// Errors: the stream failed; the disk is full.
pub(crate) fn gzip(stream: &mut impl Read, file: &mut File) -> io::Result<(Digest, u64)> {
    let level = CompressionLvl::new(LEVEL).map_err(|_| io::Error::other("no such level of compression"))?;
    let mut compressor = Compressor::new(level);
    let mut plain = Vec::with_capacity(MEMBER);
    let mut member = vec![0; compressor.gzip_compress_bound(MEMBER)];
    let mut hash = sha2::Sha256::new();
    let mut behind = Behind::at(0);
    let mut size = 0;
    loop {
        plain.clear();
        stream.take(MEMBER as u64).read_to_end(&mut plain)?;
        // A file without a member is none.
        if plain.is_empty() && size > 0 {
            break;
        }
        let length = compressor.gzip_compress(&plain, &mut member).map_err(io::Error::other)?;
        let written = &member[..length];
        hash.update(written);
        file.write_all(written)?;
        size += length as u64;
        behind.wrote(&*file, size);
    }
    behind.end(&*file);
    Ok((Digest::from_sha256(&hash.finalize().into()), size))
}

#[cfg(test)]
mod tests {
    use std::io::Seek as _;

    use super::*;

    fn round(plain: &[u8]) -> (Vec<u8>, Digest, u64) {
        let mut file = tempfile::tempfile().unwrap();
        let (digest, size) = gzip(&mut &plain[..], &mut file).unwrap();
        file.rewind().unwrap();
        let mut compressed = Vec::new();
        file.read_to_end(&mut compressed).unwrap();
        (compressed, digest, size)
    }

    #[test]
    fn what_is_compressed_is_read_again_whatever_its_length() {
        for length in [0, 1, MEMBER - 1, MEMBER, MEMBER + 1, 3 * MEMBER + 17] {
            let plain: Vec<u8> = (0..length).map(|at| ((at % 251) ^ (at >> 9)) as u8).collect();
            let (compressed, digest, size) = round(&plain);
            assert_eq!(size, compressed.len() as u64);
            assert_eq!(digest, crate::digest_of(&compressed));
            let mut read = Vec::new();
            flate2::read::MultiGzDecoder::new(&compressed[..]).read_to_end(&mut read).unwrap();
            assert!(read == plain, "{length}");
            assert_eq!(round(&plain).1, digest, "the same again");
        }
    }

    #[test]
    fn gunzip_reads_it() {
        let plain = vec![b'x'; 2 * MEMBER + 5];
        let (compressed, ..) = round(&plain);
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&compressed).unwrap();
        let unpacked = std::process::Command::new("gzip").arg("-dc").stdin(file.reopen().unwrap()).output();
        assert!(unpacked.unwrap().stdout == plain);
    }
}
