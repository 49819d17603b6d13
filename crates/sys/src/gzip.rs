//! Decompression of gzip members that lie in memory, by libdeflate. Its safe wrapper does not tell how much of the
//! input a member took, and whoever believes what is written there instead reads something else than all others.

use std::ffi::c_void;
use std::ptr::NonNull;

/// A decompressor, for one member after the other.
#[derive(Debug)]
pub struct Decompressor(NonNull<libdeflate_sys::libdeflate_decompressor>);

// SAFETY: it is memory of its own, tied to no thread; only `&mut` reaches it.
unsafe impl Send for Decompressor {}

impl Decompressor {
    /// Makes one; `None` when there is no memory.
    #[must_use]
    pub fn new() -> Option<Self> {
        // SAFETY: takes nothing.
        NonNull::new(unsafe { libdeflate_sys::libdeflate_alloc_decompressor() }).map(Self)
    }

    /// Decompresses the member (RFC 1952) that `member` begins with into `plain`: how many bytes it took of the one
    /// and made in the other. `None` if it is damaged or cut, or does not fit; what is in `plain` is anything then.
    pub fn member(&mut self, member: &[u8], plain: &mut [u8]) -> Option<(usize, usize)> {
        let (mut taken, mut made) = (0, 0);
        // SAFETY: the decompressor is alive and only ours; both slices are valid for the lengths given with them, and
        // `plain` is initialised; nothing is kept beyond the call.
        let result = unsafe {
            libdeflate_sys::libdeflate_gzip_decompress_ex(
                self.0.as_ptr(),
                member.as_ptr().cast::<c_void>(),
                member.len(),
                plain.as_mut_ptr().cast::<c_void>(),
                plain.len(),
                &raw mut taken,
                &raw mut made,
            )
        };
        (result == libdeflate_sys::libdeflate_result_LIBDEFLATE_SUCCESS).then_some((taken, made))
    }
}

impl Drop for Decompressor {
    fn drop(&mut self) {
        // SAFETY: it came from the function that this one belongs to, and nobody has it any more.
        unsafe { libdeflate_sys::libdeflate_free_decompressor(self.0.as_ptr()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_member_takes_is_told() {
        // "berth", stored, with its checksum and length; then something else.
        let head = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255, 1, 5, 0, 250, 255];
        let sum = crc32(b"berth").to_le_bytes();
        let member = [&head[..], b"berth", &sum, &[5, 0, 0, 0], b"more"].concat();
        let mut plain = [0; 16];
        let mut decompressor = Decompressor::new().unwrap();
        assert_eq!(decompressor.member(&member, &mut plain), Some((28, 5)));
        assert_eq!(&plain[..5], b"berth");
        assert_eq!(decompressor.member(&member[..27], &mut plain), None, "cut");
        assert_eq!(decompressor.member(&member, &mut plain[..4]), None, "no room");
        assert_eq!(decompressor.member(&[], &mut plain), None);
        let mut damaged = member;
        damaged[16] ^= 1;
        assert_eq!(decompressor.member(&damaged, &mut plain), None);
    }

    fn crc32(bytes: &[u8]) -> u32 {
        let bit = |sum: u32, _| (sum >> 1) ^ (0xedb8_8320 * (sum & 1));
        !bytes.iter().fold(u32::MAX, |sum, byte| (0..8).fold(sum ^ u32::from(*byte), bit))
    }
}
