//! What the control plane tells about WebSockets and about itself: plain data, read from its JSON.
//!
//! What a newer server says beside is kept in `other`, so that it can be passed on.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// One WebSocket.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[non_exhaustive]
pub struct SocketInfo {
    /// Its id.
    pub id: String,
    /// Its running number in its slot.
    #[serde(default)]
    pub number: u64,
    /// The shard it lives on.
    #[serde(default)]
    pub shard: u64,
    /// Its slot there.
    #[serde(default)]
    pub slot: u64,
    /// The route it came by; `None` before its request has come.
    pub route: Option<String>,
    /// `handshake`, `websocket` (dedicated), `shared` (somebody holds it), `unattended` (nobody
    /// does) or `closing`.
    pub status: String,
    /// Address and port of the peer, where known.
    pub peer: Option<String>,
    /// Its session, where it has one.
    pub session_id: Option<String>,
    /// Milliseconds since it was opened.
    #[serde(default)]
    pub opened_ms: u64,
    /// Milliseconds since something happened.
    #[serde(default)]
    pub idle_ms: u64,
    /// The `idle_ms` at which it ends.
    pub timeout_ms: Option<u64>,
    /// Bytes of messages received.
    #[serde(default)]
    pub bytes_in: u64,
    /// Bytes of messages sent.
    #[serde(default)]
    pub bytes_out: u64,
    /// Messages received.
    #[serde(default)]
    pub messages_in: u64,
    /// Messages sent.
    #[serde(default)]
    pub messages_out: u64,
    /// Bytes that wait to be read.
    #[serde(default)]
    pub inbox_bytes: u64,
    /// Messages that wait to be read.
    #[serde(default)]
    pub inbox_messages: u64,
    /// Bytes that wait to be sent.
    #[serde(default)]
    pub outbox_bytes: u64,
    /// Who holds it.
    pub lease: Option<Lease>,
    /// Whatever else was told.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// The right to read a WebSocket.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[non_exhaustive]
pub struct Lease {
    /// Its number; a later lease has a larger one.
    pub fence: u64,
    /// Milliseconds until it ends; `None`: not by itself.
    pub expires_ms: Option<u64>,
}

/// A page of a list.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[non_exhaustive]
pub struct SocketPage {
    /// The WebSockets.
    pub websockets: Vec<SocketInfo>,
    /// For [`SocketQuery::cursor`](super::SocketQuery::cursor), if there are more.
    pub next_cursor: Option<String>,
    /// How many there are of the whole server.
    #[serde(default)]
    pub total: u64,
}

/// The state of the server.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[non_exhaustive]
pub struct Status {
    /// Its version.
    pub version: String,
    /// Milliseconds since it was started.
    #[serde(default)]
    pub uptime_ms: u64,
    /// Whether it is being ended.
    #[serde(default)]
    pub draining: bool,
    /// Whether it accepts.
    #[serde(default)]
    pub ready: bool,
    /// Whether every shard lives.
    #[serde(default)]
    pub healthy: bool,
    /// Connections now.
    #[serde(default)]
    pub connections: u64,
    /// Connections at most.
    pub connections_max: Option<u64>,
    /// Its routes.
    #[serde(default)]
    pub routes: Vec<RouteStatus>,
    /// The counters of each shard.
    #[serde(default)]
    pub shards: Vec<BTreeMap<String, Value>>,
    /// Their sums.
    #[serde(default)]
    pub totals: BTreeMap<String, Value>,
    /// Refused handshakes by reason.
    #[serde(default)]
    pub refusals: BTreeMap<String, Value>,
    /// Ended conversations by close code.
    #[serde(default)]
    pub closes: BTreeMap<String, Value>,
    /// Whatever else was told.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// A route and what is open there.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[non_exhaustive]
pub struct RouteStatus {
    /// Its path.
    pub path: String,
    /// `dedicated` or `shared`.
    #[serde(default)]
    pub mode: String,
    /// WebSockets open there.
    #[serde(default)]
    pub open: u64,
    /// Whatever else was told.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}
