//! RFC 6455 without I/O: bytes in, bytes and events out.
//!
//! Nothing here knows a clock, a socket, the kernel, a random source or a log. The engine calls
//! it from a shard's thread; tests and fuzzers call it from anywhere. What it holds is bounded by
//! the limits it is handed, and no input of a peer makes it panic.
//!
//! | module | owns |
//! |---|---|
//! | [`limits`] | every limit that a peer or an application can meet |
//! | [`request`] | the request head: bytes → [`Request`] |
//! | [`origin`] | what counts as the same host and the same origin |
//! | [`path`] | what counts as the same path |
//! | [`handshake`] | [`Request`] → [`Upgrade`] or [`Refusal`] |
//! | [`response`] | the HTTP answers: the 101, refusals, pages |
//! | [`frame`] | frame headers, both ways |
//! | [`mask`] | the XOR of client payloads |
//! | [`utf8`] | text that may be cut anywhere |
//! | [`close`] | close codes and Close payloads |
//! | [`session`] | one connection after the 101: bytes → [`Events`] |
//!
//! The order on the wire: [`RequestReader::handle_input`] until it is complete,
//! [`handshake::classify`], [`handshake::response`] or [`Refusal::response`], and then
//! [`Session::handle_input`] for everything that follows, beginning with what the reader did not
//! consume.
#![deny(unsafe_code)]

pub mod close;
pub mod frame;
pub mod handshake;
pub mod limits;
pub mod mask;
pub mod origin;
pub mod path;
pub mod request;
pub mod response;
pub mod session;
pub mod utf8;

pub use close::{CloseCode, ControlPayload};
pub use frame::{FrameHeader, Opcode, server_header};
pub use handshake::{HandshakeRules, Intent, Upgrade};
pub use request::{Progress, Request, RequestError, RequestReader};
pub use response::Refusal;
pub use session::{Events, MessageKind, ProtocolError, Refused, Session, SessionLimits};
