//! The Debian package, installed, used and removed in a Debian container.

use std::path::PathBuf;

use berth_tests::{CLIENTS, Client, Engine, packages};

/// The only file of the folder with this ending.
fn made(ending: &str) -> PathBuf {
    let entries = std::fs::read_dir(packages()).unwrap().map(|entry| entry.unwrap().path());
    let found: Vec<PathBuf> = entries.filter(|path| path.to_string_lossy().ends_with(ending)).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found.into_iter().next().unwrap()
}

#[test]
fn the_debian_package_installs_works_and_leaves() {
    let engine = Engine::with_images(&["debian"]);
    let mount = format!("{}:/berth.deb:ro", made(".deb").display());
    let script = r#"set -e
        dpkg --install /berth.deb >/dev/null
        dpkg --verify berth
        getent group docker | cut -d: -f1
        berth --version | cut -d' ' -f1,2
        test -s /usr/lib/systemd/system/berth.service
        test -s /usr/share/bash-completion/completions/berth
        mkdir /tmp/bundle && cd /tmp/bundle && berth oci spec && grep -c ociVersion config.json
        mkdir -p /var/lib/berth/kept
        dpkg --install /berth.deb >/dev/null
        dpkg --remove berth >/dev/null
        test ! -e /usr/bin/berth && test -d /var/lib/berth/kept
        dpkg --purge berth >/dev/null
        test ! -e /var/lib/berth
        echo gone"#;
    for client in CLIENTS {
        let outcome = engine.run(client, &["run", "--rm", "-v", &mount, "debian", "sh", "-c", script]);
        assert_eq!(outcome.ok(), "docker\nBerth version\n1\ngone", "{client:?}");
    }
}

#[test]
fn the_archive_has_one_folder_with_a_program_that_runs() {
    let engine = Engine::with_images(&["debian"]);
    let mount = format!("{}:/berth.tar.gz:ro", made(".tar.gz").display());
    let script =
        "cd /tmp && tar -xzf /berth.tar.gz && ls && */berth --version | cut -d' ' -f1,2 && ls */LICENSE";
    let outcome = engine.run(Client::Berth, &["run", "--rm", "-v", &mount, "debian", "sh", "-c", script]);
    let mut lines = outcome.ok().lines();
    let folder = lines.next().unwrap();
    assert!(folder.starts_with("berth-") && folder.contains("-linux-"), "{folder}");
    assert_eq!(lines.collect::<Vec<_>>(), ["Berth version".to_owned(), format!("{folder}/LICENSE")]);
}
