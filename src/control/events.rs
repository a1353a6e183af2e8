//! The stream of events, as server-sent events (HTML Living Standard §9.2).
//!
//! Each stream reads from the engine's bounded history at the pace of its client: who is too slow
//! is told that there is a gap, and costs nothing. It begins with an id, so that whoever loses it
//! before the first event can go on where it was.

use super::error::{ApiError, shown};
use super::limits::{
    EVENT_ALIVE_INTERVAL, EVENT_STREAMS_MAX, PIECE_BYTES, READ_ONLY_EVENT_STREAMS_MAX,
};
use super::plane::Plane;
use super::query::Query;
use super::tokens::Access;
use crate::{Closer, Event, EventFilter, EventId, EventKind, EventStream};
use axum::Extension;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName};
use axum::response::{IntoResponse, Response};
use hyper::body::Frame;
use serde::Serialize;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

const KINDS: [(&str, EventKind); 5] = [
    ("open", EventKind::Open),
    ("readable", EventKind::Readable),
    ("closed", EventKind::Closed),
    ("lost", EventKind::Lost),
    ("gap", EventKind::Gap),
];

/// What a stream is, and that proxies are to pass on every event as it comes: nginx keeps an answer
/// until it fills a buffer unless it is told by the answer itself.
const HEADERS: [(HeaderName, &str); 3] = [
    (CONTENT_TYPE, "text/event-stream"),
    (CACHE_CONTROL, "no-cache, no-transform"),
    (HeaderName::from_static("x-accel-buffering"), "no"),
];

/// `GET /v1/events`
pub(super) async fn events(
    State(plane): State<Arc<Plane>>,
    RawQuery(query): RawQuery,
    Extension(access): Extension<Access>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let query = Query::parse(query.as_deref(), &["route", "types", "after"])?;
    let filter = EventFilter {
        route: query.text("route")?.map(Into::into),
        kinds: query.text("types")?.map_or(Ok(Vec::new()), kinds)?,
    };
    let header = headers.get("last-event-id").map(|value| value.to_str().unwrap_or("?"));
    // A client that reconnects by itself sends the header, and the query as it was at first.
    let after =
        match header.filter(|id| !id.is_empty()).map_or(query.text("after"), |id| Ok(Some(id)))? {
            Some(id) => Some(id.parse::<EventId>().map_err(|_| no_event_id(id))?),
            None => None,
        };
    let permits = permits(&plane, access)?;
    let feed = Feed { stream: plane.engine.events(filter, after), _permits: permits };
    let body = EventBody { step: Some(Box::pin(feed.begin())) };
    Ok((HEADERS, Body::new(body)).into_response())
}

/// Leave to open one more stream.
fn permits(plane: &Plane, access: Access) -> Result<Permits, ApiError> {
    let permit = |semaphore: &Arc<Semaphore>, max: usize| {
        Arc::clone(semaphore).try_acquire_owned().map_err(|_| {
            let message = format!("{max} streams of events are open already");
            ApiError::new(503, "busy", message, "share one stream among workers").retry_after_s(5)
        })
    };
    let read_only = match access {
        Access::Operator => None,
        Access::ReadOnly => {
            Some(permit(&plane.read_only_event_streams, READ_ONLY_EVENT_STREAMS_MAX)?)
        }
    };
    Ok(Permits { _all: permit(&plane.event_streams, EVENT_STREAMS_MAX)?, _read_only: read_only })
}

fn kinds(text: &str) -> Result<Vec<EventKind>, ApiError> {
    let kind = |name: &str| {
        let found = KINDS.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind);
        found.ok_or_else(|| {
            let message = format!("`types` cannot have `{}`", shown(name));
            ApiError::bad_request(message, "give open, readable, closed, lost, with commas between")
        })
    };
    text.split(',').map(kind).collect()
}

fn no_event_id(text: &str) -> ApiError {
    let message = format!("`{}` is not the id of an event", shown(text));
    ApiError::bad_request(message, "send the last id of the stream, or leave it out")
}

/// A stream on its way to one client.
struct Feed {
    stream: EventStream,
    _permits: Permits,
}

struct Permits {
    _all: OwnedSemaphorePermit,
    _read_only: Option<OwnedSemaphorePermit>,
}

/// A piece of the body, and what makes the next one.
struct Piece {
    feed: Feed,
    bytes: Bytes,
}

impl Feed {
    /// What is sent before any event: the client has an answer, and an id to go on after.
    async fn begin(self) -> Option<Piece> {
        Some(self.block("retry: 1000"))
    }

    /// A block that is no event, with the id to go on after. Nothing if that is not known, because
    /// a gap is told next.
    fn block(self, line: &str) -> Piece {
        let mut text = format!("{line}\n");
        if let Some(id) = self.stream.position() {
            let _ = writeln!(text, "id: {id}");
        }
        text.push('\n');
        Piece { feed: self, bytes: text.into() }
    }

    /// The next piece; `None` at the end of the engine.
    async fn go_on(mut self) -> Option<Piece> {
        let Ok(next) = timeout(EVENT_ALIVE_INTERVAL, self.stream.next()).await else {
            return Some(self.block(": alive"));
        };
        let mut text = String::new();
        append(&mut text, &next?);
        while text.len() < PIECE_BYTES
            && let Some(event) = self.stream.try_next()
        {
            append(&mut text, &event);
        }
        Some(Piece { feed: self, bytes: text.into() })
    }
}

#[derive(Serialize)]
struct EventJson<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    route: &'a str,
    session_id: Option<&'a str>,
    ms: u64,
    #[serde(flatten)]
    close: Option<CloseJson<'a>>,
}

#[derive(Serialize)]
struct CloseJson<'a> {
    code: u16,
    reason: &'a str,
    by: &'static str,
}

/// One event in the format of the stream. JSON has no line breaks, so it is one `data` line.
fn append(text: &mut String, event: &Event) {
    let session_id = event.session_id.as_deref();
    let close = event.close.as_ref().map(|close| CloseJson {
        code: close.code.0,
        reason: &close.reason,
        by: closer(close.by),
    });
    let (id, route, ms) = (&*event.websocket_id, &*event.route, event.unix_ms);
    let json = serde_json::to_string(&EventJson { id, route, session_id, ms, close });
    // Texts and numbers always have a JSON form, and a String always takes them.
    let json = json.unwrap_or_default();
    let _ = write!(text, "id: {}\nevent: {}\ndata: {json}\n\n", event.id, event.kind.as_str());
}

fn closer(by: Closer) -> &'static str {
    match by {
        Closer::Peer => "peer",
        Closer::Server => "server",
        Closer::Network => "network",
    }
}

/// The body of a stream, made piece by piece as the client takes it.
struct EventBody {
    step: Option<Pin<Box<dyn Future<Output = Option<Piece>> + Send>>>,
}

impl HttpBody for EventBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(step) = &mut self.step else { return Poll::Ready(None) };
        let Poll::Ready(done) = step.as_mut().poll(context) else { return Poll::Pending };
        let Piece { feed, bytes } = match done {
            Some(done) => done,
            None => {
                self.step = None;
                return Poll::Ready(None);
            }
        };
        self.step = Some(Box::pin(feed.go_on()));
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }
}
