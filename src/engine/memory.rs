//! What the process may take of the machine's memory, and what happens when it comes near.
//!
//! ```text
//! of memory_max    what is different
//!   80 %           nobody grows: reads that ask for more than an inbox and long writes wait; what
//!                  shards keep for its next use is given back
//!   90 %           handshakes are refused (503, Retry-After), and `readyz` says so
//!  100 %           those who hold most are cut until 95 % are left
//! ```
//!
//! A task looks at the process many times a second, if there is a limit; the shards act on what it
//! says. [`Governor`] gives back what a shard keeps after a peak, limit or not.

use super::command::Command;
use super::connection::{Connection, NEVER};
use super::core::{Core, count_more};
use super::flags::Flag;
use super::reach::Reach;
use super::shard::Shard;
use crate::clock::Moment;
use crate::ring::{Ring, memory};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
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
    /// The limit is reached.
    Over,
}

impl MemoryLevel {
    fn of(used_bytes: u64, bytes_max: u64) -> Self {
        let percent = u128::from(used_bytes) * 100 / u128::from(bytes_max.max(1));
        match percent {
            _ if bytes_max == 0 => Self::Calm,
            100.. => Self::Over,
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
    level: AtomicU8,
    resident_bytes: AtomicU64,
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
        Self { bytes_max, ..Self::default() }
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
            resident_bytes: resident_bytes(),
            bytes_max: self.bytes_max,
            level: self.level(),
        }
    }

    /// Looks at the process. Comes back: what it is over the mark down to which it is to shrink.
    fn look(&self) -> u64 {
        let used = resident_bytes();
        self.resident_bytes.store(used, Ordering::Relaxed);
        self.level.store(MemoryLevel::of(used, self.bytes_max) as u8, Ordering::Relaxed);
        used.saturating_sub(self.bytes_max / 100 * 95)
    }
}

/// Resident memory without what is shared with others; 0 where the system does not tell.
fn resident_bytes() -> u64 {
    // proc_pid_statm(5): pages in all, resident, of which shared.
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let mut pages = statm.split(' ').skip(1).map_while(|pages| pages.parse::<u64>().ok());
    let own = pages.next().unwrap_or(0).saturating_sub(pages.next().unwrap_or(0));
    own * rustix::param::page_size() as u64
}

/// How often the process is looked at. A crowd on a fast network takes some MiB meanwhile; a look
/// costs some microseconds.
const WATCH_INTERVAL: Duration = Duration::from_millis(25);

/// Looks until what was cut is free for certain.
const LOOKS_PER_CUT: usize = 32;

/// Looks between two lines of the log, and between two times at which shards give back what they
/// keep while memory is tight.
const LOOKS_PER_REPORT: u32 = 10;

/// What was cut lately, by looks: it may not be free yet, and is not to be cut for again.
#[derive(Default)]
struct Cuts {
    bytes: [u64; LOOKS_PER_CUT],
    next: usize,
}

impl Cuts {
    /// What is to be cut now if the process is over the mark by so much.
    fn due(&mut self, over_bytes: u64) -> u64 {
        self.bytes[self.next] = 0;
        let due = over_bytes.saturating_sub(self.bytes.iter().sum());
        self.bytes[self.next] = due;
        self.next = (self.next + 1) % LOOKS_PER_CUT;
        due
    }
}

/// Watches the process if it has a limit.
pub(super) fn start_watch(runtime: &tokio::runtime::Runtime, reach: &Arc<Reach>) {
    if reach.memory.is_limited() {
        runtime.spawn(watch(Arc::clone(reach)));
    }
}

/// Tells the shards how near the process is to its limit, for ever.
async fn watch(reach: Arc<Reach>) {
    let memory = Arc::clone(&reach.memory);
    let shards = reach.remotes.len().max(1) as u64;
    let (mut before, mut told) = (MemoryLevel::Calm, MemoryLevel::Calm);
    let (mut cuts, mut cut_bytes, mut looks) = (Cuts::default(), 0, 0_u32);
    loop {
        tokio::time::sleep(WATCH_INTERVAL).await;
        let over_bytes = memory.look();
        let level = memory.level();
        looks = looks.wrapping_add(1);
        // Now and then only: the log is not to be filled by a level that goes up and down.
        let now_and_then = looks.is_multiple_of(LOOKS_PER_REPORT);
        if level > told || now_and_then && level != told {
            tracing::warn!(?level, bytes_max = memory.bytes_max, "memory");
            told = level;
        }
        let over_bytes = if level == MemoryLevel::Over { over_bytes } else { 0 };
        let due_bytes = cuts.due(over_bytes);
        cut_bytes += due_bytes;
        if now_and_then && cut_bytes > 0 {
            tracing::warn!(bytes = cut_bytes, "memory: cut those who hold most");
            cut_bytes = 0;
        }
        let returns = level >= MemoryLevel::Tight && now_and_then;
        if level != before || level == MemoryLevel::Over || returns {
            for remote in &reach.remotes {
                remote.send(Command::Memory { shed_bytes: due_bytes / shards });
            }
        }
        before = level;
    }
}

/// Gives to the system what this thread has freed.
pub(crate) fn tidy() {
    memory::collect();
}

/// Time between two looks of a shard at what it keeps.
const LOOK_INTERVAL: Duration = Duration::from_secs(4);

/// What a shard may keep although it is idle.
const IDLE_KEPT_BYTES: usize = 256 * 1024;

/// A shard that moves more than so many bytes between two looks has no time to tidy up, and the
/// allocator gives back by itself.
const BUSY_BYTES: u64 = 32 * 1024 * 1024;

/// Gives back what a shard keeps for its next use, half of it with every look while nothing needs
/// it. Each batch after a pause brings on a look, and as many more as find something; an idle shard
/// that keeps nothing is not woken.
pub(super) struct Governor {
    next: Moment,
    /// Bytes moved until the last look.
    moved: u64,
    /// Bytes given back so far.
    pub(super) returned_bytes: u64,
}

impl Governor {
    pub(super) fn new() -> Self {
        Self { next: NEVER, moved: 0, returned_bytes: 0 }
    }

    /// When the shard is to look, whatever happens. Never: after the next batch.
    pub(super) fn deadline(&self) -> Moment {
        self.next
    }

    /// Looks if it is time, or says when to look. `moved`: bytes in and out so far.
    pub(super) fn look(&mut self, now: Moment, moved: u64) {
        if self.next == NEVER {
            self.next = now + LOOK_INTERVAL;
            return;
        }
        if self.next > now {
            return;
        }
        let since = moved.wrapping_sub(std::mem::replace(&mut self.moved, moved));
        let kept = memory::kept_bytes();
        let left = if kept > IDLE_KEPT_BYTES { kept / 2 } else { kept };
        self.release_to(left, since < BUSY_BYTES);
        let goes_on = since > 0 || memory::kept_bytes() > IDLE_KEPT_BYTES;
        self.next = if goes_on { now + LOOK_INTERVAL } else { NEVER };
    }

    fn release_to(&mut self, bytes: usize, collects: bool) {
        self.returned_bytes += memory::release_to(bytes) as u64;
        if collects {
            memory::collect();
        }
    }
}

impl<R: Ring> Shard<R> {
    /// Looks after what it keeps, if it is time.
    pub(super) fn look_after_memory(&mut self, now: Moment) {
        let counters = &self.core.counters;
        self.governor.look(now, counters.bytes_in.get().wrapping_add(counters.bytes_out.get()));
        if self.governor.deadline() == NEVER {
            // The next batch comes after a pause.
            self.core.chores.set(true);
        }
    }

    /// The process comes near its limit, or no more; so many bytes of this shard's are to go.
    pub(super) fn handle_memory(&mut self, shed_bytes: u64) {
        self.governor.release_to(0, true);
        // Whether there is room may have changed.
        self.core.account.tell();
        self.core.chores.set(true);
        if shed_bytes > 0 {
            self.shed(usize::try_from(shed_bytes).unwrap_or(usize::MAX));
        }
    }

    /// What it holds and keeps.
    pub(super) fn memory_status(&self) -> ShardMemory {
        ShardMemory {
            growth_bytes: self.core.account.used_bytes() as u64,
            kept_bytes: memory::kept_bytes() as u64,
            returned_bytes: self.governor.returned_bytes,
            pool_bytes: self.core.settings.ring.buffer_pool_bytes as u64,
        }
    }

    /// Cuts those who hold most.
    fn shed(&mut self, bytes: usize) {
        let core = &self.core;
        let mut slots = core.slots.borrow_mut();
        let holds = |c: &Connection| (c.held_bytes(core), c.id);
        let mut holders: Vec<_> =
            slots.iter_mut().map(|c| holds(c)).filter(|(held, _)| *held > 0).collect();
        holders.sort_unstable_by_key(|(held, _)| std::cmp::Reverse(*held));
        let (mut cut, mut freed) = (0_u64, 0);
        for (held, id) in holders {
            if freed >= bytes {
                break;
            }
            let Some(slot) = slots.find(id) else { continue };
            if !slot.connection.flags.has(Flag::Dead) {
                slot.connection.cut(core);
                cut += 1;
                freed += held;
            }
        }
        count_more(&core.counters.shed, cut);
    }
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
    fn what_was_cut_is_not_cut_for_again_until_it_should_be_free() {
        let mut cuts = Cuts::default();
        assert_eq!([cuts.due(0), cuts.due(100), cuts.due(100), cuts.due(130)], [0, 100, 0, 30]);
        for look in 0..LOOKS_PER_CUT - 3 {
            assert_eq!(cuts.due(130), 0, "{look}");
        }
        // It had no effect.
        assert_eq!([cuts.due(130), cuts.due(130), cuts.due(130)], [100, 0, 30]);
    }

    #[test]
    fn the_levels_begin_where_they_say() {
        for (used, level) in [
            (0, MemoryLevel::Calm),
            (799, MemoryLevel::Calm),
            (800, MemoryLevel::Tight),
            (900, MemoryLevel::Scarce),
            (999, MemoryLevel::Scarce),
            (1_000, MemoryLevel::Over),
            (u64::MAX, MemoryLevel::Over),
        ] {
            assert_eq!(MemoryLevel::of(used, 1_000), level, "{used}");
            assert_eq!(MemoryLevel::of(used, 0), MemoryLevel::Calm);
        }
        assert!(resident_bytes() > 1 << 20);
    }

    #[test]
    fn an_idle_shard_gives_back_in_a_few_looks_and_sleeps_then() {
        std::thread::spawn(|| {
            memory::keep_buffers();
            (0..16)
                .map(|_| crate::ring::Buffer::with_capacity(1 << 20))
                .collect::<Vec<_>>()
                .into_iter()
                .for_each(drop);
            assert!(memory::kept_bytes() >= 16 << 20);
            let mut governor = Governor::new();
            let mut now = Moment::from_millis(1);
            governor.look(now, 1 << 30);
            let mut looks = 0;
            while governor.deadline() != NEVER {
                assert!(governor.deadline() > now);
                now = governor.deadline();
                governor.look(now, 1 << 30);
                looks += 1;
            }
            assert!(looks <= 8 && now < Moment::from_millis(30_000), "{looks}");
            assert!(memory::kept_bytes() <= IDLE_KEPT_BYTES);
            assert!(governor.returned_bytes >= 15 << 20);
        })
        .join()
        .unwrap();
    }
}
