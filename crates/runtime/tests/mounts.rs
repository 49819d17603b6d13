//! Mounts: options, propagation, id mapping, copy-up, overlays of many layers, and what older kernels are left with.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests too")]

mod common;

use std::path::Path;
use std::process::Command;

use common::Bundle;
use serde_json::json;

/// Options of the mount at a path inside, as `/proc/self/mountinfo` has them.
fn options_of(path: &str) -> String {
    format!("awk -v p={path} '$5==p{{print $6}}' /proc/self/mountinfo")
}

#[track_caller]
fn check(script: &str, change: impl FnOnce(&mut Bundle), expected: &str) {
    let mut bundle = Bundle::new(script);
    change(&mut bundle);
    assert_eq!(bundle.run().ok(), expected);
}

#[test]
fn options_of_file_systems_and_bind_mounts() {
    let cases: [(&str, &str, &[&str], &str); 8] = [
        ("tmpfs", "tmpfs", &[], "rw,relatime"),
        ("tmpfs", "tmpfs", &["ro", "nosuid", "nodev", "noexec"], "ro,nosuid,nodev,noexec,relatime"),
        ("tmpfs", "tmpfs", &["noatime", "nodiratime", "size=64k"], "rw,noatime,nodiratime"),
        ("tmpfs", "tmpfs", &["strictatime"], "rw"),
        ("bind", "/tmp", &["bind", "ro", "nosymfollow"], "ro,relatime,nosymfollow"),
        ("bind", "/tmp", &["rbind", "ro", "rw", "noexec", "rprivate"], "rw,noexec,relatime"),
        ("none", "/tmp", &["rbind", "noatime"], "rw,noatime"),
        ("bind", "/tmp", &["rro", "rnosuid"], "ro,nosuid,relatime"),
    ];
    for (kind, source, options, expected) in cases {
        check(
            &options_of("/mnt/x"),
            |bundle| {
                bundle.mount(kind, source, "/mnt/x", options);
            },
            expected,
        );
    }
}

#[test]
fn data_goes_to_the_file_system() {
    let set = |bundle: &mut Bundle| {
        bundle.mount("tmpfs", "name", "/mnt", &["size=128k,mode=1770", "gid=7"]);
    };
    check("stat -c %a:%g /mnt; df -k /mnt | awk 'NR==2{print $1,$2}'", set, "1770:7\nname 128");
    let mut bundle = Bundle::new("true");
    bundle.mount("tmpfs", "tmpfs", "/mnt", &["color=red"]);
    let said = bundle.run().failed();
    assert!(said.contains(r#"error mounting "tmpfs" to rootfs at "/mnt""#), "{said}");
    assert!(said.contains("invalid argument"), "{said}");
}

#[test]
fn files_directories_and_what_does_not_fit() {
    let mut bundle = Bundle::new("cat /new/dir/file; ls /newdir");
    std::fs::write(bundle.path.join("file"), "text").unwrap();
    std::fs::create_dir(bundle.path.join("dir")).unwrap();
    std::fs::write(bundle.path.join("dir/inside"), "").unwrap();
    // Relative sources are relative to the bundle.
    bundle.mount("bind", "file", "/new/dir/file", &["bind"]).mount("bind", "dir", "/newdir", &["bind"]);
    assert_eq!(bundle.run().ok(), "textinside");
    bundle.mount("bind", "file", "/etc", &["bind"]);
    let said = bundle.run().failed();
    assert!(said.contains(r#"to rootfs at "/etc""#) && said.ends_with("not a directory"), "{said}");
    let mut bundle = Bundle::new("true");
    bundle.mount("bind", "/no/such/source", "/x", &["bind"]);
    let said = bundle.run().failed();
    assert!(said.contains(r#"error mounting "/no/such/source""#), "{said}");
    assert!(said.ends_with("no such file or directory"), "{said}");
}

/// A directory with a mount below it, in a mount namespace of its own, in which a command runs.
fn with_submount(bundle: &Bundle, propagation: &str) -> Command {
    let tree = bundle.path.join("tree");
    std::fs::create_dir_all(tree.join("sub")).unwrap();
    let script = format!(
        "mount -t tmpfs top {tree} && mount --make-{propagation} {tree} && mkdir {tree}/sub && \
         mount -t tmpfs sub {tree}/sub && \"$@\"; code=$?; ls {tree}; exit $code",
        tree = tree.display()
    );
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", &script, "sh"]).arg(common::program("oci")).arg("--root").arg("state");
    command.args(["run", &bundle.id]).current_dir(&bundle.path).stdin(std::process::Stdio::null());
    command
}

fn text(output: &std::process::Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

#[test]
fn recursive_read_only_reaches_mounts_below() {
    for (option, expected) in [("ro", "read-only\nwritten"), ("rro", "read-only\nread-only")] {
        let script = "for file in /tree/x /tree/sub/x; do (: > $file) 2>/dev/null && echo written || echo read-only; done";
        let mut bundle = Bundle::new(script);
        let source = bundle.path.join("tree");
        bundle.mount("bind", source.to_str().unwrap(), "/tree", &["rbind", option]);
        bundle.write();
        let out = text(&with_submount(&bundle, "private").output().unwrap());
        assert_eq!(out, format!("{expected}\nsub"), "{option}");
    }
    // One mount without those below.
    let mut bundle = Bundle::new("ls /tree/sub; awk '$5 ~ \"^/tree\"{print $5}' /proc/self/mountinfo");
    let source = bundle.path.join("tree");
    bundle.mount("bind", source.to_str().unwrap(), "/tree", &["bind"]);
    bundle.write();
    assert_eq!(text(&with_submount(&bundle, "private").output().unwrap()), "/tree\nsub");
}

#[test]
fn propagation_is_what_was_asked_for() {
    // Field 7 and on: shared:N, master:N, propagate_from:N, unbindable.
    let script = "awk '$5==\"/tree\"{for (i=7; $i!=\"-\"; i++) {sub(\":.*\", \"\", $i); printf \"%s \", $i}; print \".\"}' /proc/self/mountinfo";
    for (options, root, expected) in [
        (&["rbind", "rprivate"][..], "", "."),
        (&["rbind", "rslave"], "", "master ."),
        (&["rbind"], "", "master ."),
        (&["rbind", "unbindable"], "", "unbindable ."),
        (&["rbind", "rshared"], "shared", "shared ."),
        (&["rbind", "shared"], "", "shared master ."),
    ] {
        let mut bundle = Bundle::new(script);
        let source = bundle.path.join("tree");
        bundle.mount("bind", source.to_str().unwrap(), "/tree", options);
        bundle.spec["linux"]["rootfsPropagation"] = json!(root);
        bundle.write();
        let out = text(&with_submount(&bundle, "shared").output().unwrap());
        assert_eq!(out, format!("{expected}\nsub"), "{options:?}");
    }
}

#[test]
fn what_is_mounted_inside_arrives_outside_only_if_shared() {
    for (option, root, expected) in
        [("rshared", "shared", "made"), ("rslave", "", "sub"), ("rprivate", "", "sub")]
    {
        let mut bundle =
            Bundle::new("mkdir -p /tree/made/in; mount -t tmpfs x /tree/made && touch /tree/made/seen");
        bundle.privileged();
        let source = bundle.path.join("tree");
        bundle.mount("bind", source.to_str().unwrap(), "/tree", &["rbind", option]);
        bundle.spec["linux"]["rootfsPropagation"] = json!(root);
        bundle.write();
        let mut command = with_submount(&bundle, "shared");
        // The container is gone when this looks: a mount that was shared stays.
        let output = command.output().unwrap();
        assert!(text(&output).contains(expected), "{option}: {output:?}");
        let mounted = Path::new("/proc/self/mountinfo");
        assert!(
            !std::fs::read_to_string(mounted).unwrap().contains("/tree/made"),
            "nothing reaches the host itself"
        );
    }
}

#[test]
fn the_root_can_be_read_only_and_have_a_propagation() {
    let script =
        "(: > /x) 2>/dev/null && echo written || echo read-only; : > /dev/x && echo /dev can be written";
    check(script, |bundle| bundle.spec["root"]["readonly"] = true.into(), "read-only\n/dev can be written");
    let script = "awk '$5==\"/\"{print $7}' /proc/self/mountinfo";
    let set = |name: &'static str| {
        move |bundle: &mut Bundle| bundle.spec["linux"]["rootfsPropagation"] = json!(name)
    };
    check(script, set("private"), "-");
    check(script, set("unbindable"), "unbindable");
    let mut shared = Bundle::new(script);
    set("rshared")(&mut shared);
    assert!(shared.run().ok().starts_with("shared:"));
}

#[test]
fn a_read_only_tmpfs_still_takes_mount_points() {
    let set = |bundle: &mut Bundle| {
        bundle.mount("tmpfs", "tmpfs", "/run", &["ro"]).mount(
            "bind",
            "/tmp",
            "/run/deep/in",
            &["bind", "ro"],
        );
        let mounts = bundle.spec["mounts"].as_array_mut().unwrap();
        let dev = mounts.iter_mut().find(|mount| mount["destination"] == "/dev").unwrap();
        dev["options"].as_array_mut().unwrap().push(json!("ro"));
    };
    check(
        "ls /run/deep; touch /run/x 2>&1 | grep -o Read-only; touch /dev/x 2>&1 | grep -o Read-only; ls /dev/null",
        set,
        "in\nRead-only\nRead-only\n/dev/null",
    );
}

#[test]
fn mount_points_are_made_among_the_cgroups() {
    // As Podman does for systemd inside.
    let script = "ls -d /sys/fs/cgroup/systemd; touch /sys/fs/cgroup/x 2>&1 | grep -o Read-only";
    check(
        script,
        |bundle| {
            bundle.mount("bind", "/tmp", "/sys/fs/cgroup/systemd", &["bind", "ro"]);
        },
        "/sys/fs/cgroup/systemd\nRead-only",
    );
}

#[test]
fn a_tmpfs_with_a_copy_of_what_it_covers() {
    check(
        "cat /data/a/file; readlink /data/link; stat -c %a:%u /data /data/a; touch /data/new; df /data | grep -c tmpfs",
        |bundle| {
            let data = bundle.rootfs().join("data");
            std::fs::create_dir_all(data.join("a")).unwrap();
            std::fs::write(data.join("a/file"), "text\n").unwrap();
            std::os::unix::fs::symlink("/etc/passwd", data.join("link")).unwrap();
            std::os::unix::fs::chown(data.join("a"), Some(5), Some(5)).unwrap();
            std::fs::set_permissions(&data, std::os::unix::fs::PermissionsExt::from_mode(0o1770)).unwrap();
            bundle.mount("tmpfs", "tmpfs", "/data", &["tmpcopyup"]);
        },
        "text\n/etc/passwd\n1770:0\n755:5\n1",
    );
}

#[test]
fn ids_of_a_mount_are_mapped() {
    let mut bundle = Bundle::new("stat -c %u:%g /mapped/file; touch /mapped/new; stat -c %u /mapped/new");
    let source = bundle.path.join("source");
    std::fs::create_dir(&source).unwrap();
    std::fs::write(source.join("file"), "").unwrap();
    std::os::unix::fs::chown(source.join("file"), Some(1000), Some(1001)).unwrap();
    std::os::unix::fs::chown(&source, Some(1000), Some(1000)).unwrap();
    let mappings = json!([{"containerID": 1000, "hostID": 0, "size": 10}]);
    bundle.spec["mounts"].as_array_mut().unwrap().push(json!({
        "type": "bind", "source": source, "destination": "/mapped", "options": ["rbind"],
        "uidMappings": mappings, "gidMappings": mappings,
    }));
    assert_eq!(bundle.run().ok(), "0:1\n0");
    use std::os::unix::fs::MetadataExt;
    assert_eq!(source.join("new").metadata().unwrap().uid(), 1000, "made as who it is outside");
    let mounts = bundle.spec["mounts"].as_array_mut().unwrap();
    mounts.pop();
    bundle.mount("tmpfs", "tmpfs", "/mapped", &["idmap"]);
    assert!(bundle.run().failed().contains("only bind mounts can be id-mapped"));
}

#[test]
fn a_mount_is_changed_by_remount() {
    check(
        &options_of("/mnt"),
        |bundle| {
            bundle.mount("tmpfs", "tmpfs", "/mnt", &["nosuid"]);
            bundle.mount("tmpfs", "tmpfs", "/mnt", &["remount", "bind", "ro"]);
        },
        "ro,nosuid,relatime",
    );
    check(
        "df -k /mnt | awk 'NR==2{print $2}'",
        |bundle| {
            bundle.mount("tmpfs", "tmpfs", "/mnt", &["size=64k"]);
            bundle.mount("tmpfs", "tmpfs", "/mnt", &["remount", "size=256k"]);
        },
        "256",
    );
}

#[test]
fn nothing_is_mounted_inside_procfs_but_what_lxcfs_provides() {
    let mut bundle = Bundle::new("cat /proc/uptime");
    std::fs::write(bundle.path.join("file"), "5.00 5.00").unwrap();
    bundle.mount("bind", "file", "/proc/uptime", &["bind"]);
    assert_eq!(bundle.run().ok(), "5.00 5.00");
    for (destination, reason) in
        [("/proc/sys/kernel/core_pattern", "inside /proc"), ("/proc/1/attr/exec", "inside /proc")]
    {
        let mut bundle = Bundle::new("true");
        std::fs::write(bundle.path.join("file"), "").unwrap();
        bundle.mount("bind", "file", destination, &["bind"]);
        let said = bundle.run().failed();
        assert!(said.contains(reason), "{said}");
    }
    let mut bundle = Bundle::new("true");
    bundle.mount("tmpfs", "tmpfs", "/proc", &[]);
    assert!(bundle.run().failed().contains("it is not of type proc"));
}

#[test]
fn hidden_and_read_only_paths() {
    let script = "cat /secret/file | wc -c; ls /secret/dir | wc -l; (: > /fixed/x) 2>&1 | grep -o Read-only; \
                  (: > /secret/dir/x) 2>&1 | grep -o Read-only; stat -c %t:%T /secret/file; cat /link-target";
    let set = |bundle: &mut Bundle| {
        let root = bundle.rootfs();
        std::fs::create_dir_all(root.join("secret/dir")).unwrap();
        std::fs::create_dir_all(root.join("fixed")).unwrap();
        std::fs::write(root.join("secret/file"), "secret").unwrap();
        std::fs::write(root.join("secret/dir/file"), "secret").unwrap();
        std::fs::write(root.join("link-target"), "secret").unwrap();
        std::os::unix::fs::symlink("../link-target", root.join("secret/link")).unwrap();
        bundle.spec["linux"]["maskedPaths"] =
            json!(["/secret/file", "/secret/dir", "/secret/none", "/secret/link", "/secret/file/none"]);
        bundle.spec["linux"]["readonlyPaths"] = json!(["/fixed", "/none"]);
    };
    check(script, set, "0\n0\nRead-only\nRead-only\n1:3");
}

/// The root is an overlay that exists nowhere but inside: what the engine does.
#[test]
fn an_overlay_of_many_layers_with_long_paths() {
    for (layers, length) in [(1, 10), (2, 10), (128, 200), (3, 300)] {
        let mut bundle = Bundle::new(
            "ls /layers | wc -l; cat /top; touch /written && echo written; grep -c overlay /proc/self/mountinfo",
        );
        let base =
            bundle.path.join("l".repeat(length.min(255))).join("m".repeat(length.saturating_sub(255).max(1)));
        let mut lower = Vec::new();
        for layer in 0..layers {
            let dir = base.join(format!("{layer}"));
            std::fs::create_dir_all(dir.join("layers")).unwrap();
            std::fs::write(dir.join("layers").join(format!("{layer}")), "").unwrap();
            std::fs::write(dir.join("top"), format!("{layer}\n")).unwrap();
            lower.push(dir.display().to_string());
        }
        lower.push(bundle.rootfs().display().to_string());
        let (upper, work) = (base.join("upper"), base.join("work"));
        std::fs::create_dir_all(&upper).unwrap();
        std::fs::create_dir_all(&work).unwrap();
        let empty = bundle.path.join("empty");
        std::fs::create_dir(&empty).unwrap();
        let options = [
            format!("lowerdir={}", lower.join(":")),
            format!("upperdir={}", upper.display()),
            format!("workdir={}", work.display()),
        ];
        let rootfs =
            json!([{"type": "overlay", "source": "overlay", "destination": "/", "options": options}]);
        std::fs::write(bundle.path.join("rootfs.json"), rootfs.to_string()).unwrap();
        bundle.spec["root"]["path"] = json!(empty);
        let said = bundle.library(&[]);
        assert_eq!(said.ok(), format!("{layers}\n0\nwritten\n1"), "{layers} layers, {length} letters");
        assert!(upper.join("written").exists());
        assert_eq!(std::fs::read_dir(&empty).unwrap().count(), 0, "nothing is mounted on the host");
    }
}

#[test]
fn a_bind_mount_as_root_can_be_read_only() {
    let mut bundle = Bundle::new("(: > /x) 2>/dev/null || echo read-only; ls /bin/sh");
    let empty = bundle.path.join("empty");
    std::fs::create_dir(&empty).unwrap();
    let rootfs =
        json!([{"type": "bind", "source": bundle.rootfs(), "destination": "/", "options": ["rbind", "ro"]}]);
    std::fs::create_dir(bundle.rootfs().join("mnt")).ok();
    std::fs::write(bundle.path.join("rootfs.json"), rootfs.to_string()).unwrap();
    bundle.spec["root"]["path"] = json!(empty);
    assert_eq!(bundle.library(&[]).ok(), "read-only\n/bin/sh");
}

#[test]
fn without_pivot_root_the_mount_is_moved() {
    let mut bundle =
        Bundle::new("ls /bin/sh; ls /.. | grep -c bin; awk '$5==\"/\"' /proc/self/mountinfo | wc -l");
    bundle.write();
    let out = bundle.oci(&["run", "--no-pivot", &bundle.id]).ok();
    assert!(out.starts_with("/bin/sh\n1\n"), "{out}");
    bundle.spec["process"]["args"] = json!(["sleep", "100"]);
    bundle.create(&["--no-pivot"]).ok();
    bundle.oci(&["start", &bundle.id]).ok();
    assert_eq!(bundle.oci(&["exec", &bundle.id, "ls", "/bin/sh"]).ok(), "/bin/sh");
}

#[test]
fn mounts_of_a_container_leave_nothing_on_the_host() {
    let count = || std::fs::read_to_string("/proc/self/mountinfo").unwrap().lines().count();
    let bundle = Bundle::new("true");
    let before = count();
    for _ in 0..3 {
        bundle.run().ok();
    }
    assert_eq!(count(), before);
}
