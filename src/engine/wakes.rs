//! Who waits for a shared socket is woken at the end of the batch, those of one thread by one wake.
//!
//! A wake from another thread is a system call if that thread sleeps, and on the same core it lets
//! that thread run at once, for one message, after which it sleeps again. So of the holders that
//! wait on one thread only the first is woken by the shard; it finds the wakers of the others, its
//! companions, in its link and wakes them with its next verb, from their own thread, where that
//! costs next to nothing. If it does nothing for a few milliseconds the shard wakes them after all.

use super::command::Notice;
use super::core::Core;
use super::foreign;
use super::link::Waiting;
use super::registry::SlotId;
use super::remote::Remote;
use super::shard::Shard;
use crate::ring::Ring;
use std::task::Waker;
use std::time::Duration;

/// Holders that one wakes: so many wakes are not yet a pause for those that it delays.
const COMPANIONS_MAX: usize = 255;

/// How long the first holder may take until the shard wakes its companions.
const PATIENCE: Duration = Duration::from_millis(4);

/// Tells threads that live apart; one that is no more may have had the mark of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ThreadMark(usize);

impl ThreadMark {
    #[inline]
    pub(super) fn current() -> Self {
        thread_local! {
            static MARK: u8 = const { 0 };
        }
        MARK.with(|mark| Self(std::ptr::from_ref(mark).addr()))
    }
}

/// A holder that is to be woken.
pub(super) struct Woken {
    pub(super) slot: SlotId,
    pub(super) waiting: Waiting,
}

/// A holder that another one on its thread is to wake.
pub(super) struct Companion {
    slot: SlotId,
    pub(super) waker: Waker,
}

impl Companion {
    /// On the thread of the other one, which a panic of this one's waker is not to concern.
    pub(super) fn wake(self, remote: &Remote) {
        if foreign::wake(self.waker).is_err() {
            remote.notify(Notice::Panicked(self.slot));
        }
    }
}

impl Core {
    /// Wakes those who were left to another holder.
    pub(super) fn wake_companions_later(&self, companions: Vec<Companion>) {
        for Companion { slot, waker } in companions {
            self.wake_holder_later(slot, waker);
        }
    }

    /// Wakes whoever waited, when the batch ends.
    pub(super) fn wake_holder(&self, slot: SlotId, waiting: Option<Waiting>) {
        if let Some(waiting) = waiting {
            self.shared.borrow_mut().woken.push(Woken { slot, waiting });
            self.chores.set(true);
        }
    }
}

impl<R: Ring> Shard<R> {
    /// Wakes the holders that have something to do.
    pub(super) fn wake_holders(&mut self) {
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
