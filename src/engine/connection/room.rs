//! What a connection may hold: bytes and messages in its inbox, bytes in its outbox, and what it
//! has of the shard's growth account beyond that.
//!
//! Beyond its inbox a connection grows where a read asks for more, and by what one batch has
//! brought and the inbox did not take (the rest), and by what its handler has in hands; beyond the
//! high-water mark of its outbox by the message that passed it.
//!
//! Called wherever something was put in or taken out: it alone tells [`account`](crate::engine::connection::account) what a
//! connection holds.

use crate::engine::connection::account::Holding;
use crate::engine::connection::context::Context;
use crate::engine::connection::state::Flag;
use crate::engine::connection::{Connection, Phase};
use crate::engine::model::settings::MailboxPolicy;
use crate::engine::shared::state::SharedState;
use crate::proto::{CloseCode, limits};
use crate::ring::Buffer;

/// What an inbox may hold before its connection is read no further.
#[derive(Clone, Copy)]
pub(in crate::engine) struct Room {
    pub(in crate::engine) bytes_max: usize,
    pub(in crate::engine) messages_max: usize,
}

impl Room {
    #[inline(always)]
    pub(in crate::engine) fn of(context: &Context) -> Self {
        let limits = &context.settings.limits;
        Self { bytes_max: limits.inbox_bytes_max, messages_max: limits.inbox_messages_max }
    }

    /// The same less what a holder has been handed.
    fn less(self, state: &SharedState) -> Self {
        Self {
            bytes_max: self.bytes_max.saturating_sub(state.linked_bytes as usize),
            messages_max: self.messages_max.saturating_sub(state.linked_messages.into()),
        }
    }

    fn and_one(self) -> Self {
        let Self { bytes_max, messages_max } = self;
        Self {
            bytes_max: bytes_max.saturating_add(1),
            messages_max: messages_max.saturating_add(1),
        }
    }
}

impl Connection {
    /// What its inbox may hold before it is full.
    pub(in crate::engine) fn room(&self, context: &Context) -> Room {
        let room = Room::of(context);
        if self.flags.has(Flag::Shared) { self.mailbox_room(room, context) } else { room }
    }

    fn mailbox_room(&self, room: Room, context: &Context) -> Room {
        let table = context.shared.borrow();
        let Some(state) = table.find(self.id.slot) else { return room };
        let room = room.less(state);
        // Its policy is for what passes the limits.
        let passes =
            !state.is_attended() && context.paths.mailbox(self.route) != MailboxPolicy::StopReading;
        if passes { room.and_one() } else { room }
    }

    /// Makes a mailbox that nobody holds do what a full one does. Whether there may be room now.
    pub(in crate::engine) fn make_room(&mut self, context: &Context) -> bool {
        if !self.flags.has(Flag::Shared)
            || context.paths.mailbox(self.route) == MailboxPolicy::StopReading
        {
            return false;
        }
        let Some(mut state) = context.shared.borrow_mut().take(self.id.slot) else { return false };
        let unattended = self.is_open() && !state.is_attended();
        if unattended {
            self.keep_bounds(&mut state, context);
        }
        context.shared.borrow_mut().put_back(self.id.slot, state);
        unattended
    }

    /// Whether the socket should be read now.
    pub(in crate::engine) fn wants_receive(&self, context: &Context) -> bool {
        let limits = &context.settings.limits;
        match self.phase {
            _ if self.flags.has(Flag::EndOfStream) || self.flags.has(Flag::Dead) => false,
            // Bytes come in their order.
            _ if !self.talk.unseen().is_empty() => self.listens(),
            Phase::Head(_) | Phase::Closing(_) | Phase::Lingering(_) => true,
            Phase::Deciding => {
                self.aside.as_ref().is_none_or(|a| a.early.len() < limits.inbox_bytes_max)
            }
            Phase::Open(_) if self.flags.has(Flag::Shared) => {
                self.wants_shared_receive(context) || self.listens()
            }
            Phase::Open(_) => {
                let binary_data = self.flags.has(Flag::BinaryData);
                self.talk.inbox.has_room(Room::of(context))
                    || self
                        .reading
                        .is_some_and(|r| !self.talk.inbox.is_readable(r.len(), binary_data))
                    || self.listens()
            }
            Phase::Gone => false,
        }
    }

    /// The peer does not seem to take what it is sent, and is not read. It may be the one because of the
    /// other: Linux from 6.17 on drops what acknowledges, with the rest of its segment, where the queue
    /// to be received is over its limit, whatever the peer takes. So more of that is received.
    pub(in crate::engine) fn listen_on(&mut self) {
        if self.flags.has(Flag::Paused) {
            self.aside_mut().listens = true;
        }
    }

    /// Whether more is to be received than there is room for: one shot, within what each may have.
    #[cold]
    fn listens(&self) -> bool {
        self.aside.as_ref().is_some_and(|aside| aside.listens)
            && self.talk.unseen().len() + limits::SHOT_BYTES_MAX <= limits::REST_BYTES
    }

    /// Takes in what came and had to wait, as far as there is room now. Called before the verdict
    /// is acted on, so that everything is seen in the order in which it came.
    pub(in crate::engine) fn resume(&mut self, context: &Context) {
        if !self.talk.unseen().is_empty() {
            self.take_in_rest(context);
            if self.flags.has(Flag::Shared) {
                // Whoever holds it gets what was taken in.
                self.exchange(context);
            }
        }
    }

    #[cold]
    fn take_in_rest(&mut self, context: &Context) {
        let mut rest = std::mem::take(&mut self.talk.strain_mut().unseen);
        // Settling says so again if there is still no room.
        self.flags.clear(Flag::Paused);
        if matches!(self.phase, Phase::Open(_) | Phase::Closing(_)) {
            let taken = self.take_frames(&mut rest, context);
            rest.advance(taken);
            if taken > 0 && self.is_open() {
                self.phase = Phase::Open(context.now.get().into());
            }
            let strain = self.talk.strain_mut();
            if rest.is_empty() {
                strain.stuck_since = None;
            } else {
                strain.unseen = rest;
                self.flags.set(Flag::Paused);
            }
        }
        self.account(context);
        if self.talk.unseen().is_empty() && self.flags.has(Flag::EndOfStream) {
            // It came behind.
            self.handle_end_of_stream(context);
        }
    }

    /// Keeps bytes that the inbox has no room for.
    #[cold]
    pub(in crate::engine) fn keep_rest(&mut self, bytes: &[u8], context: &Context) {
        let rest = &mut self.talk.strain_mut().unseen;
        if rest.is_empty() {
            *rest = Buffer::with_capacity(bytes.len());
        }
        rest.extend_from_slice(bytes);
        self.flags.set(Flag::Paused);
        if let Some(aside) = &mut self.aside {
            aside.listens = false;
        }
        self.account(context);
        let over = self.talk.unseen().len() > limits::REST_BYTES
            && context.account.is_exceeded(self.holding(context));
        if over {
            self.talk.strain_mut().unseen = Buffer::new();
            self.account(context);
            self.fail(CloseCode::TRY_AGAIN_LATER, "no room", context);
        }
        self.mark_dirty(context);
    }

    /// The reader wants more than its share. It waits for the others to give something back, but not
    /// for ever.
    #[cold]
    pub(in crate::engine) fn wait_for_growth(&mut self, progress: bool, context: &Context) {
        context.account.wait(self.id);
        let strain = self.talk.strain_mut();
        let since = strain.stuck_since.filter(|_| !progress);
        strain.stuck_since = since.or(Some(context.now.get()));
        self.look_by(context.now.get() + limits::GROWTH_TIMEOUT, context);
    }

    /// Ends the conversation if a message could not be completed for so long.
    pub(in crate::engine) fn give_up_growth(&mut self, context: &Context) {
        let Some(since) = self.talk.strain.as_ref().and_then(|strain| strain.stuck_since) else {
            return;
        };
        let until = since + limits::GROWTH_TIMEOUT;
        let waits = self.reading.is_some() && !self.talk.unseen().is_empty() && self.is_open();
        if waits && until > context.now.get() {
            self.look_by(until, context);
        } else {
            self.talk.strain_mut().stuck_since = None;
            if waits {
                self.talk.inbox.abandon();
                self.fail(CloseCode::TRY_AGAIN_LATER, "no room", context);
            }
            self.account(context);
        }
    }

    /// Whether so many bytes may be added to the outbox: if it is not full, and those that pass its
    /// mark have a share of the account, or, where nothing is being sent, are free in it.
    #[inline]
    pub(in crate::engine) fn takes(&self, bytes: usize, context: &Context) -> bool {
        let marked = context.settings.limits.outbox_high_water_bytes;
        let all = self.talk.outbox.bytes() + bytes;
        !self.talk.outbox.is_full(marked)
            && (all <= marked || self.takes_much(all - marked, context))
    }

    /// The handler has written what it had in hands.
    #[inline]
    pub(in crate::engine) fn has_written(&mut self, context: &Context) {
        if let Some(strain) = self.talk.strain_if_any() {
            strain.lent_bytes = 0;
            self.account(context);
        } else if self.talk.outbox.bytes() > context.settings.limits.outbox_high_water_bytes {
            self.account(context);
        }
    }

    #[cold]
    fn takes_much(&self, excess_bytes: usize, context: &Context) -> bool {
        let own = self.holding(context);
        let wanted = excess_bytes + self.inbox_excess(0, context);
        // What the handler has in hands is what it writes.
        let takes = wanted <= own.bytes as usize
            || wanted <= context.account.share_bytes(wanted, own.bytes, || own.network)
            || self.talk.outbox.is_idle() && wanted <= context.account.free_bytes(own)
            || context.account.used_bytes() == own.bytes as usize;
        if !takes {
            context.account.wait(self.id);
        }
        takes
    }

    /// The handler reads again: it has nothing in hands.
    #[inline]
    pub(in crate::engine) fn take_back(&mut self, context: &Context) {
        if self.talk.lent_bytes() > 0 {
            self.lend(0, context);
        }
    }

    /// The handler has read so many bytes. While it has more than an inbox in hands, these count as
    /// if they were in there still.
    #[inline]
    pub(in crate::engine) fn lend(&mut self, bytes: usize, context: &Context) {
        let long = bytes > context.settings.limits.inbox_bytes_max;
        let lent = if long { u32::try_from(bytes).unwrap_or(u32::MAX) } else { 0 };
        if lent != self.talk.lent_bytes() {
            self.talk.strain_mut().lent_bytes = lent;
        }
        self.account(context);
    }

    /// What is received and more than each may have.
    fn inbox_excess(&self, linked_bytes: usize, context: &Context) -> usize {
        let held = self.talk.inbox.held_bytes() + linked_bytes;
        held.saturating_sub(context.settings.limits.inbox_bytes_max)
            + self.talk.unseen().len().saturating_sub(limits::REST_BYTES)
    }

    /// Brings the shard's account up to date.
    #[inline]
    pub(in crate::engine) fn account(&mut self, context: &Context) {
        if !self.holds_little(context) {
            self.account_with(self.linked_bytes(context), context);
        }
    }

    /// Whether there is plainly nothing to account for: the usual case of every batch.
    #[inline(always)]
    fn holds_little(&self, context: &Context) -> bool {
        let (talk, limits) = (&*self.talk, &context.settings.limits);
        talk.strain.is_none()
            && talk.inbox.held_bytes() <= limits.inbox_bytes_max
            && talk.outbox.bytes() <= limits.outbox_high_water_bytes
            && !self.flags.has(Flag::Shared)
    }

    /// What a holder has been handed of it.
    fn linked_bytes(&self, context: &Context) -> usize {
        // A slot that was given up may have a new owner.
        if !self.flags.has(Flag::Shared) || matches!(self.phase, Phase::Gone) {
            return 0;
        }
        context.shared.borrow().find(self.id.slot).map_or(0, |state| state.linked_bytes as usize)
    }

    /// The same, with what a holder has been handed.
    pub(in crate::engine) fn account_with(&mut self, linked_bytes: usize, context: &Context) {
        let excess = self.excess(linked_bytes, context);
        if excess != self.talk.holding().bytes {
            let before = self.holding(context);
            context.account.change(before, excess);
            if excess < before.bytes {
                // Somebody may wait for it.
                context.chores.set(true);
            }
            self.talk.strain_mut().holding = Holding { bytes: excess, ..before };
        }
        if let Some(talk) = self.talk.busy() {
            talk.ease();
        }
    }

    /// Whether it may hold anything.
    pub(in crate::engine) fn holds_any(&self) -> bool {
        !self.talk.is_empty() || self.flags.has(Flag::Shared)
    }

    /// What would be free without it: everything that has come and is held, and what is to be sent.
    pub(in crate::engine) fn held_bytes(&self, context: &Context) -> (usize, usize) {
        let talk = &self.talk;
        let come = talk.inbox.held_bytes() + talk.unseen().len() + talk.lent_bytes() as usize;
        (come + self.linked_bytes(context), talk.outbox.bytes())
    }

    /// What it has of the account, and for whom.
    fn holding(&self, context: &Context) -> Holding {
        match self.talk.holding() {
            Holding { bytes: 0, .. } => {
                let peer = self.peer(context);
                Holding {
                    bytes: 0,
                    network: peer.and_then(|peer| context.places.network(peer.ip())),
                }
            }
            held => held,
        }
    }

    /// What it has of the account, added up anew.
    pub(in crate::engine) fn growth_bytes(&self, context: &Context) -> usize {
        self.excess(self.linked_bytes(context), context) as usize
    }

    fn excess(&self, linked_bytes: usize, context: &Context) -> u32 {
        let limits = &context.settings.limits;
        let talk = &self.talk;
        let outbox = talk.outbox.bytes().saturating_sub(limits.outbox_high_water_bytes);
        let all = self.inbox_excess(linked_bytes, context) + outbox + talk.lent_bytes() as usize;
        u32::try_from(all).unwrap_or(u32::MAX)
    }
}
