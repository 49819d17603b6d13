//! `/volumes`: what there is. Making and removing them by hand is not built yet.

use std::sync::Arc;

use berth_api::volume::{ListResponse, Volume};
use berth_engine::VolumeView;

use super::answer::Answer;
use super::call::Call;
use super::error::Error;
use super::server::Server;

/// `GET /volumes`
pub(crate) async fn list(server: Arc<Server>, call: Call) -> Result<Answer, Error> {
    const KEYS: [&str; 4] = ["dangling", "driver", "label", "name"];
    let filters = call.query.filters()?;
    filters.validate(&KEYS)?;
    let dangling = filters.contains("dangling").then(|| filters.boolean("dangling", false)).transpose()?;
    let names = filters.get("name");
    let fits = |view: &VolumeView| {
        (names.is_empty() || names.iter().any(|name| view.name.contains(name.as_str())))
            && filters.exact("driver", "local")
            && filters.labels("label", &view.labels)
            && dangling.is_none_or(|dangling| dangling == (view.users == 0))
    };
    let volumes = server.engine.volumes()?.into_iter().filter(fits).map(render).collect();
    Answer::json(&ListResponse { volumes, warnings: None })
}

/// `GET /volumes/{name}`
pub(crate) async fn inspect(server: Arc<Server>, call: Call) -> Result<Answer, Error> {
    let found = server.engine.volumes()?.into_iter().find(|view| view.name == call.name);
    let view = found.ok_or_else(|| Error::not_found(format!("get {}: no such volume", call.name)))?;
    Answer::json(&render(view))
}

/// A volume as clients see it.
pub(crate) fn render(view: VolumeView) -> Volume {
    let mut labels = view.labels;
    if view.anonymous {
        labels.insert("com.docker.volume.anonymous".to_owned(), String::new());
    }
    let created = view.created.to_string();
    Volume {
        // Whole seconds, as Docker takes the time from the directory.
        created_at: created.split_once('.').map_or(created.clone(), |(seconds, _)| format!("{seconds}Z")),
        driver: "local".to_owned(),
        labels: (!labels.is_empty()).then_some(labels),
        mountpoint: view.mountpoint,
        name: view.name,
        options: (!view.options.is_empty()).then_some(view.options),
        scope: "local".to_owned(),
        usage_data: None,
    }
}
