//! How the engine is: for people and programs as JSON, for load balancers as a status. Called by
//! the routes. What load balancers ask is answered without asking a shard, for one may be stuck.

use super::error::ApiError;
use super::list::millis;
use super::memory;
use super::plane::Plane;
use super::query::Query;
use super::tokens::Access;
use crate::{
    EngineStatus, LogCounts, LogQueue, MemoryClass, MemoryLevel, RouteStatus, ShardStatus, Totals,
};
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The answer to `GET /v1/status`.
#[derive(Serialize)]
pub(super) struct StatusJson {
    version: &'static str,
    /// What the caller's token may do.
    access: &'static str,
    uptime_ms: u64,
    draining: bool,
    ready: bool,
    healthy: bool,
    connections: u64,
    connections_max: u64,
    memory: MemoryJson,
    routes: Vec<RouteJson>,
    shards: Vec<ShardJson>,
    totals: TotalsJson,
    refusals: BTreeMap<String, u64>,
    closes: BTreeMap<&'static str, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<LogJson>,
}

/// What became of the lines of the log.
#[derive(Serialize)]
struct LogJson {
    written: u64,
    dropped: u64,
    waiting_bytes: usize,
}

#[derive(Serialize)]
struct MemoryJson {
    level: &'static str,
    bytes_max: u64,
    resident_bytes: u64,
    growth_bytes: u64,
    shed: u64,
    classes: BTreeMap<&'static str, MemoryClassJson>,
}

#[derive(Serialize)]
struct MemoryClassJson {
    used_bytes: u64,
    kept_bytes: u64,
    returned_bytes: u64,
}

#[derive(Serialize)]
struct RouteJson {
    path: Arc<str>,
    mode: &'static str,
    open: u64,
    opened: u64,
    shared: u64,
    unattended: u64,
}

#[derive(Serialize)]
struct ShardJson {
    shard: usize,
    connections: u64,
    connections_max: u64,
    handlers: u64,
    #[serde(flatten)]
    totals: TotalsJson,
    free_buffer_eighths: u32,
    remains: u64,
    remains_bytes: u64,
    tick_age_ms: u64,
}

#[derive(Serialize)]
struct TotalsJson {
    accepted: u64,
    opened: u64,
    refused: u64,
    closed: u64,
    cut: u64,
    truncated: u64,
    panics: u64,
    messages_in: u64,
    messages_out: u64,
    bytes_in: u64,
    bytes_out: u64,
    enters: u64,
    completions: u64,
    submissions: u64,
    submission_queue_full: u64,
    overflows: u64,
    out_of_buffers: u64,
    short_sends: u64,
    stale_completions: u64,
    rearmed: u64,
    remains_lost: u64,
}

/// The answer to `GET /healthz`.
#[derive(Serialize)]
pub(super) struct HealthJson {
    healthy: bool,
}

/// The answer to `GET /readyz`.
#[derive(Serialize)]
pub(super) struct ReadyJson {
    ready: bool,
}

/// `GET /v1/status`
pub(super) async fn status(
    State(plane): State<Arc<Plane>>,
    Extension(access): Extension<Access>,
    RawQuery(query): RawQuery,
) -> Result<Json<StatusJson>, ApiError> {
    Query::parse(query.as_deref(), &[])?;
    let status = plane.ask(plane.engine.status()).await?;
    Ok(Json(json_of(access, status, &plane)))
}

/// `GET /healthz`: whether every shard does its work.
pub(super) async fn health(
    State(plane): State<Arc<Plane>>,
    RawQuery(query): RawQuery,
) -> Result<(StatusCode, Json<HealthJson>), ApiError> {
    Query::parse(query.as_deref(), &[])?;
    let healthy = plane.engine.is_healthy();
    Ok((code_of(healthy), Json(HealthJson { healthy })))
}

/// `GET /readyz`: whether connections are accepted.
pub(super) async fn readiness(
    State(plane): State<Arc<Plane>>,
    RawQuery(query): RawQuery,
) -> Result<(StatusCode, Json<ReadyJson>), ApiError> {
    Query::parse(query.as_deref(), &[])?;
    let ready = plane.engine.is_ready();
    Ok((code_of(ready), Json(ReadyJson { ready })))
}

fn code_of(is_well: bool) -> StatusCode {
    if is_well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

fn json_of(access: Access, status: EngineStatus, plane: &Plane) -> StatusJson {
    StatusJson {
        version: env!("CARGO_PKG_VERSION"),
        access: match access {
            Access::Operator => "operator",
            Access::ReadOnly => "read-only",
        },
        uptime_ms: millis(status.uptime),
        draining: status.draining,
        ready: status.ready,
        healthy: status.healthy,
        connections: status.connections,
        connections_max: status.connections_max,
        memory: memory_json(&status, plane),
        routes: status.routes.into_iter().map(route).collect(),
        shards: status.shards.iter().map(shard).collect(),
        totals: totals(&status.totals),
        refusals: status.refusals.iter().map(|(code, n)| (refusal_name(*code), *n)).collect(),
        closes: status.closes.into_iter().collect(),
        log: plane.log.as_ref().map(log_json),
    }
}

/// The HTTP status of a refusal; `other` for those that are seldom.
pub(super) fn refusal_name(status: u16) -> String {
    if status == 0 { "other".into() } else { status.to_string() }
}

fn log_json(log: &LogQueue) -> LogJson {
    let LogCounts { written, dropped, waiting_bytes } = log.counts();
    LogJson { written, dropped, waiting_bytes }
}

fn memory_json(status: &EngineStatus, plane: &Plane) -> MemoryJson {
    let json = |MemoryClass { used_bytes, kept_bytes, returned_bytes }| MemoryClassJson {
        used_bytes,
        kept_bytes,
        returned_bytes,
    };
    MemoryJson {
        level: match status.memory.level {
            MemoryLevel::Calm => "calm",
            MemoryLevel::Tight => "tight",
            MemoryLevel::Scarce => "scarce",
            MemoryLevel::Over => "over",
        },
        bytes_max: status.memory.bytes_max,
        resident_bytes: status.memory.resident_bytes,
        growth_bytes: status.shards.iter().map(|shard| shard.memory.growth_bytes).sum(),
        shed: status.totals.shed,
        classes: memory::classes(status, plane).map(|(name, class)| (name, json(class))).into(),
    }
}

fn route(route: RouteStatus) -> RouteJson {
    let mode = match (route.page, route.shared_connection) {
        (true, _) => "page",
        (_, true) => "shared",
        _ => "websocket",
    };
    let RouteStatus { path, open, opened, shared, unattended, .. } = route;
    RouteJson { path, mode, open, opened, shared, unattended }
}

fn shard(shard: &ShardStatus) -> ShardJson {
    ShardJson {
        shard: shard.shard,
        connections: shard.connections,
        connections_max: shard.connections_max,
        handlers: shard.handlers,
        totals: totals(&shard.totals),
        free_buffer_eighths: shard.free_buffer_eighths,
        remains: shard.remains,
        remains_bytes: shard.remains_bytes,
        tick_age_ms: millis(shard.tick_age),
    }
}

fn totals(totals: &Totals) -> TotalsJson {
    let ring = &totals.ring;
    TotalsJson {
        accepted: totals.accepted,
        opened: totals.opened,
        refused: totals.refused,
        closed: totals.closed,
        cut: totals.cut,
        truncated: totals.truncated,
        panics: totals.panics,
        messages_in: totals.messages_in,
        messages_out: totals.messages_out,
        bytes_in: totals.bytes_in,
        bytes_out: totals.bytes_out,
        enters: ring.enters,
        completions: ring.completions,
        submissions: ring.submissions,
        submission_queue_full: ring.submission_queue_full,
        overflows: ring.overflows,
        out_of_buffers: ring.out_of_buffers,
        short_sends: ring.short_sends,
        stale_completions: totals.stale_completions,
        rearmed: totals.rearmed,
        remains_lost: totals.remains_lost,
    }
}
