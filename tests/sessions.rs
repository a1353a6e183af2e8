//! Cookie sessions on a real ring: made at the handshake, never taken from the client, shared by
//! the WebSockets of a browser, rotated, revoked, bounded; with the store in memory and with stores
//! that fail.

#[path = "sessions/bounds.rs"]
mod bounds;
#[path = "sessions/clocks.rs"]
mod clocks;
#[path = "sessions/cookies.rs"]
mod cookies;
#[path = "sessions/ending.rs"]
mod ending;
#[path = "sessions/sharing.rs"]
mod sharing;
#[path = "sessions/stores.rs"]
mod stores;
#[path = "sessions/values.rs"]
mod values;
