//! Wakes the holders of shared sockets at the end of a batch, those of one thread by one wake: see
//! [`wake_batch`](crate::engine::shared::wake_batch).

use crate::engine::model::slot_id::SlotId;
use crate::engine::shard::Shard;
use crate::engine::shared::wake_batch::Companion;
use crate::ring::Ring;
use std::time::Duration;

/// Holders that one wakes: so many wakes are not yet a pause for those that it delays.
const COMPANIONS_MAX: usize = 255;

/// How long the first holder may take until the shard wakes its companions.
const PATIENCE: Duration = Duration::from_millis(4);

impl<R: Ring> Shard<R> {
    /// Wakes the holders that have something to do.
    pub(in crate::engine) fn wake_holders(&mut self) {
        let mut woken = std::mem::take(&mut self.core.shared.borrow_mut().woken);
        woken.sort_by_key(|woken| woken.waiting.thread);
        let mut rest = woken.drain(..).peekable();
        while let Some(first) = rest.next() {
            let thread = first.waiting.thread;
            let companion = || rest.next_if(|woken| woken.waiting.thread == thread);
            let companions = std::iter::from_fn(companion)
                .map(|woken| Companion { slot: woken.slot, waker: woken.waiting.waker });
            self.accompany(first.slot, companions.take(COMPANIONS_MAX).collect());
            self.core.wake_holder_now(first.slot, first.waiting.waker);
        }
        drop(rest);
        // For its memory.
        self.core.shared.borrow_mut().woken = woken;
    }

    /// Leaves it to the holder of `slot` to wake the others.
    fn accompany(&mut self, slot: SlotId, companions: Vec<Companion>) {
        if companions.is_empty() {
            return;
        }
        let core = &self.core;
        let link = core.shared.borrow().find(slot.slot).and_then(|state| state.link.clone());
        let mut slots = core.slots.borrow_mut();
        match (link, slots.find(slot)) {
            (Some(link), Some(slot)) => {
                let before = std::mem::replace(&mut link.lock().companions, companions);
                core.wake_companions_later(before);
                slot.connection.look_by(core.now.get() + PATIENCE, core);
            }
            _ => core.wake_companions_later(companions),
        }
    }
}
