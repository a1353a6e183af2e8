//! The deadline wheel of a shard.
//!
//! A deadline is a number in its connection, moved with a store; the wheel only remembers when to
//! look. An entry that comes up finds the connection's real deadline passed (then it acts) or
//! still ahead (then it is put back), so that a read with a timeout costs no timer operation. An
//! entry names a slot and not its generation: the next connection there is only looked at early.

use crate::clock::Moment;

/// Milliseconds of a bucket: no timeout is late by more, none early.
const GRAIN_MS: u64 = 4;

/// Buckets, a power of two. With the grain: 32.8 s around the wheel, above the ping interval, so
/// that an idle connection is looked at once per ping.
const BUCKETS: usize = 8_192;

/// Entries by the time they come up. Later than once around: looked at early and put back.
pub(in crate::engine) struct Timers {
    buckets: Box<[Vec<u32>]>,
    /// One bit per bucket that is not empty.
    occupied: Box<[u64]>,
    /// The bucket time up to which everything was taken.
    done: u64,
    entries: usize,
    /// When the next entry comes up: asked before every wait, so it is kept.
    next: Moment,
}

impl Timers {
    pub(in crate::engine) fn new() -> Self {
        Self {
            buckets: (0..BUCKETS).map(|_| Vec::new()).collect(),
            occupied: vec![0; BUCKETS / 64].into(),
            done: 0,
            entries: 0,
            next: Moment::NEVER,
        }
    }

    /// Looks at `slot` at `at`, or once around the wheel from `now` if that is earlier. Returns
    /// when.
    pub(in crate::engine) fn schedule(&mut self, slot: u32, at: Moment, now: Moment) -> Moment {
        if self.next > now {
            // There is nothing to be taken until then.
            self.done = self.done.max(now.as_millis() / GRAIN_MS);
        }
        let wanted = at.as_millis().div_ceil(GRAIN_MS);
        let bucket_time = wanted.clamp(self.done + 1, self.done + BUCKETS as u64 - 1);
        let index = bucket_time as usize % BUCKETS;
        self.buckets[index].push(slot);
        self.occupied[index / 64] |= 1 << (index % 64);
        self.entries += 1;
        let at = Moment::from_millis(bucket_time * GRAIN_MS);
        self.next = self.next.min(at);
        at
    }

    /// When the next entry comes up, if ever.
    #[inline]
    pub(in crate::engine) fn next(&self) -> Moment {
        self.next
    }

    /// Whether `slot` will be looked at then.
    pub(in crate::engine) fn has(&self, slot: u32, at: Moment) -> bool {
        let index = (at.as_millis() / GRAIN_MS) as usize % BUCKETS;
        at == Moment::NEVER || self.buckets[index].contains(&slot)
    }

    /// Looks for the first bucket that is not empty.
    fn find_next(&self) -> Moment {
        if self.entries == 0 {
            return Moment::NEVER;
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
        found.map_or(Moment::NEVER, |found| {
            let ahead = (found + BUCKETS - first) % BUCKETS;
            Moment::from_millis((self.done + 1 + ahead as u64) * GRAIN_MS)
        })
    }

    /// Moves everything that has come up by `now` to `due`.
    pub(in crate::engine) fn expire(&mut self, now: Moment, due: &mut Vec<u32>) {
        let until = now.as_millis() / GRAIN_MS;
        while self.next <= now {
            let bucket_time = self.next.as_millis() / GRAIN_MS;
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
            self.next = self.find_next();
        }
        self.done = self.done.max(until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[test]
    fn far_deadlines_are_looked_at_once_around() {
        let mut timers = Timers::new();
        let looked = timers.schedule(1, Moment::from_millis(u64::MAX / 2), Moment::default());
        assert_eq!(looked.as_millis(), (BUCKETS as u64 - 1) * GRAIN_MS);
        assert_eq!(timers.next(), looked);
    }

    proptest! {
        /// Against an ordered map: nothing early, nothing late by more than a grain, nothing lost.
        #[test]
        fn like_an_ordered_map(steps in prop::collection::vec((0_u64..40_000, 0_u64..9_000), 1..200)) {
            let mut timers = Timers::new();
            let mut model: BTreeMap<(u64, u32), ()> = BTreeMap::new();
            let mut now = 0;
            for (index, (delay, pass)) in steps.into_iter().enumerate() {
                let at = Moment::from_millis(now + delay);
                let looked = timers.schedule(index as u32, at, Moment::from_millis(now));
                prop_assert!(looked.as_millis() < now + delay + 2 * GRAIN_MS);
                let around = (BUCKETS as u64 - 2) * GRAIN_MS;
                prop_assert!(looked.as_millis() >= now + delay.min(around), "early");
                model.insert((looked.as_millis(), index as u32), ());
                let first = model.keys().next().map(|(at, _)| Moment::from_millis(*at));
                prop_assert_eq!(timers.next(), first.unwrap_or(Moment::NEVER));
                now += pass;
                let mut due = Vec::new();
                // As a shard does.
                if timers.next() <= Moment::from_millis(now) {
                    timers.expire(Moment::from_millis(now), &mut due);
                }
                let later = model.split_off(&(now + 1, 0));
                let mut expected: Vec<u32> = model.keys().map(|(_, index)| *index).collect();
                model = later;
                let mut found = due;
                expected.sort_unstable();
                found.sort_unstable();
                prop_assert_eq!(found, expected);
                prop_assert_eq!(timers.entries, model.len());
            }
        }
    }
}
