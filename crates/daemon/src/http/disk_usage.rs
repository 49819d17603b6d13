//! `GET /system/df`

use std::collections::HashMap;
use std::sync::Arc;

use berth_api::container::{Empty, Summary};
use berth_api::image;
use berth_api::system::{DISK_USAGE_CHANGES, DiskUsage, Usage};
use berth_api::volume::{UsageData, Volume};
use berth_engine::{ContainerSize, ImageSummary, ListOptions, VolumeView};

use super::answer::Answer;
use super::call::Call;
use super::error::Error;
use super::query::Query;
use super::server::Server;
use super::{containers, images, volumes};

pub(crate) async fn disk_usage(server: Arc<Server>, call: Call) -> Result<Answer, Error> {
    // Before API 1.42 it was everything always.
    let wanted = if call.version.is_before(42) { Wanted::EVERYTHING } else { Wanted::read(&call.query)? };
    let verbose = call.query.flag("verbose");
    let usage = server.engine.disk_usage().await?;
    let mut answer = DiskUsage::default();
    if wanted.images {
        let layers = signed(usage.layers_size);
        let (images, list) = of_images(&usage.images, layers);
        answer.layers_size = (!verbose).then_some(layers);
        (answer.image_usage, answer.images) = told(images, list, verbose);
    }
    if wanted.containers {
        let (containers, list) = of_containers(&server, usage.containers)?;
        (answer.container_usage, answer.containers) = told(containers, list, verbose);
    }
    if wanted.volumes {
        let (volumes, list) = of_volumes(usage.volumes);
        (answer.volume_usage, answer.volumes) = told(volumes, list, verbose);
    }
    if wanted.build_cache {
        (answer.build_cache_usage, answer.build_cache) = told(Usage::<Empty>::default(), Vec::new(), verbose);
    }
    Answer::json_for(&answer, call.version, DISK_USAGE_CHANGES)
}

/// Which kinds of things are asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Wanted {
    containers: bool,
    images: bool,
    volumes: bool,
    build_cache: bool,
}

impl Wanted {
    const EVERYTHING: Self = Self { containers: true, images: true, volumes: true, build_cache: true };

    /// Reads the `type` parameters; none at all means everything.
    fn read(query: &Query) -> Result<Self, Error> {
        let mut wanted = Self::default();
        for kind in query.all("type") {
            match kind {
                "container" => wanted.containers = true,
                "image" => wanted.images = true,
                "volume" => wanted.volumes = true,
                "build-cache" => wanted.build_cache = true,
                other => return Err(Error::invalid(format!("unknown object type: {other}"))),
            }
        }
        Ok(if wanted == Self::default() { Self::EVERYTHING } else { wanted })
    }
}

/// The new form and the old form; the list stands in one of them.
fn told<T>(usage: Usage<T>, list: Vec<T>, verbose: bool) -> (Option<Usage<T>>, Option<Vec<T>>) {
    if verbose { (Some(Usage { items: Some(list), ..usage }), None) } else { (Some(usage), Some(list)) }
}

fn of_images(images: &[ImageSummary], layers: i64) -> (Usage<image::Summary>, Vec<image::Summary>) {
    let list: Vec<_> = images.iter().map(images::list::summary).collect();
    let used: Vec<_> = list.iter().filter(|image| image.containers > 0).collect();
    let kept: i64 = used.iter().map(|image| image.size - image.shared_size.max(0)).sum();
    let usage = Usage {
        active_count: count(used.len()),
        items: None,
        reclaimable: layers - kept,
        total_count: count(list.len()),
        total_size: layers,
    };
    (usage, list)
}

fn of_containers(
    server: &Server,
    sizes: Vec<(String, ContainerSize)>,
) -> Result<(Usage<Summary>, Vec<Summary>), Error> {
    let sizes: HashMap<_, _> = sizes.into_iter().collect();
    let all = server.engine.container_list(&ListOptions { all: true, ..ListOptions::default() })?;
    let mut usage = Usage { total_count: count(all.len()), ..Usage::default() };
    let mut list = Vec::with_capacity(all.len());
    for container in &all {
        let size = sizes.get(&container.record.id).copied();
        let writable = signed(size.unwrap_or_default().writable);
        usage.total_size += writable;
        if container.state.status.is_running() {
            usage.active_count += 1;
        } else {
            usage.reclaimable += writable;
        }
        list.push(containers::list::summary(container, size));
    }
    Ok((usage, list))
}

fn of_volumes(sizes: Vec<(VolumeView, u64)>) -> (Usage<Volume>, Vec<Volume>) {
    let mut usage = Usage::default();
    let mut list = Vec::new();
    for (view, size) in sizes {
        let size = signed(size);
        usage.total_count += 1;
        usage.total_size += size;
        if view.users > 0 {
            usage.active_count += 1;
        } else {
            usage.reclaimable += size;
        }
        let data = UsageData { ref_count: count(view.users), size };
        list.push(Volume { usage_data: Some(data), ..volumes::render(view) });
    }
    (usage, list)
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
