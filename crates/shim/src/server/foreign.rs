//! Another OCI runtime, by its command line: `runc`, `crun` and their like.
//!
//! The root file system is mounted in a mount namespace of the shim, so nothing of it is seen on the host, and the
//! runtime runs in there. The container's process is left to the shim, which is a subreaper, when the runtime has
//! ended.
//!
//! In the shim's directory, while it is needed:
//!
//! ```text
//! bundle/config.json   the specification
//! bundle/shared…       mounts of other containers that this one shares
//! bundle/rootfs        where the root file system is mounted
//! bundle/process.json  the process of an exec
//! bundle/pid           written by the runtime
//! bundle/log           why it failed, as lines of JSON
//! bundle/console       socket that gets the master of the terminal
//! ```

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use berth_oci::Mount;
use berth_oci::runtime::{Process, Spec};
use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountFlags, MountPropagationFlags};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketAddrUnix, SocketType,
};
use rustix::process::{Pid, PidfdFlags};

use super::container::{Made, other};
use super::stdio::Ends;
use crate::protocol::Failure;

/// A runtime and one container of it.
#[derive(Debug)]
pub(super) struct Foreign {
    program: PathBuf,
    args: Vec<String>,
    root: PathBuf,
    id: String,
    /// Opened, because the address of the console socket has to be short.
    bundle: OwnedFd,
    path: PathBuf,
}

impl Foreign {
    /// Prepares the bundle, the root file system mounted.
    pub(super) fn prepare(
        (program, args, root): (PathBuf, Vec<String>, PathBuf),
        id: &str,
        dir: &Path,
        spec: &mut Spec,
        rootfs: &[Mount],
    ) -> Result<Foreign, Failure> {
        let path = dir.join("bundle");
        let mut made = || -> io::Result<OwnedFd> {
            clear(&path);
            fs::create_dir_all(&path)?;
            fs::set_permissions(dir, fs::Permissions::from_mode(0o700))?;
            if !rootfs.is_empty() {
                let target = path.join("rootfs");
                fs::create_dir(&target)?;
                berth_sys::supervisor::unshare_mounts()?;
                let slave = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
                rustix::mount::mount_change("/", slave)?;
                rootfs.iter().try_for_each(|layer| mount(layer, &target))?;
                bring(&path, &mut spec.mounts)?;
                spec.root.get_or_insert_default().path = target.to_string_lossy().into_owned();
            }
            fs::write(path.join("config.json"), serde_json::to_vec(spec)?)?;
            Ok(rustix::fs::open(&path, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
        };
        match made() {
            Ok(bundle) => Ok(Foreign { program, args, root, id: id.to_owned(), bundle, path }),
            Err(error) => {
                clear(&path);
                Err(other("cannot prepare the bundle", &error))
            }
        }
    }

    /// Creates and starts the container.
    pub(super) fn run(&self, ends: Ends, terminal: bool) -> Result<Made, Failure> {
        let bundle = self.path.to_string_lossy();
        let made = self.make("create", &["--bundle", &bundle], ends, terminal)?;
        let started = self.command(&["start", &self.id]).output();
        match started {
            Ok(output) if output.status.success() => Ok(made),
            Ok(output) => {
                self.delete();
                Err(self.failure("start", &output.stderr))
            }
            Err(error) => {
                self.delete();
                Err(other("cannot run the runtime", &error))
            }
        }
    }

    /// Makes another process.
    pub(super) fn exec(&self, process: &Process, ends: Ends) -> Result<Made, Failure> {
        let file = self.path.join("process.json");
        let written =
            serde_json::to_vec(process).map_err(io::Error::from).and_then(|text| fs::write(&file, text));
        written.map_err(|error| other("cannot write the process", &error))?;
        let made =
            self.make("exec", &["--detach", "--process", &file.to_string_lossy()], ends, process.terminal);
        let _ = fs::remove_file(file);
        made
    }

    /// Forgets the container, which has ended, and removes the bundle. Runs its `poststop` hooks.
    pub(super) fn delete(&self) {
        let _ = self.command(&["delete", "--force", &self.id]).output();
        clear(&self.path);
    }

    fn make(&self, verb: &str, options: &[&str], ends: Ends, terminal: bool) -> Result<Made, Failure> {
        for name in ["pid", "log", "console"] {
            let _ = fs::remove_file(self.path.join(name));
        }
        let pid_file = self.path.join("pid");
        let mut command = self.command(&[verb]);
        command.args(options).arg("--pid-file").arg(&pid_file);
        let console = if terminal {
            let (socket, address) =
                self.listen().map_err(|error| other("cannot listen for the terminal", &error))?;
            command.args(["--console-socket", &address]);
            Some(socket)
        } else {
            let or_null = |end: Option<OwnedFd>| end.map_or_else(Stdio::null, Stdio::from);
            command.stdin(or_null(ends.stdin)).stdout(or_null(ends.stdout)).stderr(or_null(ends.stderr));
            None
        };
        // The standard streams are the container's: what the runtime says is in its log.
        let status =
            command.arg(&self.id).status().map_err(|error| other("cannot run the runtime", &error))?;
        drop(command);
        if !status.success() {
            return Err(self.failure(verb, &[]));
        }
        self.made(&pid_file, console).map_err(|error| other("cannot find the process of the runtime", &error))
    }

    fn made(&self, pid_file: &Path, console: Option<OwnedFd>) -> io::Result<Made> {
        let pid: i32 = fs::read_to_string(pid_file)?.trim().parse().map_err(io::Error::other)?;
        let named = Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidData)?;
        let pidfd = rustix::process::pidfd_open(named, PidfdFlags::empty())?;
        let console = console.map(|socket| receive_descriptor(&socket)).transpose()?;
        Ok(Made { pid: pid.cast_unsigned(), pidfd, console })
    }

    fn command(&self, verb: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.args).arg("--root").arg(&self.root);
        command.arg("--log").arg(self.path.join("log")).args(["--log-format", "json"]).args(verb);
        command.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        berth_sys::supervisor::unblock_signals_in(&mut command);
        command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    fn listen(&self) -> io::Result<(OwnedFd, String)> {
        let address = format!("/proc/{}/fd/{}/console", std::process::id(), self.bundle.as_raw_fd());
        let socket = rustix::net::socket_with(
            AddressFamily::UNIX,
            SocketType::STREAM,
            rustix::net::SocketFlags::CLOEXEC,
            None,
        )?;
        rustix::net::bind(&socket, &SocketAddrUnix::new(&*address)?)?;
        rustix::net::listen(&socket, 1)?;
        Ok((socket, address))
    }

    /// The last thing that the runtime complained of.
    fn failure(&self, verb: &str, stderr: &[u8]) -> Failure {
        let log = fs::read_to_string(self.path.join("log")).unwrap_or_default();
        let complaint = log.lines().rev().find_map(|line| {
            let entry: serde_json::Value = serde_json::from_str(line).ok()?;
            (entry["level"] == "error").then(|| entry["msg"].as_str().map(str::to_owned))?
        });
        let name = self.program.file_name().unwrap_or_default().to_string_lossy();
        let said = String::from_utf8_lossy(stderr).trim().to_owned();
        let complaint = complaint.unwrap_or_else(|| format!("{name} {verb} failed: {said}"));
        let code = match () {
            () if complaint.contains("executable file not found") => 127,
            () if complaint.contains("no such file or directory") => 127,
            () if complaint.contains("permission denied") || complaint.contains("is a directory") => 126,
            () => 128,
        };
        Failure::Runtime { code, message: format!("OCI runtime {verb} failed: {complaint}: unknown") }
    }
}

/// Brings mounts of other containers (`/dev/shm`, with an IPC namespace) here: the runtime could not, they are mounted in
/// another mount namespace.
fn bring(bundle: &Path, mounts: &mut [Mount]) -> io::Result<()> {
    for (number, mount) in mounts.iter_mut().enumerate() {
        let Some(clone) = berth_runtime::clone_of_process(Path::new(&mount.source)) else { continue };
        let clone = clone?;
        let target = bundle.join(format!("{SHARED}{number}"));
        fs::create_dir(&target)?;
        let flags = rustix::mount::MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        rustix::mount::move_mount(&clone, "", rustix::fs::CWD, &target, flags)?;
        mount.source = target.to_string_lossy().into_owned();
    }
    Ok(())
}

/// How the mounts of others are called in a bundle.
const SHARED: &str = "shared";

/// Removes a bundle: what is ours of it, never what a root file system may still be mounted over.
fn clear(bundle: &Path) {
    let rootfs = bundle.join("rootfs");
    let _ = rustix::mount::unmount(&rootfs, rustix::mount::UnmountFlags::DETACH);
    for name in ["config.json", "process.json", "pid", "log", "console"] {
        let _ = fs::remove_file(bundle.join(name));
    }
    let _ = fs::remove_dir(rootfs);
    let shared = fs::read_dir(bundle).into_iter().flatten().flatten().map(|entry| entry.path());
    for place in shared.filter(|path| path.to_string_lossy().contains(&format!("/bundle/{SHARED}"))) {
        let _ = rustix::mount::unmount(&place, rustix::mount::UnmountFlags::DETACH);
        let _ = fs::remove_dir(place);
    }
    let _ = fs::remove_dir(bundle);
    // It stays while the shim itself has something there.
    let _ = bundle.parent().map(fs::remove_dir);
}

/// The descriptor that the runtime sends.
fn receive_descriptor(listener: &OwnedFd) -> io::Result<OwnedFd> {
    // It was sent before the runtime ended, so nothing is waited for.
    rustix::io::ioctl_fionbio(listener, true)?;
    let socket = rustix::net::accept(listener)?;
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut name = [0; 4096];
    let mut slices = [io::IoSliceMut::new(&mut name)];
    rustix::net::recvmsg(
        socket.as_fd(),
        &mut slices,
        &mut control,
        RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT,
    )?;
    control
        .drain()
        .find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        })
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the runtime sent no terminal"))
}

/// Mounts one part of a root file system.
fn mount(mount: &Mount, target: &Path) -> io::Result<()> {
    let mut flags = MountFlags::empty();
    let mut data = Vec::new();
    for option in &mount.options {
        match option.as_str() {
            "ro" => flags |= MountFlags::RDONLY,
            "nosuid" => flags |= MountFlags::NOSUID,
            "nodev" => flags |= MountFlags::NODEV,
            "noexec" => flags |= MountFlags::NOEXEC,
            "rw" | "bind" | "rbind" | "private" | "rprivate" => {}
            other => data.push(other),
        }
    }
    let target = target.join(mount.destination.trim_start_matches('/'));
    if !mount.is_bind() {
        let data = std::ffi::CString::new(data.join(","))?;
        return Ok(rustix::mount::mount(&*mount.source, &target, &*mount.kind, flags, Some(&*data))?);
    }
    rustix::mount::mount_bind_recursive(&*mount.source, &target)?;
    if flags.is_empty() {
        return Ok(());
    }
    Ok(rustix::mount::mount_remount(&target, flags | MountFlags::BIND, "")?)
}
