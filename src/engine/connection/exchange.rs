//! What a shard does with a shared socket whenever it settles one: messages go to the holder and come
//! from it, leases begin and end, a mailbox keeps its bounds, time runs out.

use crate::clock::Moment;
use crate::engine::connection::context::Context;
use crate::engine::connection::inbox::Inbox;
use crate::engine::connection::outbox::Payload;
use crate::engine::connection::state::Flag;
use crate::engine::connection::{Connection, Phase, Reading};
use crate::engine::model::ended::Ended;
use crate::engine::model::events::{EventClose, EventKind};
use crate::engine::model::settings::MailboxPolicy;
use crate::engine::shared::link::{Facts, Link, LinkState, Purpose};
use crate::engine::shared::open::{Leaving, Outgoing};
use crate::engine::shared::remains::Left;
use crate::engine::shared::state::SharedState;
use crate::proto::frame::Opcode;
use crate::proto::{CloseCode, MessageKind, limits};
use std::sync::Arc;

/// How the Close of a session that has timed out reads.
const TIMED_OUT: &str = "the session has timed out";

impl Connection {
    /// Moves messages between the connection and its holder, and sees to what is due. Called
    /// whenever the connection is settled, before anything is sent.
    pub(in crate::engine) fn exchange(&mut self, context: &Context) {
        // Out of the table meanwhile, so that nothing called from here looks at it.
        let Some(mut state) = context.shared.borrow_mut().take(self.id.slot) else { return };
        if let Some(link) = state.link.take() {
            self.exchange_with(&mut state, &link, context);
            let idle = !state.flags.held && link.lock().is_empty();
            state.link = (!idle).then_some(link);
        }
        self.take_waiting_writes(context);
        let messages = self.messages_low();
        if messages != state.messages {
            state.messages = messages;
            state.activity = context.now.get();
        }
        if matches!(self.phase, Phase::Open(_)) {
            let timeout = context.paths.session_timeout(self.route);
            if timeout.is_some_and(|timeout| state.activity + timeout <= context.now.get()) {
                context.shared.borrow_mut().has_expired(self.id, self.nonce(context));
                self.say_all(state.link.as_deref().map(take_outgoing), context);
                self.start_close(CloseCode::GOING_AWAY, TIMED_OUT, context);
            } else if !state.is_attended() {
                self.keep_bounds(&mut state, context);
            }
        }
        self.tell(&mut state, context);
        context.shared.borrow_mut().put_back(self.id.slot, state);
        self.reschedule(context);
        self.look_by(self.shared_deadline(context), context);
    }

    /// The part of it that concerns the holder.
    fn exchange_with(&mut self, state: &mut SharedState, link: &Link, context: &Context) {
        let mut outgoing = context.outgoing.take();
        let mut shared = link.lock();
        shared.nudged = false;
        let close = shared.close.take();
        let full = !self.takes(shared.outgoing_bytes, context);
        if !full || close.is_some() || !self.is_open() {
            std::mem::swap(&mut shared.outgoing, &mut outgoing);
            shared.outgoing_bytes = 0;
        }
        self.flags.put(Flag::Writing, full && !shared.outgoing.is_empty());
        if state.flags.held {
            self.look_at_lease(state, &mut shared, context);
        }
        if state.flags.held {
            self.hand_over(&mut shared);
        }
        shared.shut = close.is_some() || !matches!(self.phase, Phase::Open(_));
        shared.closed = self.flags.has(Flag::CloseReceived)
            || self.flags.has(Flag::Dead)
            || matches!(self.phase, Phase::Lingering(_) | Phase::Gone);
        shared.ended = self.ended().cloned().map(Box::new);
        let linked_before = state.linked_messages;
        state.linked_bytes = u32::try_from(shared.bytes()).unwrap_or(u32::MAX);
        state.linked_messages = u16::try_from(shared.ready.messages()).unwrap_or(u16::MAX);
        let took = state.linked_messages < linked_before;
        if self.flags.has(Flag::Ending) && (took || !outgoing.is_empty()) {
            // What came out may have been the answer to the one before.
            self.note_in_hand(took);
        }
        // Who comes back for more is waited for, and has to say so.
        shared.paused = !self.has_room(state, context)
            || !self.talk.unseen().is_empty()
            || self.flags.has(Flag::Ending);
        self.reading = match shared.waiting.as_ref().map(|waiting| waiting.purpose) {
            Some(Purpose::Read { len, deadline, .. }) => Some(Reading::new(len, deadline)),
            _ => None,
        };
        self.reschedule(context);
        shared.watched_until = self.scheduled.moment();
        let due = shared.is_due(context.now.get(), link.high_water_bytes);
        let woken = if due { shared.waiting.take() } else { None };
        let forgotten = std::mem::take(&mut shared.companions);
        drop(shared);
        context.wake_holder(self.id, woken);
        context.wake_companions_later(forgotten);
        self.account_with(state.linked_bytes as usize, context);
        for message in outgoing.drain(..) {
            self.say(message.kind, Payload::Owned(message.payload), context);
        }
        context.outgoing.replace(outgoing);
        if let Some((code, reason)) = close {
            self.start_close(code, &reason, context);
        }
    }

    /// Puts a message behind what is to be sent.
    pub(in crate::engine) fn say(
        &mut self,
        kind: MessageKind,
        payload: Payload<'_>,
        context: &Context,
    ) {
        if matches!(self.phase, Phase::Open(_)) {
            let opcode = if kind == MessageKind::Text { Opcode::Text } else { Opcode::Binary };
            self.talk.outbox.push_frame(opcode, payload);
            self.count_message_out();
            self.mark_dirty(context);
        } else {
            self.lose_message(payload.len());
        }
    }

    /// What a holder has written goes before our Close or FIN, whether there is room for it or not:
    /// it was told that it is written. It writes no more.
    pub(in crate::engine) fn say_what_waits(&mut self, context: &Context) {
        let waiting = self.link(context).as_deref().map(take_outgoing);
        self.say_all(waiting, context);
    }

    fn say_all(&mut self, messages: Option<Vec<Outgoing>>, context: &Context) {
        for message in messages.into_iter().flatten() {
            self.say(message.kind, Payload::Owned(message.payload), context);
        }
    }

    /// The connection is lost, and nobody gets what its holder has written.
    pub(in crate::engine) fn lose_what_waits(&mut self, context: &Context) {
        let waiting = self.link(context).as_deref().map(take_outgoing);
        for message in waiting.into_iter().flatten() {
            self.lose_message(message.payload.len());
        }
    }

    fn link(&self, context: &Context) -> Option<Arc<Link>> {
        if !self.flags.has(Flag::Shared) {
            return None;
        }
        context.shared.borrow().find(self.id.slot)?.link.clone()
    }

    /// Ends the lease of a holder that has left, or has not been heard of.
    fn look_at_lease(
        &mut self,
        state: &mut SharedState,
        shared: &mut LinkState,
        context: &Context,
    ) {
        let now = context.now.get();
        match std::mem::replace(&mut shared.leaving, Leaving::No) {
            Leaving::No if state.lease_until > now => return,
            Leaving::No if !state.flags.detached && shared.is_used() => return state.renew(now),
            Leaving::Detached => {
                if state.lease_ms == 0 {
                    state.lease_ms = limits::LEASE.as_millis() as u32;
                }
                state.renew(now);
                state.flags.detached = true;
                return;
            }
            Leaving::No | Leaving::Released => {}
        }
        state.flags.held = false;
        state.flags.detached = false;
        state.lease_until = Moment::NEVER;
        // Who waits would have been heard of.
        let nobody = shared.pass_on(0);
        debug_assert!(nobody.is_none());
    }

    /// Moves what can be read from the inbox to the holder.
    fn hand_over(&mut self, shared: &mut LinkState) {
        if self.talk.inbox.messages() == 0 {
            shared.partial = false;
            return;
        }
        while let Some(piece) = self.talk.inbox.take(usize::MAX, true) {
            shared.ready.push(piece);
        }
        if let Some(waiting) = &shared.waiting
            && let Purpose::Read { len, as_bytes, .. } = waiting.purpose
            && let wanted = len - shared.ready.begun(len, as_bytes)
            && !shared.ready.is_readable(len, as_bytes)
            && let Some(piece) = self.talk.inbox.take(wanted, as_bytes)
        {
            shared.ready.push(piece);
        }
        shared.partial = self.talk.inbox.messages() > 0;
    }

    /// Publishes what others wait for, and counts who is unattended.
    fn tell(&mut self, state: &mut SharedState, context: &Context) {
        let open = matches!(self.phase, Phase::Open(_));
        let attended = state.is_attended();
        let unattended = open && !attended;
        if unattended != state.flags.counted {
            state.flags.counted = unattended;
            context.count_route(self.route, |route| {
                route.unattended =
                    route.unattended.wrapping_add_signed(if unattended { 1 } else { -1 });
            });
        }
        let readable = unattended && self.would_be_read(state, context);
        if readable && !state.flags.told_readable {
            self.publish(EventKind::Readable, state, None, context);
        }
        state.flags.told_readable = readable;
        if self.ended().is_some() {
            self.tell_closed(state, context);
        }
    }

    /// Whether whoever comes now gets something for a `read` of the usual length: a whole message,
    /// or so much of one; or would by coming, because a full mailbox keeps the rest outside.
    fn would_be_read(&self, state: &SharedState, context: &Context) -> bool {
        let len = limits::READ_LEN_DEFAULT;
        let mut wanted = len;
        if let Some(link) = &state.link {
            let shared = link.lock();
            if shared.ready.is_readable(len, false) {
                return true;
            }
            wanted -= shared.ready.begun(len, false);
        }
        let stopped = context.paths.mailbox(self.route) == MailboxPolicy::StopReading;
        self.talk.inbox.is_readable(wanted, false) || (stopped && !self.has_room(state, context))
    }

    fn tell_closed(&mut self, state: &mut SharedState, context: &Context) {
        if std::mem::replace(&mut state.flags.told_closed, true) {
            return;
        }
        let close = self.ended().map(|ended| {
            let Ended { code, reason, by } = ended.clone();
            Arc::new(EventClose { code, reason, by })
        });
        self.publish(EventKind::Closed, state, close, context);
    }

    pub(in crate::engine) fn publish(
        &self,
        kind: EventKind,
        state: &SharedState,
        close: Option<Arc<EventClose>>,
        context: &Context,
    ) {
        let websocket_id = context.ids.encode(self.id, self.opened());
        context.publish(kind, websocket_id, self.route, state.session_id.clone(), close);
    }

    /// The random part of the id.
    pub(in crate::engine) fn nonce(&self, context: &Context) -> u64 {
        context.ids.nonce(self.id, self.opened())
    }

    /// The socket is gone; what was not read stays for a while.
    pub(in crate::engine) fn leave_shared(&mut self, context: &Context) {
        let Some(mut state) = context.shared.borrow_mut().take(self.id.slot) else { return };
        context.count_route(self.route, |route| route.shared -= 1);
        self.tell(&mut state, context);
        self.tell_closed(&mut state, context);
        context.fail_waiting_writes(self.id, self.ended());
        let unread = self.talk.inbox.is_readable(limits::READ_LEN_DEFAULT, false);
        let link = state.link.take();
        // Nobody comes for what the session timeout has closed.
        let expired = context.shared.borrow().is_expired(self.id, self.nonce(context));
        let left = unread && !expired && !state.flags.serving;
        let link = link
            .or_else(|| left.then(|| Arc::new(self.new_link(state.session_id.as_ref(), context))));
        if let Some(link) = link {
            self.leave_link(&state, link, context);
        }
        if !state.flags.serving && self.talk.inbox.messages() > 0 {
            // The beginning of a message whose end will not come.
            self.talk.inbox = Inbox::new();
        }
        self.account(context);
    }

    /// Everything that is left goes to the holder, or to who comes for it.
    fn leave_link(&mut self, state: &SharedState, link: Arc<Link>, context: &Context) {
        let (woken, companions) = {
            let mut shared = link.lock();
            if !state.flags.serving {
                self.hand_over(&mut shared);
            }
            shared.outgoing.clear();
            shared.outgoing_bytes = 0;
            (shared.shut, shared.closed) = (true, true);
            shared.ended = Some(self.ended().cloned().unwrap_or_else(Ended::lost).into());
            (shared.waiting.take(), std::mem::take(&mut shared.companions))
        };
        context.wake_holder(self.id, woken);
        context.wake_companions_later(companions);
        let now = context.now.get();
        let mut left = Left::new(self.nonce(context), self.route, link, state.lease_ms, now);
        (left.opened, left.counts, left.dropped) = (self.opened(), self.counts(), state.dropped);
        let lost = context.shared.borrow_mut().keep_remains(left, now);
        context.tell_lost(lost);
    }

    pub(in crate::engine) fn new_link(
        &self,
        session_id: Option<&Arc<str>>,
        context: &Context,
    ) -> Link {
        let facts = Facts {
            websocket_id: context.ids.encode(self.id, self.opened()).into(),
            session_id: session_id.cloned(),
            peer: self.peer(context),
        };
        Link::new(self.id, facts, Arc::clone(&context.bell), &context.settings.limits)
    }
}

/// What a holder has written and is not with the connection yet, which ends.
fn take_outgoing(link: &Link) -> Vec<Outgoing> {
    let mut shared = link.lock();
    shared.shut = true;
    shared.outgoing_bytes = 0;
    std::mem::take(&mut shared.outgoing)
}
