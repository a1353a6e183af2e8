//! Watches the memory of the process, and tells the shards how near it is to its limit.
//!
//! A task of the runtime beside the shards, started by the launch where there is a limit. Cuts nobody
//! and gives nothing back: the shards do ([`governor`](crate::engine::shard::governor)).

use crate::engine::commands::Notice;
use crate::engine::commands::dispatch::Reach;
use crate::engine::model::memory::{MemoryLevel, WATCH_INTERVAL};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Looks between two lines of the log, and between two times at which shards give back what they
/// keep while memory is tight.
const LOOKS_PER_REPORT: u32 = 10;

/// Watches the process if it has a limit.
pub(in crate::engine) fn start_watch(runtime: &tokio::runtime::Runtime, reach: &Arc<Reach>) {
    if reach.memory.is_limited() {
        runtime.spawn(watch(Arc::clone(reach)));
    }
}

/// Tells the shards how near the process is to its limit, for ever.
async fn watch(reach: Arc<Reach>) {
    let memory = Arc::clone(&reach.memory);
    let (mut changes, mut told) = (0, MemoryLevel::Calm);
    let mut looks = 0_u32;
    loop {
        tokio::time::sleep(WATCH_INTERVAL).await;
        let level = memory.look().level;
        looks = looks.wrapping_add(1);
        // Now and then only: the log is not to be filled by a level that goes up and down.
        let now_and_then = looks.is_multiple_of(LOOKS_PER_REPORT);
        if level > told || now_and_then && level != told {
            tracing::warn!(?level, bytes_max = memory.bytes_max, "memory");
            told = level;
        }
        if now_and_then {
            let bytes = memory.cut_bytes.swap(0, Ordering::Relaxed);
            if bytes > 0 {
                tracing::warn!(bytes, "memory: cut those who hold most");
            }
        }
        let returns = level >= MemoryLevel::Tight && now_and_then;
        // Also if a shard has seen one that was over soon, and those who asked for room then wait.
        let changes_before =
            std::mem::replace(&mut changes, memory.changes.load(Ordering::Relaxed));
        if changes != changes_before || level == MemoryLevel::Over || returns {
            reach.mailboxes.iter().for_each(|mailbox| mailbox.notify(Notice::Memory));
        }
    }
}
