//! `cargo xtask dist`: what users install, a Debian package and an archive.
//!
//! The same sources give the same bytes: times are the commit's, owners are root, orders are fixed, and the release
//! build does not know where it was built.

mod archive;

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Outcome, setup};
use archive::{Entry, ar, tar_gz};

/// The version of all crates.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Makes both in `target/dist` (`--out`), of a release build or of a binary that is there (`--binary`).
pub(crate) fn run(words: &[&str]) -> Outcome {
    let mut out = setup::root().join("target/dist");
    let mut binary = None;
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().map(PathBuf::from).ok_or(format!("dist: {word} needs a path"));
        match *word {
            "--out" => out = value()?,
            "--binary" => binary = Some(value()?),
            other => return Err(format!("dist: unknown word {other}").into()),
        }
    }
    let binary = match binary {
        Some(binary) => binary,
        None => release()?,
    };
    make(&binary, &out)
}

/// Makes both of a binary.
pub(crate) fn make(binary: &Path, out: &Path) -> Outcome {
    let time = commit_time()?;
    let files = files(binary)?;
    std::fs::create_dir_all(out)?;
    let architecture = architecture(binary)?;
    let deb = deb(&files, architecture, time)?;
    write(&out.join(format!("berth_{VERSION}_{architecture}.deb")), &deb)?;
    let name = format!("berth-{VERSION}-linux-{architecture}");
    let archive = flat(&name, &files);
    write(&out.join(format!("{name}.tar.gz")), &tar_gz(&archive, time)?)
}

fn write(path: &Path, bytes: &[u8]) -> Outcome {
    std::fs::write(path, bytes)?;
    println!("{} ({} bytes)", path.display(), bytes.len());
    Ok(())
}

/// Builds the binary; its paths of sources are those of no machine.
fn release() -> Result<PathBuf, Box<dyn std::error::Error>> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    let mut maps = vec![format!("--remap-path-prefix={}=/berth", setup::root().display())];
    maps.extend(home.map(|home| format!("--remap-path-prefix={}=/cargo", home.display())));
    let flags = serde_json::to_string(&maps)?;
    setup::binary_with(
        "release",
        &["--locked", "--config", &format!("target.'cfg(all())'.rustflags={flags}")],
    )
}

/// When the sources were committed, in seconds since 1970; `SOURCE_DATE_EPOCH` where it is set.
fn commit_time() -> Result<u64, Box<dyn std::error::Error>> {
    if let Ok(text) = std::env::var("SOURCE_DATE_EPOCH") {
        return Ok(text.parse()?);
    }
    let mut git = Command::new("git");
    git.args(["log", "-1", "--format=%ct"]).current_dir(setup::root());
    Ok(setup::output(&mut git)?.trim().parse()?)
}

/// Debian's name of the architecture that the binary is for.
fn architecture(binary: &Path) -> Result<&'static str, Box<dyn std::error::Error>> {
    let head = std::fs::read(binary)?;
    match head.get(..20) {
        Some([0x7f, b'E', b'L', b'F', .., 0x3e, 0]) => Ok("amd64"),
        Some([0x7f, b'E', b'L', b'F', .., 0xb7, 0]) => Ok("arm64"),
        _ => Err(format!("{} is no program for x86-64 or aarch64", binary.display()).into()),
    }
}

/// What the real `docker` calls for credentials that `berth login` keeps.
const CREDENTIAL_HELPER: &[u8] = b"#!/bin/sh\nexec /usr/bin/berth docker-credential-berth \"$@\"\n";

/// All files, by the path they have below the root.
fn files(binary: &Path) -> Result<Vec<Entry>, Box<dyn std::error::Error>> {
    let read =
        |name: &str| std::fs::read(setup::root().join(name)).map_err(|error| format!("{name}: {error}"));
    let mut files = vec![
        Entry::program("usr/bin/berth", std::fs::read(binary)?),
        Entry::program("usr/bin/docker-credential-berth", CREDENTIAL_HELPER.to_vec()),
        Entry::file("usr/lib/systemd/system/berth.service", read("packaging/berth.service")?),
        Entry::file("usr/lib/systemd/system/berth.socket", read("packaging/berth.socket")?),
        Entry::file("usr/share/man/man1/berth.1.gz", archive::gzip(&read("packaging/berth.1")?)?),
        Entry::file("usr/share/doc/berth/changelog.gz", archive::gzip(&read("CHANGELOG.md")?)?),
        Entry::file("usr/share/doc/berth/copyright", copyright().into_bytes()),
    ];
    for (shell, path) in [
        ("bash", "usr/share/bash-completion/completions/berth"),
        ("fish", "usr/share/fish/vendor_completions.d/berth.fish"),
        ("zsh", "usr/share/zsh/vendor-completions/_berth"),
    ] {
        let said = Command::new(binary).args(["completion", shell]).output()?;
        if said.status.success() && !said.stdout.is_empty() {
            files.push(Entry::file(path, said.stdout));
        }
    }
    files.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(files)
}

fn copyright() -> String {
    "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\nUpstream-Name: Berth\n\nFiles: *\n\
     Copyright: The authors of Berth\nLicense: Apache-2.0\n On Debian systems the text is in \
     /usr/share/common-licenses/Apache-2.0.\n"
        .to_owned()
}

/// A Debian package.
fn deb(files: &[Entry], architecture: &str, time: u64) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let size: usize = files.iter().map(|file| file.bytes.len()).sum();
    let control = format!(
        "Package: berth\nVersion: {VERSION}\nArchitecture: {architecture}\nMaintainer: The authors of Berth \
         <maintainers@berth.invalid>\nInstalled-Size: {}\nSection: admin\nPriority: optional\nSuggests: ca-certificates\n\
         Description: containers and images from one file\n A container engine with the Docker Engine API, Docker's \
         command line and\n an OCI runtime in one static program. Containers outlive their engine.\n",
        size.div_ceil(1024)
    );
    let mut sums = String::new();
    for file in files {
        sums += &format!("{}  {}\n", archive::md5(&file.bytes)?, file.path);
    }
    let mut parts =
        vec![Entry::file("control", control.into_bytes()), Entry::file("md5sums", sums.into_bytes())];
    for name in ["postinst", "postrm", "prerm"] {
        parts.push(Entry::program(name, std::fs::read(setup::root().join("packaging").join(name))?));
    }
    let control = tar_gz(&parts, time)?;
    let data = tar_gz(files, time)?;
    Ok(ar(&[("debian-binary", b"2.0\n"), ("control.tar.gz", &control), ("data.tar.gz", &data)], time))
}

/// What the archive for other systems has: one folder with the program, the units and the manual.
fn flat(folder: &str, files: &[Entry]) -> Vec<Entry> {
    let mut entries: Vec<Entry> = files
        .iter()
        .filter(|file| !file.path.starts_with("usr/share/doc"))
        .map(|file| {
            let name = file.path.rsplit('/').next().unwrap_or_default();
            let name = if file.path.contains("bash-completion") { "berth.bash" } else { name };
            Entry { path: format!("{folder}/{name}"), bytes: file.bytes.clone(), mode: file.mode }
        })
        .collect();
    if let Ok(licence) = std::fs::read(setup::root().join("LICENSE")) {
        entries.push(Entry::file(&format!("{folder}/LICENSE"), licence));
    }
    entries.sort_by(|one, other| one.path.cmp(&other.path));
    entries
}
