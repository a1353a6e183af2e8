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
//! The shard brings bytes ([`super::receiving`]), the ends of operations (`handle_*` here) and time
//! ([`super::deadlines`]), and after each batch asks what the ring is to do ([`super::settle`]);
//! the handler's verbs are in [`super::verbs`], how it ends in [`super::closing`]. No ring, no
//! clock.

use super::aside::Aside;
use super::conversation::Conversation;
use super::core::{Core, count_more};
pub use super::ended::Closer;
pub(super) use super::ended::Counted;
use super::ended::Tally;
pub(crate) use super::ended::{Counts, Ended};
use super::executor::Task;
use super::flags::{Flag, Flags};
use super::peers::Peer;
use super::registry::SlotId;
use super::transport::Transport;
use crate::clock::{Moment, ShortMoment};
use crate::proto::CloseCode;
use crate::ring::{Buffer, SendData};
use std::net::SocketAddr;
use std::num::NonZeroU32;

/// A deadline that never comes.
pub(super) const NEVER: Moment = Moment::from_millis(u64::MAX);

/// The state machine of one connection.
pub(crate) struct Connection {
    pub(super) id: SlotId,
    pub(super) talk: Conversation,
    /// What few connections have at a time.
    pub(super) aside: Option<Box<Aside>>,
    /// The handler, while there is one and it is not being polled.
    pub(super) task: Option<Task>,
    /// The read that waits.
    pub(super) reading: Option<Reading>,
    pub(super) tally: Tally,
    pub(super) phase: Phase,
    peer: Peer,
    /// The earliest entry in the wheel.
    pub(super) scheduled: ShortMoment,
    pub(super) opened: ShortMoment,
    /// The route, for the log; `u16::MAX` before it is known.
    pub(super) route: u16,
    /// The HTTP status of the answer, 0 before it is known.
    pub(super) status: u16,
    /// The low bits of the messages written that the shard has counted.
    counted_out: u16,
    pub(super) flags: Flags,
    pub(super) transport: Transport,
}

/// What is to happen next with a connection's bytes.
#[derive(Clone, Copy)]
pub(super) enum Phase {
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
pub(super) struct Reading {
    /// What it wants at once, cut to 4 GiB; one for a read of nothing, which also waits for a
    /// message.
    len: NonZeroU32,
    deadline: ShortMoment,
}

impl Reading {
    pub(super) fn new(len: usize, deadline: Moment) -> Self {
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        Self { len: NonZeroU32::new(len).unwrap_or(NonZeroU32::MIN), deadline: deadline.into() }
    }

    /// What it wants at once, in characters or bytes.
    pub(super) fn len(self) -> usize {
        self.len.get() as usize
    }

    pub(super) fn deadline(self) -> Moment {
        self.deadline.moment()
    }
}

impl Connection {
    /// A connection that was accepted just now.
    pub(super) fn new(id: SlotId, over_capacity: bool, core: &Core) -> Self {
        let now = core.now.get();
        let mut connection = Self { opened: now.into(), ..Self::gone(id) };
        connection.flags.set(Flag::AtEnd);
        connection.flags.put(Flag::OverCapacity, over_capacity);
        connection.phase = Phase::Head((now + connection.head_patience(core)).into());
        connection.reschedule(core);
        connection
    }

    /// No connection: one that is gone.
    pub(super) fn gone(id: SlotId) -> Self {
        Self {
            id,
            talk: Conversation::default(),
            aside: None,
            task: None,
            reading: None,
            tally: Tally::default(),
            phase: Phase::Gone,
            peer: Peer::Unknown,
            scheduled: NEVER.into(),
            opened: NEVER.into(),
            route: u16::MAX,
            status: 0,
            counted_out: 0,
            flags: Flags::default(),
            transport: Transport::Plain,
        }
    }

    /// A send has ended.
    pub(super) fn handle_sent(&mut self, sent: usize, data: SendData, core: &Core) {
        self.count(Counted::BytesOut, sent as u64);
        count_more(&core.counters.bytes_out, sent as u64);
        self.talk.outbox.sent(sent, data);
        if self.talk.strain.is_some() {
            self.account(core);
        }
        if self.aside.is_some() {
            self.handle_send_answer(core);
        }
        if self.flags.has(Flag::Writing)
            && !self.talk.outbox.is_full(core.settings.limits.outbox_high_water_bytes)
        {
            self.wake(core);
            if self.flags.has(Flag::Shared) {
                self.mark_dirty(core);
            }
        }
        if self.flags.has(Flag::Dead) {
            self.drop_outbox();
        }
        // Otherwise there is nothing for the shard to do, and this is the path of every echo.
        if self.talk.outbox.wants_send() || !matches!(self.phase, Phase::Open(_)) {
            self.mark_dirty(core);
        }
        self.talk.rest();
    }

    /// Adds the messages written since the last time to the shard's. There are not as many as
    /// would fit into the outbox.
    #[inline]
    pub(super) fn count_messages_out(&mut self, core: &Core) {
        let written = self.tally.low(Counted::MessagesOut) as u16;
        let more = written.wrapping_sub(std::mem::replace(&mut self.counted_out, written));
        count_more(&core.counters.messages_out, u64::from(more));
    }

    /// Drops what waits to be sent: nobody will take it.
    pub(super) fn drop_outbox(&mut self) {
        if !self.talk.outbox.is_idle() {
            let waiting = self.talk.outbox.clear();
            self.add_unsent(waiting as u64);
        }
        if !self.talk.unseen().is_empty() {
            self.talk.strain_mut().unseen = Buffer::new();
        }
    }

    /// The slot is free; the connection only lives on in its handler, if at all.
    pub(super) fn handle_gone(&mut self, core: &Core) {
        if self.status == 101 {
            core.count_route(self.route, |route| route.open -= 1);
            let code = self.ended().map_or(CloseCode::ABNORMAL, |ended| ended.code);
            core.counters.closes.borrow_mut().count(code.0);
        }
        self.phase = Phase::Gone;
        if self.flags.has(Flag::Shared) {
            self.leave_shared(core);
        }
        self.drop_outbox();
        self.account(core);
        self.wake(core);
    }

    /// Puts the connection on the list of those to settle after the batch, once.
    pub(super) fn mark_dirty(&mut self, core: &Core) {
        if !self.flags.has(Flag::Dirty) && !matches!(self.phase, Phase::Gone) {
            self.flags.set(Flag::Dirty);
            core.dirty.borrow_mut().push(self.id);
        }
    }

    /// Who the peer is, where the kernel told.
    pub(super) fn peer(&self, core: &Core) -> Option<SocketAddr> {
        let kept = self.aside.as_ref().and_then(|aside| aside.peer);
        kept.or_else(|| core.peers.borrow().address(self.id.slot, self.peer))
    }

    /// The slot gets another owner, and this one's handler lives on.
    pub(super) fn keep_peer(&mut self, core: &Core) {
        if matches!(self.peer, Peer::V6(_)) {
            self.aside_mut().peer = self.peer(core);
        }
    }

    pub(super) fn set_peer(&mut self, peer: Option<SocketAddr>, core: &Core) {
        self.peer = core.peers.borrow_mut().keep(self.id.slot, peer);
    }

    pub(super) fn opened(&self) -> Moment {
        self.opened.moment()
    }

    /// What went each way.
    pub(super) fn counts(&self) -> Counts {
        let counts = self.tally.counts(self.aside.as_ref().map(|aside| &aside.carried));
        let unacknowledged = self.aside.as_ref().map_or(0, |aside| aside.unacknowledged_bytes);
        let bytes_out = counts.bytes_out.saturating_sub(unacknowledged);
        Counts { bytes_out, unsent_bytes: self.unsent_bytes(), ..counts }
    }

    /// The low bits of a count.
    pub(super) fn low(&self, counted: Counted) -> u32 {
        self.tally.low(counted)
    }

    /// Messages both ways, or their low bits: whether there was one.
    pub(super) fn messages_low(&self) -> u32 {
        self.tally.low(Counted::MessagesIn).wrapping_add(self.tally.low(Counted::MessagesOut))
    }

    /// So many more.
    #[inline(always)]
    pub(super) fn count(&mut self, counted: Counted, more: u64) {
        let carry = self.tally.add(counted, more);
        if carry > 0 {
            self.carry(counted, carry);
        }
    }

    /// One more message written.
    #[inline(always)]
    pub(super) fn count_message_out(&mut self) {
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
    pub(super) fn wake(&mut self, core: &Core) {
        if let Some(waker) = self.aside.as_mut().and_then(|aside| aside.waker.take()) {
            core.wake_later(self.id, waker);
        }
        core.executor.wake(self);
    }
}
