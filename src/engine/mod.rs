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

mod accepting;
mod account;
mod answering;
mod arrivals;
mod aside;
pub mod bench;
mod closing;
mod command;
mod connection;
mod conversation;
mod core;
mod deadlines;
mod draining;
mod ended;
mod events;
mod executor;
mod flags;
mod foreign;
mod governor;
mod holder;
mod ids;
mod inbox;
mod lately;
mod launch;
mod leases;
mod link;
pub mod listener;
mod log;
mod mailbox;
mod memory;
mod outbox;
mod pace;
mod peers;
mod places;
mod progress;
mod quota;
mod reach;
mod ready;
mod receive_pool;
mod receiving;
mod registry;
mod remains;
mod remote;
mod resources;
mod rest;
mod room;
mod routes;
mod scan;
mod seats;
mod settings;
mod settle;
pub mod shard;
mod shared;
mod shared_table;
mod simulated;
mod sleep;
mod socket_file;
mod sockets;
mod status;
mod tallies;
mod timers;
mod transport;
mod verbs;
mod verdict;
mod vigilance;
mod wakes;

pub(crate) use command::{OpenFailure, OpenRequest, ReachFailure};
pub use connection::Closer;
pub(crate) use connection::{Counts, Ended};
pub use events::{Event, EventClose, EventFilter, EventId, EventKind, EventStream, NoEventId};
pub(crate) use executor::Task;
pub(crate) use holder::{HeldReadFailure, HeldWriteFailure, Holder};
pub(crate) use inbox::Incoming;
pub(crate) use launch::{Running, launch};
pub use launch::{StartError, Totals};
pub(crate) use link::Outgoing;
pub use log::LAST_WORDS;
pub(crate) use memory::tidy;
pub use memory::{MemoryLevel, MemoryStatus, ShardMemory};
pub(crate) use outbox::Payload;
pub use quota::Quota;
pub(crate) use reach::Reach;
pub(crate) use resources::try_resources;
pub(crate) use routes::{Arrival, Farewell, MakeTask, Routes, Target};
pub(crate) use settings::SOCKET_PATH_BYTES_MAX;
pub use settings::{
    AddressRange, Limits, ListenAddress, MailboxPolicy, OriginError, OriginPolicy, ReceiveBuffers,
    RingSettings, RouteOptions, Settings, Timeouts,
};
pub use simulated::SimulatedEngine;
pub use sockets::{
    LeaseInfo, NoCursor, SocketCursor, SocketInfo, SocketOrder, SocketPage, SocketQuery,
    SocketStatus, UnknownName,
};
pub use status::{EngineStatus, Histogram, RouteStatus, ShardStatus};
pub(crate) use verbs::{Identity, Port, Read, ReadFailure, SharedBy, WriteFailure};
