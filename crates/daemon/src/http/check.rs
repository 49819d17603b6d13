//! `POST /berth/fsck`: the store is checked, and mended where that is asked for. Berth's own; Docker has no such call.

use std::sync::Arc;

use berth_api::check::{Found, Line, Summary};
use berth_engine::CheckProgress;
use futures_util::StreamExt as _;

use super::answer::Answer;
use super::call::Call;
use super::error::Error;
use super::images;
use super::server::Server;

pub(crate) async fn check(server: Arc<Server>, call: Call) -> Result<Answer, Error> {
    let repair = call.query.flag_or("repair", false);
    let repair = repair.then(|| images::registry::logins(&call.headers)).transpose()?;
    let progress = server.engine.store_check(repair);
    Ok(Answer::json_lines(progress.map(|word| match word {
        Ok(CheckProgress::Reading(reading)) => Line { reading, ..Line::default() },
        Ok(CheckProgress::Found { what, mended }) => {
            let (mended, failed) = match mended {
                Some(Ok(how)) => (how, String::new()),
                Some(Err(why)) => (String::new(), why),
                None => (String::new(), String::new()),
            };
            Line { found: Some(Found { what, mended, failed }), ..Line::default() }
        }
        Ok(CheckProgress::Done { images, layers, blobs, bytes, faults }) => {
            Line { summary: Some(Summary { images, layers, blobs, bytes, faults }), ..Line::default() }
        }
        Err(error) => Line { error: error.to_string(), ..Line::default() },
    })))
}
