//! Collection of images that have no name any more: oldest first, by age and budget, without being asked.
//!
//! What is in use is never touched: images by their containers and by those made from them, layers and blobs that a
//! transfer, a load or a commit has in hand by its lease (an ingest of the store holds what it uses until it is over).
//! What no image needs at all goes at once with its last image, and when the store is opened; it is not waited for.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use berth_oci::Digest;
use berth_store::image::Listed;

use super::blocking;
use super::ops::{created_at, error};
use crate::Inner;
use crate::error::{Result, chain};
use crate::time::Time;

/// How often ages are looked at, if nothing happens to images meanwhile.
const PERIOD: Duration = Duration::from_secs(3600);

/// Which images without a name stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageCollection {
    /// As many bytes as this may take, the newest; what others need as well is not counted. 0: none.
    pub keep_storage_bytes: u64,
    /// Nothing younger than this goes.
    pub keep_duration: Duration,
}

/// Collects whenever images have changed, and from time to time, as long as the engine is open.
pub(crate) fn start(engine: &Arc<Inner>) {
    let (changed, engine) = (engine.images_changed.clone(), Arc::downgrade(engine));
    tokio::spawn(async move {
        loop {
            let _ = tokio::time::timeout(PERIOD, changed.notified()).await;
            let Some(engine) = Weak::upgrade(&engine) else { return };
            let Some(keep) = engine.config.live.get().image_collection else { continue };
            if let Err(error) = engine.collect(keep).await {
                tracing::warn!("images without a name are not collected: {}", chain(&error));
            }
        }
    });
}

impl Inner {
    async fn collect(self: &Arc<Self>, keep: ImageCollection) -> Result<()> {
        let engine = self.clone();
        blocking(move || {
            let images = engine.store.images();
            let users = |id: &Digest| engine.users_of(id);
            let nameless: Vec<Listed> = images
                .list(true)
                .into_iter()
                .filter(|listed| listed.tags.is_empty() && listed.digests.is_empty())
                .filter(|listed| listed.children == 0 && users(&listed.image.id).is_empty())
                .collect();
            if nameless.is_empty() {
                return Ok(());
            }
            let usage = images.disk_usage().images.into_iter();
            let alone: HashMap<Digest, u64> =
                usage.map(|(id, size, shared)| (id, size.saturating_sub(shared))).collect();
            let ages = nameless.iter().map(|listed| {
                let bytes = alone.get(&listed.image.id).copied().unwrap_or_default();
                (listed.image.id.clone(), nameless_since(listed), bytes)
            });
            let doomed = choose(ages.collect(), Time::now(), keep);
            if doomed.is_empty() {
                return Ok(());
            }
            let spared = |listed: &Listed| !doomed.contains(&listed.image.id);
            let pruned = images.prune(false, &users, &spared).map_err(error)?;
            let (removed, bytes) = (pruned.removed.len(), pruned.space_reclaimed);
            tracing::info!(removed, bytes, "images without a name are collected");
            engine.tell_removed(pruned.removed);
            Ok(())
        })
        .await
    }
}

/// When an image was made or last had a name, as far as is known.
fn nameless_since(listed: &Listed) -> Time {
    let tagged = listed.image.last_tagged.unwrap_or_default();
    created_at(&listed.image).max(Time::from_unix_nanos(tagged.saturating_mul(1_000_000_000)))
}

/// Those that go: the oldest, until the others are within the budget, and none that is too young.
fn choose(mut images: Vec<(Digest, Time, u64)>, now: Time, keep: ImageCollection) -> HashSet<Digest> {
    images.sort_by_key(|(_, since, _)| *since);
    let mut total: u64 = images.iter().map(|(_, _, bytes)| bytes).sum();
    let mut doomed = HashSet::new();
    for (id, since, bytes) in images {
        let too_young = now.since(since) < keep.keep_duration;
        if too_young || (total <= keep.keep_storage_bytes && keep.keep_storage_bytes > 0) {
            break;
        }
        total -= bytes;
        doomed.insert(id);
    }
    doomed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(keep_storage_bytes: u64, keep_seconds: u64, expect: &[&str]) {
        let hours = |hours: i64| Time::from_unix_nanos(hours * 3_600_000_000_000);
        let images = [("new", 90, 10), ("old", 10, 10), ("middle", 50, 20)];
        let digest = |name: &str| berth_store::digest_of(name.as_bytes());
        let list = images.iter().map(|(name, hour, bytes)| (digest(name), hours(*hour), *bytes)).collect();
        let keep = ImageCollection { keep_storage_bytes, keep_duration: Duration::from_secs(keep_seconds) };
        let expect: HashSet<Digest> = expect.iter().map(|name| digest(name)).collect();
        assert_eq!(choose(list, hours(100), keep), expect, "{keep:?}");
    }

    #[test]
    fn the_oldest_go_first_and_none_that_is_young() {
        check(0, 0, &["old", "middle", "new"]);
        check(40, 0, &[]);
        check(39, 0, &["old"]);
        check(30, 0, &["old"]);
        check(29, 0, &["old", "middle"]);
        check(0, 3600 * 30, &["old", "middle"]);
        check(5, 3600 * 60, &["old"]);
        check(0, 3600 * 95, &[]);
    }
}
