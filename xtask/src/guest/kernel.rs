//! Debian's cloud kernel: downloaded, unpacked, and the modules that are needed picked out.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::setup;

/// The package that depends on the newest kernel.
const PACKAGE: &str = "linux-image-cloud-amd64";

/// A kernel and some of its modules.
pub(crate) struct Kernel {
    pub(crate) image: PathBuf,
    /// The modules themselves, in the order in which they can be loaded.
    pub(crate) modules: Vec<Vec<u8>>,
}

/// Downloads the kernel, unless it is there, and picks out these modules with those that they need.
pub(crate) fn fetch(folder: &Path, modules: &[&str]) -> Result<Kernel, Box<dyn Error>> {
    let unpacked = folder.join("kernel");
    if find(&unpacked.join("boot"), "vmlinuz").is_none() {
        std::fs::create_dir_all(&unpacked)?;
        let package = newest()?;
        // Started in the folder, for that is where it leaves the package.
        setup::call(Command::new("apt-get").args(["download", "-qq", &package]).current_dir(folder))?;
        let archive = find(folder, &package).ok_or("apt-get left no package")?;
        setup::call(Command::new("dpkg").arg("-x").arg(&archive).arg(&unpacked))?;
        std::fs::remove_file(archive)?;
    }
    let image = find(&unpacked.join("boot"), "vmlinuz").ok_or("the package holds no kernel")?;
    // Debian 12 has /lib, Debian 13 /usr/lib.
    let trees = ["lib/modules", "usr/lib/modules"].map(|tree| unpacked.join(tree));
    let mut files = BTreeMap::new();
    for tree in trees {
        collect(&tree, &mut files);
    }
    let mut loaded = Loaded { files: &files, names: Vec::new(), modules: Vec::new() };
    for name in modules {
        loaded.load(name)?;
    }
    Ok(Kernel { image, modules: loaded.modules })
}

/// The kernel that the package stands for.
fn newest() -> Result<String, Box<dyn Error>> {
    let ask = || setup::output(Command::new("apt-cache").args(["depends", PACKAGE]));
    let mut said = ask().unwrap_or_default();
    if !said.contains("Depends:") {
        setup::call(Command::new("apt-get").args(["update", "-qq"]))?;
        said = ask()?;
    }
    let name = said.lines().find_map(|line| line.trim().strip_prefix("Depends: linux-image-"));
    Ok(format!("linux-image-{}", name.ok_or_else(|| format!("{PACKAGE} depends on no kernel"))?))
}

fn find(folder: &Path, start: &str) -> Option<PathBuf> {
    let mut entries = std::fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path());
    entries.find(|path| {
        path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(start))
    })
}

/// All modules below a folder, by their names.
fn collect(folder: &Path, files: &mut BTreeMap<String, PathBuf>) {
    for path in std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            collect(&path, files);
        } else if let Some((name, _)) = path.file_name().and_then(|name| name.to_str()?.split_once(".ko")) {
            files.insert(name.replace('-', "_"), path.clone());
        }
    }
}

struct Loaded<'a> {
    files: &'a BTreeMap<String, PathBuf>,
    names: Vec<String>,
    modules: Vec<Vec<u8>>,
}

impl Loaded<'_> {
    /// A module after those that it depends on. One that is built in has no file.
    fn load(&mut self, name: &str) -> Result<(), Box<dyn Error>> {
        let Some(path) = self.files.get(name).filter(|_| !self.names.iter().any(|known| known == name))
        else {
            return Ok(());
        };
        self.names.push(name.to_owned());
        let module = if path.extension().is_some_and(|end| end == "xz") {
            let output = Command::new("xz").arg("-dc").arg(path).output()?;
            output.stdout
        } else {
            std::fs::read(path)?
        };
        for dependency in dependencies(&module) {
            self.load(&dependency)?;
        }
        self.modules.push(module);
        Ok(())
    }
}

/// What stands behind `depends=` in the module's own description.
fn dependencies(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(at) = module.windows(KEY.len()).position(|window| window == KEY) else { return Vec::new() };
    let rest = &module[at + KEY.len()..];
    let list = String::from_utf8_lossy(rest.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned();
    list.split(',').filter(|name| !name.is_empty()).map(|name| name.replace('-', "_")).collect()
}
