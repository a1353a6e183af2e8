//! RFC 6455 without I/O: bytes in, bytes and events out.
//!
//! Nothing here knows a clock, a socket, the kernel, a random source or a log. The engine calls
//! it from a shard's thread; tests and fuzzers call it from anywhere. What it holds is bounded by
//! the limits it is handed, and no input of a peer makes it panic.
//!
//! | module | owns |
//! |---|---|
//! | [`limits`] | every limit, with its unit and its reason |
//! | [`mask`] | the XOR of client payloads |
//! | [`utf8`] | text that may be cut anywhere |
#![deny(unsafe_code)]

pub mod limits;
pub mod mask;
pub mod utf8;

