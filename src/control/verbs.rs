//! The verbs on one WebSocket: open, renew, release, read, write, close, interrupt.
//!
//! A lease outlives the request that took it: it is detached when the answer is made, and taken up
//! by the fence of the next request. A request that is given up on the way (its client has gone)
//! leaves a lease that the client knows as it was, and releases one that it never heard of.

use super::body::{Wanted, refuse_body};
use super::error::{ApiError, UNKNOWN_ID};
use super::limits::{
    BODY_BYTES_MAX, LEASE, POLL_MS_MAX, READ_TIMEOUT_MS_MAX, WRITE_WAIT_MS_DEFAULT,
    WRITE_WAIT_MS_MAX,
};
use super::list::{WebSocketJson, json_of, millis};
use super::plane::Plane;
use super::query::Query;
use super::routes::Id;
use crate::proto::limits::CLOSE_REASON_BYTES_MAX;
use crate::{
    CloseCode, Kept, MessageKind, OpenError, OpenOptions, OpenOrWriteError, READ_LEN_DEFAULT,
    ReadError, RevokeError, SharedSocket, WriteError,
};
use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{RawQuery, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

const AT_END: HeaderName = HeaderName::from_static("ringwire-at-end");
const FENCE: HeaderName = HeaderName::from_static("ringwire-fence");
const MESSAGE: HeaderName = HeaderName::from_static("ringwire-message");

const FENCES: std::ops::RangeInclusive<u64> = 0..=u64::MAX;

/// The answer to an `open`.
#[derive(Serialize)]
pub(super) struct OpenedJson {
    fence: u64,
    lease_ms: u64,
    websocket: WebSocketJson,
}

/// `POST /v1/websockets/{id}/open`
pub(super) async fn open(
    State(plane): State<Arc<Plane>>,
    Id(id): Id,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<OpenedJson>, ApiError> {
    let query = Query::parse(query.as_deref(), &["steal"])?;
    refuse_body(&body)?;
    let (steal, key) = (query.flag("steal", false)?, plane.attempts.number(&headers)?);
    let options = OpenOptions { steal, key, ..OpenOptions::default() };
    let holding = Holding::begin(&plane, &id, options).await?;
    let info = plane.ask(plane.engine.socket(&id)).await?.map_err(refusal)?;
    let (fence, lease_ms) = (holding.keep(), millis(LEASE));
    Ok(Json(OpenedJson { fence, lease_ms, websocket: json_of(info) }))
}

/// `POST /v1/websockets/{id}/renew`
pub(super) async fn renew(
    State(plane): State<Arc<Plane>>,
    Id(id): Id,
    RawQuery(query): RawQuery,
    body: Body,
) -> Result<StatusCode, ApiError> {
    let query = Query::parse(query.as_deref(), &["fence"])?;
    refuse_body(&body)?;
    let fence = fence_of(&query)?;
    drop(Holding::resume(&plane, &id, fence).await?);
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /v1/websockets/{id}/release`
pub(super) async fn release(
    State(plane): State<Arc<Plane>>,
    Id(id): Id,
    RawQuery(query): RawQuery,
    body: Body,
) -> Result<StatusCode, ApiError> {
    let query = Query::parse(query.as_deref(), &["fence", "ack"])?;
    refuse_body(&body)?;
    let acknowledges = query.flag("ack", true)?;
    let release = if acknowledges { SharedSocket::release } else { SharedSocket::give_back };
    let mut holding = Holding::resume(&plane, &id, fence_of(&query)?).await?;
    if let Some(socket) = holding.socket.take() {
        release(socket);
    }
    Ok(StatusCode::NO_CONTENT)
}

fn fence_of(query: &Query) -> Result<u64, ApiError> {
    query.number("fence", FENCES)?.ok_or_else(|| {
        ApiError::bad_request("`fence` is missing", "send the number that open or read has given")
    })
}

/// `POST /v1/websockets/{id}/read`
pub(super) async fn read(
    State(plane): State<Arc<Plane>>,
    Id(id): Id,
    RawQuery(query): RawQuery,
    body: Body,
) -> Result<Response, ApiError> {
    let query = Query::parse(query.as_deref(), &["len", "timeout", "fence", "ack"])?;
    refuse_body(&body)?;
    let len = query.number("len", 1..=BODY_BYTES_MAX as u64)?;
    let len = len.and_then(|len| usize::try_from(len).ok()).unwrap_or(READ_LEN_DEFAULT);
    let wait_ms = query.number("timeout", 0..=READ_TIMEOUT_MS_MAX)?.unwrap_or(POLL_MS_MAX);
    let wait = Duration::from_millis(wait_ms.min(POLL_MS_MAX));
    let fence = query.number("fence", FENCES)?;
    let acknowledged = query.number("ack", FENCES)?;
    if acknowledged.is_some() && fence.is_none() {
        return Err(ApiError::bad_request("`ack` needs `fence`", "send the fence it came with"));
    }
    let mut holding = match fence {
        Some(fence) => Holding::resume(&plane, &id, fence).await?,
        None => Holding::begin(&plane, &id, OpenOptions::default()).await?,
    };
    let kept = holding.read(len, wait, acknowledged).await?;
    Ok(message(kept, holding.keep()))
}

/// A message that was read, as an answer.
fn message(kept: Kept, fence: u64) -> Response {
    let media = match kept.data.kind() {
        MessageKind::Text => "text/plain; charset=utf-8",
        MessageKind::Binary => "application/octet-stream",
    };
    let at_end = if kept.at_end { "true" } else { "false" };
    let bytes = Bytes::copy_from_slice(kept.data.as_bytes());
    let mut response = Response::new(Body::from(bytes));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media));
    headers.insert(AT_END, HeaderValue::from_static(at_end));
    headers.insert(FENCE, fence.into());
    headers.insert(MESSAGE, kept.sequence.into());
    response
}

/// `POST /v1/websockets/{id}/write`
pub(super) async fn write(
    State(plane): State<Arc<Plane>>,
    Id(id): Id,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, ApiError> {
    let query = Query::parse(query.as_deref(), &["fence", "wait_ms"])?;
    let fence = query.number("fence", FENCES)?;
    let wait_ms = query.number("wait_ms", 0..=WRITE_WAIT_MS_MAX)?;
    let wait = Duration::from_millis(wait_ms.unwrap_or(WRITE_WAIT_MS_DEFAULT));
    let wanted = Wanted::read(&plane, &headers, body).await?;
    match fence {
        None => write_by_id(&plane, &id, &wanted, wait).await?,
        Some(fence) => write_as_holder(&plane, &id, fence, &wanted, wait).await?,
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Needs no lease.
async fn write_by_id(
    plane: &Plane,
    id: &str,
    wanted: &Wanted,
    wait: Duration,
) -> Result<(), ApiError> {
    let engine = &plane.engine;
    let written = if wait.is_zero() {
        plane.ask(engine.try_write_to(id, wanted.message())).await?
    } else {
        let written = timeout(wait, engine.write_to(id, wanted.message())).await;
        written.map_err(|_| full())?
    };
    written.map_err(|error| match error {
        OpenOrWriteError::Open(error) => refusal(error),
        OpenOrWriteError::Closed { code, reason } => closed(code, &reason),
        OpenOrWriteError::Write(error) => write_refusal(error),
    })
}

/// Refused when somebody else has taken the socket over.
async fn write_as_holder(
    plane: &Plane,
    id: &str,
    fence: u64,
    wanted: &Wanted,
    wait: Duration,
) -> Result<(), ApiError> {
    let mut holding = Holding::resume(plane, id, fence).await?;
    let Some(socket) = &mut holding.socket else { return Err(fenced()) };
    let written = if wait.is_zero() {
        socket.try_write(wanted.message())
    } else {
        timeout(wait, socket.write(wanted.message())).await.map_err(|_| full())?
    };
    written.map_err(|error| match socket.ended().filter(|_| error == WriteError::Closed) {
        Some((code, reason)) => closed(code, &reason),
        None => write_refusal(error),
    })
}

/// `DELETE /v1/websockets/{id}`
pub(super) async fn close(
    State(plane): State<Arc<Plane>>,
    Id(id): Id,
    RawQuery(query): RawQuery,
    body: Body,
) -> Result<StatusCode, ApiError> {
    let query = Query::parse(query.as_deref(), &["code", "reason"])?;
    refuse_body(&body)?;
    let code = query.number("code", 1_000..=4_999)?.unwrap_or(1_000);
    let code = CloseCode(u16::try_from(code).unwrap_or(1_000));
    if !code.is_sendable() {
        let message = format!("`code` cannot be {}, which is not for Close frames", code.0);
        return Err(ApiError::bad_request(message, "give 1000, or one from 3000 to 4999"));
    }
    let reason = query.text("reason")?.unwrap_or_default();
    if reason.len() > CLOSE_REASON_BYTES_MAX {
        let message = format!("`reason` is {} bytes long", reason.len());
        let remedy = format!("give at most {CLOSE_REASON_BYTES_MAX} bytes of UTF-8");
        return Err(ApiError::bad_request(message, remedy));
    }
    plane.ask(plane.engine.close_socket(&id, code, reason)).await?.map_err(refusal)?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /v1/websockets/{id}/interrupt`
pub(super) async fn interrupt(
    State(plane): State<Arc<Plane>>,
    Id(id): Id,
    RawQuery(query): RawQuery,
    body: Body,
) -> Result<StatusCode, ApiError> {
    Query::parse(query.as_deref(), &[])?;
    refuse_body(&body)?;
    plane.ask(plane.engine.interrupt(&id)).await?.map_err(refusal)?;
    Ok(StatusCode::NO_CONTENT)
}

/// The answer to a `revoke`.
#[derive(Serialize)]
pub(super) struct RevokedJson {
    closed: usize,
}

/// `POST /v1/sessions/{id}/revoke`
pub(super) async fn revoke(
    State(plane): State<Arc<Plane>>,
    Id(id): Id,
    RawQuery(query): RawQuery,
    body: Body,
) -> Result<Json<RevokedJson>, ApiError> {
    Query::parse(query.as_deref(), &[])?;
    refuse_body(&body)?;
    let closed = plane.engine.revoke_session(&id).await.map_err(|error| match error {
        RevokeError::Store(error) => ApiError::new(
            503,
            "store",
            format!("the store of sessions has failed: {error}"),
            "try again; the WebSockets of this process are closed",
        ),
        _ => ApiError::new(
            404,
            UNKNOWN_ID,
            "there is no session with this id",
            "lists of WebSockets name the sessions they belong to",
        ),
    })?;
    Ok(Json(RevokedJson { closed }))
}

/// A socket in the hands of one request.
struct Holding {
    socket: Option<SharedSocket>,
    /// Whether the client knows the fence, so that the lease is to outlive the request.
    is_known: bool,
}

impl Holding {
    /// Takes a lease that nobody has, or that somebody has if it is to be stolen.
    async fn begin(plane: &Plane, id: &str, options: OpenOptions) -> Result<Self, ApiError> {
        let options = OpenOptions { lease: Some(LEASE), ..options };
        let socket =
            plane.ask(plane.engine.open_server_with(id, options)).await?.map_err(refusal)?;
        Ok(Self { socket: Some(socket), is_known: options.fence.is_some() })
    }

    /// Goes on with the lease of an earlier request, which renews it.
    async fn resume(plane: &Plane, id: &str, fence: u64) -> Result<Self, ApiError> {
        let options = OpenOptions { fence: Some(fence), ..OpenOptions::default() };
        Self::begin(plane, id, options).await
    }

    async fn read(
        &mut self,
        len: usize,
        wait: Duration,
        acknowledged: Option<u64>,
    ) -> Result<Kept, ApiError> {
        let Some(socket) = &mut self.socket else { return Err(fenced()) };
        socket.read_kept(len, wait, acknowledged).await.map_err(|error| match error {
            ReadError::Timeout => ApiError::new(
                408,
                "timeout",
                "no message came in time",
                "poll again; nothing is lost",
            ),
            ReadError::Closed { code, reason } => closed(code, &reason),
            ReadError::Fenced => fenced(),
        })
    }

    /// The lease stays, and the client is told its fence.
    fn keep(mut self) -> u64 {
        self.is_known = true;
        self.socket.take().map_or(0, SharedSocket::detach)
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        // One that the client knows stays for its next request, as a lease with a time does by
        // itself; one that it never heard of would be in everybody's way.
        if let Some(socket) = self.socket.take().filter(|_| !self.is_known) {
            socket.give_back();
        }
    }
}

/// Why a socket is not reached by its id.
pub(super) fn refusal(error: OpenError) -> ApiError {
    match error {
        OpenError::NotShared => ApiError::new(
            409,
            "not_shared",
            "the WebSocket is dedicated to its handler",
            "only sockets of shared routes are read and written here; it can be closed or interrupted",
        ),
        OpenError::Busy { expires_in } => {
            let remedy = match expires_in {
                Some(left) => {
                    format!(
                        "try again in {} ms, or take it over with open?steal=true",
                        millis(left)
                    )
                }
                None => "wait until it is released, or take it over with open?steal=true".into(),
            };
            ApiError::new(409, "busy", "somebody else holds the WebSocket", remedy)
        }
        OpenError::Expired => ApiError::new(
            410,
            "expired",
            "the WebSocket was closed because nothing has happened on it for its session timeout, or \
             what it had left to read was given up",
            "forget this id; session_timeout_ms of the route is how long a socket may be idle, and \
             last words are kept for a minute",
        ),
        OpenError::Fenced => fenced(),
        _ => ApiError::unknown_id(),
    }
}

fn closed(code: CloseCode, reason: &str) -> ApiError {
    ApiError::closed().with_close(code.0, reason)
}

fn fenced() -> ApiError {
    let remedy = "stop; somebody else goes on with it, or open it again";
    ApiError::new(412, "fenced", "the lease has ended, or somebody has taken it over", remedy)
}

fn write_refusal(error: WriteError) -> ApiError {
    match error {
        WriteError::TooLong => ApiError::new(
            413,
            "too_long",
            "the message is longer than limits.message_bytes_max",
            "send several",
        ),
        WriteError::Full => full(),
        WriteError::Fenced => fenced(),
        _ => ApiError::closed(),
    }
}

fn full() -> ApiError {
    let remedy = "try again later, or wait longer with wait_ms";
    let message = "the peer is too slow: what was written before is still waiting to be sent";
    ApiError::new(503, "full", message, remedy).retry_after_s(1)
}
