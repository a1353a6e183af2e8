//! What a shard does for the memory of the process: gives back what it keeps, looks at the limit, and
//! cuts those who hold most for its part of what is too much. The levels are in [`crate::engine::model::memory`].

use crate::clock::Moment;
use crate::engine::connection::Connection;
use crate::engine::connection::state::Flag;
use crate::engine::model::counters::count_more;
use crate::engine::model::memory::{Look, MemoryClass, MemoryLevel, ShardMemory};
use crate::engine::shard::Shard;
use crate::ring::{Ring, memory};
use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Time until what was cut is free for certain.
const CUT_TIME: Duration = Duration::from_millis(800);

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
pub(in crate::engine) struct Governor {
    next: Moment,
    /// Bytes moved until the last look.
    moved: u64,
    /// Bytes given back so far.
    pub(in crate::engine) returned_bytes: u64,
    /// When to look at the limit. Never: after the next batch, as above.
    limit_next: Moment,
    limit_moved: u64,
    cuts: Cuts,
}

impl Governor {
    pub(in crate::engine) fn new() -> Self {
        Self {
            next: Moment::NEVER,
            moved: 0,
            returned_bytes: 0,
            limit_next: Moment::NEVER,
            limit_moved: 0,
            cuts: Cuts::default(),
        }
    }

    /// When the shard is to look, whatever happens. Never: after the next batch.
    pub(in crate::engine) fn deadline(&self) -> Moment {
        self.next.min(self.limit_next)
    }

    /// Looks if it is time, or says when to look. `moved`: bytes in and out so far.
    pub(in crate::engine) fn look(&mut self, now: Moment, moved: u64) {
        if self.next == Moment::NEVER {
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
        self.next = if goes_on { now + LOOK_INTERVAL } else { Moment::NEVER };
    }

    fn is_limit_due(&self, now: Moment) -> bool {
        self.limit_next <= now || self.limit_next == Moment::NEVER
    }

    /// The limit was looked at, and is to be again after so long, if anything moves.
    fn has_seen_limit(&mut self, now: Moment, moved: u64, enough_for: Duration) {
        let moves = std::mem::replace(&mut self.limit_moved, moved) != moved;
        self.limit_next = if moves { now + enough_for } else { Moment::NEVER };
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
    pub(in crate::engine) fn look_after_memory(&mut self, now: Moment) {
        let counters = &self.core.counters;
        let moved = counters.bytes_in.get().wrapping_add(counters.bytes_out.get());
        self.governor.look(now, moved);
        let limited = self.core.memory.is_limited();
        if limited && self.governor.is_limit_due(now) {
            self.look_at_limit(now, moved);
        }
        if self.governor.next == Moment::NEVER
            || limited && self.governor.limit_next == Moment::NEVER
        {
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
    pub(in crate::engine) fn handle_memory(&mut self) {
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

    /// What it holds and keeps, but for what is in the slots of its connections.
    pub(in crate::engine) fn memory_status(&self) -> ShardMemory {
        let pool_bytes = self.core.settings.ring.buffer_pool_bytes as u64;
        let free_bytes = pool_bytes * u64::from(self.ring.free_buffer_eighths()) / 8;
        let left_bytes = self.core.shared.borrow().remains.cost_bytes() as u64;
        ShardMemory {
            growth_bytes: self.core.account.used_bytes() as u64,
            inboxes: MemoryClass::new(left_bytes, 0, 0),
            outboxes: MemoryClass::default(),
            buffers: MemoryClass::new(0, memory::kept_bytes() as u64, self.governor.returned_bytes),
            pools: MemoryClass::new(pool_bytes - free_bytes, free_bytes, 0),
        }
    }

    /// Cuts those who hold most. Says how much they held.
    fn shed(&self, bytes: usize) -> usize {
        let core = &self.core;
        let mut slots = core.slots.borrow_mut();
        let holds = |c: &Connection| {
            let (inbox_bytes, outbox_bytes) = c.held_bytes(core);
            (inbox_bytes + outbox_bytes, c.id)
        };
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
        assert_eq!(governor.deadline(), Moment::NEVER);
        assert!(governor.is_limit_due(now));
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
            while governor.deadline() != Moment::NEVER {
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
