//! The loop of one shard: completions, then handlers, then submissions; one entry into the kernel
//! per batch.
//!
//! A shard owns its ring, its connections and its handlers, and no message passes from one shard to
//! another. What all have in common is looked at when something begins or ends: places, the level
//! of memory, sessions, the history of events; and each shared socket has a lock with its holder.
//! The launch turns it on a thread of its own; generic over the ring, so that the simulator turns
//! this very code. Nothing here waits but the ring.

pub(in crate::engine) mod accepting;
pub(in crate::engine) mod answer;
pub(in crate::engine) mod draining;
pub(in crate::engine) mod governor;
pub(in crate::engine) mod holders;
pub(in crate::engine) mod scan;
pub(in crate::engine) mod settle;
pub(in crate::engine) mod sleep;
pub(in crate::engine) mod vigilance;

use crate::clock::Moment;
use crate::engine::commands::mailbox::{Batch, Mailbox};
use crate::engine::connection::context::ContextParts;
use crate::engine::connection::log;
use crate::engine::connection::places::Places;
use crate::engine::connection::state::Flag;
use crate::engine::core::Core;
use crate::engine::core::executor::TaskEnd;
use crate::engine::core::pace::Rota;
use crate::engine::core::slots::{Receive, Slot, Slots, Teardown};
use crate::engine::handlers::arrivals;
use crate::engine::handlers::routes::{Farewell, Routes, Target};
use crate::engine::model::bell::{Bell, Rung};
use crate::engine::model::counters::{Totals, count};
use crate::engine::model::ended::Ended;
use crate::engine::model::events::Events;
use crate::engine::model::foreign;
use crate::engine::model::memory::Memory;
use crate::engine::model::settings::Settings;
use crate::engine::model::slot_id::SlotId;
use crate::engine::model::status::Histogram;
use crate::engine::shard::accepting::Acceptor;
use crate::engine::shard::draining::Ending;
use crate::engine::shard::governor::Governor;
use crate::ring::{AddressFamily, Completion, Errno, Operation, Outcome, Ring, Token, memory};
use std::rc::Rc;
use std::sync::Arc;

/// Of so many batches one is measured: looking at the clock costs as much as a small message.
const TURNS_PER_MEASUREMENT: u32 = 64;

/// One thread's worth of server.
pub struct Shard<R: Ring> {
    pub(in crate::engine) ring: R,
    pub(in crate::engine) core: Rc<Core>,
    pub(in crate::engine) settling: Vec<SlotId>,
    pub(in crate::engine) routes: Arc<Routes>,
    pub(in crate::engine) bell: Arc<Bell>,
    pub(in crate::engine) mailbox: Arc<Mailbox>,
    pub(in crate::engine) acceptors: Vec<Acceptor>,
    pub(in crate::engine) drain: Option<crate::engine::shard::draining::Drain>,
    /// Connections that this shard has room for; above it they are told 503.
    pub(in crate::engine) connections_max: u32,
    /// Closes whose completion has not come.
    pub(in crate::engine) closing: u32,
    /// Who waits for a receive.
    pub(in crate::engine) rota: Rota,
    batch: Vec<SlotId>,
    pub(in crate::engine) rung: Rung,
    /// What other threads have asked, not yet done.
    pub(in crate::engine) asked: Batch,
    due: Vec<u32>,
    /// Batches until the next one that is measured.
    turns_unmeasured: u32,
    /// When the batch began, if it is measured.
    measured_from_ns: Option<u64>,
    pub(in crate::engine) read_to_write: Histogram,
    pub(in crate::engine) governor: Governor,
    /// When there are chores even if nothing asks for them.
    pub(in crate::engine) chores_due: Moment,
    drained: bool,
    ending: Ending,
}

/// What a shard is made from.
pub struct ShardParts {
    pub(crate) settings: Arc<Settings>,
    pub(crate) routes: Arc<Routes>,
    pub(in crate::engine) mailbox: Arc<Mailbox>,
    /// The family of each listener's addresses; `None` for a Unix socket.
    pub(crate) families: Vec<Option<AddressFamily>>,
    /// Connections that the table has room for.
    pub(crate) connections_max: u32,
    /// Those of all shards.
    pub(in crate::engine) places: Arc<Places>,
    pub(in crate::engine) ids: crate::engine::model::ids::Ids,
    pub(in crate::engine) events: Arc<Events>,
    /// Shards there are.
    pub(in crate::engine) shards: usize,
    pub(in crate::engine) memory: Arc<Memory>,
}

impl<R: Ring> Shard<R> {
    /// A shard that accepts on every listener of `ring`.
    pub fn new(ring: R, parts: ShardParts) -> Self {
        let context_parts = ContextParts {
            settings: parts.settings,
            bell: Arc::clone(parts.mailbox.bell()),
            ids: parts.ids,
            paths: Arc::clone(parts.routes.paths()),
            places: parts.places,
            shards: parts.shards,
            memory: parts.memory,
        };
        memory::keep_buffers();
        let core = Rc::new(Core::new(context_parts, ring.slots()));
        core.now.set(ring.now());
        // A Unix socket is one for all shards.
        let acceptor = |family| Acceptor::new(family, family.is_none() && parts.shards > 1);
        let acceptors = parts.families.into_iter().map(acceptor).collect();
        let ending = Ending { mailbox: Arc::clone(&parts.mailbox), events: parts.events };
        let mut shard = Self {
            ring,
            core,
            settling: Vec::new(),
            routes: parts.routes,
            bell: Arc::clone(parts.mailbox.bell()),
            mailbox: parts.mailbox,
            acceptors,
            drain: None,
            connections_max: parts.connections_max,
            closing: 0,
            rota: Rota::default(),
            batch: Vec::new(),
            rung: Rung::default(),
            asked: Batch::default(),
            due: Vec::new(),
            turns_unmeasured: TURNS_PER_MEASUREMENT,
            measured_from_ns: None,
            read_to_write: Histogram::default(),
            governor: Governor::new(),
            chores_due: Moment::default(),
            drained: false,
            ending,
        };
        shard.arm_acceptors();
        shard
    }

    /// One batch: waits for completions, handles all of them, lets handlers run, and queues what
    /// follows from it. `false` once a drain is complete.
    ///
    /// # Errors
    ///
    /// What made the ring unusable; the shard must not be used again.
    pub fn turn(&mut self) -> Result<bool, Errno> {
        let until = self.wait_until();
        self.ring.submit_and_wait(until)?;
        let now = self.ring.now();
        self.bell.is_awake(now);
        self.core.begin(until, now);
        self.turns_unmeasured = self.turns_unmeasured.wrapping_sub(1);
        if self.turns_unmeasured == 0 {
            self.start_measuring();
        }
        while let Some(completion) = self.ring.next_completion() {
            self.handle_completion(completion);
        }
        if self.bell.has_something() {
            self.take_remote();
        }
        if self.core.timers.borrow().next() <= now {
            self.handle_timeouts(now);
        }
        if self.core.chores.get() {
            self.core.call_foreign();
            self.go_on_draining(now);
        }
        self.run_handlers();
        // First, so that whoever has been served asks behind those that have not.
        self.feed_starved();
        self.settle_dirty();
        if self.core.chores.get() || self.chores_due <= now {
            self.do_chores(now);
        }
        Ok(!self.drained)
    }

    #[cold]
    fn start_measuring(&mut self) {
        self.turns_unmeasured = TURNS_PER_MEASUREMENT;
        self.measured_from_ns = Some(self.ring.now_ns());
        self.core.chores.set(true);
    }

    /// What is for some batches only, and for nobody's messages: called where something has asked for
    /// it, or it is time.
    #[cold]
    fn do_chores(&mut self, now: Moment) {
        self.core.chores.set(false);
        if self.core.account.has_news() {
            self.core.tell_waiting();
        }
        self.wake_holders();
        self.core.call_foreign();
        self.core.forget_remains(now);
        self.look_after_memory(now);
        self.arm_acceptors();
        let mut happened = self.core.happened.take();
        if !happened.is_empty() {
            self.ending.events.publish(&mut happened, now);
        }
        // For its memory.
        self.core.happened.replace(happened);
        if let Some(from_ns) = self.measured_from_ns.take() {
            self.read_to_write.record(self.ring.now_ns().saturating_sub(from_ns));
        }
        self.drained = self.is_drained();
        if self.drain.is_some() {
            // Each batch may be the last.
            self.core.chores.set(true);
        }
        self.chores_due = self.next_chore(now);
    }

    /// The ring, for its counts.
    pub fn ring(&self) -> &R {
        &self.ring
    }

    /// Counts so far.
    pub fn totals(&self) -> Totals {
        let cut = self.drain.as_ref().map_or(0, |drain| drain.cut());
        self.core.counters.totals(self.ring.counters(), cut)
    }

    /// Connections and handlers there are.
    pub fn population(&self) -> (u32, usize) {
        (self.core.slots.borrow().used(), self.core.executor.len())
    }

    fn handle_completion(&mut self, completion: Completion) {
        let Completion { token, outcome, more } = completion;
        match token.operation {
            Operation::Accept => self.handle_accept(token.slot as usize, outcome, more),
            Operation::Doorbell => {}
            // The slot was given up when the close was pushed, and may have a new owner.
            Operation::Close => self.closing -= 1,
            Operation::Cancel if token.generation == Slots::NO_SLOT => {
                self.acceptors[token.slot as usize].handle_cancelled();
            }
            _ => self.handle_slot_completion(token, outcome, more),
        }
    }

    fn handle_slot_completion(&mut self, token: Token, outcome: Outcome, more: bool) {
        let id = SlotId { slot: token.slot, generation: token.generation };
        let core = &self.core;
        let mut slots = core.slots.borrow_mut();
        let Some(slot) = slots.find(id) else {
            // Of a connection that is gone. What it carried is dropped, and with it given back.
            count(&core.counters.stale_completions);
            return;
        };
        let Slot { connection, held } = &mut *slot;
        held.operations -= u8::from(!more);
        let mut request = None;
        match (token.operation, outcome) {
            (_, Outcome::Received(lease)) => request = slot.handle_received(lease, more, core),
            (_, Outcome::EndOfStream) => {
                held.receive = Receive::Idle;
                connection.handle_end_of_stream(core);
            }
            (Operation::Receive, Outcome::Failed(errno)) if !more => {
                let in_turn = held.receive == Receive::Once;
                if slot.handle_receive_failure(errno, core) {
                    self.rota.handle_starved(id, slot.held.pace, in_turn);
                }
            }
            (_, Outcome::Sent(sent, data)) => {
                held.sending = false;
                connection.handle_sent(sent, data, core);
            }
            (_, Outcome::SendFailed(errno, data)) => {
                held.sending = false;
                connection.handle_sent(0, data, core);
                // A cancelled send is one that our own teardown ended.
                if errno != Errno::CANCELED {
                    connection.lose(core);
                }
                connection.mark_dirty(core);
            }
            (_, Outcome::PeerAddress(peer)) => connection.handle_peer(peer, core),
            (_, Outcome::Unacknowledged(bytes)) => connection.handle_unacknowledged(bytes, core),
            (_, Outcome::HungUp { reset }) => {
                held.hangup_awaited = false;
                connection.handle_hangup(reset, core);
            }
            _ => {}
        }
        if slot.held.teardown == Teardown::Quieting {
            slot.connection.mark_dirty(core);
        }
        drop(slots);
        if let Some(request) = request {
            arrivals::handle_request(request, id, core, &self.routes);
        }
    }

    #[cold]
    fn handle_timeouts(&mut self, now: Moment) {
        self.core.timers.borrow_mut().expire(now, &mut self.due);
        for slot in self.due.drain(..) {
            if let Some(connection) = self.core.slots.borrow_mut().at_mut(slot) {
                connection.handle_timeout(&self.core);
            }
        }
    }

    fn run_handlers(&mut self) {
        let core = &self.core;
        core.executor.run(core, &mut self.batch, |owner, ended| {
            if ended == TaskEnd::Panicked {
                core.handle_panic(owner);
            }
        });
    }

    /// The close of the slot is pushed. The kernel may give it to the next connection before that
    /// has completed, so it is free from here on.
    pub(in crate::engine) fn release(&mut self, id: SlotId) {
        let removed = self.core.slots.borrow_mut().remove(id);
        let Some(mut connection) = removed else { return };
        self.count_closed(&connection);
        self.core.seats.handle_gone(id);
        self.closing += 1;
        connection.handle_gone(&self.core);
        connection.leave_place(&self.core);
        log::access(&connection, &self.core);
        if connection.flags.has(Flag::LeftOpen)
            && let Some(Target::Handler { farewell, .. }) = self.routes.get(connection.route)
        {
            let websocket_id = self.core.ids.encode(id, connection.opened());
            let ended = connection.ended().cloned().unwrap_or_else(Ended::lost);
            let gone = Farewell { websocket_id, ended, counts: connection.counts() };
            match foreign::call(|| farewell(gone)) {
                Ok(task) => self.core.executor.spawn(&mut connection, task, &self.core),
                Err(_) => count(&self.core.counters.panics),
            }
        }
        if connection.flags.has(Flag::Handled) {
            self.core.keep(connection);
        } else if foreign::call(|| drop(connection)).is_err() {
            count(&self.core.counters.panics);
        }
        for acceptor in &mut self.acceptors {
            acceptor.slot_is_free();
        }
        // The acceptors are looked at.
        self.core.chores.set(true);
    }
}
