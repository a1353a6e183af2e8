//! How long a shard may sleep in the kernel.

use super::shard::Shard;
use crate::clock::Moment;
use crate::ring::Ring;
use std::time::Duration;

impl<R: Ring> Shard<R> {
    /// When to return from the kernel even if nothing has happened.
    #[inline]
    pub(super) fn wait_until(&self) -> Option<Moment> {
        let now = self.core.now.get();
        let core = &self.core;
        if core.executor.has_ready() || !core.dirty.borrow().is_empty() || !core.later.is_empty() {
            return Some(now);
        }
        if !self.remote.may_sleep() {
            return Some(now);
        }
        let mut next = core.timers.borrow().next();
        for acceptor in &self.acceptors {
            sooner(&mut next, acceptor.retry_at());
        }
        if let Some(drain) = &self.drain {
            sooner(&mut next, Some(drain.next()));
        }
        if !self.rota.is_empty() {
            let none_free = self.ring.free_buffer_eighths() == 0;
            sooner(&mut next, Some(now + Duration::from_millis(none_free.into())));
        }
        sooner(&mut next, core.shared.borrow().remains.due());
        sooner(&mut next, self.governor.deadline());
        next
    }
}

/// The earlier of two moments, where there are two.
#[inline]
fn sooner(next: &mut Option<Moment>, other: Option<Moment>) {
    if let Some(other) = other
        && next.is_none_or(|next| other < next)
    {
        *next = Some(other);
    }
}
