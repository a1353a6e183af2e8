//! What the process may take of the machine's memory, and what happens when it comes near.
//!
//! ```text
//! of memory_max    what is different
//!   80 %           nobody grows: reads that ask for more than an inbox and long writes wait; what
//!                  shards keep for its next use is given back
//!   90 %           handshakes are refused (503, Retry-After), and `readyz` says so
//!   95 %           those who hold most are cut until 90 % are left: what is on its way does not
//!                  wait, and the limit is to hold
//! ```
//!
//! If there is a limit, a task looks at the process many times a second and tells the shards; so does
//! each shard between two batches, the more often the less is free: a busy machine may keep the task
//! waiting, and nobody takes anything in without a batch. Each shard cuts for its part of what is too
//! much. [`super::governor`] gives back what a shard keeps after a peak, limit or not.

use super::command::Notice;
use super::core::Core;
use super::reach::Reach;
use crate::ring::memory;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// How near the process is to its limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum MemoryLevel {
    /// Below 80 %, or there is no limit.
    #[default]
    Calm,
    /// From 80 % on.
    Tight,
    /// From 90 % on.
    Scarce,
    /// From 95 % on: those who hold most are cut.
    Over,
}

impl MemoryLevel {
    fn of(used_bytes: u64, bytes_max: u64) -> Self {
        let percent = u128::from(used_bytes) * 100 / u128::from(bytes_max.max(1));
        match percent {
            _ if bytes_max == 0 => Self::Calm,
            95.. => Self::Over,
            90.. => Self::Scarce,
            80.. => Self::Tight,
            _ => Self::Calm,
        }
    }
}

/// The memory of the process, as all shards know it.
#[derive(Debug, Default)]
pub(super) struct Memory {
    bytes_max: u64,
    /// What the system tells of the process; kept open, for it is needed most where nothing can be
    /// opened.
    statm: Option<File>,
    used_bytes: AtomicU64,
    level: AtomicU8,
    /// How often the level has become another one.
    changes: AtomicU32,
    /// What was cut since somebody asked.
    pub(super) cut_bytes: AtomicU64,
}

/// How the memory of the process is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryStatus {
    /// What the system says that the process has and shares with nobody.
    pub resident_bytes: u64,
    /// What it may have; 0: there is no limit.
    pub bytes_max: u64,
    /// How near it is.
    pub level: MemoryLevel,
}

/// How the memory of a shard is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShardMemory {
    /// What its connections hold beyond their limits.
    pub growth_bytes: u64,
    /// Buffers that wait for their next use.
    pub kept_bytes: u64,
    /// What it has given back of those since it started.
    pub returned_bytes: u64,
    /// What it receives into.
    pub pool_bytes: u64,
}

impl Memory {
    pub(super) fn new(bytes_max: u64) -> Self {
        Self { bytes_max, statm: File::open("/proc/self/statm").ok(), ..Self::default() }
    }

    /// Whether there is a limit.
    pub(super) fn is_limited(&self) -> bool {
        self.bytes_max > 0
    }

    /// What the connections of one of so many shards may hold beyond their limits: all of them
    /// together half of the limit, for a fast peer takes much between two looks.
    pub(super) fn growth_bytes_max(&self, wanted: usize, shards: usize) -> usize {
        let half = self.bytes_max / 2 / shards.max(1) as u64;
        if self.is_limited() { wanted.min(usize::try_from(half).unwrap_or(wanted)) } else { wanted }
    }

    pub(super) fn level(&self) -> MemoryLevel {
        match self.level.load(Ordering::Relaxed) {
            0 => MemoryLevel::Calm,
            1 => MemoryLevel::Tight,
            2 => MemoryLevel::Scarce,
            _ => MemoryLevel::Over,
        }
    }

    pub(super) fn status(&self) -> MemoryStatus {
        MemoryStatus {
            resident_bytes: self.resident_bytes(),
            bytes_max: self.bytes_max,
            level: self.level(),
        }
    }

    /// Looks at the process.
    pub(super) fn look(&self) -> Look {
        let used_bytes = self.resident_bytes();
        let level = MemoryLevel::of(used_bytes, self.bytes_max);
        if self.level.swap(level as u8, Ordering::Relaxed) != level as u8 {
            self.changes.fetch_add(1, Ordering::Relaxed);
        }
        Look { used_bytes, level }
    }

    /// Resident memory without what is shared with others; what it was last where the system does
    /// not tell.
    fn resident_bytes(&self) -> u64 {
        let Some(used_bytes) = self.statm.as_ref().and_then(read_statm) else {
            return self.used_bytes.load(Ordering::Relaxed);
        };
        self.used_bytes.store(used_bytes, Ordering::Relaxed);
        used_bytes
    }

    /// What is over the mark down to which the process is to shrink, if it has reached its limit.
    pub(super) fn over_bytes(&self, look: Look) -> u64 {
        let over_bytes = look.used_bytes.saturating_sub(self.bytes_max / 100 * 90);
        if look.level == MemoryLevel::Over { over_bytes } else { 0 }
    }

    /// How long what is free is enough, however fast a shard takes it.
    pub(super) fn enough_for(&self, look: Look) -> Duration {
        let millis = self.bytes_max.saturating_sub(look.used_bytes) / TAKEN_BYTES_PER_MS;
        Duration::from_millis(millis).clamp(Duration::from_millis(1), WATCH_INTERVAL)
    }
}

/// What a look has found.
#[derive(Clone, Copy)]
pub(super) struct Look {
    used_bytes: u64,
    pub(super) level: MemoryLevel,
}

fn read_statm(statm: &File) -> Option<u64> {
    let mut text = [0; 256];
    let length = statm.read_at(&mut text, 0).ok()?;
    // proc_pid_statm(5): pages in all, resident, of which shared.
    let text = str::from_utf8(&text[..length]).ok()?;
    let mut pages = text.split(' ').skip(1).map_while(|pages| pages.parse::<u64>().ok());
    let own = pages.next()?.saturating_sub(pages.next()?);
    Some(own * rustix::param::page_size() as u64)
}

/// How often the process is looked at, whoever is busy or not. A look costs some microseconds.
const WATCH_INTERVAL: Duration = Duration::from_millis(25);

/// What a shard takes in a millisecond at most, from peers on the same machine: twice what it has to
/// receive into.
const TAKEN_BYTES_PER_MS: u64 = 4 << 20;

/// Looks between two lines of the log, and between two times at which shards give back what they
/// keep while memory is tight.
const LOOKS_PER_REPORT: u32 = 10;

/// Watches the process if it has a limit.
pub(super) fn start_watch(runtime: &tokio::runtime::Runtime, reach: &Arc<Reach>) {
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
            reach.remotes.iter().for_each(|remote| remote.notify(Notice::Memory));
        }
    }
}

/// Gives to the system what this thread has freed.
pub(crate) fn tidy() {
    memory::collect();
}

impl Core {
    /// Whether handshakes are to be refused for want of memory.
    pub(super) fn is_memory_scarce(&self) -> bool {
        self.memory.level() >= MemoryLevel::Scarce
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_less_is_free_the_sooner_is_the_next_look() {
        let memory = Memory::new(64 << 20);
        let enough = |used_mib: u64| {
            let used_bytes = used_mib << 20;
            memory.enough_for(Look { used_bytes, level: MemoryLevel::of(used_bytes, 64 << 20) })
        };
        let millis = [0, 32, 44, 54, 63, 64, 80].map(|used_mib| enough(used_mib).as_millis());
        assert_eq!(millis, [16, 8, 5, 2, 1, 1, 1]);
    }

    #[test]
    fn the_levels_begin_where_they_say() {
        for (used, level) in [
            (0, MemoryLevel::Calm),
            (799, MemoryLevel::Calm),
            (800, MemoryLevel::Tight),
            (900, MemoryLevel::Scarce),
            (949, MemoryLevel::Scarce),
            (950, MemoryLevel::Over),
            (u64::MAX, MemoryLevel::Over),
        ] {
            assert_eq!(MemoryLevel::of(used, 1_000), level, "{used}");
            assert_eq!(MemoryLevel::of(used, 0), MemoryLevel::Calm);
        }
    }

    #[test]
    fn what_the_process_has_for_itself_is_seen() {
        const HELD_BYTES: usize = 64 << 20;
        // Written to, or the system would not give any.
        let held = std::hint::black_box(vec![1_u8; HELD_BYTES]);
        let with = Memory::new(0).resident_bytes();
        drop(held);
        assert!(with >= HELD_BYTES as u64, "{with}");
    }
}
