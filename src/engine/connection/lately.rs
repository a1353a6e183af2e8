//! Which connections were looked at lately, a bit for each: what is worth a question now and then,
//! and no memory of its own in every connection. Asked by
//! [`progress`](crate::engine::connection::progress) where a question costs a system call; knows slots
//! and no connection.

use crate::clock::Moment;
use std::time::Duration;

/// The slots that were looked at in this part of time.
#[derive(Default)]
pub(in crate::engine) struct Lately {
    part: u64,
    slots: Vec<u64>,
}

impl Lately {
    /// Whether this is the first look at the slot in this part of time; parts are so long.
    pub(in crate::engine) fn is_first(&mut self, slot: u32, now: Moment, length: Duration) -> bool {
        let part = now.as_millis() / (length.as_millis() as u64).max(1);
        if std::mem::replace(&mut self.part, part) != part {
            self.slots.clear();
        }
        let (word, bit) = (slot as usize / 64, 1 << (slot % 64));
        if word >= self.slots.len() {
            self.slots.resize(word + 1, 0);
        }
        let before = self.slots[word];
        self.slots[word] |= bit;
        before & bit == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_has_one_first_look_in_each_part_of_time() {
        let mut lately = Lately::default();
        let mut first = |slot, millis| {
            lately.is_first(slot, Moment::from_millis(millis), Duration::from_millis(100))
        };
        for from in [0, 100, 700] {
            for slot in [0, 63, 64, 1_000, 1] {
                assert!(first(slot, from + u64::from(slot) / 20));
                assert!(!first(slot, from + 99));
            }
        }
    }
}
