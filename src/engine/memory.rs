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
//! If there is a limit, a task looks at the process many times a second and tells the shards; so does
//! each shard between two batches, the more often the less is free: a busy machine may keep the task
//! waiting, and nobody takes anything in without a batch. Each shard cuts for its part of what is too
//! much. [`Governor`] gives back what a shard keeps after a peak, limit or not.

use super::command::Command;
use super::connection::{Connection, NEVER};
use super::core::{Core, count_more};
use super::flags::Flag;
use super::reach::Reach;
use super::shard::Shard;
use crate::clock::Moment;
use crate::ring::{Ring, memory};
use std::collections::VecDeque;
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
    /// What the system tells of the process; kept open, for it is needed most where nothing can be
    /// opened.
    statm: Option<File>,
    used_bytes: AtomicU64,
    level: AtomicU8,
    /// How often the level has become another one.
    changes: AtomicU32,
    /// What was cut since somebody asked.
    cut_bytes: AtomicU64,
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
    fn look(&self) -> Look {
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
    fn over_bytes(&self, look: Look) -> u64 {
        let over_bytes = look.used_bytes.saturating_sub(self.bytes_max / 100 * 95);
        if look.level == MemoryLevel::Over { over_bytes } else { 0 }
    }

    /// How long what is free is enough, however fast a shard takes it.
    fn enough_for(&self, look: Look) -> Duration {
        let millis = self.bytes_max.saturating_sub(look.used_bytes) / TAKEN_BYTES_PER_MS;
        Duration::from_millis(millis).clamp(Duration::from_millis(1), WATCH_INTERVAL)
    }
}

/// What a look has found.
#[derive(Clone, Copy)]
struct Look {
    used_bytes: u64,
    level: MemoryLevel,
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

/// Time until what was cut is free for certain.
const CUT_TIME: Duration = Duration::from_millis(800);

/// Looks between two lines of the log, and between two times at which shards give back what they
/// keep while memory is tight.
const LOOKS_PER_REPORT: u32 = 10;

/// What a shard has cut lately: it may not be free yet, and is not to be cut for again.
#[derive(Default)]
struct Cuts(VecDeque<(Moment, u64)>);

impl Cuts {
    /// What is to be cut now if the shard is over its mark by so much. Asked once a millisecond at
    /// most.
    fn due(&mut self, now: Moment, over_bytes: u64) -> u64 {
        while self.0.front().is_some_and(|(at, _)| now.since(*at) >= CUT_TIME) {
            self.0.pop_front();
        }
        let due = over_bytes.saturating_sub(self.0.iter().map(|(_, bytes)| bytes).sum());
        if due > 0 {
            self.0.push_back((now, due));
        }
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
            reach.remotes.iter().for_each(|remote| remote.send(Command::Memory));
        }
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
/// that keeps nothing is not woken. Where the process has a limit, it also says when to look at that.
pub(super) struct Governor {
    next: Moment,
    /// Bytes moved until the last look.
    moved: u64,
    /// Bytes given back so far.
    pub(super) returned_bytes: u64,
    /// When to look at the limit. Never: after the next batch, as above.
    limit_next: Moment,
    limit_moved: u64,
    cuts: Cuts,
}

impl Governor {
    pub(super) fn new() -> Self {
        Self {
            next: NEVER,
            moved: 0,
            returned_bytes: 0,
            limit_next: NEVER,
            limit_moved: 0,
            cuts: Cuts::default(),
        }
    }

    /// When the shard is to look, whatever happens. Never: after the next batch.
    pub(super) fn deadline(&self) -> Moment {
        self.next.min(self.limit_next)
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

    fn is_limit_due(&self, now: Moment) -> bool {
        self.limit_next <= now || self.limit_next == NEVER
    }

    /// The limit was looked at, and is to be again after so long, if anything moves.
    fn has_seen_limit(&mut self, now: Moment, moved: u64, enough_for: Duration) {
        let moves = std::mem::replace(&mut self.limit_moved, moved) != moved;
        self.limit_next = if moves { now + enough_for } else { NEVER };
    }

    fn release_to(&mut self, bytes: usize, collects: bool) {
        self.returned_bytes += memory::release_to(bytes) as u64;
        if collects {
            memory::collect();
        }
    }
}

impl<R: Ring> Shard<R> {
    /// Looks after what it keeps, and at the limit, if it is time.
    pub(super) fn look_after_memory(&mut self, now: Moment) {
        let counters = &self.core.counters;
        let moved = counters.bytes_in.get().wrapping_add(counters.bytes_out.get());
        self.governor.look(now, moved);
        let limited = self.core.memory.is_limited();
        if limited && self.governor.is_limit_due(now) {
            self.look_at_limit(now, moved);
        }
        if self.governor.next == NEVER || limited && self.governor.limit_next == NEVER {
            // The next batch comes after a pause.
            self.core.chores.set(true);
        }
    }

    fn look_at_limit(&mut self, now: Moment, moved: u64) {
        let before = self.core.memory.level();
        let look = self.core.memory.look();
        if look.level != before {
            // Whether there is room has changed.
            self.core.account.tell();
            self.core.chores.set(true);
        }
        if look.level > before || look.level == MemoryLevel::Over {
            self.keep_limit(look);
        }
        self.governor.has_seen_limit(now, moved, self.core.memory.enough_for(look));
    }

    /// The process comes near its limit, or no more.
    pub(super) fn handle_memory(&mut self) {
        let look = self.core.memory.look();
        self.governor.release_to(0, true);
        // Whether there is room may have changed.
        self.core.account.tell();
        self.core.chores.set(true);
        self.keep_limit(look);
    }

    /// Gives back what it keeps, and cuts for its part of what the process has too much.
    fn keep_limit(&mut self, look: Look) {
        let memory = &self.core.memory;
        let over_bytes = memory.over_bytes(look) / self.core.shards.max(1) as u64;
        let due_bytes = self.governor.cuts.due(self.core.now.get(), over_bytes);
        self.governor.release_to(0, due_bytes > 0);
        if due_bytes > 0 {
            let freed = self.shed(usize::try_from(due_bytes).unwrap_or(usize::MAX));
            memory.cut_bytes.fetch_add(freed as u64, Ordering::Relaxed);
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

    /// Cuts those who hold most. Says how much they held.
    fn shed(&self, bytes: usize) -> usize {
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
        freed
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
        let mut due = |millis, over| cuts.due(Moment::from_millis(millis), over);
        assert_eq!([due(1, 0), due(2, 100), due(3, 100), due(10, 130)], [0, 100, 0, 30]);
        for millis in 11..802 {
            assert_eq!(due(millis, 130), 0, "{millis}");
        }
        // It had no effect.
        assert_eq!([due(802, 130), due(803, 130), due(810, 130)], [100, 0, 30]);
    }

    #[test]
    fn who_has_nothing_to_do_does_not_look_at_the_limit() {
        let mut governor = Governor::new();
        let (mut now, enough_for) = (Moment::from_millis(1), Duration::from_millis(5));
        for moved in [100, 200] {
            assert!(governor.is_limit_due(now));
            governor.has_seen_limit(now, moved, enough_for);
            assert!(!governor.is_limit_due(now));
            assert_eq!(governor.deadline(), now + enough_for);
            now = governor.deadline();
        }
        governor.has_seen_limit(now, 200, enough_for);
        assert_eq!(governor.deadline(), NEVER);
        assert!(governor.is_limit_due(now));
    }

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
            (999, MemoryLevel::Scarce),
            (1_000, MemoryLevel::Over),
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
