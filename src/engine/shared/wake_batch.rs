//! Who waits for a shared socket is woken at the end of the batch, those of one thread by one wake.
//!
//! A wake from another thread is a system call if that thread sleeps, and on the same core it lets
//! that thread run at once, for one message, after which it sleeps again. So of the holders that
//! wait on one thread only the first is woken by the shard; it finds the wakers of the others, its
//! companions, in its link and wakes them with its next verb, from their own thread, where that
//! costs next to nothing. If it does nothing for a few milliseconds the shard wakes them after all.

use crate::engine::model::bell::Bell;
use crate::engine::model::foreign;
use crate::engine::model::slot_id::SlotId;
use crate::engine::shared::link::Waiting;
use std::task::Waker;

/// Tells threads that live apart; one that is no more may have had the mark of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::engine) struct ThreadMark(usize);

impl ThreadMark {
    #[inline]
    pub(in crate::engine) fn current() -> Self {
        thread_local! {
            static MARK: u8 = const { 0 };
        }
        MARK.with(|mark| Self(std::ptr::from_ref(mark).addr()))
    }
}

/// A holder that is to be woken.
pub(in crate::engine) struct Woken {
    pub(in crate::engine) slot: SlotId,
    pub(in crate::engine) waiting: Waiting,
}

/// A holder that another one on its thread is to wake.
pub(in crate::engine) struct Companion {
    pub(in crate::engine) slot: SlotId,
    pub(in crate::engine) waker: Waker,
}

impl Companion {
    /// On the thread of the other one, which a panic of this one's waker is not to concern.
    pub(in crate::engine) fn wake(self, bell: &Bell) {
        if foreign::wake(self.waker).is_err() {
            bell.report_panic(self.slot);
        }
    }
}
