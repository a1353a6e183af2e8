//! The orderly end of a shard: nothing more accepted, Close 1001 to everybody, spread over some
//! time so that not all come back elsewhere at once, and a deadline.
//!
//! Owns the [`Drain`] of a shard, which begins it when told to and goes on with it in every batch
//! until nothing is left; after the deadline connections are cut, and waited for a second at most.

use crate::clock::Moment;
use crate::engine::commands::mailbox::Mailbox;
use crate::engine::connection::Connection;
use crate::engine::model::counters::count;
use crate::engine::model::events::Events;
use crate::engine::shard::Shard;
use crate::ring::Ring;
use std::sync::Arc;
use std::time::Duration;

/// How often a draining shard closes some more.
const STEP: Duration = Duration::from_millis(20);

/// A drain under way.
#[derive(Debug)]
pub(in crate::engine) struct Drain {
    started: Moment,
    deadline: Moment,
    next: Moment,
    /// Connections there were at the start.
    total: usize,
    closed: usize,
    /// Connections that were still there at the deadline.
    cut: usize,
    over: bool,
}

impl Drain {
    /// Connections that had to be cut.
    pub(in crate::engine) fn cut(&self) -> usize {
        self.cut
    }

    pub(in crate::engine) fn next(&self) -> Moment {
        if self.over { self.deadline } else { self.next.min(self.deadline) }
    }

    /// How many more connections are to be told to go by now; all, when the time is over.
    fn share(&self, passed_ms: u128, spread_ms: u128) -> usize {
        if passed_ms >= spread_ms {
            return usize::MAX;
        }
        let due = (self.total as u128 * passed_ms).div_ceil(spread_ms) as usize;
        due.saturating_sub(self.closed)
    }
}

/// Tells those on other threads that a shard is no more.
pub(in crate::engine) struct Ending {
    pub(in crate::engine) mailbox: Arc<Mailbox>,
    pub(in crate::engine) events: Arc<Events>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.mailbox.close();
        self.events.shard_has_ended();
    }
}

impl<R: Ring> Shard<R> {
    pub(in crate::engine) fn start_drain(&mut self) {
        if self.drain.is_some() {
            return;
        }
        self.stop_accepting();
        let now = self.core.now.get();
        let timeouts = &self.core.settings.timeouts;
        let total = self.core.slots.borrow().used() as usize;
        let deadline = now + timeouts.drain;
        let drain =
            Drain { started: now, deadline, next: now, total, closed: 0, cut: 0, over: false };
        self.drain = Some(drain);
        self.core.chores.set(true);
    }

    /// Counts a connection that is gone, and whether everything that was written to it was sent: an
    /// answer to a Close that the peer did not wait for is missed by nobody.
    pub(in crate::engine) fn count_closed(&mut self, connection: &Connection) {
        count(&self.core.counters.closed);
        if connection.unsent_bytes() == 0 {
            return;
        }
        if connection.is_truncated() {
            count(&self.core.counters.truncated);
        }
        if let Some(drain) = &mut self.drain {
            // Those that the deadline cuts are counted there.
            drain.cut += usize::from(!drain.over);
        }
    }

    /// Closes the share of connections whose turn has come; cuts the rest at the deadline.
    pub(in crate::engine) fn go_on_draining(&mut self, now: Moment) {
        let Some(mut drain) = self.drain.take() else { return };
        if now >= drain.next() && !drain.over {
            let spread_ms = self.core.settings.timeouts.drain_spread.as_millis().max(1);
            let wanted = drain.share(now.since(drain.started).as_millis(), spread_ms);
            drain.closed += self.send_away(wanted);
            drain.next = now + STEP;
            if now >= drain.deadline {
                drain.over = true;
                drain.cut += self.cut_all();
                // What was cut still has to be quieted; a second limit, should it not be.
                drain.deadline = now + Duration::from_secs(1);
            }
        }
        self.drain = Some(drain);
    }

    /// Tells some connections that the server is going away.
    fn send_away(&mut self, count: usize) -> usize {
        let mut slots = self.core.slots.borrow_mut();
        let mut sent_away = 0;
        for connection in slots.iter_mut().filter(|one| one.is_welcome()).take(count) {
            connection.send_away(&self.core);
            sent_away += 1;
        }
        sent_away
    }

    fn cut_all(&mut self) -> usize {
        self.core.executor.clear(&self.core.slots);
        self.core.slots.borrow_mut().iter_mut().for_each(|connection| connection.lose(&self.core));
        self.core.slots.borrow().used() as usize
    }

    /// Whether a drain has come to its end.
    pub(in crate::engine) fn is_drained(&self) -> bool {
        let Some(drain) = &self.drain else { return false };
        let quiet = self.closing == 0 && self.acceptors.iter().all(|acceptor| acceptor.is_quiet());
        let empty = self.core.slots.borrow().used() == 0 && self.core.executor.len() == 0;
        (empty && quiet) || (drain.over && self.core.now.get() >= drain.deadline)
    }
}
