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
mod arrivals;
pub mod bench;
mod connection;
mod conversation;
mod core;
mod deadlines;
mod draining;
mod executor;
mod ids;
mod inbox;
mod launch;
pub mod listener;
mod log;
mod outbox;
mod receiving;
mod registry;
mod remote;
mod routes;
mod settings;
mod settle;
pub mod shard;
mod simulated;
mod timers;
mod transport;
mod verbs;

pub use connection::Closer;
pub(crate) use connection::{Counts, Ended};
pub(crate) use executor::Task;
pub(crate) use inbox::Incoming;
pub(crate) use launch::{Running, launch};
pub use launch::{StartError, Totals};
pub(crate) use outbox::Payload;
pub(crate) use routes::{Arrival, Routes, Target};
pub use settings::{
    Limits, ListenAddress, OriginPolicy, ReceiveBuffers, RingSettings, Settings, Timeouts,
};
pub use simulated::SimulatedEngine;
pub(crate) use verbs::{Port, Read, ReadFailure, WriteFailure};
