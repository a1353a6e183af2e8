//! The engine: shards, and what happens to a connection in one.
//!
//! Read from top to bottom: each folder may use those below it, and nothing of those above.
//!
//! ```text
//! launch, simulated, bench   make shards: with threads and the kernel, for a test, for a benchmark
//! shard        the loop of one thread: completions, handlers, what the ring is to do next (`settle`)
//! commands     what other threads ask a shard (`mailbox`), and how they find it (`dispatch`)
//! handlers     the application's side: routes, the start of a handler, its verbs (`port`)
//! core         what a shard owns: the table of connections (`slots`), tasks (`executor`), sessions
//! connection   one connection, from accepted to gone; all it may do to its shard is in `context`
//! shared       sockets that outlive their handler: their state, and the link to who holds them
//! model        what all may name: ids, settings, counts, ends; wake-ups (`bell`)
//! listener     sockets to accept on, and their files
//! ```
//!
//! A frame in: the ring's completion → `shard` finds the slot → `connection::receiving` → the session
//! of `proto` → `connection::inbox`; the handler is polled after the batch and takes it out through
//! `handlers::port`. A frame out: `handlers::port` → `connection::outbox`; at the end of the batch
//! `shard::settle` hands all that waits to the ring as one send. Whoever holds a shared socket on another
//! thread works on its `shared::link` and rings `model::bell`; `connection::exchange` moves the messages
//! when the socket is settled.
//!
//! The words:
//!
//! - **slot**: a direct descriptor of the ring; with its generation it names one connection.
//! - **connection**: the state machine of one socket, in its slot.
//! - **conversation**: what a connection needs while something is being said, and an idle one has not.
//! - **settle**: to compare what the ring does for a connection with what it should do, once a batch.
//! - **handler**: the future of the application that serves a connection.
//! - **holder**: who has opened a shared socket by its id, on any thread.
//! - **lease**: the right of a holder to be the only one, for a time; also, in the ring, the right to a
//!   part of a receive buffer.
//! - **fence**: the number of a lease; who comes with an old one is turned away.
//! - **link**: what a holder and the shard have in common, under one lock.
//! - **unattended**: a shared socket that neither a handler nor a holder attends to.
//! - **seat**: the place of a connection's cookie session at its shard.
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
pub use connection::log::LAST_WORDS;
pub(crate) use connection::outbox::{Payload, WriteFailure};
pub(crate) use handlers::port::{Identity, Port, SharedBy};
pub(crate) use handlers::read::{Read, ReadFailure};
pub(crate) use handlers::routes::{Arrival, Farewell, Routes, Target};
pub use launch::StartError;
pub(crate) use launch::resources::try_resources;
pub(crate) use launch::{Running, launch};
pub use model::counters::Totals;
pub use model::ended::Closer;
pub(crate) use model::ended::{Counts, Ended};
pub use model::events::{
    Event, EventClose, EventFilter, EventId, EventKind, EventStream, NoEventId,
};
pub(crate) use model::incoming::Incoming;
pub(crate) use model::memory::tidy;
pub use model::memory::{MemoryClass, MemoryLevel, MemoryStatus, ShardMemory};
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
pub(crate) use model::task::Task;
pub(crate) use shared::holder::Holder;
pub(crate) use shared::open::{
    HeldReadFailure, HeldWriteFailure, OpenFailure, OpenRequest, Outgoing, ReachFailure,
};
pub use simulated::SimulatedEngine;
