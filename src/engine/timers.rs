//! The deadline wheel of a shard.
//!
//! A deadline is a number in its connection, moved with a store; the wheel only remembers when to
//! look. An entry that comes up finds the connection's real deadline passed (then it acts) or
//! still ahead (then it is put back), so that a read with a timeout costs no timer operation.

use super::registry::SlotId;
use crate::clock::Moment;

/// Milliseconds of a bucket: no timeout is late by more, none early.
const GRAIN_MS: u64 = 4;

/// Buckets, a power of two. With the grain: 32.8 s around the wheel, above the ping interval, so
/// that an idle connection is looked at once per ping.
const BUCKETS: usize = 8_192;

/// Entries by the time they come up. Later than once around: looked at early and put back.
pub(super) struct Timers {
    buckets: Box<[Vec<SlotId>]>,
    /// One bit per bucket that is not empty.
    occupied: Box<[u64]>,
    /// The bucket time up to which everything was taken.
    done: u64,
    /// The bucket time of the first entry; asked twice a batch, and found anew only when it has
    /// come up.
    first: u64,
    entries: usize,
}

/// The time of a bucket that does not come.
const NEVER: u64 = u64::MAX;

impl Timers {
    pub(super) fn new() -> Self {
        Self {
            buckets: (0..BUCKETS).map(|_| Vec::new()).collect(),
            occupied: vec![0; BUCKETS / 64].into(),
            done: 0,
            first: NEVER,
            entries: 0,
        }
    }

    /// Looks at `slot` at `at`, or once around the wheel from now if that is earlier. Returns
    /// when.
    pub(super) fn schedule(&mut self, slot: SlotId, at: Moment) -> Moment {
        let wanted = at.as_millis().div_ceil(GRAIN_MS);
        let bucket_time = wanted.clamp(self.done + 1, self.done + BUCKETS as u64 - 1);
        let index = bucket_time as usize % BUCKETS;
        self.buckets[index].push(slot);
        self.occupied[index / 64] |= 1 << (index % 64);
        self.entries += 1;
        self.first = self.first.min(bucket_time);
        Moment::from_millis(bucket_time * GRAIN_MS)
    }

    /// When the next entry comes up.
    pub(super) fn next(&self) -> Option<Moment> {
        (self.first != NEVER).then(|| Moment::from_millis(self.first * GRAIN_MS))
    }

    /// The first entry after `done`.
    fn find_first(&self) -> u64 {
        if self.entries == 0 {
            return NEVER;
        }
        let first = (self.done + 1) as usize % BUCKETS;
        let words = self.occupied.len();
        // The word of the first bucket is looked at twice: its upper bits first, its lower last.
        let found = (0..=words).find_map(|step| {
            let word = (first / 64 + step) % words;
            let mask = match step {
                0 => !0 << (first % 64),
                last if last == words => !(!0 << (first % 64)),
                _ => !0,
            };
            let bits = self.occupied[word] & mask;
            (bits != 0).then(|| word * 64 + bits.trailing_zeros() as usize)
        });
        found.map_or(NEVER, |found| self.done + 1 + ((found + BUCKETS - first) % BUCKETS) as u64)
    }

    /// Moves everything that has come up by `now` to `due`.
    pub(super) fn expire(&mut self, now: Moment, due: &mut Vec<SlotId>) {
        let until = now.as_millis() / GRAIN_MS;
        while self.first <= until {
            let bucket_time = self.first;
            let index = bucket_time as usize % BUCKETS;
            let bucket = &mut self.buckets[index];
            self.entries -= bucket.len();
            due.append(bucket);
            // A crowd that came up together must not keep its memory in every bucket it visits.
            if bucket.capacity() > 64 {
                bucket.shrink_to(0);
            }
            self.occupied[index / 64] &= !(1 << (index % 64));
            self.done = bucket_time;
            self.first = self.find_first();
        }
        self.done = self.done.max(until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn slot(index: u32) -> SlotId {
        SlotId { slot: index, generation: 0 }
    }

    #[test]
    fn far_deadlines_are_looked_at_once_around() {
        let mut timers = Timers::new();
        let looked = timers.schedule(slot(1), Moment::from_millis(u64::MAX / 2));
        assert_eq!(looked.as_millis(), (BUCKETS as u64 - 1) * GRAIN_MS);
        assert_eq!(timers.next(), Some(looked));
    }

    proptest! {
        /// Against an ordered map: nothing early, nothing late by more than a grain, nothing lost.
        #[test]
        fn like_an_ordered_map(steps in prop::collection::vec((0_u64..40_000, 0_u64..9_000), 1..200)) {
            let mut timers = Timers::new();
            let mut model: BTreeMap<(u64, u32), ()> = BTreeMap::new();
            let mut now = 0;
            for (index, (delay, pass)) in steps.into_iter().enumerate() {
                let looked = timers.schedule(slot(index as u32), Moment::from_millis(now + delay));
                prop_assert!(looked.as_millis() < now + delay + 2 * GRAIN_MS);
                model.insert((looked.as_millis(), index as u32), ());
                let first = model.keys().next().map(|(at, _)| Moment::from_millis(*at));
                prop_assert_eq!(timers.next(), first);
                now += pass;
                let mut due = Vec::new();
                timers.expire(Moment::from_millis(now), &mut due);
                let later = model.split_off(&(now + 1, 0));
                let mut expected: Vec<u32> = model.keys().map(|(_, index)| *index).collect();
                model = later;
                let mut found: Vec<u32> = due.iter().map(|id| id.slot).collect();
                expected.sort_unstable();
                found.sort_unstable();
                prop_assert_eq!(found, expected);
                prop_assert_eq!(timers.entries, model.len());
            }
        }
    }
}
