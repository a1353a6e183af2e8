//! What a shard counts, and the sums that people see. Cells, for each is written by one thread only.

use crate::engine::model::tallies::{Closes, Refusals};
use crate::ring::RingCounters;
use std::cell::{Cell, RefCell};
use std::ops::AddAssign;

/// Counts of one route.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::engine) struct RouteCounts {
    pub(in crate::engine) opened: u64,
    pub(in crate::engine) open: u64,
    pub(in crate::engine) shared: u64,
    pub(in crate::engine) unattended: u64,
    /// One of its sockets was shared.
    pub(in crate::engine) was_shared: bool,
}

/// Counts of one shard since it started.
#[derive(Debug, Default)]
pub(in crate::engine) struct Counters {
    /// Connections accepted.
    pub(in crate::engine) accepted: Cell<u64>,
    /// Connections that became WebSockets.
    pub(in crate::engine) opened: Cell<u64>,
    /// Requests answered with something else than 101.
    pub(in crate::engine) refused: Cell<u64>,
    /// Connections gone.
    pub(in crate::engine) closed: Cell<u64>,
    /// WebSockets that ended before every message written was sent.
    pub(in crate::engine) truncated: Cell<u64>,
    /// Handlers that panicked.
    pub(in crate::engine) panics: Cell<u64>,
    /// Completions for a connection that was gone already.
    pub(in crate::engine) stale_completions: Cell<u64>,
    /// Receives armed again after they ended by themselves.
    pub(in crate::engine) rearmed: Cell<u64>,
    /// Sockets that are gone whose last words were given up and not read.
    pub(in crate::engine) remains_lost: Cell<u64>,
    /// Connections cut for want of memory.
    pub(in crate::engine) shed: Cell<u64>,
    pub(in crate::engine) bytes_in: Cell<u64>,
    pub(in crate::engine) bytes_out: Cell<u64>,
    pub(in crate::engine) messages_in: Cell<u64>,
    pub(in crate::engine) messages_out: Cell<u64>,
    pub(in crate::engine) refusals: RefCell<Refusals>,
    pub(in crate::engine) closes: RefCell<Closes>,
}

impl Counters {
    /// The counts, those of the ring, and the connections a drain had to cut.
    pub(in crate::engine) fn totals(&self, ring: RingCounters, cut: usize) -> Totals {
        Totals {
            accepted: self.accepted.get(),
            opened: self.opened.get(),
            refused: self.refused.get(),
            closed: self.closed.get(),
            truncated: self.truncated.get(),
            panics: self.panics.get(),
            stale_completions: self.stale_completions.get(),
            rearmed: self.rearmed.get(),
            remains_lost: self.remains_lost.get(),
            shed: self.shed.get(),
            cut: cut as u64,
            bytes_in: self.bytes_in.get(),
            bytes_out: self.bytes_out.get(),
            messages_in: self.messages_in.get(),
            messages_out: self.messages_out.get(),
            ring,
        }
    }
}

/// What an engine has counted when it ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Totals {
    /// Connections accepted.
    pub accepted: u64,
    /// Connections that became WebSockets.
    pub opened: u64,
    /// Requests answered with an error.
    pub refused: u64,
    /// Connections gone.
    pub closed: u64,
    /// WebSockets that ended before every message that was written to them was sent; a Close alone that
    /// nobody waited for is none.
    pub truncated: u64,
    /// Handlers that panicked.
    pub panics: u64,
    /// Completions that came for a connection that was gone.
    pub stale_completions: u64,
    /// Receives armed again after they ended by themselves.
    pub rearmed: u64,
    /// Shared sockets that are gone and whose last words were given up and not read.
    pub remains_lost: u64,
    /// Connections cut for want of memory.
    pub shed: u64,
    /// Connections that the drain had to cut.
    pub cut: u64,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes sent.
    pub bytes_out: u64,
    /// Whole messages received.
    pub messages_in: u64,
    /// Messages written.
    pub messages_out: u64,
    /// What the rings have counted.
    pub ring: RingCounters,
}

impl AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        self.accepted += other.accepted;
        self.opened += other.opened;
        self.refused += other.refused;
        self.closed += other.closed;
        self.truncated += other.truncated;
        self.panics += other.panics;
        self.stale_completions += other.stale_completions;
        self.rearmed += other.rearmed;
        self.remains_lost += other.remains_lost;
        self.shed += other.shed;
        self.cut += other.cut;
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
        self.messages_in += other.messages_in;
        self.messages_out += other.messages_out;
        self.ring += other.ring;
    }
}

/// One more.
#[inline]
pub(in crate::engine) fn count(counter: &Cell<u64>) {
    counter.set(counter.get() + 1);
}

/// So many more.
#[inline]
pub(in crate::engine) fn count_more(counter: &Cell<u64>, more: u64) {
    // A number of bytes that no machine moves; unchecked, because this is in the path of every echo.
    counter.set(counter.get().wrapping_add(more));
}
