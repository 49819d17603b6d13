//! Archives whose bytes depend on nothing but what is in them.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::{Command, Stdio};

use flate2::{Compression, GzBuilder};

/// A file in an archive.
pub(crate) struct Entry {
    pub(crate) path: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) mode: u32,
}

impl Entry {
    pub(crate) fn file(path: &str, bytes: Vec<u8>) -> Self {
        Self { path: path.to_owned(), bytes, mode: 0o644 }
    }

    pub(crate) fn program(path: &str, bytes: Vec<u8>) -> Self {
        Self { path: path.to_owned(), bytes, mode: 0o755 }
    }
}

/// A compressed archive of these files and of the folders above them.
pub(crate) fn tar_gz(entries: &[Entry], time: u64) -> std::io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut folders = BTreeSet::new();
    for entry in entries {
        for (at, _) in entry.path.match_indices('/') {
            let folder = &entry.path[..=at];
            if folders.insert(folder) {
                let mut header = header(0o755, 0, time);
                header.set_entry_type(tar::EntryType::Directory);
                archive.append_data(&mut header, format!("./{folder}"), std::io::empty())?;
            }
        }
        let mut header = header(entry.mode, entry.bytes.len() as u64, time);
        archive.append_data(&mut header, format!("./{}", entry.path), entry.bytes.as_slice())?;
    }
    gzip(&archive.into_inner()?)
}

fn header(mode: u32, size: u64, time: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(time);
    header.set_uid(0);
    header.set_gid(0);
    header
}

/// Compresses; the result has no name and no time in it.
pub(crate) fn gzip(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut writer = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
    writer.write_all(bytes)?;
    writer.finish()
}

/// An archive of `ar`, as a Debian package is.
pub(crate) fn ar(members: &[(&str, &[u8])], time: u64) -> Vec<u8> {
    let mut archive = b"!<arch>\n".to_vec();
    for (name, bytes) in members {
        let header = format!("{name:<16}{time:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, "100644", bytes.len());
        archive.extend_from_slice(header.as_bytes());
        archive.extend_from_slice(bytes);
        if bytes.len() % 2 == 1 {
            archive.push(b'\n');
        }
    }
    archive
}

/// The checksum that Debian's packages have; `md5sum` is on every Debian machine.
pub(crate) fn md5(bytes: &[u8]) -> Result<String, Box<dyn std::error::Error>> {
    let mut child = Command::new("md5sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    child.stdin.take().ok_or("md5sum has no input")?.write_all(bytes)?;
    let said = String::from_utf8(child.wait_with_output()?.stdout)?;
    Ok(said.split(' ').next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_files_give_the_same_bytes() {
        let entries =
            || [Entry::program("usr/bin/a", b"x".to_vec()), Entry::file("usr/share/doc/a/b", vec![0; 5000])];
        let bytes = tar_gz(&entries(), 7).unwrap();
        assert_eq!(bytes, tar_gz(&entries(), 7).unwrap());
        assert_ne!(bytes, tar_gz(&entries(), 8).unwrap());
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(bytes.as_slice()));
        let names: Vec<_> = archive
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().display().to_string())
            .collect();
        let expect = ["usr/", "usr/bin/", "usr/bin/a", "usr/share/", "usr/share/doc/", "usr/share/doc/a/"];
        assert_eq!(names[..6], expect);
    }

    #[test]
    fn members_begin_at_even_places() {
        let archive = ar(&[("a", b"x"), ("b", b"yy")], 0);
        assert_eq!(archive.len(), 8 + 60 + 2 + 60 + 2);
        assert_eq!(&archive[8..11], b"a  ");
        assert_eq!(&archive[8 + 62..8 + 65], b"b  ");
    }
}
