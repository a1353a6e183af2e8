//! What a connection may hold: bytes and messages in its inbox, bytes in its outbox, and what it has
//! of the shard's growth account beyond that.
//!
//! Beyond its inbox a connection grows where a read asks for more, and by what one batch has brought
//! and the inbox did not take (the rest), and by what its handler has in hands; beyond the
//! high-water mark of its outbox by the message that passed it.

use super::connection::{Connection, Phase};
use super::core::Core;
use super::flags::Flag;
use super::settings::MailboxPolicy;
use super::shared::SharedState;
use crate::proto::{CloseCode, limits};
use crate::ring::Buffer;

/// What an inbox may hold before its connection is read no further.
#[derive(Clone, Copy)]
pub(super) struct Room {
    pub(super) bytes_max: usize,
    pub(super) messages_max: usize,
}

impl Room {
    #[inline(always)]
    pub(super) fn of(core: &Core) -> Self {
        let limits = &core.settings.limits;
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
    pub(super) fn room(&self, core: &Core) -> Room {
        let room = Room::of(core);
        if self.flags.has(Flag::Shared) { self.mailbox_room(room, core) } else { room }
    }

    fn mailbox_room(&self, room: Room, core: &Core) -> Room {
        let table = core.shared.borrow();
        let Some(state) = table.find(self.id.slot) else { return room };
        let room = room.less(state);
        // Its policy is for what passes the limits.
        let passes = !state.is_attended() && core.mailbox(self.route) != MailboxPolicy::StopReading;
        if passes { room.and_one() } else { room }
    }

    /// Makes a mailbox that nobody holds do what a full one does. Whether there may be room now.
    pub(super) fn make_room(&mut self, core: &Core) -> bool {
        if !self.flags.has(Flag::Shared) || core.mailbox(self.route) == MailboxPolicy::StopReading {
            return false;
        }
        let Some(mut state) = core.shared.borrow_mut().take(self.id.slot) else { return false };
        let unattended = self.is_open() && !state.is_attended();
        if unattended {
            self.keep_bounds(&mut state, core);
        }
        core.shared.borrow_mut().put_back(self.id.slot, state);
        unattended
    }

    /// Whether the socket should be read now.
    pub(super) fn wants_receive(&self, core: &Core) -> bool {
        let limits = &core.settings.limits;
        match self.phase {
            _ if self.flags.has(Flag::EndOfStream) || self.flags.has(Flag::Dead) => false,
            // Bytes come in their order.
            _ if !self.talk.unseen().is_empty() => self.listens(),
            Phase::Head(_) | Phase::Closing(_) | Phase::Lingering(_) => true,
            Phase::Deciding => {
                self.aside.as_ref().is_none_or(|a| a.early.len() < limits.inbox_bytes_max)
            }
            Phase::Open(_) if self.flags.has(Flag::Shared) => self.wants_shared_receive(core),
            Phase::Open(_) => {
                let binary_data = self.flags.has(Flag::BinaryData);
                self.talk.inbox.has_room(Room::of(core))
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
    pub(super) fn listen_on(&mut self) {
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
    pub(super) fn resume(&mut self, core: &Core) {
        if !self.talk.unseen().is_empty() {
            self.take_in_rest(core);
            if self.flags.has(Flag::Shared) {
                // Whoever holds it gets what was taken in.
                self.exchange(core);
            }
        }
    }

    #[cold]
    fn take_in_rest(&mut self, core: &Core) {
        let mut rest = std::mem::take(&mut self.talk.strain_mut().unseen);
        // Settling says so again if there is still no room.
        self.flags.clear(Flag::Paused);
        if matches!(self.phase, Phase::Open(_) | Phase::Closing(_)) {
            let taken = self.take_frames(&mut rest, core);
            rest.advance(taken);
            if taken > 0 && self.is_open() {
                self.phase = Phase::Open(core.now.get().into());
            }
            let strain = self.talk.strain_mut();
            if rest.is_empty() {
                strain.stuck_since = None;
            } else {
                strain.unseen = rest;
                self.flags.set(Flag::Paused);
            }
        }
        self.account(core);
        if self.talk.unseen().is_empty() && self.flags.has(Flag::EndOfStream) {
            // It came behind.
            self.handle_end_of_stream(core);
        }
    }

    /// Keeps bytes that the inbox has no room for.
    #[cold]
    pub(super) fn keep_rest(&mut self, bytes: &[u8], core: &Core) {
        let rest = &mut self.talk.strain_mut().unseen;
        if rest.is_empty() {
            *rest = Buffer::with_capacity(bytes.len());
        }
        rest.extend_from_slice(bytes);
        self.flags.set(Flag::Paused);
        if let Some(aside) = &mut self.aside {
            aside.listens = false;
        }
        self.account(core);
        let own = self.talk.excess_bytes();
        let over = self.talk.unseen().len() > limits::REST_BYTES
            && core.account.free_bytes(own) < own as usize;
        if over {
            self.talk.strain_mut().unseen = Buffer::new();
            self.account(core);
            self.fail(CloseCode::TRY_AGAIN_LATER, "no room", core);
        }
        self.mark_dirty(core);
    }

    /// The reader wants more than its share. It waits for the others to give something back, but not
    /// for ever.
    #[cold]
    pub(super) fn wait_for_growth(&mut self, progress: bool, core: &Core) {
        core.account.wait(self.id);
        let strain = self.talk.strain_mut();
        let since = strain.stuck_since.filter(|_| !progress);
        strain.stuck_since = since.or(Some(core.now.get()));
        self.look_by(core.now.get() + limits::GROWTH_TIMEOUT, core);
    }

    /// Ends the conversation if a message could not be completed for so long.
    pub(super) fn give_up_growth(&mut self, core: &Core) {
        let Some(since) = self.talk.strain.as_ref().and_then(|strain| strain.stuck_since) else {
            return;
        };
        let until = since + limits::GROWTH_TIMEOUT;
        let waits = self.reading.is_some() && !self.talk.unseen().is_empty() && self.is_open();
        if waits && until > core.now.get() {
            self.look_by(until, core);
        } else {
            self.talk.strain_mut().stuck_since = None;
            if waits {
                self.talk.inbox.abandon();
                self.fail(CloseCode::TRY_AGAIN_LATER, "no room", core);
            }
            self.account(core);
        }
    }

    /// Whether so many bytes may be added to the outbox: if it is not full, and those that pass its
    /// mark have a share of the account, or, where nothing is being sent, are free in it.
    #[inline]
    pub(super) fn takes(&self, bytes: usize, core: &Core) -> bool {
        let marked = core.settings.limits.outbox_high_water_bytes;
        let all = self.talk.outbox.bytes() + bytes;
        !self.talk.outbox.is_full(marked) && (all <= marked || self.takes_much(all - marked, core))
    }

    /// The handler has written what it had in hands.
    #[inline]
    pub(super) fn has_written(&mut self, core: &Core) {
        if let Some(strain) = self.talk.strain_if_any() {
            strain.lent_bytes = 0;
            self.account(core);
        } else if self.talk.outbox.bytes() > core.settings.limits.outbox_high_water_bytes {
            self.account(core);
        }
    }

    #[cold]
    fn takes_much(&self, excess_bytes: usize, core: &Core) -> bool {
        let own = self.talk.excess_bytes();
        let wanted = excess_bytes + self.inbox_excess(0, core);
        // What the handler has in hands is what it writes.
        let takes = wanted <= own as usize
            || wanted <= core.account.share_bytes(own)
            || self.talk.outbox.is_idle() && wanted <= core.account.free_bytes(own)
            || core.account.used_bytes() == own as usize;
        if !takes {
            core.account.wait(self.id);
        }
        takes
    }

    /// The handler reads again: it has nothing in hands.
    #[inline]
    pub(super) fn take_back(&mut self, core: &Core) {
        if self.talk.lent_bytes() > 0 {
            self.lend(0, core);
        }
    }

    /// The handler has read so many bytes. While it has more than an inbox in hands, these count as
    /// if they were in there still.
    #[inline]
    pub(super) fn lend(&mut self, bytes: usize, core: &Core) {
        let long = bytes > core.settings.limits.inbox_bytes_max;
        let lent = if long { u32::try_from(bytes).unwrap_or(u32::MAX) } else { 0 };
        if lent != self.talk.lent_bytes() {
            self.talk.strain_mut().lent_bytes = lent;
        }
        self.account(core);
    }

    /// What is received and more than each may have.
    fn inbox_excess(&self, linked_bytes: usize, core: &Core) -> usize {
        let held = self.talk.inbox.held_bytes() + linked_bytes;
        held.saturating_sub(core.settings.limits.inbox_bytes_max)
            + self.talk.unseen().len().saturating_sub(limits::REST_BYTES)
    }

    /// Brings the shard's account up to date.
    #[inline]
    pub(super) fn account(&mut self, core: &Core) {
        if !self.holds_little(core) {
            self.account_with(self.linked_bytes(core), core);
        }
    }

    /// Whether there is plainly nothing to account for: the usual case of every batch.
    #[inline(always)]
    fn holds_little(&self, core: &Core) -> bool {
        let (talk, limits) = (&*self.talk, &core.settings.limits);
        talk.strain.is_none()
            && talk.inbox.held_bytes() <= limits.inbox_bytes_max
            && talk.outbox.bytes() <= limits.outbox_high_water_bytes
            && !self.flags.has(Flag::Shared)
    }

    /// What a holder has been handed of it.
    fn linked_bytes(&self, core: &Core) -> usize {
        // A slot that was given up may have a new owner.
        if !self.flags.has(Flag::Shared) || matches!(self.phase, Phase::Gone) {
            return 0;
        }
        core.shared.borrow().find(self.id.slot).map_or(0, |state| state.linked_bytes as usize)
    }

    /// The same, with what a holder has been handed.
    pub(super) fn account_with(&mut self, linked_bytes: usize, core: &Core) {
        let excess = self.excess(linked_bytes, core);
        let before = self.talk.excess_bytes();
        if excess != before {
            core.account.change(before, excess);
            if excess < before {
                // Somebody may wait for it.
                core.chores.set(true);
            }
            self.talk.strain_mut().excess_bytes = excess;
        }
        if let Some(talk) = self.talk.busy() {
            talk.ease();
        }
    }

    /// What would be free without it: everything that it holds.
    pub(super) fn held_bytes(&self, core: &Core) -> usize {
        let linked = core.shared.borrow().find(self.id.slot).map_or(0, |s| s.linked_bytes as usize);
        let talk = &self.talk;
        let held = talk.inbox.held_bytes() + talk.outbox.bytes() + talk.unseen().len();
        held + linked + talk.lent_bytes() as usize
    }

    fn excess(&self, linked_bytes: usize, core: &Core) -> u32 {
        let limits = &core.settings.limits;
        let talk = &self.talk;
        let outbox = talk.outbox.bytes().saturating_sub(limits.outbox_high_water_bytes);
        let all = self.inbox_excess(linked_bytes, core) + outbox + talk.lent_bytes() as usize;
        u32::try_from(all).unwrap_or(u32::MAX)
    }
}

impl Core {
    /// Tells those who wait for room in the account that there is some.
    #[cold]
    pub(super) fn tell_waiting(&self) {
        for id in self.account.take_waiting() {
            let mut slots = self.slots.borrow_mut();
            let Some(slot) = slots.find(id) else { continue };
            if slot.connection.flags.has(Flag::Writing) {
                slot.connection.wake(self);
            }
            slot.connection.mark_dirty(self);
        }
    }

    /// What the account should say, added up anew.
    pub(super) fn held_growth_bytes(&self) -> usize {
        let mut slots = self.slots.borrow_mut();
        let held = |c: &mut Connection| c.excess(c.linked_bytes(self), self) as usize;
        let in_slots: usize = slots.iter_mut().map(held).sum();
        in_slots + slots.kept().map(held).sum::<usize>()
    }
}
