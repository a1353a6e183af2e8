//! ringwire: a WebSocket (RFC 6455) server engine for Linux on io_uring.
//!
//! One thread and one ring per shard, and each connection belongs to one of them. Applications
//! implement [`WebSocketServer`], after InterSystems' `%CSP.WebSocket`: straight-line code with
//! `read`, `write` and `end_server`.
//!
//! ```text
//! api ─ engine ─┬─ proto     RFC 6455 without I/O: bytes and time in, bytes and events out
//!               ├─ ring      the kernel: submissions in, completions out; nearly all unsafe code
//!               └─ sessions  who a browser is, over many WebSockets; in memory or in Redis
//! control ─ api              HTTP for operators and other programs, on a runtime beside
//! ```
//! Calls go only downwards; `proto` and `ring` know neither each other nor the engine.
//!
//! # The path of a frame
//!
//! 1. The kernel puts bytes into a provided buffer and a completion into the queue.
//!    [`ring`] makes it a [`ring::Completion`] with a [`ring::Lease`] of those bytes.
//! 2. The shard checks slot and generation: a completion for a connection that is gone is dropped,
//!    and its lease given back.
//! 3. The connection hands the bytes to [`proto::Session`], which unmasks them in place, checks
//!    the text, and appends each message to the connection's inbox: memory that is used again.
//!    The lease goes back at once, so that a slow handler cannot drain the pool.
//! 4. After all completions of the batch the handlers that can go on are polled. `read` takes the
//!    message out of the inbox as a [`Data`], without a copy.
//! 5. `write` of a small message copies it behind the others in the outbox; a large [`Data`] is
//!    sent from where it lies, its header written in front of it.
//! 6. Each connection that has something to send gets one send; one entry into the kernel submits
//!    them all and waits for the next completions.
//!
//! # Seams
//!
//! TLS is to be a second variant of `engine::transport`, permessage-deflate begins where
//! `Session::reserved_bits` says so, an epoll driver would be a third [`ring::Ring`].

mod api;
pub mod client;
pub mod clock;
pub mod config;
pub mod control;
#[doc(hidden)]
pub mod engine;
mod log_queue;
pub mod proto;
pub mod ring;
pub mod serve;
mod sessions;

pub use api::{
    Closing, Data, Drained, Engine, EngineBuilder, EngineHandle, Error, Kept, Message, NotOffered,
    OpenError, OpenOptions, OpenOrWriteError, Opening, ReadError, RevokeError, Session,
    SessionError, SharedSocket, WebSocket, WebSocketServer, WriteError,
};
pub use engine::{
    AddressRange, Closer, EngineStatus, Event, EventClose, EventFilter, EventId, EventKind,
    EventStream, Histogram, LeaseInfo, Limits, ListenAddress, MailboxPolicy, MemoryClass,
    MemoryLevel, MemoryStatus, NoCursor, NoEventId, OriginError, OriginPolicy, ReceiveBuffers,
    RingSettings, RouteOptions, RouteStatus, Settings, ShardMemory, ShardStatus, SocketCursor,
    SocketInfo, SocketOrder, SocketPage, SocketQuery, SocketStatus, StartError, Timeouts, Totals,
    UnknownName,
};
pub use log_queue::{LogCounts, LogQueue};
pub use proto::limits::{READ_LEN_DEFAULT, READ_TIMEOUT_DEFAULT};
pub use proto::{CloseCode, MessageKind, Refusal};
#[cfg(feature = "redis")]
pub use sessions::RedisStore;
pub use sessions::{
    MemoryStore, NotAnId, Replaced, SameSite, SessionId, SessionRecord, SessionSettings,
    SessionSettingsError, SessionStore, SessionValues, StoreCall, StoreError,
};

#[doc = include_str!("../README.md")]
#[cfg(doctest)]
struct ReadmeDoctests;

#[doc = include_str!("../docs/sessions.md")]
#[cfg(doctest)]
struct SessionsDoctests;
