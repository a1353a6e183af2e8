//! The loop of one shard: completions, then handlers, then submissions; one entry into the kernel
//! per batch.
//!
//! A shard owns its ring, its connections and its handlers, and no message passes from one shard to
//! another. What all have in common is looked at when something begins or ends: places, the level
//! of memory, sessions, the history of events; and each shared socket has a lock with its holder.
//! The launch turns it on a thread of its own; generic over the ring, so that the simulator turns
//! this very code. Nothing here waits but the ring.

use super::accepting::Acceptor;
use super::connection::{Counted, Ended as Over};
use super::core::{Core, CoreParts, Totals, count, count_more};
use super::draining::Ending;
use super::events::Events;
use super::executor::Ended;
use super::flags::Flag;
use super::governor::Governor;
use super::memory::Memory;
use super::pace::Rota;
use super::places::Places;
use super::registry::{Receive, Registry, Slot, SlotId, Teardown};
use super::remote::{Remote, Taken};
use super::routes::{Farewell, Routes, Target};
use super::settings::Settings;
use super::status::Histogram;
use super::{arrivals, foreign, log};
use crate::clock::Moment;
use crate::proto::Request;
use crate::ring::{
    AddressFamily, Completion, Errno, Lease, Operation, Outcome, Ring, Token, memory,
};
use std::rc::Rc;
use std::sync::Arc;

/// Of so many batches one is measured: looking at the clock costs as much as a small message.
const TURNS_PER_MEASUREMENT: u32 = 64;

/// One thread's worth of server.
pub struct Shard<R: Ring> {
    pub(super) ring: R,
    pub(super) core: Rc<Core>,
    pub(super) settling: Vec<SlotId>,
    pub(super) routes: Arc<Routes>,
    pub(super) remote: Arc<Remote>,
    pub(super) acceptors: Vec<Acceptor>,
    pub(super) drain: Option<super::draining::Drain>,
    /// Connections that this shard has room for; above it they are told 503.
    pub(super) connections_max: u32,
    /// Closes whose completion has not come.
    pub(super) closing: u32,
    /// Who waits for a receive.
    pub(super) rota: Rota,
    batch: Vec<SlotId>,
    /// What other threads have asked, not yet done.
    pub(super) taken: Taken,
    due: Vec<u32>,
    /// Batches until the next one that is measured.
    turns_unmeasured: u32,
    /// When the batch began, if it is measured.
    measured_from_ns: Option<u64>,
    pub(super) read_to_write: Histogram,
    pub(super) governor: Governor,
    /// When there are chores even if nothing asks for them.
    pub(super) chores_due: Moment,
    drained: bool,
    ending: Ending,
}

/// What a shard is made from.
pub struct ShardParts {
    pub(crate) settings: Arc<Settings>,
    pub(crate) routes: Arc<Routes>,
    pub(super) remote: Arc<Remote>,
    /// The family of each listener's addresses; `None` for a Unix socket.
    pub(crate) families: Vec<Option<AddressFamily>>,
    /// Connections that the table has room for.
    pub(crate) connections_max: u32,
    /// Those of all shards.
    pub(super) places: Arc<Places>,
    pub(super) ids: super::ids::Ids,
    pub(super) events: Arc<Events>,
    /// Shards there are.
    pub(super) shards: usize,
    pub(super) memory: Arc<Memory>,
}

impl<R: Ring> Shard<R> {
    /// A shard that accepts on every listener of `ring`.
    pub fn new(ring: R, parts: ShardParts) -> Self {
        let core_parts = CoreParts {
            settings: parts.settings,
            remote: Arc::clone(&parts.remote),
            ids: parts.ids,
            routes: Arc::clone(&parts.routes),
            places: parts.places,
            shards: parts.shards,
            memory: parts.memory,
        };
        memory::keep_buffers();
        let core = Rc::new(Core::new(core_parts, ring.slots()));
        core.now.set(ring.now());
        // A Unix socket is one for all shards.
        let acceptor = |family| Acceptor::new(family, family.is_none() && parts.shards > 1);
        let acceptors = parts.families.into_iter().map(acceptor).collect();
        let ending = Ending { remote: Arc::clone(&parts.remote), events: parts.events };
        let mut shard = Self {
            ring,
            core,
            settling: Vec::new(),
            routes: parts.routes,
            remote: parts.remote,
            acceptors,
            drain: None,
            connections_max: parts.connections_max,
            closing: 0,
            rota: Rota::default(),
            batch: Vec::new(),
            taken: Taken::default(),
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
        self.remote.is_awake(now);
        self.core.begin(until, now);
        self.turns_unmeasured = self.turns_unmeasured.wrapping_sub(1);
        if self.turns_unmeasured == 0 {
            self.start_measuring();
        }
        while let Some(completion) = self.ring.next_completion() {
            self.handle_completion(completion);
        }
        if self.remote.has_something() {
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
            Operation::Cancel if token.generation == Registry::NO_SLOT => {
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
        core.executor.run(&core.slots, &mut self.batch, |owner, ended| {
            if ended == Ended::Panicked {
                core.handle_panic(owner);
            }
        });
    }

    /// The close of the slot is pushed. The kernel may give it to the next connection before that
    /// has completed, so it is free from here on.
    pub(super) fn release(&mut self, id: SlotId) {
        let removed = self.core.slots.borrow_mut().remove(id);
        let Some(mut connection) = removed else { return };
        self.count_closed(&connection);
        self.core.seats.handle_gone(id);
        self.closing += 1;
        connection.handle_gone(&self.core);
        connection.leave_place(&self.core);
        log::access(&connection, &self.core, &self.routes);
        if connection.flags.has(Flag::LeftOpen)
            && let Some(Target::Handler { farewell, .. }) = self.routes.get(connection.route)
        {
            let websocket_id = self.core.ids.encode(id, connection.opened());
            let ended = connection.ended().cloned().unwrap_or_else(Over::lost);
            let gone = Farewell { websocket_id, ended, counts: connection.counts() };
            match foreign::call(|| farewell(gone)) {
                Ok(task) => self.core.executor.spawn(&mut connection, task),
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

impl Slot {
    /// Bytes arrived. A request that is complete with them comes back.
    fn handle_received(
        &mut self,
        mut lease: Lease,
        more: bool,
        core: &Core,
    ) -> Option<Box<Request>> {
        let connection = &mut self.connection;
        if !more {
            // One shot is no end by itself.
            count_more(&core.counters.rearmed, u64::from(self.held.receive != Receive::Once));
            self.held.receive = Receive::Idle;
            connection.mark_dirty(core);
        }
        if connection.flags.has(Flag::Dead) {
            return None;
        }
        let messages_before = connection.tally.low(Counted::MessagesIn);
        let bytes = connection.transport.incoming(&mut lease);
        let bytes_in = bytes.len() as u32;
        let request = connection.handle_received(bytes, core);
        let messages_in = connection.tally.low(Counted::MessagesIn).wrapping_sub(messages_before);
        if self.held.pace.handle_received(bytes_in, messages_in, more) {
            connection.mark_dirty(core);
        }
        request
    }

    /// The receive has ended. `true`: for want of buffers.
    fn handle_receive_failure(&mut self, errno: Errno, core: &Core) -> bool {
        let stopping = self.held.receive == Receive::Stopping;
        let starved = errno == Errno::NOBUFS && !stopping;
        self.held.receive = if starved { Receive::Starved } else { Receive::Idle };
        if starved {
            self.held.pace.handle_starved();
            count(&core.counters.rearmed);
        }
        self.connection.mark_dirty(core);
        // Otherwise ended by us, or for a passing reason: settling arms it again where it is
        // wanted.
        if !matches!(errno, Errno::CANCELED | Errno::NOBUFS | Errno::INTR | Errno::AGAIN) {
            self.connection.lose(core);
        }
        starved
    }
}
