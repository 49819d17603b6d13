//! Looking at the engine and the machine, for `info` and `system df`.

use std::collections::HashMap;
use std::sync::Arc;

use crate::config::CgroupDriver;
use crate::container::{LOG_DRIVERS, ListOptions, OWN_RUNTIMES, Status};
use crate::error::{Class, Error, Result};
use crate::host::read;
use crate::image::ImageListOptions;
use crate::system::{DiskUsage, SystemInfo};
use crate::{Inner, VolumeView};

impl Inner {
    pub(crate) fn info(&self) -> Result<SystemInfo> {
        let containers = self.list(&ListOptions { all: true, ..ListOptions::default() })?;
        let count =
            |status: Status| containers.iter().filter(|container| container.state.status == status).count();
        let (running, paused) = (count(Status::Running) + count(Status::Restarting), count(Status::Paused));
        let uname = rustix::system::uname();
        let (operating_system, os_version) = os_release(&read_os_release());
        Ok(SystemInfo {
            id: self.id.clone(),
            containers: containers.len(),
            running,
            paused,
            stopped: containers.len() - running - paused,
            images: self.store.images().list(true).len(),
            storage: ("overlay2".to_owned(), self.storage_status()),
            host_name: uname.nodename().to_string_lossy().into_owned(),
            kernel: uname.release().to_string_lossy().into_owned(),
            operating_system,
            os_version,
            architecture: uname.machine().to_string_lossy().into_owned(),
            cpus: self.host.cpus,
            memory: self.host.memory,
            cgroup_driver: match self.config.cgroup_driver {
                CgroupDriver::Cgroupfs => "cgroupfs".to_owned(),
                CgroupDriver::Systemd => "systemd".to_owned(),
            },
            cgroup_version: if self.host.cgroup_v2 { "2" } else { "1" }.to_owned(),
            limits: self.host.limits,
            security_options: self.security_options(),
            runtimes: self.runtimes(),
            default_runtime: self.config.live.get().default_runtime.clone(),
            init_binary: "docker-init".to_owned(),
            log_driver: self.config.log_driver.clone(),
            log_drivers: LOG_DRIVERS
                .iter()
                .filter(|driver| **driver != "none")
                .map(|driver| (*driver).to_owned())
                .collect(),
            network_drivers: ["bridge", "host", "null"].map(str::to_owned).to_vec(),
            volume_drivers: vec!["local".to_owned()],
            data_root: self.config.data_root.to_string_lossy().into_owned(),
            labels: self.config.live.get().labels.clone(),
            debug: self.config.live.get().debug,
            open_files: std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count),
            tasks: tokio::runtime::Handle::current().metrics().num_alive_tasks(),
            event_listeners: self.events.listeners(),
            warnings: self.warnings(),
        })
    }

    pub(crate) async fn disk_usage(self: &Arc<Self>) -> Result<DiskUsage> {
        let mut images = self.image_list(ImageListOptions::default()).await?;
        let containers = self.list(&ListOptions { all: true, ..ListOptions::default() })?;
        for image in &mut images {
            let users = containers.iter().filter(|container| container.record.image == image.id).count();
            image.containers = i64::try_from(users).unwrap_or(i64::MAX);
        }
        let mut sizes = Vec::new();
        for container in &containers {
            match self.size_of(container).await {
                Ok(size) => sizes.push((container.record.id.clone(), size)),
                // It was removed meanwhile.
                Err(error) if error.class() == Class::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        let engine = self.clone();
        let rest = tokio::task::spawn_blocking(move || {
            let held = engine.store.images().disk_usage();
            // What is mounted as a volume is elsewhere.
            let volumes = engine.all_volumes()?.into_iter().filter(|view| !view.has_options());
            let size = |view: &VolumeView| crate::volumes::size(std::path::Path::new(&view.mountpoint));
            let volumes = volumes
                .map(|view| {
                    let size = size(&view);
                    (view, size)
                })
                .collect();
            Ok::<_, Error>((held, volumes))
        });
        let (held, volumes) = rest.await.map_err(|error| Error::internal("measuring", &error))??;
        let bytes = |size: u64| i64::try_from(size).unwrap_or(i64::MAX);
        let sizes_of_images: HashMap<String, (u64, u64)> =
            held.images.into_iter().map(|(id, size, shared)| (id.to_string(), (size, shared))).collect();
        for image in &mut images {
            if let Some((size, shared)) = sizes_of_images.get(&image.id) {
                (image.size, image.shared_size) = (*size, bytes(*shared));
            }
        }
        Ok(DiskUsage { layers_size: held.total, images, containers: sizes, volumes })
    }

    fn storage_status(&self) -> Vec<(String, String)> {
        let file_system = match rustix::fs::statfs(&self.config.data_root).map(|stat| stat.f_type) {
            Ok(0xef53) => "extfs",
            Ok(0x5846_5342) => "xfs",
            Ok(0x9123_683e) => "btrfs",
            Ok(0x0102_1994) => "tmpfs",
            Ok(0x794c_7630) => "overlayfs",
            Ok(0x2fc1_2fc1) => "zfs",
            _ => "<unknown>",
        };
        [
            ("Backing Filesystem", file_system),
            ("Supports d_type", "true"),
            ("Using metacopy", "false"),
            ("Native Overlay Diff", "true"),
            ("userxattr", "false"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
    }

    fn security_options(&self) -> Vec<String> {
        let profile = match &self.seccomp {
            crate::inner::Seccomp::BuiltIn => "builtin",
            crate::inner::Seccomp::Unconfined => "unconfined",
            crate::inner::Seccomp::Profile(_) => self.config.seccomp_profile.as_deref().unwrap_or("builtin"),
        };
        let mut options = Vec::new();
        if self.machine.apparmor {
            options.push("name=apparmor".to_owned());
        }
        options.push(format!("name=seccomp,profile={profile}"));
        if self.machine.selinux {
            options.push("name=selinux".to_owned());
        }
        if self.host.cgroup_v2 || self.config.default_cgroupns_mode == "private" {
            options.push("name=cgroupns".to_owned());
        }
        if self.config.no_new_privileges {
            options.push("name=no-new-privileges".to_owned());
        }
        options
    }

    fn runtimes(&self) -> Vec<(String, String)> {
        let own = OWN_RUNTIMES.iter().filter(|name| !name.is_empty());
        let own = own.map(|name| ((*name).to_owned(), self.init_path.clone()));
        let live = self.config.live.get();
        let others = live.runtimes.iter().map(|(name, runtime)| (name.clone(), runtime.path.clone()));
        own.filter(|(name, _)| !live.runtimes.contains_key(name)).chain(others).collect()
    }

    fn warnings(&self) -> Vec<String> {
        let limits = &self.host.limits;
        let mut warnings: Vec<String> = [
            (limits.memory, "WARNING: No memory limit support"),
            (limits.swap, "WARNING: No swap limit support"),
            (limits.oom_kill_disable || self.host.cgroup_v2, "WARNING: No oom kill disable support"),
            (limits.cpu_cfs_quota, "WARNING: No cpu cfs quota support"),
            (limits.cpu_cfs_period, "WARNING: No cpu cfs period support"),
            (limits.cpu_shares, "WARNING: No cpu shares support"),
            (limits.cpuset, "WARNING: No cpuset support"),
            (self.host.blkio_weight, "WARNING: No blkio weight support"),
            (self.host.blkio_throttle, "WARNING: No blkio throttle support"),
        ]
        .into_iter()
        .filter(|(there, _)| !there)
        .map(|(_, warning)| warning.to_owned())
        .collect();
        warnings.extend(self.network.warnings());
        warnings
    }
}

fn read_os_release() -> String {
    let text = read("/etc/os-release");
    if text.is_empty() { read("/usr/lib/os-release") } else { text }
}

/// The name and version of the distribution.
fn os_release(text: &str) -> (String, String) {
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.map(|value| value.trim_matches(['"', '\'']).to_owned())
    };
    let name = value("PRETTY_NAME").or_else(|| value("NAME")).unwrap_or_else(|| "Linux".to_owned());
    (name, value("VERSION_ID").unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distribution_is_named() {
        let text = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nNAME=\"Debian\"\nVERSION_ID=\"12\"\n";
        assert_eq!(os_release(text), ("Debian GNU/Linux 12 (bookworm)".to_owned(), "12".to_owned()));
        assert_eq!(os_release(""), ("Linux".to_owned(), String::new()));
    }
}
