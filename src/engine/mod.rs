//! The engine: shards, and what happens to a connection in one.
//!
//! ```text
//! launch ── one thread per shard ── shard: the loop
//!                                     │ completions        ┌ receiving  bytes → messages
//!                                     ├──► connection ─────┤ deadlines  time
//!                                     │    inbox, outbox   └ verbs      what handlers do
//!                                     ├──► executor: handlers, polled once per batch
//!                                     └──► settle: what the ring is to do next
//! ```
//!
//! It calls `proto` and `ring` and knows nothing of the handlers' trait; `api` calls it.
#![forbid(unsafe_code)]

pub mod bench;
mod commands;
mod connection;
mod core;
mod handlers;
mod launch;
pub mod listener;
mod model;
pub mod shard;
mod shared;
mod simulated;

pub(crate) use commands::dispatch::Reach;
pub(crate) use commands::{OpenFailure, OpenRequest, ReachFailure};
pub use connection::Closer;
pub(crate) use connection::inbox::Incoming;
pub(crate) use connection::outbox::Payload;
pub(crate) use connection::{Counts, Ended};
pub(crate) use core::executor::Task;
pub use core::log::LAST_WORDS;
pub(crate) use handlers::port::{Identity, Port, Read, ReadFailure, SharedBy, WriteFailure};
pub(crate) use handlers::routes::{Arrival, Farewell, MakeTask, Routes, Target};
pub(crate) use launch::resources::try_resources;
pub(crate) use launch::{Running, launch};
pub use launch::{StartError, Totals};
pub use model::events::{
    Event, EventClose, EventFilter, EventId, EventKind, EventStream, NoEventId,
};
pub(crate) use model::memory::tidy;
pub use model::memory::{MemoryLevel, MemoryStatus, ShardMemory};
pub use model::quota::Quota;
pub(crate) use model::settings::SOCKET_PATH_BYTES_MAX;
pub use model::settings::{
    AddressRange, Limits, ListenAddress, MailboxPolicy, OriginError, OriginPolicy, ReceiveBuffers,
    RingSettings, RouteOptions, Settings, Timeouts,
};
pub use model::sockets::{
    LeaseInfo, NoCursor, SocketCursor, SocketInfo, SocketOrder, SocketPage, SocketQuery,
    SocketStatus, UnknownName,
};
pub use model::status::{EngineStatus, Histogram, RouteStatus, ShardStatus};
pub(crate) use shared::holder::{HeldReadFailure, HeldWriteFailure, Holder};
pub(crate) use shared::link::Outgoing;
pub use simulated::SimulatedEngine;
