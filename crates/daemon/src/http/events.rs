//! `GET /events`

use std::sync::Arc;

use berth_api::event::{Actor, CHANGES, Message};
use berth_api::{Version, version};
use berth_engine::{Event, EventsRequest, Time};
use bytes::Bytes;
use futures_util::StreamExt as _;
use hyper::header::ACCEPT;

use super::answer::Answer;
use super::call::Call;
use super::error::Error;
use super::server::Server;
use super::time::parse_moment;

/// The media types in which events can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Json,
    NdJson,
    JsonSequence,
}

impl Form {
    /// The first form that the client accepts, or plain JSON.
    fn negotiate(call: &Call) -> Self {
        if call.version.is_before(52) {
            return Self::Json;
        }
        let accepts = call.headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let kinds = accepts
            .flat_map(|value| value.split(','))
            .map(|kind| kind.split(';').next().unwrap_or_default().trim());
        for kind in kinds {
            match kind {
                "application/x-ndjson" => return Self::NdJson,
                "application/json-seq" => return Self::JsonSequence,
                "application/json" => return Self::Json,
                _ => {}
            }
        }
        Self::Json
    }

    fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::NdJson => "application/x-ndjson",
            Self::JsonSequence => "application/json-seq",
        }
    }
}

pub(crate) async fn events(server: Arc<Server>, call: Call) -> Result<Answer, Error> {
    let moment = |name: &str| match call.query.text(name) {
        // Here zero is a moment, too: all that is kept is after it.
        "0" => Ok(Some(Time::from_unix_nanos(0))),
        text => parse_moment(text).map_err(Error::into_failure),
    };
    let (since, until) = (moment("since")?, moment("until")?);
    if let (Some(since), Some(until)) = (since, until)
        && until < since
    {
        return Err(Error::invalid(
            "`since` time (%s) cannot be after `until` time (%s)"
                .replacen("%s", call.query.text("since"), 1)
                .replacen("%s", call.query.text("until"), 1),
        ));
    }
    let request = EventsRequest { since, until, filters: call.query.filters()? };
    let form = Form::negotiate(&call);
    let version = call.version;
    let events = server.engine.events(request)?;
    Ok(Answer::stream(form.content_type(), events.map(move |event| line(&event, version, form))))
}

fn line(event: &Event, version: Version, form: Form) -> std::io::Result<Bytes> {
    let message = Message {
        kind: event.kind.to_owned(),
        action: event.action.clone(),
        actor: Actor { id: event.actor.clone(), attributes: event.attributes.clone() },
        scope: "local".to_owned(),
        time: event.time.unix_seconds(),
        time_nano: event.time.unix_nanos(),
    };
    let mut text = version::to_vec_html(&message, version, CHANGES).map_err(std::io::Error::other)?;
    if form == Form::JsonSequence {
        text.insert(0, 0x1e);
    }
    text.push(b'\n');
    Ok(text.into())
}
