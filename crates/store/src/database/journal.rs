//! The journal: one file of changes, appended to and read again after a crash.
//!
//! ```text
//! header   "berthjnl" · version u32 · 0 u32 · epoch u64 · salt 16 · check 16
//! record   length u32 · check 16 · payload
//! payload  one change after the other (see `overlay`)
//! ```
//!
//! A check is the start of SHA-256 over salt, offset and payload. The salt is random and new in each epoch, so that
//! neither what an older epoch left in the file nor what a user wrote into a record can pass for a record.
//! Reading stops at the first record that does not check: it and what follows was never promised to anyone.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use sha2::{Digest, Sha256};

const MAGIC: &[u8; 8] = b"berthjnl";
const VERSION: u32 = 1;
const HEADER_LEN: u64 = 56;
const RECORD_HEADER_LEN: usize = 20;
const CHECK_LEN: usize = 16;

/// The size that a journal file is made with, so that appending needs neither space nor file-system metadata.
pub(super) const CAPACITY: u64 = 1 << 20;
const PAYLOAD_BYTES_MAX: u32 = 64 << 20;

/// One of the two journal files.
pub(super) struct Journal {
    file: File,
    epoch: u64,
    salt: [u8; 16],
    offset: u64,
    len: u64,
}

/// What a journal file holds.
pub(super) struct Recovered {
    /// The journal, ready to be appended to.
    pub(super) journal: Journal,
    /// The intact records, oldest first.
    pub(super) payloads: Vec<Vec<u8>>,
}

impl Journal {
    /// Opens a journal file, making it if it is not there, and reads what it holds. Epoch 0 means: nothing.
    pub(super) fn open(path: &Path) -> io::Result<Recovered> {
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut &file, &mut bytes)?;
        let mut journal = Self { file, epoch: 0, salt: [0; 16], offset: HEADER_LEN, len: bytes.len() as u64 };
        let mut payloads = Vec::new();
        if let Some((epoch, salt)) = parse_header(&bytes) {
            journal.epoch = epoch;
            journal.salt = salt;
            while let Some((payload, next)) = journal.parse_record(&bytes) {
                payloads.push(payload.to_vec());
                journal.offset = next;
            }
        }
        journal.clear_rest(&bytes)?;
        Ok(Recovered { journal, payloads })
    }

    /// Overwrites whatever follows the last intact record, so that no record behind a gap comes back to life when
    /// the gap is filled.
    fn clear_rest(&mut self, bytes: &[u8]) -> io::Result<()> {
        let start = if self.epoch == 0 { 0 } else { usize::try_from(self.offset).unwrap_or(usize::MAX) };
        let end = bytes.iter().rposition(|b| *b != 0).map_or(0, |last| last + 1);
        let mut changed = false;
        if start < end {
            self.file.write_all_at(&vec![0; end - start], start as u64)?;
            changed = true;
        }
        if self.len < CAPACITY {
            let missing = usize::try_from(CAPACITY - self.len).unwrap_or(0);
            // A full disk is no reason not to open: space is then asked for when it is needed.
            if self.file.write_all_at(&vec![0; missing], self.len).is_ok() {
                self.len = CAPACITY;
                changed = true;
            }
        }
        if changed { self.file.sync_data() } else { Ok(()) }
    }

    fn parse_record<'a>(&self, bytes: &'a [u8]) -> Option<(&'a [u8], u64)> {
        let start = usize::try_from(self.offset).ok()?;
        let header = bytes.get(start..start + RECORD_HEADER_LEN)?;
        let (length, check) = header.split_at(4);
        let length = u32::from_le_bytes(length.try_into().ok()?);
        if length == 0 || length > PAYLOAD_BYTES_MAX {
            return None;
        }
        let from = start + RECORD_HEADER_LEN;
        let payload = bytes.get(from..from + length as usize)?;
        let next = (from + length as usize) as u64;
        (self.check(payload) == check).then_some((payload, next))
    }

    fn check(&self, payload: &[u8]) -> [u8; CHECK_LEN] {
        let mut hash = Sha256::new();
        hash.update(self.salt);
        hash.update(self.offset.to_le_bytes());
        hash.update(payload);
        shorten(&hash.finalize().into())
    }

    /// Starts a new epoch at the front of the file. Nothing of an older one is valid afterwards.
    pub(super) fn restart(&mut self, epoch: u64) -> io::Result<()> {
        let mut salt = [0; 16];
        // Sixteen bytes come whole or not at all.
        rustix::rand::getrandom(&mut salt, rustix::rand::GetRandomFlags::empty())?;
        self.file.write_all_at(&header(epoch, &salt), 0)?;
        self.epoch = epoch;
        self.salt = salt;
        self.offset = HEADER_LEN;
        if self.len > CAPACITY {
            self.file.set_len(CAPACITY)?;
            self.len = CAPACITY;
        }
        Ok(())
    }

    /// Appends one record. It survives the process once this returns, and power loss after a sync.
    ///
    /// Errors: the system refused; the journal is as before.
    pub(super) fn append(&mut self, payload: &[u8]) -> io::Result<()> {
        let length = u32::try_from(payload.len()).ok().filter(|length| *length <= PAYLOAD_BYTES_MAX);
        let Some(length) = length else { return Err(io::ErrorKind::FileTooLarge.into()) };
        let mut record = Vec::with_capacity(RECORD_HEADER_LEN + payload.len());
        record.extend_from_slice(&length.to_le_bytes());
        record.extend_from_slice(&self.check(payload));
        record.extend_from_slice(payload);
        self.file.write_all_at(&record, self.offset)?;
        self.offset += record.len() as u64;
        self.len = self.len.max(self.offset);
        Ok(())
    }

    /// The epoch, 0 if the file holds nothing.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The bytes in use.
    pub(super) fn used(&self) -> u64 {
        self.offset
    }

    /// Another handle to the file, for syncing it without holding anything.
    pub(super) fn file(&self) -> io::Result<File> {
        self.file.try_clone()
    }
}

/// The intact records of a journal's bytes.
pub(super) fn payloads(bytes: &[u8]) -> Vec<Vec<u8>> {
    let Some((epoch, salt)) = parse_header(bytes) else { return Vec::new() };
    let Ok(file) = File::open("/dev/null") else { return Vec::new() };
    let mut journal = Journal { file, epoch, salt, offset: HEADER_LEN, len: bytes.len() as u64 };
    let mut payloads = Vec::new();
    while let Some((payload, next)) = journal.parse_record(bytes) {
        payloads.push(payload.to_vec());
        journal.offset = next;
    }
    payloads
}

fn shorten(hash: &[u8; 32]) -> [u8; CHECK_LEN] {
    let mut check = [0; CHECK_LEN];
    check.copy_from_slice(&hash[..CHECK_LEN]);
    check
}

fn header(epoch: u64, salt: &[u8; 16]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_LEN as usize);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&epoch.to_le_bytes());
    bytes.extend_from_slice(salt);
    let check = shorten(&Sha256::digest(&bytes).into());
    bytes.extend_from_slice(&check);
    bytes
}

fn parse_header(bytes: &[u8]) -> Option<(u64, [u8; 16])> {
    let bytes = bytes.get(..HEADER_LEN as usize)?;
    let (body, check) = bytes.split_at(40);
    if shorten(&Sha256::digest(body).into()) != check || !body.starts_with(MAGIC) {
        return None;
    }
    if body[8..12] != VERSION.to_le_bytes() {
        return None;
    }
    let epoch = u64::from_le_bytes(body[16..24].try_into().ok()?);
    let salt = body[24..40].try_into().ok()?;
    (epoch != 0).then_some((epoch, salt))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &Path) -> (Journal, Vec<Vec<u8>>) {
        let recovered = Journal::open(path).unwrap();
        (recovered.journal, recovered.payloads)
    }

    #[test]
    fn records_come_back_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("j");
        let (mut journal, payloads) = open(&path);
        assert!(payloads.is_empty());
        journal.restart(7).unwrap();
        for n in 0..100u32 {
            journal.append(format!("record {n}").as_bytes()).unwrap();
        }
        let (journal, payloads) = open(&path);
        assert_eq!(journal.epoch(), 7);
        assert_eq!(payloads.len(), 100);
        assert_eq!(payloads[99], b"record 99");
    }

    #[test]
    fn an_older_epoch_and_a_record_behind_a_gap_stay_dead() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("j");
        let (mut journal, _) = open(&path);
        journal.restart(1).unwrap();
        for _ in 0..10 {
            journal.append(b"old").unwrap();
        }
        journal.restart(2).unwrap();
        journal.append(b"new").unwrap();
        let gap = journal.used();
        journal.append(b"lost").unwrap();
        journal.append(b"behind the gap").unwrap();
        // What a power cut does to a page that was not written yet.
        journal.file.write_all_at(&[0; 8], gap).unwrap();
        let (mut journal, payloads) = open(&path);
        assert_eq!(payloads, [b"new".to_vec()]);
        journal.append(b"lost").unwrap();
        drop(journal);
        let (_, payloads) = open(&path);
        assert_eq!(payloads, [b"new".to_vec(), b"lost".to_vec()]);
    }

    #[test]
    fn any_damaged_byte_ends_the_reading_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("j");
        let (mut journal, _) = open(&path);
        journal.restart(3).unwrap();
        for n in 0..5u8 {
            journal.append(&[n + 1; 10]).unwrap();
        }
        let used = usize::try_from(journal.used()).unwrap();
        let good = std::fs::read(&path).unwrap();
        for at in (0..used).step_by(7) {
            let mut bytes = good.clone();
            bytes[at] ^= 0x40;
            std::fs::write(&path, &bytes).unwrap();
            let (_, payloads) = open(&path);
            let whole = at.saturating_sub(HEADER_LEN as usize) / 30;
            assert_eq!(payloads.len(), if at < HEADER_LEN as usize { 0 } else { whole }, "byte {at}");
        }
    }

    #[test]
    fn a_record_larger_than_the_file_makes_it_grow() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("j");
        let (mut journal, _) = open(&path);
        journal.restart(1).unwrap();
        let large = vec![9; 3 << 20];
        journal.append(&large).unwrap();
        let (mut journal, payloads) = open(&path);
        assert_eq!(payloads, [large]);
        journal.restart(2).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), CAPACITY);
    }
}
