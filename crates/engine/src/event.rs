//! What happens in the engine, told to whoever listens.
//!
//! Events are broadcast and the last ones are kept in a bounded ring, so that a listener may ask for those since a
//! moment that has passed. A listener that is too slow loses the oldest ones; it never holds the engine up.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures_util::Stream;
use tokio::sync::mpsc;

use crate::error::Result;
use crate::filters::{Filters, has_label};
use crate::time::Time;

/// One event, with Docker's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What it happened to: `container`, `image`, `network`, `volume`, `daemon`.
    pub kind: &'static str,
    /// What happened: `create`, `start`, `die`, `exec_create: sh`, …
    pub action: String,
    /// The id (of an image: its name or id; of a volume: its name).
    pub actor: String,
    /// The labels and particulars of the actor.
    pub attributes: BTreeMap<String, String>,
    /// When.
    pub time: Time,
}

/// Which events are wanted.
#[derive(Clone, Debug, Default)]
pub struct EventsRequest {
    /// Also those kept since then.
    pub since: Option<Time>,
    /// The stream ends then.
    pub until: Option<Time>,
    /// `container daemon event image label network scope type volume …`
    pub filters: Filters,
}

/// A stream of events; ends at `until`, or with the engine.
pub struct EventStream {
    receiver: mpsc::Receiver<Arc<Event>>,
    past: VecDeque<Arc<Event>>,
    until: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl Stream for EventStream {
    type Item = Arc<Event>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Arc<Event>>> {
        if let Some(event) = self.past.pop_front() {
            return Poll::Ready(Some(event));
        }
        if let Poll::Ready(event) = self.receiver.poll_recv(context) {
            return Poll::Ready(event);
        }
        match &mut self.until {
            Some(until) => until.as_mut().poll(context).map(|()| None),
            None => Poll::Pending,
        }
    }
}

/// How many events a listener may be behind.
const LISTENER_QUEUE: usize = 1024;

/// Where events go.
pub(crate) struct Events {
    inner: Mutex<Inner>,
    kept: usize,
}

struct Inner {
    ring: VecDeque<Arc<Event>>,
    listeners: Vec<Listener>,
}

struct Listener {
    sender: mpsc::Sender<Arc<Event>>,
    filters: Filters,
}

impl Events {
    pub(crate) fn new(kept: usize) -> Events {
        Events { inner: Mutex::new(Inner { ring: VecDeque::new(), listeners: Vec::new() }), kept }
    }

    /// Tells an event to all who want it and keeps it. Never waits.
    pub(crate) fn publish(&self, event: Event) {
        let event = Arc::new(event);
        let mut inner = self.lock();
        if inner.ring.len() >= self.kept {
            inner.ring.pop_front();
        }
        if self.kept > 0 {
            inner.ring.push_back(event.clone());
        }
        inner.listeners.retain(|listener| {
            if !fits(&listener.filters, &event) {
                return !listener.sender.is_closed();
            }
            !matches!(listener.sender.try_send(event.clone()), Err(mpsc::error::TrySendError::Closed(_)))
        });
    }

    /// Begins to listen; nothing after this moment is missed.
    pub(crate) fn listen(&self, request: EventsRequest) -> Result<EventStream> {
        let (sender, receiver) = mpsc::channel(LISTENER_QUEUE);
        let until = request.until;
        let mut inner = self.lock();
        let wanted = |event: &&Arc<Event>| {
            request.since.is_some_and(|since| event.time >= since)
                && until.is_none_or(|until| event.time <= until)
                && fits(&request.filters, event)
        };
        let past = inner.ring.iter().filter(wanted).cloned().collect();
        let now = Time::now();
        if until.is_none_or(|until| until > now) {
            inner.listeners.push(Listener { sender, filters: request.filters });
        }
        let until = until.map(|until| Box::pin(tokio::time::sleep(until.since(now))));
        Ok(EventStream { receiver, past, until })
    }

    /// How many listen.
    pub(crate) fn listeners(&self) -> usize {
        let mut inner = self.lock();
        inner.listeners.retain(|listener| !listener.sender.is_closed());
        inner.listeners.len()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether an event is wanted, by Docker's rules.
fn fits(filters: &Filters, event: &Event) -> bool {
    let action_fits = |want: &String| {
        // `exec_start: sh` is found as `exec_start` too, `health_status: healthy` as `health_status`.
        want == &event.action || event.action.split_once(": ").is_some_and(|(head, _)| head == want)
    };
    let events = filters.get("event");
    filters.exact("type", event.kind)
        && filters.exact("scope", "local")
        && (events.is_empty() || events.iter().any(action_fits))
        && filters.get("label").iter().all(|want| has_label(want, &event.attributes))
        && ["container", "image", "network", "volume", "daemon", "plugin"]
            .into_iter()
            .all(|kind| actor_fits(filters.get(kind), kind, event))
        && ["config", "node", "secret", "service"].into_iter().all(|kind| filters.get(kind).is_empty())
}

/// Whether an event is about one of the actors of `kind` that are asked for (by id, id prefix or name).
fn actor_fits(wants: &[String], kind: &str, event: &Event) -> bool {
    if wants.is_empty() {
        return true;
    }
    let name = event.attributes.get("name").map_or("", String::as_str);
    let image = event.attributes.get("image").map_or("", String::as_str);
    let same = |want: &str, have: &str| {
        want == have || have.split_once(':').is_some_and(|(repository, _)| repository == want)
    };
    wants.iter().any(|want| match (kind, event.kind) {
        ("image", "image") => same(want, &event.actor) || same(want, name),
        ("image", "container") => same(want, image),
        (kind, actual) if kind == actual => {
            event.actor == *want
                || name == want
                || (kind == "container" && event.actor.starts_with(want.as_str()))
        }
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::StreamExt as _;

    fn event(kind: &'static str, action: &str, actor: &str, attributes: &[(&str, &str)], time: i64) -> Event {
        let attributes = attributes.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Event {
            kind,
            action: action.to_owned(),
            actor: actor.to_owned(),
            attributes,
            time: Time::from_unix_nanos(time),
        }
    }

    #[test]
    fn filters_fit_as_in_docker() {
        let die =
            event("container", "die", "abc123", &[("name", "web"), ("image", "nginx:1"), ("tier", "x")], 5);
        let exec = event("container", "exec_start: sh -c x", "abc123", &[("name", "web")], 5);
        let check = |event: &Event, filters: &[(&str, &str)], expect: bool| {
            let mut set = Filters::new();
            filters.iter().for_each(|(key, value)| set.add(*key, *value));
            assert_eq!(fits(&set, event), expect, "{filters:?}");
        };
        check(&die, &[], true);
        check(&die, &[("type", "container"), ("event", "die")], true);
        check(&die, &[("type", "image")], false);
        check(&die, &[("container", "web")], true);
        check(&die, &[("container", "abc")], true);
        check(&die, &[("container", "other"), ("container", "web")], true);
        check(&die, &[("image", "nginx")], true);
        check(&die, &[("image", "nginx:2")], false);
        check(&die, &[("label", "tier=x")], true);
        check(&die, &[("label", "tier=y")], false);
        check(&exec, &[("event", "exec_start")], true);
        check(&exec, &[("event", "exec_create")], false);
    }

    #[tokio::test]
    async fn the_past_comes_first_and_until_ends_the_stream() {
        let events = Events::new(2);
        for time in 1..=3 {
            events.publish(event("container", "start", "a", &[], time));
        }
        let past = EventsRequest {
            since: Some(Time::from_unix_nanos(1)),
            until: Some(Time::from_unix_nanos(10)),
            ..EventsRequest::default()
        };
        let told: Vec<_> = events.listen(past).unwrap().map(|event| event.time.unix_nanos()).collect().await;
        assert_eq!(told, [2, 3]);
        let mut live = events.listen(EventsRequest::default()).unwrap();
        events.publish(event("image", "tag", "b", &[], 4));
        assert_eq!(live.next().await.unwrap().action, "tag");
    }
}
