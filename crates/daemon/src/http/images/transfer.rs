//! Archives of images: `POST /images/load`, `GET /images/get`, `GET /images/{name}/get`

use std::sync::Arc;

use berth_api::progress::{Message, Progress};
use berth_engine::LoadProgress;
use futures_util::{Stream, StreamExt as _};

use super::super::answer::Answer;
use super::super::call::Call;
use super::super::error::Error;
use super::super::server::Server;

/// `POST /images/load`
pub(crate) async fn load(server: Arc<Server>, mut call: Call) -> Result<Answer, Error> {
    let quiet = call.query.flag_or("quiet", false);
    let archive = call.take_body().into_pieces();
    let progress = server.engine.image_load(archive, quiet).await?;
    Ok(Answer::json_lines(progress.map(|step| match step {
        Ok(LoadProgress::Stream(stream)) => Message { stream, ..Message::default() },
        Ok(LoadProgress::Layer { id, current, total }) => layer(id, current, total),
        // The head of the answer is gone: the error is its last line.
        Err(error) => Message::error(error.to_string()),
    })))
}

fn layer(id: String, current: u64, total: u64) -> Message {
    let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    let detail = Progress { current: signed(current), total: signed(total), units: String::new() };
    Message {
        status: "Loading layer".to_owned(),
        progress: bar(current, total),
        progress_detail: Some(detail),
        id,
        ..Message::default()
    }
}

/// Docker's bar, for clients that show it as it is.
pub(super) fn bar(current: u64, total: u64) -> String {
    let size = human_size(current);
    if total == 0 || current > total {
        return format!("{size:>8}");
    }
    let done = usize::try_from(current * 50 / total).unwrap_or(50);
    let arrow = if done < 50 { ">" } else { "" };
    let left = 50 - done - arrow.len();
    let full = "=".repeat(done);
    format!("[{full}{arrow}{}]  {size:>8}/{}", " ".repeat(left), human_size(total))
}

/// A size in Docker's words: four digits and a unit.
fn human_size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    #[allow(clippy::cast_precision_loss, reason = "four digits are shown")]
    let mut size = bytes as f64;
    let mut unit = 0;
    while size >= 1000.0 && unit < UNITS.len() - 1 {
        size /= 1000.0;
        unit += 1;
    }
    let digits = match size {
        ..10.0 => 3,
        ..100.0 => 2,
        ..1000.0 => 1,
        _ => 0,
    };
    let text = format!("{size:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{}", UNITS[unit])
}

/// `GET /images/get`
pub(crate) async fn save_many(server: Arc<Server>, call: Call) -> Result<Answer, Error> {
    let names: Vec<_> = call.query.all("names").map(str::to_owned).collect();
    if names.is_empty() {
        return Err(Error::invalid("no images to save were named"));
    }
    save(&server, &names).await
}

/// `GET /images/{name}/get`
pub(crate) async fn save_one(server: Arc<Server>, call: Call) -> Result<Answer, Error> {
    save(&server, &[call.name]).await
}

async fn save(server: &Server, names: &[String]) -> Result<Answer, Error> {
    let archive = server.engine.image_save(names).await?;
    Ok(Answer::stream("application/x-tar", cut_on_error(archive)))
}

/// The archive's bytes; an error cuts the connection, so that the client does not take a part for the whole.
pub(super) fn cut_on_error(
    archive: berth_engine::Archive,
) -> impl Stream<Item = std::io::Result<bytes::Bytes>> + Send + 'static {
    archive.map(|chunk| {
        chunk.map_err(|error| {
            tracing::error!(%error, "an archive could not be written to its end");
            std::io::Error::other(error)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_told_as_docker_tells_them() {
        for (bytes, expect) in [
            (0, "0B"),
            (999, "999B"),
            (1000, "1kB"),
            (32_768, "32.77kB"),
            (2_026_552, "2.027MB"),
            (78_061_377, "78.06MB"),
        ] {
            assert_eq!(human_size(bytes), expect);
        }
    }

    #[test]
    fn bars_have_fifty_places() {
        assert_eq!(bar(0, 100), format!("[>{}]        0B/100B", " ".repeat(49)));
        assert_eq!(bar(100, 100), format!("[{}]      100B/100B", "=".repeat(50)));
        assert_eq!(bar(50, 100).find('>'), Some(26));
        assert_eq!(bar(5, 0), "      5B");
    }
}
