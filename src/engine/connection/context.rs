//! What a connection may do to its shard, and nothing else: look at the time and the limits, count,
//! arm a deadline, say that it has changed, that its handler may go on, that something has happened.
//!
//! The table of connections is not in it. So a step of one cannot reach another one, and whatever a
//! step borrows of this is borrowed by nobody else. Code of others (wakers, answers) waits in
//! [`Later`] until the step is over.

use crate::clock::Moment;
use crate::engine::connection::account::Account;
use crate::engine::connection::lately::Lately;
use crate::engine::connection::later::Later;
use crate::engine::connection::log::Quotas;
use crate::engine::connection::peers::Peers;
use crate::engine::connection::places::Places;
use crate::engine::connection::timers::Timers;
use crate::engine::model::bell::Bell;
use crate::engine::model::counters::{Counters, RouteCounts, count};
use crate::engine::model::ended::Ended;
use crate::engine::model::events::{EventClose, EventKind, Happened};
use crate::engine::model::ids::Ids;
use crate::engine::model::memory::Memory;
use crate::engine::model::paths::Paths;
use crate::engine::model::settings::Settings;
use crate::engine::model::slot_id::SlotId;
use crate::engine::shared::link::{Facts, Waiting};
use crate::engine::shared::open::{Outgoing, ReachFailure};
use crate::engine::shared::remains::Left;
use crate::engine::shared::table::SharedTable;
use crate::engine::shared::wake_batch::{Companion, Woken};
use crate::proto::SessionLimits;
use std::cell::{Cell, RefCell};
use std::sync::Arc;

/// See the module.
pub(crate) struct Context {
    pub(crate) settings: Arc<Settings>,
    pub(in crate::engine) session_limits: SessionLimits,
    /// The time of the current batch.
    pub(crate) now: Cell<Moment>,
    /// When a batch began late, the thread having been held up.
    pub(in crate::engine) held_up: Cell<Moment>,
    pub(in crate::engine) timers: RefCell<Timers>,
    /// Those that were asked lately whether they take what they are sent.
    pub(in crate::engine) asked_lately: RefCell<Lately>,
    /// Connections whose state changed in this batch, each once.
    pub(in crate::engine) dirty: RefCell<Vec<SlotId>>,
    /// Connections whose handler is to be polled, each once.
    pub(in crate::engine) ready: RefCell<Vec<SlotId>>,
    /// What connections hold beyond their limits, together.
    pub(in crate::engine) account: Account,
    /// How near the process is to its limit of memory.
    pub(in crate::engine) memory: Arc<Memory>,
    pub(in crate::engine) counters: Counters,
    pub(in crate::engine) ids: Ids,
    pub(in crate::engine) peers: RefCell<Peers>,
    pub(in crate::engine) places: Arc<Places>,
    pub(in crate::engine) paths: Arc<Paths>,
    /// For links, whose holders ring it.
    pub(in crate::engine) bell: Arc<Bell>,
    /// Sockets that outlive their handlers.
    pub(in crate::engine) shared: RefCell<SharedTable>,
    /// Memory for messages on their way from a holder.
    pub(in crate::engine) outgoing: RefCell<Vec<Outgoing>>,
    /// What has happened in this batch and is to be published.
    pub(in crate::engine) happened: RefCell<Vec<Happened>>,
    /// The batch ends with something that others do not end with.
    pub(in crate::engine) chores: Cell<bool>,
    /// Code of others that is to be called.
    pub(in crate::engine) later: Later,
    pub(in crate::engine) route_counts: RefCell<Vec<RouteCounts>>,
    /// Shards there are.
    pub(in crate::engine) shards: usize,
    pub(in crate::engine) log_quotas: Quotas,
}

/// What a [`Context`] is made from.
pub(in crate::engine) struct ContextParts {
    pub(in crate::engine) settings: Arc<Settings>,
    pub(in crate::engine) bell: Arc<Bell>,
    pub(in crate::engine) ids: Ids,
    pub(in crate::engine) paths: Arc<Paths>,
    pub(in crate::engine) places: Arc<Places>,
    /// Shards there are.
    pub(in crate::engine) shards: usize,
    pub(in crate::engine) memory: Arc<Memory>,
}

impl Context {
    pub(in crate::engine) fn new(parts: ContextParts) -> Self {
        let ContextParts { settings, bell, ids, paths, places, shards, memory } = parts;
        let limits = &settings.limits;
        let growth_bytes_max = memory.growth_bytes_max(limits.inbox_growth_bytes_max, shards);
        Self {
            session_limits: SessionLimits {
                message_bytes_max: limits.message_bytes_max,
                message_fragments_max: limits.message_fragments_max,
            },
            now: Cell::new(Moment::default()),
            held_up: Cell::new(Moment::default()),
            timers: RefCell::new(Timers::new()),
            asked_lately: RefCell::default(),
            dirty: RefCell::default(),
            ready: RefCell::default(),
            account: Account::new(growth_bytes_max, Arc::clone(&memory)),
            memory,
            counters: Counters::default(),
            ids,
            peers: RefCell::default(),
            places,
            route_counts: RefCell::new(vec![RouteCounts::default(); paths.len()]),
            paths,
            bell,
            shared: RefCell::default(),
            outgoing: RefCell::default(),
            happened: RefCell::default(),
            chores: Cell::new(false),
            later: Later::default(),
            shards,
            log_quotas: Quotas::default(),
            settings,
        }
    }

    pub(in crate::engine) fn count_route(&self, route: u16, count: impl FnOnce(&mut RouteCounts)) {
        self.route_counts.borrow_mut().get_mut(usize::from(route)).map(count);
    }

    pub(in crate::engine) fn publish(
        &self,
        kind: EventKind,
        websocket_id: String,
        route: u16,
        session_id: Option<Arc<str>>,
        close: Option<Arc<EventClose>>,
    ) {
        let route = self.paths.path(route).unwrap_or_default();
        let websocket_id = websocket_id.into();
        let happened = Happened { kind, websocket_id, route, session_id, close };
        self.happened.borrow_mut().push(happened);
        self.chores.set(true);
    }

    /// Wakes whoever waited, when the batch ends.
    pub(in crate::engine) fn wake_holder(&self, slot: SlotId, waiting: Option<Waiting>) {
        if let Some(waiting) = waiting {
            self.shared.borrow_mut().woken.push(Woken { slot, waiting });
            self.chores.set(true);
        }
    }

    /// Wakes those who were left to another holder.
    pub(in crate::engine) fn wake_companions_later(&self, companions: Vec<Companion>) {
        for Companion { slot, waker } in companions {
            self.wake_holder_later(slot, waker);
        }
    }

    /// The socket is gone, and with it those who wait for room in it.
    pub(in crate::engine) fn fail_waiting_writes(&self, slot: SlotId, how: Option<&Ended>) {
        for write in self.shared.borrow_mut().take_waiting_writes(slot) {
            self.answer_later(write.reply, Err(ReachFailure::ended(how)));
        }
    }

    /// Gives up what has been kept for long enough of sockets that are gone.
    #[inline]
    pub(in crate::engine) fn forget_remains(&self, now: Moment) {
        if self.shared.borrow().remains.due() <= now {
            let lost = self.shared.borrow_mut().forget_remains(now);
            self.tell_lost(lost);
        }
    }

    /// What sockets have left was given up, and nobody had read it.
    pub(in crate::engine) fn tell_lost(&self, lost: Vec<Left>) {
        for Left { link, route, .. } in lost {
            count(&self.counters.remains_lost);
            let Facts { websocket_id, session_id, .. } = &link.facts;
            let id = websocket_id.to_string();
            self.publish(EventKind::Lost, id, route, session_id.clone(), None);
        }
    }
}
