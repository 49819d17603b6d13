//! What the tests and benchmarks need on a fresh Debian machine: packages, images, binaries.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Outcome;

/// Programs and the Debian packages that hold them.
const PACKAGES: [(&str, &str); 15] = [
    ("mmdebstrap", "mmdebstrap"),
    ("nft", "nftables"),
    ("ip", "iproute2"),
    ("busybox", "busybox-static"),
    ("runc", "runc"),
    ("docker-registry", "docker-registry"),
    ("openssl", "openssl"),
    ("skopeo", "skopeo"),
    ("podman", "podman"),
    ("tmux", "tmux"),
    ("curl", "curl"),
    ("jq", "jq"),
    ("script", "bsdutils"),
    ("zsh", "zsh"),
    ("fish", "fish"),
];

/// The workspace's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).unwrap_or_default()
}

/// The folder for what is made once and kept: images, tools.
pub(crate) fn kept() -> PathBuf {
    root().join("target/kept")
}

/// Runs a command; an error names it and how it ended.
pub(crate) fn call(command: &mut Command) -> Outcome {
    let status = command.status().map_err(|error| format!("{command:?}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{command:?}: {status}").into()) }
}

/// The standard output of a command.
pub(crate) fn output(command: &mut Command) -> Result<String, Box<dyn std::error::Error>> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(format!("{command:?}: {}: {stderr}", output.status).into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Cargo, without what the cargo that runs this says of this package: build scripts look at such variables, and
/// everything above them would be built anew whenever cargo is called by hand and from here in turn.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let own = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_CRATE_", "CARGO_BIN_", "CARGO_PRIMARY_", "OUT_DIR"];
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| own.iter().any(|prefix| name.starts_with(prefix))) {
            cargo.env_remove(&name);
        }
    }
    cargo
}

/// Whether the `PATH` has a program.
pub(crate) fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).exists())
        || Path::new("/usr/sbin").join(program).exists()
}

/// The path of a program.
pub(crate) fn program(name: &str) -> Result<PathBuf, Box<dyn std::error::Error>> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut found = std::env::split_paths(&path).map(|folder| folder.join(name));
    found.find(|path| path.exists()).ok_or_else(|| format!("there is no {name}").into())
}

/// Fails with a clear word where this is not root.
pub(crate) fn need_root() -> Outcome {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let root = status.lines().any(|line| line.starts_with("Uid:\t0\t"));
    if root { Ok(()) } else { Err("containers, bridges and mounts need root: run this as root".into()) }
}

/// Installs the Debian packages that are missing.
pub(crate) fn packages(more: &[(&str, &str)]) -> Outcome {
    let missing: Vec<&str> = PACKAGES.iter().chain(more).filter(|row| !has(row.0)).map(|row| row.1).collect();
    if missing.is_empty() {
        return Ok(());
    }
    eprintln!("installing {}", missing.join(" "));
    call(Command::new("apt-get").args(["update", "-qq"]))?;
    let mut install = Command::new("apt-get");
    install.args(["install", "-y", "-qq", "--no-install-recommends"]).args(missing);
    call(install.env("DEBIAN_FRONTEND", "noninteractive").stdout(std::process::Stdio::null()))
}

/// Makes the root file systems of these images, once; the folder that holds them.
pub(crate) fn images(names: &[&str]) -> Result<PathBuf, Box<dyn std::error::Error>> {
    let folder = std::env::var_os("BERTH_IMAGES").map_or_else(|| kept().join("images"), PathBuf::from);
    let complete = names.iter().all(|name| {
        folder.join(format!("{name}.tar")).exists() && folder.join(format!("{name}.changes")).exists()
    });
    if !complete {
        let mut make = Command::new(root().join("tools/make-images.sh"));
        call(make.arg(&folder).args(names))?;
    }
    Ok(folder)
}

/// The real `docker` command line: the one of the `PATH`, else Debian's, unpacked beside the images and not installed.
pub(crate) fn docker() -> Result<PathBuf, Box<dyn std::error::Error>> {
    if let Some(path) = std::env::var_os("BERTH_DOCKER") {
        return Ok(PathBuf::from(path));
    }
    if has("docker") {
        return Ok(PathBuf::from("docker"));
    }
    let folder = kept().join("docker");
    let program = folder.join("usr/bin/docker");
    if !program.exists() {
        std::fs::create_dir_all(&folder)?;
        call(Command::new("apt-get").args(["update", "-qq"]))?;
        call(Command::new("apt-get").args(["download", "-qq", "docker.io"]).current_dir(&folder))?;
        let found = std::fs::read_dir(&folder)?.flatten().map(|entry| entry.path());
        let package = found.into_iter().find(|path| path.extension().is_some_and(|end| end == "deb"));
        call(
            Command::new("dpkg")
                .arg("-x")
                .arg(package.ok_or("apt-get left no docker.io package")?)
                .arg(&folder),
        )?;
    }
    Ok(program)
}

/// Builds the binary in a profile; its path.
pub(crate) fn binary(profile: &str) -> Result<PathBuf, Box<dyn std::error::Error>> {
    binary_with(profile, &[])
}

/// Builds the binary in a profile, with further words for cargo; its path.
pub(crate) fn binary_with(profile: &str, more: &[&str]) -> Result<PathBuf, Box<dyn std::error::Error>> {
    let mut build = cargo();
    build.args([
        "build",
        "--package",
        "berth",
        "--profile",
        profile,
        "--message-format",
        "json-render-diagnostics",
    ]);
    build.args(more);
    let said = output(build.current_dir(root()).stderr(std::process::Stdio::inherit()))?;
    let messages = said.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let binaries = messages.filter_map(|message| Some(PathBuf::from(message["executable"].as_str()?)));
    let found = binaries.into_iter().find(|path| path.file_name().is_some_and(|name| name == "berth"));
    Ok(found.ok_or("cargo built no binary named berth")?)
}
