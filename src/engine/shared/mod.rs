//! Sockets that outlive their handler: what a shard and the holders of its sockets have together.

pub(in crate::engine) mod holder;
pub(in crate::engine) mod link;
pub(in crate::engine) mod open;
pub(in crate::engine) mod ready;
pub(in crate::engine) mod remains;
pub(in crate::engine) mod state;
pub(in crate::engine) mod table;
pub(in crate::engine) mod wake_batch;
