//! The engine on a real ring, on loopback, with clients nobody here wrote: what the verbs, the
//! callbacks and the handshake promise.

mod support;

#[path = "wire/reading.rs"]
mod reading;
