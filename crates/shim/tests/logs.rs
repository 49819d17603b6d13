//! The log file: what is in it, when it is full, when the disk is.
#![allow(clippy::unwrap_used)] // a helper may fail like a test

mod common;

use std::fs;
use std::io::Read;
use std::path::Path;

use berth_shim::Target;
use berth_shim::client::Attach;
use common::*;
use rustix::mount::{MountFlags, UnmountFlags};

#[tokio::test(flavor = "multi_thread")]
async fn any_bytes_are_logged_as_docker_logs_them() {
    let host = Host::new();
    let mut bytes: Vec<u8> = (0..=255).collect();
    bytes.extend_from_slice("<tag> & \"quote\" \\ é 한 \u{2028} 🦀\r\n\n".as_bytes());
    bytes.extend_from_slice(&vec![b'x'; 40_000]);
    bytes.extend_from_slice(b"\nno end");
    fs::write(host.root().join("bytes"), &bytes).unwrap();
    let (status, _) = host.run(host.container("a", &["cat", "/bytes"])).await;
    assert_eq!(status.code, 0);
    let log = fs::read_to_string(host.log_file("a")).unwrap();
    let texts: Vec<&str> =
        log.lines().map(|line| line.split("\",\"stream\":\"stdout\",\"time\":\"").next().unwrap()).collect();
    let mut expect = vec![
        "{\"log\":\"\\u0000\\u0001\\u0002\\u0003\\u0004\\u0005\\u0006\\u0007\\u0008\\u0009\\n".to_owned(),
        format!(
            "{{\"log\":\"\\u000b\\u000c\\r{}{}{}\\u003ctag\\u003e \\u0026 \\\"quote\\\" \\\\ é 한 \\u2028 🦀\\r\\n",
            (0x0e..0x20).map(|byte| format!("\\u00{byte:02x}")).collect::<String>(),
            (b' '..=0x7f)
                .map(|byte| match byte {
                    b'"' | b'\\' => format!("\\{}", byte as char),
                    b'<' | b'>' | b'&' => format!("\\u00{byte:02x}"),
                    _ => (byte as char).to_string(),
                })
                .collect::<String>(),
            "\\ufffd".repeat(128),
        ),
        "{\"log\":\"\\n".to_owned(),
    ];
    expect.extend([16384, 16384].map(|length| format!("{{\"log\":\"{}", "x".repeat(length))));
    expect.push(format!("{{\"log\":\"{}\\n", "x".repeat(40_000 - 2 * 16384)));
    expect.push("{\"log\":\"no end".to_owned());
    assert_eq!(texts, expect);
    assert!(log.ends_with("Z\"}\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_is_rotated_and_what_is_kept_is_whole() {
    let host = Host::new();
    let mut start = host.container("a", &["seq", "1", "100000"]);
    let log = start.log.as_mut().unwrap();
    (log.max_size_bytes, log.max_files, log.compress) = (1 << 20, 4, true);
    let (shim, mut started) = host.start(start).await;
    assert_eq!(exited(&mut started).await.code, 0);
    let path = host.log_file("a");
    let numbered = |number: u32, suffix: &str| format!("{}.{number}{suffix}", path.display());
    eventually("all are compressed", || (1..4).all(|number| Path::new(&numbered(number, ".gz")).exists()))
        .await;
    eventually("the sources are gone", || (1..4).all(|number| !Path::new(&numbered(number, "")).exists()))
        .await;
    let files = || fs::read_dir(path.parent().unwrap()).unwrap().count();
    eventually("log files and the exit, which nobody has taken", || files() == 4 + 1).await;
    shim.shutdown().await.unwrap();
    let mut text = String::new();
    for number in (1..4).rev() {
        let file = fs::File::open(numbered(number, ".gz")).unwrap();
        let before = text.len();
        flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
        let size = text.len() - before;
        assert!((1 << 20..(1 << 20) + 200).contains(&size), "{size}");
    }
    text.push_str(&fs::read_to_string(&path).unwrap());
    let numbers: Vec<u32> = text
        .lines()
        .map(|line| {
            let entry: serde_json::Value = serde_json::from_str(line).unwrap();
            entry["log"].as_str().unwrap().trim_end().parse().unwrap()
        })
        .collect();
    let first = 100_001 - u32::try_from(numbers.len()).unwrap();
    assert_eq!(numbers, (first..=100_000).collect::<Vec<_>>());
    assert_eq!(files(), 4 + 1, "nothing else");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_does_not_wait_for_the_compressor_and_leaves_no_half_file() {
    let host = Host::new();
    for _ in 0..2 {
        let mut start = host.container("a", &shell("yes 0123456789 | head -n 300000"));
        let log = start.log.as_mut().unwrap();
        (log.max_size_bytes, log.max_files, log.compress) = (5 << 20, 3, true);
        let (shim, mut started) = host.start(start).await;
        assert_eq!(exited(&mut started).await.code, 0);
        shim.shutdown().await.unwrap();
        let files = fs::read_dir(host.log_file("a").parent().unwrap()).unwrap().flatten();
        let half: Vec<_> =
            files.filter(|file| file.path().extension().is_some_and(|end| end == "tmp")).collect();
        assert!(half.is_empty(), "{half:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_drops_lines_and_says_so_when_there_is_space_again() {
    let host = Host::new();
    let small = Small::mount(&host.dir.path().join("small"));
    let ballast = small.0.join("ballast");
    fs::write(&ballast, vec![0; 100 * 1024]).unwrap();
    // The client shows that the container is not held back by the log.
    let script = "seq 1 20000; echo full; while ! [ -e /go ]; do sleep 0.05; done; echo again";
    let mut start = host.container("a", &shell(script));
    start.log.as_mut().unwrap().path = small.0.join("a-json.log");
    let (attach, mut stream) = Attach::pair(output()).unwrap();
    start.attach.push(attach);
    let (shim, mut started) = host.start(start).await;
    read_until(&mut stream, "full\n").await;
    fs::remove_file(&ballast).unwrap();
    fs::write(host.root().join("go"), "").unwrap();
    assert_eq!(exited(&mut started).await.code, 0);
    shim.shutdown().await.unwrap();
    let texts: Vec<String> = fs::read_to_string(small.0.join("a-json.log"))
        .unwrap()
        .lines()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["log"].as_str().unwrap().to_owned()
        })
        .collect();
    let kept = texts.len() - 2;
    assert!(kept > 100, "{kept}");
    for (number, text) in (1..).zip(&texts[..kept]) {
        assert_eq!(text, &format!("{number}\n"));
    }
    let dropped = 20_001 - kept;
    assert_eq!(
        texts[kept],
        format!("berth: {dropped} log lines were dropped: No space left on device (os error 28)\n")
    );
    assert_eq!(texts[kept + 1], "again\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_log_there_is_no_file_and_nothing_is_held_back() {
    let host = Host::new();
    let mut start = host.container("a", &shell("seq 1 200000; exit 2"));
    start.log = None;
    let (shim, mut started) = host.start(start).await;
    assert_eq!(exited(&mut started).await.code, 2);
    shim.shutdown().await.unwrap();
    assert!(!host.log_file("a").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orphan_that_keeps_the_pipe_does_not_keep_the_container() {
    let host = Host::new();
    let mut start = host.container("a", &shell("(sleep 1000) & echo end; exit 1"));
    // In the host's process namespace nobody is killed with the first process.
    let namespaces = &mut start.spec.linux.as_mut().unwrap().namespaces;
    namespaces.retain(|namespace| namespace.kind != berth_oci::runtime::LinuxNamespaceType::Pid);
    let (shim, mut started) = host.start(start).await;
    assert_eq!(exited(&mut started).await.code, 1);
    assert_eq!(host.log("a").stdout, b"end\n");
    assert!(shim.signal(&Target::Container, 15).await.is_err());
    shim.shutdown().await.unwrap();
    assert!(host.is_gone("a"));
}

/// A file system of 256 KiB.
struct Small(std::path::PathBuf);

impl Small {
    fn mount(path: &Path) -> Small {
        fs::create_dir(path).unwrap();
        rustix::mount::mount("tmpfs", path, "tmpfs", MountFlags::empty(), Some(c"size=256k")).unwrap();
        Small(path.to_owned())
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        rustix::mount::unmount(&self.0, UnmountFlags::DETACH).unwrap();
    }
}
