//! How long a shard may sleep in the kernel. Asked before every entry into it; decides nothing
//! else.

use crate::clock::Moment;
use crate::engine::shard::Shard;
use crate::ring::Ring;
use std::time::Duration;

impl<R: Ring> Shard<R> {
    /// When to return from the kernel even if nothing has happened.
    #[inline]
    pub(in crate::engine) fn wait_until(&self) -> Option<Moment> {
        let now = self.core.now.get();
        let core = &self.core;
        if !core.ready.borrow().is_empty()
            || !core.dirty.borrow().is_empty()
            || !self.bell.may_sleep()
        {
            return Some(now);
        }
        let mut next = core.timers.borrow().next().min(self.chores_due);
        if !self.rota.is_empty() {
            let none_free = self.ring.free_buffer_eighths() == 0;
            next = next.min(now + Duration::from_millis(none_free.into()));
        }
        (next != Moment::NEVER).then_some(next)
    }

    /// When the next chores are due that nothing asks for.
    pub(in crate::engine) fn next_chore(&self, now: Moment) -> Moment {
        let mut next = self.governor.deadline();
        for acceptor in &self.acceptors {
            next = next.min(acceptor.retry_at());
        }
        if let Some(drain) = &self.drain {
            next = next.min(drain.next());
        }
        if !self.core.later.is_empty() || self.core.account.has_news() {
            next = now;
        }
        next.min(self.core.shared.borrow().remains.due())
    }
}
