//! The control plane over real sockets: who may, what happens, and what it says to those who err.

#[path = "control/doors.rs"]
mod doors;
#[path = "control/draining.rs"]
mod draining;
#[path = "control/events.rs"]
mod events;
#[path = "control/hostile.rs"]
mod hostile;
#[path = "control/lists.rs"]
mod lists;
#[path = "control/memory.rs"]
mod memory;
#[path = "control/program.rs"]
mod program;
#[path = "control/refusals.rs"]
mod refusals;
#[path = "control/remains.rs"]
mod remains;
#[path = "control/stand.rs"]
mod stand;
#[path = "control/verbs.rs"]
mod verbs;
#[path = "control/wrong.rs"]
mod wrong;
