//! Properties of reading and writing; what GNU tar makes of the same archives is in `tests/gnu_tar.rs`.

use std::io::BufReader;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// An entry with its data.
type Whole = (Entry, Vec<u8>);

/// All entries, and all bytes that are not data.
fn read(archive: &[u8]) -> Result<(Vec<Whole>, Vec<u8>), TarError> {
    // A small buffer, so that headers and data cross its border.
    let mut reader = Reader::with_raw(BufReader::with_capacity(700, archive));
    let (mut entries, mut raw) = (Vec::new(), Vec::new());
    let mut entry = Entry::default();
    while reader.next(&mut entry)? {
        let mut data = Vec::new();
        loop {
            let piece = reader.data()?;
            if piece.is_empty() {
                break;
            }
            data.extend_from_slice(piece);
            let length = piece.len();
            reader.consume(length);
        }
        entries.push((entry.clone(), data));
    }
    reader.take_raw(&mut raw);
    Ok((entries, raw))
}

fn write(entries: &[Whole]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for (entry, data) in entries {
        match entry.kind {
            Kind::File => writer.file(entry, data).unwrap(),
            _ => writer.start(entry).unwrap(),
        }
    }
    writer.finish().unwrap()
}

prop_compose! {
    fn entry()(
        kind in prop_oneof![
            Just(Kind::File), Just(Kind::HardLink), Just(Kind::Symlink), Just(Kind::Character),
            Just(Kind::Block), Just(Kind::Directory), Just(Kind::Fifo),
        ],
        path in vec(1u8..=255, 1..300),
        link in vec(1u8..=255, 1..300),
        mode in 0u32..0o10000,
        uid: u32,
        gid: u32,
        seconds in -100_000_000_000i64..100_000_000_000,
        nanos in 0u32..1_000_000_000,
        device in (0u32..0o7777777, 0u32..0o7777777),
        xattrs in vec(("[a-z.]{1,9}", vec(any::<u8>(), 0..50)), 0..3),
        data in vec(any::<u8>(), 0..2000),
    ) -> Whole {
        let mut path = path;
        if kind == Kind::File && path.ends_with(b"/") {
            path.push(b'f');
        }
        let mut xattrs: Vec<_> =
            xattrs.into_iter().map(|(name, value)| (name.into_bytes(), value)).collect();
        xattrs.sort();
        xattrs.dedup_by(|one, other| one.0 == other.0);
        let data = if kind == Kind::File { data } else { Vec::new() };
        let entry = Entry {
            kind,
            path,
            link,
            mode,
            uid,
            gid,
            mtime: (seconds, nanos),
            device: if matches!(kind, Kind::Character | Kind::Block) { device } else { (0, 0) },
            size: data.len() as u64,
            xattrs,
            segments: None,
        };
        (entry, data)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_written_is_read(entries in vec(entry(), 0..6)) {
        let archive = write(&entries);
        prop_assert_eq!(&archive, &write(&entries), "the same entries make the same bytes");
        let (got, raw) = read(&archive).unwrap();
        prop_assert_eq!(&got, &entries);
        let data: usize = entries.iter().map(|(_, data)| data.len()).sum();
        prop_assert_eq!(raw.len() + data, archive.len(), "every byte is data or is not");
    }

    #[test]
    fn damaged_archives_never_panic(
        entries in vec(entry(), 1..4),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut archive = write(&entries);
        for (at, value) in changes {
            let at = at.index(archive.len());
            archive[at] = value;
        }
        let _ = read(&archive);
        archive.truncate(cut.index(archive.len()));
        let _ = read(&archive);
    }

    /// Damage that keeps the checksum right gets further.
    #[test]
    fn sealed_damage_never_panics(
        kind in any::<u8>(),
        changes in vec((0usize..BLOCK, any::<u8>()), 1..20),
        data in vec(any::<u8>(), 0..4096),
    ) {
        let mut block = write(&[(Entry { path: b"x".to_vec(), ..Entry::default() }, vec![])])[..BLOCK].to_vec();
        block[156] = kind;
        for (at, value) in changes {
            block[at] = value;
        }
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        block.extend_from_slice(&data);
        let _ = read(&block);
    }

    #[test]
    fn noise_never_panics(noise in vec(any::<u8>(), 0..3000)) {
        let _ = read(&noise);
    }

    #[test]
    fn extended_headers_never_panic(noise in vec(any::<u8>(), 0..300)) {
        let _ = pax::Extended::parse(&noise);
        let _ = pax::check_global(&noise);
    }

    #[test]
    fn structured_extended_headers_never_panic(
        records in vec(("(path|linkpath|size|mtime|uid|GNU.sparse.(major|minor|map|size|offset|numbytes|name|numblocks)|SCHILY.xattr.a)", "[0-9.,-]{0,12}"), 0..8),
        data in vec(any::<u8>(), 0..2000),
    ) {
        let mut extended = Vec::new();
        for (key, value) in &records {
            let rest = key.len() + value.len() + 3;
            let length = if (rest + 2).to_string().len() == 2 { rest + 2 } else { rest + 3 };
            extended.extend_from_slice(format!("{length} {key}={value}\n").as_bytes());
        }
        let mut archive = write(&[(Entry { path: b"pax".to_vec(), ..Entry::default() }, extended)]);
        archive.truncate(archive.len() - 2 * BLOCK);
        archive[156] = b'x';
        archive[148..156].fill(b' ');
        let sum: u32 = archive[..BLOCK].iter().map(|b| u32::from(*b)).sum();
        archive[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        archive.extend_from_slice(&write(&[(Entry { path: b"f".to_vec(), ..Entry::default() }, data)]));
        let _ = read(&archive);
    }
}
