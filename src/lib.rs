//! ringwire: a WebSocket (RFC 6455) server engine for Linux on io_uring.

pub mod clock;
pub mod config;
pub mod engine;
pub mod proto;
pub mod ring;
pub mod serve;
