//! RFC 6455 without I/O: bytes in, bytes and events out.
#![forbid(unsafe_code)]

pub mod limits;
