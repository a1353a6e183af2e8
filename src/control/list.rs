//! Lists of WebSockets, and one of them. Called by the routes; asks the engine's handle, and says
//! as JSON what that tells.

use super::error::ApiError;
use super::limits::{PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX, SORTED_ITEMS_MAX, SORTED_OFFSET_MAX};
use super::plane::Plane;
use super::query::Query;
use super::routes::Id;
use super::verbs::refusal;
use crate::{SocketCursor, SocketInfo, SocketOrder, SocketQuery, SocketStatus};
use axum::Json;
use axum::extract::{RawQuery, State};
use serde::Serialize;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

const PARAMETERS: [&str; 8] =
    ["limit", "cursor", "route", "status", "q", "sort", "order", "offset"];

/// One WebSocket, as JSON.
#[derive(Serialize)]
pub(super) struct WebSocketJson {
    id: String,
    number: u64,
    shard: usize,
    slot: u32,
    route: Option<Arc<str>>,
    status: &'static str,
    peer: Option<SocketAddr>,
    session_id: Option<String>,
    opened_ms: u64,
    idle_ms: u64,
    timeout_ms: Option<u64>,
    bytes_in: u64,
    bytes_out: u64,
    messages_in: u64,
    messages_out: u64,
    messages_dropped: u64,
    inbox_bytes: usize,
    inbox_messages: usize,
    outbox_bytes: usize,
    lease: Option<LeaseJson>,
}

#[derive(Serialize)]
struct LeaseJson {
    fence: u64,
    expires_ms: Option<u64>,
}

/// One page of a list, as JSON.
#[derive(Serialize)]
pub(super) struct PageJson {
    websockets: Vec<WebSocketJson>,
    next_cursor: Option<String>,
    total: u64,
}

/// `GET /v1/websockets`
pub(super) async fn list(
    State(plane): State<Arc<Plane>>,
    RawQuery(query): RawQuery,
) -> Result<Json<PageJson>, ApiError> {
    let query = wanted(&Query::parse(query.as_deref(), &PARAMETERS)?)?;
    let page = plane.ask(plane.engine.sockets(&query)).await?;
    Ok(Json(PageJson {
        websockets: page.sockets.into_iter().map(json_of).collect(),
        next_cursor: page.next_cursor.map(|cursor| cursor.to_string()),
        total: page.total,
    }))
}

/// `GET /v1/websockets/{id}`
pub(super) async fn one(
    State(plane): State<Arc<Plane>>,
    Id(id): Id,
    RawQuery(query): RawQuery,
) -> Result<Json<WebSocketJson>, ApiError> {
    Query::parse(query.as_deref(), &[])?;
    let info = plane.ask(plane.engine.socket(&id)).await?.map_err(refusal)?;
    Ok(Json(json_of(info)))
}

fn wanted(query: &Query) -> Result<SocketQuery, ApiError> {
    let sort = one_of(query, "sort", SocketOrder::ALL, SocketOrder::as_str)?;
    let offset = query.number("offset", 0..=SORTED_OFFSET_MAX)?;
    let cursor = query.text("cursor")?.map(SocketCursor::from_str).transpose();
    let cursor = cursor.map_err(|_| {
        ApiError::bad_request("`cursor` is none that a list has given", "take next_cursor as it is")
    })?;
    let order = query.word("order", &[("asc", false), ("desc", true)])?;
    let limit_max = if sort.is_some() { SORTED_ITEMS_MAX } else { PAGE_ITEMS_MAX };
    let limit = query.number("limit", 1..=limit_max)?.unwrap_or(PAGE_ITEMS_DEFAULT);
    if sort.is_some() && cursor.is_some() {
        let remedy = "page with offset and limit, or leave sort out";
        return Err(ApiError::bad_request("a sorted list has no `cursor`", remedy));
    }
    if sort.is_none() && (offset.is_some() || order.is_some()) {
        let remedy = "add sort, or page with cursor";
        return Err(ApiError::bad_request("`offset` and `order` are for a sorted list", remedy));
    }
    Ok(SocketQuery {
        limit: usize::try_from(limit).unwrap_or(usize::MAX),
        cursor,
        route: query.text("route")?.map(Into::into),
        status: one_of(query, "status", SocketStatus::ALL, SocketStatus::as_str)?,
        text: query.text("q")?.map(Into::into),
        sort,
        descending: order.unwrap_or(false),
        offset: usize::try_from(offset.unwrap_or(0)).unwrap_or(usize::MAX),
    })
}

fn one_of<T: Copy>(
    query: &Query,
    name: &str,
    all: &[T],
    as_str: impl Fn(T) -> &'static str,
) -> Result<Option<T>, ApiError> {
    let words: Vec<(&str, T)> = all.iter().map(|value| (as_str(*value), *value)).collect();
    query.word(name, &words)
}

/// What is told about a WebSocket.
pub(super) fn json_of(info: SocketInfo) -> WebSocketJson {
    WebSocketJson {
        id: info.id,
        number: info.number,
        shard: info.shard,
        slot: info.slot,
        route: info.route,
        status: info.status.as_str(),
        peer: info.peer,
        session_id: info.session_id,
        opened_ms: millis(info.opened),
        idle_ms: millis(info.idle),
        timeout_ms: info.timeout.map(millis),
        bytes_in: info.bytes_in,
        bytes_out: info.bytes_out,
        messages_in: info.messages_in,
        messages_out: info.messages_out,
        messages_dropped: info.messages_dropped,
        inbox_bytes: info.inbox_bytes,
        inbox_messages: info.inbox_messages,
        outbox_bytes: info.outbox_bytes,
        lease: info.lease.map(|lease| LeaseJson {
            fence: lease.fence,
            expires_ms: lease.expires_in.map(millis),
        }),
    }
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Result<SocketQuery, ApiError> {
        wanted(&Query::parse(Some(text), &PARAMETERS)?)
    }

    #[test]
    fn a_query_becomes_a_list_or_an_error() {
        let sorted = query("sort=bytes_in&order=desc&offset=20&limit=500").expect("right");
        assert_eq!((sorted.sort, sorted.descending), (Some(SocketOrder::BytesIn), true));
        assert_eq!((sorted.offset, sorted.limit), (20, 500));
        let plain =
            query("limit=1000&cursor=0.7&route=/feed&status=unattended&q=x").expect("right");
        assert_eq!(plain.status, Some(SocketStatus::Unattended));
        assert_eq!((plain.route.as_deref(), plain.text.as_deref()), (Some("/feed"), Some("x")));
        assert_eq!(query("").map(|query| query.limit).ok(), Some(100));
        for wrong in [
            "limit=0",
            "limit=1001",
            "sort=id&limit=501",
            "sort=id&cursor=0.7",
            "offset=1",
            "order=asc",
            "sort=id&offset=10001",
            "sort=age",
            "sort=id&order=up",
            "status=free",
            "cursor=7",
            "cursor=",
            "page=2",
        ] {
            assert!(query(wrong).is_err(), "{wrong}");
        }
    }
}
