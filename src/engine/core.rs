//! What the parts of one shard share: time, tasks, deadlines, limits, counts. Never leaves its
//! thread.

use super::executor::Executor;
use super::ids::Ids;
use super::registry::SlotId;
use super::remote::Remote;
use super::seats::Seats;
use super::settings::Settings;
use super::timers::Timers;
use crate::clock::Moment;
use crate::proto::SessionLimits;
use crate::ring::RingCounters;
use std::cell::{Cell, RefCell};
use std::ops::AddAssign;
use std::sync::Arc;

/// Shared by the shard, its connections and the verbs of its handlers.
pub(crate) struct Core {
    pub(crate) settings: Arc<Settings>,
    pub(super) session_limits: SessionLimits,
    /// The time of the current batch.
    pub(crate) now: Cell<Moment>,
    pub(crate) executor: Executor,
    pub(super) timers: RefCell<Timers>,
    /// Connections whose state changed in this batch, each once.
    pub(super) dirty: RefCell<Vec<SlotId>>,
    /// Bytes by which inboxes exceed their limit, together.
    pub(super) inbox_growth_bytes: Cell<usize>,
    pub(super) counters: Counters,
    pub(super) ids: Ids,
    /// The sessions of those connections that have one.
    pub(super) seats: Seats,
}

impl Core {
    pub(super) fn new(
        settings: Arc<Settings>,
        remote: Arc<Remote>,
        ids: Ids,
        connections: u32,
    ) -> Self {
        let session_limits = SessionLimits {
            message_bytes_max: settings.limits.message_bytes_max,
            message_fragments_max: settings.limits.message_fragments_max,
        };
        Self {
            settings,
            session_limits,
            now: Cell::new(Moment::default()),
            executor: Executor::new(remote, connections as usize),
            timers: RefCell::new(Timers::new()),
            dirty: RefCell::new(Vec::new()),
            inbox_growth_bytes: Cell::new(0),
            counters: Counters::default(),
            ids,
            seats: Seats::default(),
        }
    }
}

/// Counts of one shard since it started.
#[derive(Debug, Default)]
pub(super) struct Counters {
    /// Connections accepted.
    pub(super) accepted: Cell<u64>,
    /// Connections that became WebSockets.
    pub(super) opened: Cell<u64>,
    /// Requests answered with something else than 101.
    pub(super) refused: Cell<u64>,
    /// Connections gone.
    pub(super) closed: Cell<u64>,
    /// Handlers that panicked.
    pub(super) panics: Cell<u64>,
    /// Completions for a connection that was gone already.
    pub(super) stale_completions: Cell<u64>,
    /// Receives armed again after they ended by themselves.
    pub(super) rearmed: Cell<u64>,
}

impl Counters {
    /// The counts, those of the ring, and the connections a drain had to cut.
    pub(super) fn totals(&self, ring: RingCounters, cut: usize) -> Totals {
        Totals {
            accepted: self.accepted.get(),
            opened: self.opened.get(),
            refused: self.refused.get(),
            closed: self.closed.get(),
            panics: self.panics.get(),
            stale_completions: self.stale_completions.get(),
            rearmed: self.rearmed.get(),
            cut: cut as u64,
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
    /// Handlers that panicked.
    pub panics: u64,
    /// Completions that came for a connection that was gone.
    pub stale_completions: u64,
    /// Receives armed again after they ended by themselves.
    pub rearmed: u64,
    /// Connections that the drain had to cut.
    pub cut: u64,
    /// What the rings have counted.
    pub ring: RingCounters,
}

impl AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        self.accepted += other.accepted;
        self.opened += other.opened;
        self.refused += other.refused;
        self.closed += other.closed;
        self.panics += other.panics;
        self.stale_completions += other.stale_completions;
        self.rearmed += other.rearmed;
        self.cut += other.cut;
        self.ring += other.ring;
    }
}

/// One more.
pub(super) fn count(counter: &Cell<u64>) {
    counter.set(counter.get() + 1);
}
