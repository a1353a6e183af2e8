//! One connection: from accepted to gone.
//!
//! ```text
//!            request head         on_pre_server           either side closes
//! accepted ──► Head ──► Deciding ──────────────► Open ──────────► Closing
//!               │           │ refused              │ peer closed     │ peer answered
//!               └───────────┴──────► Lingering ◄───┴─────────────────┘
//!                                       │ all sent, FIN sent, peer's FIN came; or time is up
//!                                       ▼
//!                                     `Dead`: the shard quiets the slot ──► Gone
//! ```
//!
//! The shard brings bytes ([`receiving`](crate::engine::connection::receiving)), the ends of operations (`handle_*` here) and time
//! ([`deadlines`](crate::engine::connection::deadlines)), and after each batch asks what the ring is to do ([`settle`](crate::engine::shard::settle));
//! the handler's verbs are in [`port`](crate::engine::handlers::port), how it ends in [`closing`](crate::engine::connection::closing). No ring, no
//! clock.

pub(in crate::engine) mod account;
pub(in crate::engine) mod bounds;
pub(in crate::engine) mod closing;
pub(in crate::engine) mod context;
pub(in crate::engine) mod conversation;
pub(in crate::engine) mod deadlines;
pub(in crate::engine) mod exchange;
pub(in crate::engine) mod inbox;
pub(in crate::engine) mod lately;
pub(in crate::engine) mod later;
pub(in crate::engine) mod leases;
pub(in crate::engine) mod log;
pub(in crate::engine) mod outbox;
pub(in crate::engine) mod peers;
pub(in crate::engine) mod places;
pub(in crate::engine) mod progress;
pub(in crate::engine) mod rare;
pub(in crate::engine) mod receiving;
pub(in crate::engine) mod rest;
pub(in crate::engine) mod room;
pub(in crate::engine) mod state;
pub(in crate::engine) mod timers;
pub(in crate::engine) mod transport;
pub(in crate::engine) mod verdict;

use crate::clock::{Moment, ShortMoment};
use crate::engine::connection::context::Context;
use crate::engine::connection::conversation::Conversation;
use crate::engine::connection::peers::Peer;
use crate::engine::connection::rare::Aside;
use crate::engine::connection::state::{Flag, Flags};
use crate::engine::connection::transport::Transport;
use crate::engine::model::counters::count_more;
use crate::engine::model::ended::Tally;
use crate::engine::model::slot_id::SlotId;
use crate::engine::model::task::Task;
use crate::proto::CloseCode;
use crate::ring::{Buffer, SendData};
use std::net::SocketAddr;
use std::num::NonZeroU32;

pub(in crate::engine) use crate::engine::model::ended::Counted;
pub(crate) use crate::engine::model::ended::Counts;

/// The state machine of one connection.
pub(crate) struct Connection {
    pub(in crate::engine) id: SlotId,
    pub(in crate::engine) talk: Conversation,
    /// What few connections have at a time.
    pub(in crate::engine) aside: Option<Box<Aside>>,
    /// The handler, while there is one and it is not being polled.
    pub(in crate::engine) task: Option<Task>,
    /// The read that waits.
    pub(in crate::engine) reading: Option<Reading>,
    pub(in crate::engine) tally: Tally,
    pub(in crate::engine) phase: Phase,
    pub(in crate::engine) peer: Peer,
    /// The earliest entry in the wheel.
    pub(in crate::engine) scheduled: ShortMoment,
    pub(in crate::engine) opened: ShortMoment,
    /// The route, for the log; `u16::MAX` before it is known.
    pub(in crate::engine) route: u16,
    /// The HTTP status of the answer, 0 before it is known.
    pub(in crate::engine) status: u16,
    /// The low bits of the messages written that the shard has counted.
    counted_out: u16,
    pub(in crate::engine) flags: Flags,
    pub(in crate::engine) transport: Transport,
}

/// What is to happen next with a connection's bytes.
#[derive(Clone, Copy)]
pub(in crate::engine) enum Phase {
    /// The request head is being received, until then.
    Head(ShortMoment),
    /// The handler decides; what the peer sends meanwhile waits.
    Deciding,
    /// Messages. The last bytes came then.
    Open(ShortMoment),
    /// Our Close is out, the peer's is awaited until then; its messages are dropped.
    Closing(ShortMoment),
    /// Nothing more is said or heard: send the rest and FIN, wait for the peer's FIN until then.
    Lingering(ShortMoment),
    /// The slot is no longer ours.
    Gone,
}

/// A read that waits.
#[derive(Clone, Copy)]
pub(in crate::engine) struct Reading {
    /// What it wants at once, cut to 4 GiB; one for a read of nothing, which also waits for a
    /// message.
    len: NonZeroU32,
    deadline: ShortMoment,
}

impl Reading {
    pub(in crate::engine) fn new(len: usize, deadline: Moment) -> Self {
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        Self { len: NonZeroU32::new(len).unwrap_or(NonZeroU32::MIN), deadline: deadline.into() }
    }

    /// What it wants at once, in characters or bytes.
    pub(in crate::engine) fn len(self) -> usize {
        self.len.get() as usize
    }

    pub(in crate::engine) fn deadline(self) -> Moment {
        self.deadline.moment()
    }
}

impl Connection {
    /// A connection that was accepted just now.
    pub(in crate::engine) fn new(id: SlotId, over_capacity: bool, context: &Context) -> Self {
        let now = context.now.get();
        let mut connection = Self { opened: now.into(), ..Self::gone(id) };
        connection.flags.set(Flag::AtEnd);
        connection.flags.put(Flag::OverCapacity, over_capacity);
        connection.phase = Phase::Head((now + connection.head_patience(context)).into());
        connection.reschedule(context);
        connection
    }

    /// No connection: one that is gone.
    pub(in crate::engine) fn gone(id: SlotId) -> Self {
        Self {
            id,
            talk: Conversation::default(),
            aside: None,
            task: None,
            reading: None,
            tally: Tally::default(),
            phase: Phase::Gone,
            peer: Peer::Unknown,
            scheduled: Moment::NEVER.into(),
            opened: Moment::NEVER.into(),
            route: u16::MAX,
            status: 0,
            counted_out: 0,
            flags: Flags::default(),
            transport: Transport::Plain,
        }
    }

    /// A send has ended.
    pub(in crate::engine) fn handle_sent(
        &mut self,
        sent: usize,
        data: SendData,
        context: &Context,
    ) {
        self.count(Counted::BytesOut, sent as u64);
        count_more(&context.counters.bytes_out, sent as u64);
        self.talk.outbox.sent(sent, data);
        if self.talk.strain.is_some() {
            self.account(context);
        }
        if self.aside.is_some() {
            self.handle_send_answer(context);
        }
        if self.flags.has(Flag::Writing)
            && !self.talk.outbox.is_full(context.settings.limits.outbox_high_water_bytes)
        {
            self.wake(context);
            if self.flags.has(Flag::Shared) {
                self.mark_dirty(context);
            }
        }
        if self.flags.has(Flag::Dead) {
            self.drop_outbox();
        }
        // Otherwise there is nothing for the shard to do, and this is the path of every echo.
        if self.talk.outbox.wants_send() || !matches!(self.phase, Phase::Open(_)) {
            self.mark_dirty(context);
        }
        self.talk.rest();
    }

    /// Adds the messages written since the last time to the shard's. There are not as many as
    /// would fit into the outbox.
    #[inline]
    pub(in crate::engine) fn count_messages_out(&mut self, context: &Context) {
        let written = self.tally.low(Counted::MessagesOut) as u16;
        let more = written.wrapping_sub(std::mem::replace(&mut self.counted_out, written));
        count_more(&context.counters.messages_out, u64::from(more));
    }

    /// Drops what waits to be sent: nobody will take it.
    pub(in crate::engine) fn drop_outbox(&mut self) {
        if !self.talk.outbox.is_idle() {
            let waiting = self.talk.outbox.clear();
            self.add_unsent(waiting as u64);
        }
        if !self.talk.unseen().is_empty() {
            self.talk.strain_mut().unseen = Buffer::new();
        }
    }

    /// The slot is free; the connection only lives on in its handler, if at all.
    pub(in crate::engine) fn handle_gone(&mut self, context: &Context) {
        if self.status == 101 {
            context.count_route(self.route, |route| route.open -= 1);
            let code = self.ended().map_or(CloseCode::ABNORMAL, |ended| ended.code);
            context.counters.closes.borrow_mut().count(code.0);
        }
        self.phase = Phase::Gone;
        if self.flags.has(Flag::Shared) {
            self.leave_shared(context);
        }
        self.drop_outbox();
        self.account(context);
        self.wake(context);
    }

    /// Puts the connection on the list of those to settle after the batch, once.
    pub(in crate::engine) fn mark_dirty(&mut self, context: &Context) {
        if !self.flags.has(Flag::Dirty) && !matches!(self.phase, Phase::Gone) {
            self.flags.set(Flag::Dirty);
            context.dirty.borrow_mut().push(self.id);
        }
    }

    /// Who the peer is, where the kernel told.
    pub(in crate::engine) fn peer(&self, context: &Context) -> Option<SocketAddr> {
        let kept = self.aside.as_ref().and_then(|aside| aside.peer);
        kept.or_else(|| context.peers.borrow().address(self.id.slot, self.peer))
    }

    /// The slot gets another owner, and this one's handler lives on.
    pub(in crate::engine) fn keep_peer(&mut self, context: &Context) {
        if matches!(self.peer, Peer::V6(_)) {
            self.aside_mut().peer = self.peer(context);
        }
    }

    pub(in crate::engine) fn set_peer(&mut self, peer: Option<SocketAddr>, context: &Context) {
        self.peer = context.peers.borrow_mut().keep(self.id.slot, peer);
    }

    pub(in crate::engine) fn opened(&self) -> Moment {
        self.opened.moment()
    }

    /// What went each way.
    pub(in crate::engine) fn counts(&self) -> Counts {
        let counts = self.tally.counts(self.aside.as_ref().map(|aside| &aside.carried));
        let unacknowledged = self.aside.as_ref().map_or(0, |aside| aside.unacknowledged_bytes);
        let bytes_out = counts.bytes_out.saturating_sub(unacknowledged);
        Counts { bytes_out, unsent_bytes: self.unsent_bytes(), ..counts }
    }

    /// The low bits of a count.
    pub(in crate::engine) fn low(&self, counted: Counted) -> u32 {
        self.tally.low(counted)
    }

    /// Messages both ways, or their low bits: whether there was one.
    pub(in crate::engine) fn messages_low(&self) -> u32 {
        self.tally.low(Counted::MessagesIn).wrapping_add(self.tally.low(Counted::MessagesOut))
    }

    /// So many more.
    #[inline(always)]
    pub(in crate::engine) fn count(&mut self, counted: Counted, more: u64) {
        let carry = self.tally.add(counted, more);
        if carry > 0 {
            self.carry(counted, carry);
        }
    }

    /// One more message written.
    #[inline(always)]
    pub(in crate::engine) fn count_message_out(&mut self) {
        if self.tally.add_one(Counted::MessagesOut) {
            self.carry(Counted::MessagesOut, 1);
        }
    }

    #[cold]
    fn carry(&mut self, counted: Counted, carry: u64) {
        self.aside_mut().carried.add(counted, carry);
    }

    /// Lets the handler look again.
    #[inline]
    pub(in crate::engine) fn wake(&mut self, context: &Context) {
        if let Some(waker) = self.aside.as_mut().and_then(|aside| aside.waker.take()) {
            context.wake_later(self.id, waker);
        }
        self.wake_task(context);
    }

    /// Puts its task, if it has one, on the list of those to poll, once.
    #[inline]
    pub(in crate::engine) fn wake_task(&mut self, context: &Context) {
        if self.flags.has(Flag::Handled) && !self.flags.has(Flag::Queued) {
            self.flags.set(Flag::Queued);
            context.ready.borrow_mut().push(self.id);
        }
    }
}
