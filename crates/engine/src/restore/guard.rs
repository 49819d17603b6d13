//! Watching over the network: what another program breaks is put right again.

use std::sync::Arc;
use std::time::Duration;

use berth_network::{Repaired, Watch};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::Inner;
use crate::error::chain;

/// Changes mostly come in swarms (a firewall that is loaded anew): so long the swarm is waited for.
const SWARM: Duration = Duration::from_millis(20);
/// After a repair that failed, the next attempt.
const AGAIN: Duration = Duration::from_secs(1);

/// Begins to watch; ends with the engine.
pub(super) fn guard(engine: &Arc<Inner>) {
    let watch = match engine.network.watch() {
        Ok(Some(watch)) => watch,
        Ok(None) => return,
        Err(error) => {
            return tracing::warn!("nobody watches over the network: {}", chain(&error));
        }
    };
    let engine = Arc::downgrade(engine);
    tokio::spawn(async move {
        #[expect(deprecated, reason = "what takes its place is unsafe; a watch owns its descriptor")]
        let Ok(mut watch) = AsyncFd::with_interest(watch, Interest::READABLE) else { return };
        loop {
            if !harmed(&mut watch).await {
                continue;
            }
            tokio::time::sleep(SWARM).await;
            loop {
                let Some(engine) = engine.upgrade() else { return };
                let repaired = tokio::task::spawn_blocking(move || engine.network.repair()).await;
                match repaired {
                    Ok(Ok(repaired)) => break tell(repaired),
                    Ok(Err(error)) => tracing::error!("repairing the network: {}", chain(&error)),
                    Err(error) => tracing::error!("repairing the network: {error}"),
                }
                tokio::time::sleep(AGAIN).await;
            }
        }
    });
}

/// Waits for a notice; whether it asks for a repair.
async fn harmed(watch: &mut AsyncFd<Watch>) -> bool {
    let Ok(mut ready) = watch.readable_mut().await else { return false };
    let harmed = ready.get_inner_mut().harmed();
    // Read to the end, so there is nothing to be ready for.
    ready.clear_ready();
    harmed.unwrap_or_else(|error| {
        tracing::warn!("watching over the network: {}", chain(&error));
        true
    })
}

fn tell(repaired: Repaired) {
    if repaired != Repaired::default() {
        let Repaired { bridge, table, forwarding } = repaired;
        tracing::warn!(bridge, table, forwarding, "another program changed our network: it is as it was");
    }
}
