//! How much of the receive buffers a connection may take, and in which order those are served that
//! found none.
//!
//! A multishot receive costs nothing per message, and takes one buffer after the other while its
//! peer keeps sending: within one entry into the kernel all there are. So it is for those that
//! take little. Who takes more than the budget of a batch, and who found no buffer, receives shot
//! by shot until it has been calm for a while. Called by the shard; knows no ring.

use crate::engine::model::slot_id::SlotId;
use crate::proto::limits;
use std::collections::VecDeque;

/// The budget of a batch, in units of a share of it each.
const UNITS_MAX: u8 = 64;
const UNIT_BYTES: u32 = (limits::BATCH_BYTES_MAX / UNITS_MAX as usize) as u32;
const UNIT_MESSAGES: u32 = (limits::BATCH_MESSAGES_MAX / UNITS_MAX as usize) as u32;

/// A shot of fewer bytes is calm: a unit of the budget.
const CALM_BYTES: u32 = UNIT_BYTES;

/// Calm shots until a connection gets its multishot receive back. Few enough that who was unlucky
/// once soon costs nothing again, and enough that it is not worth to be calm in order to be heavy.
const CALM_SHOTS: u8 = 32;

/// Messages that are shorter than this on average, headers included, are many: what they cost is
/// their number and not their bytes.
const MANY_BELOW_BYTES: u32 = 64;

/// How a connection receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Pace {
    /// By a multishot receive; it has taken so many units of its budget in this batch.
    Free(u8),
    /// Shot by shot, because it found no buffer; so many calm shots to go.
    Calm(u8),
    /// Shot by shot and in turn, because it takes much.
    Heavy,
    /// The same, in smaller shots, because it sends very many messages.
    Many,
}

impl Default for Pace {
    fn default() -> Self {
        Self::Free(0)
    }
}

impl Pace {
    /// So much arrived; without `more` the receive has ended with it. `true`: that was too much for
    /// a multishot receive.
    #[inline]
    pub(in crate::engine) fn handle_received(
        &mut self,
        bytes: u32,
        messages: u32,
        more: bool,
    ) -> bool {
        let Self::Free(units) = self else {
            if !more {
                self.handle_shot(bytes, messages);
            }
            return false;
        };
        let more_units = bytes.div_ceil(UNIT_BYTES) + messages / UNIT_MESSAGES;
        let sum = u32::from(*units) + more_units;
        *units = sum as u8;
        if sum <= u32::from(UNITS_MAX) {
            return false;
        }
        *self = Self::loud(bytes, messages);
        true
    }

    #[cold]
    fn handle_shot(&mut self, bytes: u32, messages: u32) {
        *self = match *self {
            _ if bytes >= CALM_BYTES || messages >= UNIT_MESSAGES => Self::loud(bytes, messages),
            Self::Calm(0) => Self::Free(0),
            Self::Calm(left) => Self::Calm(left - 1),
            _ => Self::Calm(CALM_SHOTS),
        };
    }

    fn loud(bytes: u32, messages: u32) -> Self {
        let many = u64::from(messages) * u64::from(MANY_BELOW_BYTES) > u64::from(bytes);
        if many { Self::Many } else { Self::Heavy }
    }

    /// A receive found no buffer.
    pub(in crate::engine) fn handle_starved(&mut self) {
        if let Self::Free(units) = *self {
            *self = if units > UNITS_MAX / 4 { Self::Heavy } else { Self::Calm(CALM_SHOTS) };
        }
    }

    /// The batch is over.
    #[inline]
    pub(in crate::engine) fn end_batch(&mut self) {
        if let Self::Free(units) = self {
            *units = 0;
        }
    }

    /// Bytes of a shot at most. `None`: a multishot receive.
    #[inline]
    pub(in crate::engine) fn shot_bytes(self) -> Option<u32> {
        match self {
            Self::Free(_) => None,
            Self::Calm(_) | Self::Heavy => Some(limits::SHOT_BYTES_MAX as u32),
            Self::Many => Some(limits::SHOT_OF_SMALL_BYTES_MAX as u32),
        }
    }

    /// Whether it has to wait for its turn.
    pub(in crate::engine) fn waits_in_turn(self) -> bool {
        matches!(self, Self::Heavy | Self::Many)
    }
}

/// Who waits for a receive.
#[derive(Default)]
pub(in crate::engine) struct Rota {
    /// Took little and found no buffer; each batch begins with all of them.
    starved: VecDeque<SlotId>,
    /// Take much; some of them in each batch, in rotation.
    heavy: VecDeque<SlotId>,
    /// Those at the front of `heavy` that had their turn and found no buffer.
    again: usize,
    /// Bytes that heavy ones may ask for before the next batch.
    left_bytes: usize,
}

impl Rota {
    /// Whether a connection is on one of the lists.
    pub(in crate::engine) fn has(&self, id: SlotId) -> bool {
        self.starved.contains(&id) || self.heavy.contains(&id)
    }

    pub(in crate::engine) fn is_empty(&self) -> bool {
        self.starved.is_empty() && self.heavy.is_empty()
    }

    /// A connection found no buffer; `in_turn`: it was on the list and had its turn, so that it is
    /// not put behind those that are still waiting for theirs.
    pub(in crate::engine) fn handle_starved(&mut self, id: SlotId, pace: Pace, in_turn: bool) {
        match (pace.waits_in_turn(), in_turn) {
            (false, _) => self.starved.push_back(id),
            (true, true) => {
                self.heavy.insert(self.again.min(self.heavy.len()), id);
                self.again += 1;
            }
            (true, false) => self.heavy.push_back(id),
        }
    }

    /// What a new batch may take.
    pub(in crate::engine) fn begin_batch(&mut self) {
        self.left_bytes = limits::SHOTS_BYTES_MAX;
        self.again = 0;
    }

    /// Takes those that took little, in the order in which they starved.
    pub(in crate::engine) fn take_starved(&mut self) -> VecDeque<SlotId> {
        std::mem::take(&mut self.starved)
    }

    /// The next of those that take much, if this batch has something left for it.
    pub(in crate::engine) fn next_heavy(&mut self) -> Option<SlotId> {
        if self.left_bytes == 0 { None } else { self.heavy.pop_front() }
    }

    /// Whether a shot of so many bytes may be asked for now; otherwise `id` waits for its turn.
    /// One of those that `next_heavy` gave has it.
    pub(in crate::engine) fn admit(&mut self, id: SlotId, shot_bytes: u32, has_turn: bool) -> bool {
        if !has_turn && (self.left_bytes == 0 || !self.heavy.is_empty()) {
            self.heavy.push_back(id);
            return false;
        }
        self.left_bytes = self.left_bytes.saturating_sub(shot_bytes as usize);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_is_one_of_bytes_and_of_messages() {
        let budget = limits::BATCH_BYTES_MAX as u32;
        let mut pace = Pace::default();
        assert!(!pace.handle_received(budget, 1, true));
        assert!(pace.handle_received(UNIT_BYTES, 1, true));
        assert_eq!(pace, Pace::Heavy);
        let mut pace = Pace::default();
        assert!(!pace.handle_received(6 * 900, 900, true));
        assert!(pace.handle_received(6 * 300, 300, true));
        assert_eq!(pace, Pace::Many);
        // A batch is a batch.
        let mut pace = Pace::default();
        for _ in 0..100 {
            assert!(!pace.handle_received(budget / 2, 100, true));
            pace.end_batch();
        }
        assert_eq!(pace, Pace::default());
    }

    #[test]
    fn who_is_calm_for_a_while_is_free_again() {
        let mut pace = Pace::default();
        pace.handle_starved();
        assert_eq!((pace, pace.waits_in_turn()), (Pace::Calm(CALM_SHOTS), false));
        pace.handle_received(CALM_BYTES, 1, false);
        assert!(pace.waits_in_turn());
        let mut shots = 0;
        while pace.shot_bytes().is_some() {
            pace.handle_received(100, 1, false);
            assert!(!pace.waits_in_turn());
            shots += 1;
        }
        assert_eq!(shots, u32::from(CALM_SHOTS) + 2);
        assert_eq!(pace, Pace::Free(0));
    }

    #[test]
    fn nobody_waits_for_ever_though_few_find_a_buffer() {
        let id = |slot| SlotId { slot, generation: 0 };
        let mut rota = Rota::default();
        let mut served = [0_u32; 50];
        (0..50).for_each(|slot| rota.handle_starved(id(slot), Pace::Heavy, false));
        for _ in 0..500 {
            rota.begin_batch();
            let turns: Vec<SlotId> = std::iter::from_fn(|| {
                let next = rota.next_heavy()?;
                assert!(rota.admit(next, limits::SHOT_BYTES_MAX as u32, true));
                Some(next)
            })
            .collect();
            // The first two find a buffer and want more.
            for (place, id) in turns.into_iter().enumerate() {
                if place < 2 {
                    served[id.slot as usize] += 1;
                    assert!(!rota.admit(id, limits::SHOT_BYTES_MAX as u32, false));
                } else {
                    rota.handle_starved(id, Pace::Heavy, true);
                }
            }
        }
        assert!(served.iter().all(|count| (19..=21).contains(count)), "{served:?}");
    }
}
