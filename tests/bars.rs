//! What the server must withstand: a list of attacks and faults, run against a real ring on
//! loopback. `bar_NN_` is the number in that list.

#[path = "bars/blocked.rs"]
mod blocked;
#[path = "bars/crowds.rs"]
mod crowds;
#[path = "bars/ends.rs"]
mod ends;
#[path = "bars/frames.rs"]
mod frames;
#[path = "bars/hosts.rs"]
mod hosts;
#[path = "bars/hygiene.rs"]
mod hygiene;
#[path = "bars/memory.rs"]
mod memory;
#[path = "bars/openings.rs"]
mod openings;
#[path = "bars/origins.rs"]
mod origins;
#[path = "bars/pauses.rs"]
mod pauses;
#[path = "bars/simulated.rs"]
mod simulated;
#[path = "bars/slow.rs"]
mod slow;
#[path = "bars/state.rs"]
mod state;
#[path = "bars/texts.rs"]
mod texts;
