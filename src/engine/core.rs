//! What the parts of one shard share: time, tasks, deadlines, limits, counts. Never leaves its
//! thread.

use super::account::Account;
use super::connection::Connection;
use super::events::{EventClose, EventKind, Happened};
use super::executor::Executor;
use super::foreign::Later;
use super::ids::Ids;
use super::lately::Lately;
use super::link::Outgoing;
use super::log::Quotas;
use super::memory::Memory;
use super::peers::Peers;
use super::places::Places;
use super::registry::{Registry, SlotId};
use super::remote::Remote;
use super::routes::Routes;
use super::seats::Seats;
use super::settings::{MailboxPolicy, Settings};
use super::shared_table::SharedTable;
use super::tallies::{Closes, Refusals};
use super::timers::Timers;
use crate::clock::Moment;
use crate::proto::SessionLimits;
use crate::ring::RingCounters;
use std::cell::{Cell, RefCell};
use std::ops::AddAssign;
use std::sync::Arc;
use std::time::Duration;

/// Shared by the shard, its connections and the verbs of its handlers.
pub(crate) struct Core {
    pub(crate) settings: Arc<Settings>,
    pub(super) session_limits: SessionLimits,
    /// Where every address listened on is one of loopback: the TCP ports.
    pub(super) loopback_ports: Vec<u16>,
    /// The time of the current batch.
    pub(crate) now: Cell<Moment>,
    /// When a batch began late, the thread having been held up.
    pub(super) held_up: Cell<Moment>,
    pub(crate) executor: Executor,
    /// The connections. Borrowed for no longer than a step of one of them takes, and never while a
    /// handler runs or is dropped.
    pub(super) slots: RefCell<Registry>,
    pub(super) timers: RefCell<Timers>,
    /// Those that were asked lately whether they take what they are sent.
    pub(super) asked_lately: RefCell<Lately>,
    /// Connections whose state changed in this batch, each once.
    pub(super) dirty: RefCell<Vec<SlotId>>,
    /// What connections hold beyond their limits, together.
    pub(super) account: Account,
    /// How near the process is to its limit of memory.
    pub(super) memory: Arc<Memory>,
    pub(super) counters: Counters,
    pub(super) ids: Ids,
    /// The sessions of those connections that have one.
    pub(super) seats: Seats,
    pub(super) peers: RefCell<Peers>,
    pub(super) places: Arc<Places>,
    pub(super) routes: Arc<Routes>,
    pub(super) remote: Arc<Remote>,
    /// Shards there are.
    pub(super) shards: usize,
    /// Sockets that outlive their handlers.
    pub(super) shared: RefCell<SharedTable>,
    /// Memory for messages on their way from a holder.
    pub(super) outgoing: RefCell<Vec<Outgoing>>,
    /// What has happened in this batch and is to be published.
    pub(super) happened: RefCell<Vec<Happened>>,
    /// The batch ends with something that others do not end with.
    pub(super) chores: Cell<bool>,
    /// Code of others that is to be called.
    pub(super) later: Later,
    pub(super) route_counts: RefCell<Vec<RouteCounts>>,
    pub(super) log_quotas: Quotas,
}

impl Core {
    pub(super) fn new(parts: CoreParts, connections: u32) -> Self {
        let CoreParts { settings, remote, ids, routes, places, shards, memory } = parts;
        let session_limits = SessionLimits {
            message_bytes_max: settings.limits.message_bytes_max,
            message_fragments_max: settings.limits.message_fragments_max,
        };
        let loopback_ports = settings.loopback_ports();
        Self {
            account: Account::new(
                memory.growth_bytes_max(settings.limits.inbox_growth_bytes_max, shards),
                Arc::clone(&memory),
            ),
            memory,
            settings,
            session_limits,
            loopback_ports,
            now: Cell::new(Moment::default()),
            held_up: Cell::new(Moment::default()),
            executor: Executor::new(Arc::clone(&remote)),
            slots: RefCell::new(Registry::new(connections)),
            timers: RefCell::new(Timers::new()),
            asked_lately: RefCell::default(),
            dirty: RefCell::new(Vec::new()),
            counters: Counters::default(),
            ids,
            seats: Seats::default(),
            peers: RefCell::default(),
            places,
            remote,
            shards,
            shared: RefCell::default(),
            outgoing: RefCell::default(),
            happened: RefCell::default(),
            chores: Cell::new(false),
            later: Later::default(),
            route_counts: RefCell::new(vec![RouteCounts::default(); routes.len()]),
            routes,
            log_quotas: Quotas::default(),
        }
    }

    /// Puts the task of a connection on the list of those to poll, if it is still there.
    pub(super) fn wake(&self, id: SlotId) {
        if let Some(connection) = self.slots.borrow_mut().of_handler(id) {
            self.executor.wake(connection);
        }
    }

    /// The connection has lost its slot, and its handler lives on.
    pub(super) fn keep(&self, mut connection: Connection) {
        connection.keep_peer(self);
        self.slots.borrow_mut().keep(connection);
    }

    /// What a full mailbox of this route does.
    pub(super) fn mailbox(&self, route: u16) -> MailboxPolicy {
        self.routes.options(route).map_or(MailboxPolicy::StopReading, |options| options.mailbox)
    }

    /// How long shared sockets of this route may be idle.
    pub(super) fn session_timeout(&self, route: u16) -> Option<Duration> {
        let timeout = self.routes.options(route)?.session_timeout;
        (!timeout.is_zero()).then_some(timeout)
    }

    pub(super) fn count_route(&self, route: u16, count: impl FnOnce(&mut RouteCounts)) {
        self.route_counts.borrow_mut().get_mut(usize::from(route)).map(count);
    }

    pub(super) fn publish(
        &self,
        kind: EventKind,
        websocket_id: String,
        route: u16,
        session_id: Option<Arc<str>>,
        close: Option<Arc<EventClose>>,
    ) {
        let route = self.routes.path(route).unwrap_or_default();
        let websocket_id = websocket_id.into();
        let happened = Happened { kind, websocket_id, route, session_id, close };
        self.happened.borrow_mut().push(happened);
        self.chores.set(true);
    }
}

/// What a [`Core`] is made from.
pub(super) struct CoreParts {
    pub(super) settings: Arc<Settings>,
    pub(super) remote: Arc<Remote>,
    pub(super) ids: Ids,
    pub(super) routes: Arc<Routes>,
    pub(super) places: Arc<Places>,
    pub(super) shards: usize,
    pub(super) memory: Arc<Memory>,
}

/// Counts of one route.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RouteCounts {
    pub(super) opened: u64,
    pub(super) open: u64,
    pub(super) shared: u64,
    pub(super) unattended: u64,
    /// One of its sockets was shared.
    pub(super) was_shared: bool,
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
    /// WebSockets that ended before every message written was sent.
    pub(super) truncated: Cell<u64>,
    /// Handlers that panicked.
    pub(super) panics: Cell<u64>,
    /// Completions for a connection that was gone already.
    pub(super) stale_completions: Cell<u64>,
    /// Receives armed again after they ended by themselves.
    pub(super) rearmed: Cell<u64>,
    /// Sockets that are gone whose last words were given up and not read.
    pub(super) remains_lost: Cell<u64>,
    /// Connections cut for want of memory.
    pub(super) shed: Cell<u64>,
    pub(super) bytes_in: Cell<u64>,
    pub(super) bytes_out: Cell<u64>,
    pub(super) messages_in: Cell<u64>,
    pub(super) messages_out: Cell<u64>,
    pub(super) refusals: RefCell<Refusals>,
    pub(super) closes: RefCell<Closes>,
}

impl Counters {
    /// The counts, those of the ring, and the connections a drain had to cut.
    pub(super) fn totals(&self, ring: RingCounters, cut: usize) -> Totals {
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
pub(super) fn count(counter: &Cell<u64>) {
    counter.set(counter.get() + 1);
}

/// So many more.
#[inline]
pub(super) fn count_more(counter: &Cell<u64>, more: u64) {
    // A number of bytes that no machine moves; unchecked, because this is in the path of every echo.
    counter.set(counter.get().wrapping_add(more));
}
