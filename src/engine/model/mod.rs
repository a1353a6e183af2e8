//! Plain data that every part of the engine may name.

pub(in crate::engine) mod bell;
pub(in crate::engine) mod counters;
pub(in crate::engine) mod ended;
pub(in crate::engine) mod events;
pub(in crate::engine) mod foreign;
pub(in crate::engine) mod history;
pub(in crate::engine) mod ids;
pub(in crate::engine) mod incoming;
pub(in crate::engine) mod memory;
pub(in crate::engine) mod paths;
pub(in crate::engine) mod quota;
pub(in crate::engine) mod reply;
pub(in crate::engine) mod settings;
pub(in crate::engine) mod slot_id;
pub(in crate::engine) mod sockets;
pub(in crate::engine) mod status;
pub(in crate::engine) mod tallies;
pub(in crate::engine) mod task;
