//! The engine on a real ring, on loopback, with clients nobody here wrote: what the verbs, the
//! callbacks and the handshake promise.

#[path = "wire/broadcasting.rs"]
mod broadcasting;
#[path = "wire/closing.rs"]
mod closing;
#[path = "wire/failing.rs"]
mod failing;
#[path = "wire/fairness.rs"]
mod fairness;
#[path = "wire/foreign.rs"]
mod foreign;
#[path = "wire/growing.rs"]
mod growing;
#[path = "wire/idling.rs"]
mod idling;
#[path = "wire/lasting.rs"]
mod lasting;
#[path = "wire/opening.rs"]
mod opening;
#[path = "wire/proxied.rs"]
mod proxied;
#[path = "wire/reading.rs"]
mod reading;
#[path = "wire/rests.rs"]
mod rests;
#[path = "wire/unix_ends.rs"]
mod unix_ends;
#[path = "wire/wild.rs"]
mod wild;
#[path = "wire/writing.rs"]
mod writing;
