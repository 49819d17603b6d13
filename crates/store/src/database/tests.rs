//! Tests of the database as a whole. Kills and full disks are in `tests/database.rs`.

use serde::{Deserialize, Serialize};

use super::*;
use std::future::Future;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Pet {
    name: String,
    legs: u32,
}

impl Record for Pet {
    const TABLE: &'static str = "pets";
    const VERSION: u32 = 2;

    fn upgrade(version: u32, mut value: serde_json::Value) -> Option<serde_json::Value> {
        (version == 1).then(|| {
            value["legs"] = 4.into();
            value
        })
    }
}

/// The shape before pets had legs.
#[derive(Serialize, Deserialize)]
struct OldPet {
    name: String,
}

impl Record for OldPet {
    const TABLE: &'static str = "pets";
    const VERSION: u32 = 1;
}

fn pet(name: &str) -> Pet {
    Pet { name: name.to_owned(), legs: 3 }
}

fn keys(database: &Database, prefix: &str) -> Vec<String> {
    database.scan::<Pet>(prefix).unwrap().into_iter().map(|(key, _)| key).collect()
}

/// Opens the directory as it would be found after the process was killed now.
fn after_kill(dir: &Path) -> (tempfile::TempDir, Database) {
    let copy = tempfile::tempdir().unwrap();
    // The journals first: what a checkpoint takes out of them meanwhile is in the database file by then.
    for name in ["journal.0", "journal.1", "database.redb"] {
        std::fs::copy(dir.join(name), copy.path().join(name)).unwrap();
    }
    let database = Database::open(copy.path()).unwrap();
    (copy, database)
}

#[test]
fn a_write_is_seen_at_once_and_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let database = Database::open(dir.path()).unwrap();
    drop(database.put("a", &pet("Ada")).unwrap());
    assert_eq!(database.get("a").unwrap(), Some(pet("Ada")));
    let (_copy, killed) = after_kill(dir.path());
    assert_eq!(killed.get("a").unwrap(), Some(pet("Ada")));
    assert_eq!(killed.get::<Pet>("b").unwrap(), None);
}

#[test]
fn closing_and_opening_keeps_everything() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..3 {
        let database = Database::open(dir.path()).unwrap();
        assert_eq!(keys(&database, "").len(), round);
        database.put(&format!("k{round}"), &pet("x")).unwrap().wait().unwrap();
    }
    assert_eq!(keys(&Database::open(dir.path()).unwrap(), ""), ["k0", "k1", "k2"]);
}

#[test]
fn scans_join_file_and_journal() {
    let dir = tempfile::tempdir().unwrap();
    {
        let database = Database::open(dir.path()).unwrap();
        for key in ["a1", "a2", "a3", "b1"] {
            drop(database.put(key, &pet(key)).unwrap());
        }
    }
    let database = Database::open(dir.path()).unwrap();
    drop(database.delete::<Pet>("a2").unwrap());
    drop(database.put("a4", &pet("a4")).unwrap());
    drop(database.put("a1", &Pet { name: "new".into(), legs: 1 }).unwrap());
    assert_eq!(keys(&database, "a"), ["a1", "a3", "a4"]);
    assert_eq!(keys(&database, ""), ["a1", "a3", "a4", "b1"]);
    assert_eq!(database.get::<Pet>("a1").unwrap().unwrap().legs, 1);
    assert_eq!(database.get::<Pet>("a2").unwrap(), None);
}

#[test]
fn batches_are_whole_and_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let database = Database::open(dir.path()).unwrap();
    let mut batch = Batch::default();
    batch.put("a", &pet("first")).unwrap();
    batch.delete::<Pet>("a");
    batch.put("b", &pet("second")).unwrap();
    database.write(batch).unwrap().wait().unwrap();
    assert_eq!(keys(&database, ""), ["b"]);
}

#[test]
fn many_writes_go_through_checkpoints() {
    let dir = tempfile::tempdir().unwrap();
    let database = Database::open(dir.path()).unwrap();
    let large = Pet { name: "x".repeat(2000), legs: 0 };
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (database, large) = (&database, &large);
            scope.spawn(move || {
                for n in 0..500u32 {
                    let key = format!("{thread}/{n:04}");
                    drop(database.put(&key, &Pet { legs: n, ..large.clone() }).unwrap());
                    assert_eq!(database.get::<Pet>(&key).unwrap().unwrap().legs, n);
                    if n % 100 == 99 {
                        database.flush().unwrap();
                        assert_eq!(keys(database, &format!("{thread}/")).len(), n as usize + 1);
                    }
                }
            });
        }
    });
    let (_copy, killed) = after_kill(dir.path());
    assert_eq!(keys(&killed, "").len(), 2000);
    drop(database);
    assert_eq!(keys(&Database::open(dir.path()).unwrap(), "").len(), 2000);
}

#[test]
fn older_records_are_read_and_newer_ones_refused() {
    let dir = tempfile::tempdir().unwrap();
    let database = Database::open(dir.path()).unwrap();
    drop(database.put("old", &OldPet { name: "Rex".into() }).unwrap());
    assert_eq!(database.get("old").unwrap(), Some(Pet { name: "Rex".into(), legs: 4 }));
    drop(database.put("new", &pet("Ada")).unwrap());
    let error = database.get::<OldPet>("new").err().unwrap().to_string();
    assert_eq!(error, "record new in table pets cannot be read: its version 2 is not known");
    assert_eq!(database.scan_each::<OldPet>("").unwrap().iter().filter(|(_, r)| r.is_ok()).count(), 1);
}

#[test]
fn a_second_process_is_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let _database = Database::open(dir.path()).unwrap();
    // The lock belongs to the open file: a second open in the same process fails as one in another process does.
    let second = Database::open(dir.path());
    assert!(matches!(second, Err(DatabaseError::InUse { .. })));
}

#[test]
fn a_damaged_file_is_reported_as_such() {
    let dir = tempfile::tempdir().unwrap();
    {
        let database = Database::open(dir.path()).unwrap();
        for n in 0..200 {
            drop(database.put(&format!("{n}"), &pet(&"y".repeat(500))).unwrap());
        }
    }
    let path = dir.path().join("database.redb");
    let good = std::fs::read(&path).unwrap();
    type Damage = fn(&mut Vec<u8>);
    let damage: [(&str, Damage); 3] = [
        ("magic", |bytes| bytes[0] ^= 0xff),
        ("cut", |bytes| bytes.truncate(1000)),
        ("zeroed header", |bytes| bytes[..4096].fill(0)),
    ];
    for (name, change) in damage {
        let mut bytes = good.clone();
        change(&mut bytes);
        std::fs::write(&path, &bytes).unwrap();
        let error = Database::open(dir.path()).err().unwrap_or_else(|| panic!("{name} was not noticed"));
        assert!(matches!(error, DatabaseError::Damaged { .. }), "{name}: {error:?}");
        assert!(error.to_string().contains("database.redb is damaged"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), bytes, "{name}: the evidence was changed");
    }
}

#[test]
fn commits_can_be_awaited() {
    use std::sync::atomic::{AtomicBool, Ordering};
    struct Flag(AtomicBool, std::thread::Thread);
    impl std::task::Wake for Flag {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Release);
            self.1.unpark();
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let database = Database::open(dir.path()).unwrap();
    let mut commit = database.put("a", &pet("Ada")).unwrap();
    let flag = Arc::new(Flag(AtomicBool::new(false), std::thread::current()));
    let waker = Arc::clone(&flag).into();
    let mut context = std::task::Context::from_waker(&waker);
    while std::pin::Pin::new(&mut commit).poll(&mut context).is_pending() {
        while !flag.0.swap(false, Ordering::AcqRel) {
            std::thread::park();
        }
    }
    let state = database.state();
    assert_eq!(state.on_disk, state.written);
}
