//! An engine in a process of its own, for tests: it can be killed like one, and supervisors can be started from it.
//!
//! ```text
//! engine-host shim …                  the supervisor
//! engine-host docker-init …           (by name) the init program
//! engine-host serve DIR PARENT N      opens an engine below DIR, starts N containers of the image `test`, says
//!                                     "ready" and waits to be killed
//! ```

use std::ffi::OsString;
use std::process::ExitCode;

use berth_engine::{BridgeConfig, CreateContainer, Engine, EngineConfig};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let called = arguments.next().unwrap_or_default();
    if berth_shim::init::is_called_as(&called) {
        return berth_shim::init::main(arguments);
    }
    match arguments.next().as_deref().and_then(std::ffi::OsStr::to_str) {
        Some("shim") => berth_shim::server::main(arguments),
        Some("serve") => serve(arguments),
        _ => ExitCode::FAILURE,
    }
}

#[tokio::main]
async fn serve(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let words: Vec<String> = arguments.map(|word| word.to_string_lossy().into_owned()).collect();
    let [directory, cgroup_parent, count] = &words[..] else { return ExitCode::FAILURE };
    let config = EngineConfig {
        data_root: format!("{directory}/data").into(),
        exec_root: format!("{directory}/exec").into(),
        cgroup_parent: cgroup_parent.clone(),
        bridge: BridgeConfig { name: None, ..BridgeConfig::default() },
        ..EngineConfig::default()
    };
    match run(config, count.parse().unwrap_or(0)).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(config: EngineConfig, count: usize) -> berth_engine::Result<()> {
    let engine = Engine::open(config).await?;
    for number in 0..count {
        let mut request =
            CreateContainer { name: Some(format!("survivor-{number}")), ..CreateContainer::default() };
        request.config.image = "test".to_owned();
        // Says something each moment and ends with its own number when it is told to.
        let script = format!("trap 'exit {number}' TERM; while :; do echo tick; sleep 0.05; done");
        request.config.cmd = Some(vec!["sh".to_owned(), "-c".to_owned(), script]);
        request.host_config.network_mode = "none".to_owned();
        let id = engine.container_create(request).await?.id;
        engine.container_start(&id).await?;
    }
    // The one word that the test waits for.
    let said = std::io::Write::write_all(&mut std::io::stdout(), b"ready\n");
    said.map_err(|source| berth_engine::Error::Io { what: "cannot speak".to_owned(), source })?;
    std::future::pending().await
}
