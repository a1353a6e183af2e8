//! The memory of the server by what it is used for, as `GET /v1/status` and `GET /metrics` tell it.
//!
//! The shards and the log say what theirs is; nothing is counted here. `docs/control.md` has a table
//! of what is in each class.

use super::plane::Plane;
use crate::{EngineStatus, LogQueue, MemoryClass, ShardMemory};

/// The classes of memory with their names, in the order of the table.
pub(super) fn classes(status: &EngineStatus, plane: &Plane) -> [(&'static str, MemoryClass); 6] {
    let sum =
        |of: fn(&ShardMemory) -> MemoryClass| status.shards.iter().map(|s| of(&s.memory)).sum();
    [
        ("inboxes", sum(|memory| memory.inboxes)),
        ("outboxes", sum(|memory| memory.outboxes)),
        ("buffers", sum(|memory| memory.buffers)),
        ("pools", sum(|memory| memory.pools)),
        ("log", plane.log.as_ref().map(LogQueue::memory).unwrap_or_default()),
        ("control", plane.memory()),
    ]
}
