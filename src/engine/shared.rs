//! What a shard keeps of its shared sockets beside the connection, and what it does whenever it
//! settles one: messages go to the holder and come from it, leases begin and end, a mailbox keeps
//! its bounds, time runs out.
//!
//! A socket that nobody holds has one small box here and no link. Dedicated connections are never
//! looked at. Called on the shard, with the link locked for a step; wakers wait until the batch
//! ends.

use super::connection::{Connection, Ended, NEVER, Phase, Reading};
use super::core::{Core, count};
use super::events::{EventClose, EventKind};
use super::flags::Flag;
use super::inbox::Inbox;
use super::link::{Facts, Leaving, Link, LinkState, Purpose, Waiting};
use super::outbox::Payload;
use super::remains::Left;
use super::settings::MailboxPolicy;
use crate::clock::Moment;
use crate::proto::frame::Opcode;
use crate::proto::{CloseCode, MessageKind, limits};
use std::sync::Arc;
use std::time::Duration;

/// How the Close of a session that has timed out reads.
const TIMED_OUT: &str = "the session has timed out";

/// A shared socket, beside its connection.
pub(super) struct SharedState {
    /// While somebody holds it, and until what the holder has left is read or sent.
    pub(super) link: Option<Arc<Link>>,
    pub(super) session_id: Option<Arc<str>>,
    /// When something has happened that counts against the session timeout.
    pub(super) activity: Moment,
    /// When the lease ends unless it is used.
    pub(super) lease_until: Moment,
    /// What the messages cost that are in the link; and their number.
    pub(super) linked_bytes: u32,
    pub(super) linked_messages: u16,
    /// Messages each way when they were last looked at.
    messages: u32,
    /// Messages that a full mailbox has dropped.
    pub(super) dropped: u32,
    /// Milliseconds of a lease; 0: it does not expire.
    pub(super) lease_ms: u32,
    pub(super) flags: SharedFlags,
}

/// Facts about a shared socket that are either so or not.
#[derive(Clone, Copy, Default)]
pub(super) struct SharedFlags {
    /// Somebody holds a lease.
    pub(super) held: bool,
    /// `server` runs.
    pub(super) serving: bool,
    /// The holder has gone and may come back.
    pub(super) detached: bool,
    /// The event that there is something to read was published.
    told_readable: bool,
    /// The event that it has ended was published.
    told_closed: bool,
    /// Counted as unattended.
    counted: bool,
}

// With its slot it is what an idle socket costs that nobody attends to, beside its entries in tables.
const _: () = assert!(size_of::<SharedState>() <= 64);

impl SharedState {
    pub(super) fn new(session_id: Option<Arc<str>>, now: Moment) -> Self {
        Self {
            link: None,
            session_id,
            activity: now,
            lease_until: NEVER,
            linked_bytes: 0,
            linked_messages: 0,
            messages: 0,
            dropped: 0,
            lease_ms: 0,
            flags: SharedFlags { serving: true, ..SharedFlags::default() },
        }
    }

    /// Whether somebody is there for what arrives.
    pub(super) fn is_attended(&self) -> bool {
        self.flags.held || self.flags.serving
    }

    /// Whether its holder has nothing left to do for what the peer has said; `in_hand`: it may be at
    /// work on the message that it read last.
    pub(super) fn has_caught_up(&self, in_hand: bool) -> bool {
        let waits =
            |link: &Arc<Link>| link.lock().waiting.as_ref().is_some_and(Waiting::is_for_a_message);
        self.linked_messages == 0 && (!in_hand || self.link.as_ref().is_some_and(waits))
    }

    /// When it is to be looked at next, whatever happens.
    pub(super) fn deadline(&self, session_timeout: Option<Duration>) -> Moment {
        let session = session_timeout.map_or(NEVER, |timeout| self.activity + timeout);
        session.min(self.lease_until)
    }

    /// The lease begins now, or begins anew.
    pub(super) fn renew(&mut self, now: Moment) {
        self.flags.detached = false;
        self.lease_until = match self.lease_ms {
            0 => NEVER,
            lease_ms => now + Duration::from_millis(u64::from(lease_ms)),
        };
    }
}

impl Core {
    /// Gives up what has been kept for long enough of sockets that are gone.
    #[inline]
    pub(super) fn forget_remains(&self, now: Moment) {
        if self.shared.borrow().remains.due() <= now {
            let lost = self.shared.borrow_mut().forget_remains(now);
            self.tell_lost(lost);
        }
    }

    /// What sockets have left was given up, and nobody had read it.
    fn tell_lost(&self, lost: Vec<Left>) {
        for Left { link, route, .. } in lost {
            count(&self.counters.remains_lost);
            let Facts { websocket_id, session_id, .. } = &link.facts;
            let id = websocket_id.to_string();
            self.publish(EventKind::Lost, id, route, session_id.clone(), None);
        }
    }
}

impl Connection {
    /// Moves messages between the connection and its holder, and sees to what is due. Called
    /// whenever the connection is settled, before anything is sent.
    pub(super) fn exchange(&mut self, core: &Core) {
        // Out of the table meanwhile, so that nothing called from here looks at it.
        let Some(mut state) = core.shared.borrow_mut().take(self.id.slot) else { return };
        if let Some(link) = state.link.take() {
            self.exchange_with(&mut state, &link, core);
            let idle = !state.flags.held && link.lock().is_empty();
            state.link = (!idle).then_some(link);
        }
        self.take_waiting_writes(core);
        let messages = self.messages_low();
        if messages != state.messages {
            state.messages = messages;
            state.activity = core.now.get();
        }
        if matches!(self.phase, Phase::Open(_)) {
            let timeout = core.session_timeout(self.route);
            if timeout.is_some_and(|timeout| state.activity + timeout <= core.now.get()) {
                core.shared.borrow_mut().has_expired(self.id, self.nonce(core));
                self.start_close(CloseCode::GOING_AWAY, TIMED_OUT, core);
            } else if !state.is_attended() {
                self.keep_bounds(&mut state, core);
            }
        }
        self.tell(&mut state, core);
        core.shared.borrow_mut().put_back(self.id.slot, state);
        self.reschedule(core);
        self.look_by(self.shared_deadline(core), core);
    }

    /// The part of it that concerns the holder.
    fn exchange_with(&mut self, state: &mut SharedState, link: &Link, core: &Core) {
        let mut outgoing = core.outgoing.take();
        let mut shared = link.lock();
        shared.nudged = false;
        let close = shared.close.take();
        let full = !self.takes(shared.outgoing_bytes, core);
        if !full || close.is_some() {
            std::mem::swap(&mut shared.outgoing, &mut outgoing);
            shared.outgoing_bytes = 0;
        }
        self.flags.put(Flag::Writing, full && !shared.outgoing.is_empty());
        if state.flags.held {
            self.look_at_lease(state, &mut shared, core);
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
        shared.paused = !self.has_room(state, core)
            || !self.talk.unseen().is_empty()
            || self.flags.has(Flag::Ending);
        self.reading = match shared.waiting.as_ref().map(|waiting| waiting.purpose) {
            Some(Purpose::Read { len, deadline, .. }) => Some(Reading::new(len, deadline)),
            _ => None,
        };
        self.reschedule(core);
        shared.watched_until = self.scheduled.moment();
        let due = shared.is_due(core.now.get(), link.high_water_bytes);
        let woken = if due { shared.waiting.take() } else { None };
        let forgotten = std::mem::take(&mut shared.companions);
        drop(shared);
        core.wake_holder(self.id, woken);
        core.wake_companions_later(forgotten);
        self.account_with(state.linked_bytes as usize, core);
        for message in outgoing.drain(..) {
            self.say(message.kind, Payload::Owned(message.payload), core);
        }
        core.outgoing.replace(outgoing);
        if let Some((code, reason)) = close {
            self.start_close(code, &reason, core);
        }
    }

    /// Puts a message behind what is to be sent.
    pub(super) fn say(&mut self, kind: MessageKind, payload: Payload<'_>, core: &Core) {
        if matches!(self.phase, Phase::Open(_)) {
            let opcode = if kind == MessageKind::Text { Opcode::Text } else { Opcode::Binary };
            self.talk.outbox.push_frame(opcode, payload);
            self.count_message_out();
            self.mark_dirty(core);
        }
    }

    /// Ends the lease of a holder that has left, or has not been heard of.
    fn look_at_lease(&mut self, state: &mut SharedState, shared: &mut LinkState, core: &Core) {
        let now = core.now.get();
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
        state.lease_until = NEVER;
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
    fn tell(&mut self, state: &mut SharedState, core: &Core) {
        let open = matches!(self.phase, Phase::Open(_));
        let attended = state.is_attended();
        let unattended = open && !attended;
        if unattended != state.flags.counted {
            state.flags.counted = unattended;
            core.count_route(self.route, |route| {
                route.unattended =
                    route.unattended.wrapping_add_signed(if unattended { 1 } else { -1 });
            });
        }
        let readable = unattended && self.would_be_read(state, core);
        if readable && !state.flags.told_readable {
            self.publish(EventKind::Readable, state, None, core);
        }
        state.flags.told_readable = readable;
        if self.ended().is_some() {
            self.tell_closed(state, core);
        }
    }

    /// Whether whoever comes now gets something for a `read` of the usual length: a whole message,
    /// or so much of one; or would by coming, because a full mailbox keeps the rest outside.
    fn would_be_read(&self, state: &SharedState, core: &Core) -> bool {
        let len = limits::READ_LEN_DEFAULT;
        let mut wanted = len;
        if let Some(link) = &state.link {
            let shared = link.lock();
            if shared.ready.is_readable(len, false) {
                return true;
            }
            wanted -= shared.ready.begun(len, false);
        }
        let stopped = core.mailbox(self.route) == MailboxPolicy::StopReading;
        self.talk.inbox.is_readable(wanted, false) || (stopped && !self.has_room(state, core))
    }

    fn tell_closed(&mut self, state: &mut SharedState, core: &Core) {
        if std::mem::replace(&mut state.flags.told_closed, true) {
            return;
        }
        let close = self.ended().map(|ended| {
            let Ended { code, reason, by } = ended.clone();
            Arc::new(EventClose { code, reason, by })
        });
        self.publish(EventKind::Closed, state, close, core);
    }

    pub(super) fn publish(
        &self,
        kind: EventKind,
        state: &SharedState,
        close: Option<Arc<EventClose>>,
        core: &Core,
    ) {
        let websocket_id = core.ids.encode(self.id, self.opened());
        core.publish(kind, websocket_id, self.route, state.session_id.clone(), close);
    }

    /// The random part of the id.
    pub(super) fn nonce(&self, core: &Core) -> u64 {
        core.ids.nonce(self.id, self.opened())
    }

    /// The socket is gone; what was not read stays for a while.
    pub(super) fn leave_shared(&mut self, core: &Core) {
        let Some(mut state) = core.shared.borrow_mut().take(self.id.slot) else { return };
        core.count_route(self.route, |route| route.shared -= 1);
        self.tell(&mut state, core);
        self.tell_closed(&mut state, core);
        core.fail_waiting_writes(self.id, self.ended());
        let unread = self.talk.inbox.is_readable(limits::READ_LEN_DEFAULT, false);
        let link = state.link.take();
        // Nobody comes for what the session timeout has closed.
        let expired = core.shared.borrow().is_expired(self.id, self.nonce(core));
        let left = unread && !expired && !state.flags.serving;
        let link =
            link.or_else(|| left.then(|| Arc::new(self.new_link(state.session_id.as_ref(), core))));
        if let Some(link) = link {
            self.leave_link(&state, link, core);
        }
        if !state.flags.serving && self.talk.inbox.messages() > 0 {
            // The beginning of a message whose end will not come.
            self.talk.inbox = Inbox::new();
        }
        self.account(core);
    }

    /// Everything that is left goes to the holder, or to who comes for it.
    fn leave_link(&mut self, state: &SharedState, link: Arc<Link>, core: &Core) {
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
        core.wake_holder(self.id, woken);
        core.wake_companions_later(companions);
        let now = core.now.get();
        let mut left = Left::new(self.nonce(core), self.route, link, state.lease_ms, now);
        (left.opened, left.counts, left.dropped) = (self.opened(), self.counts(), state.dropped);
        let lost = core.shared.borrow_mut().keep_remains(left, now);
        core.tell_lost(lost);
    }

    pub(super) fn new_link(&self, session_id: Option<&Arc<str>>, core: &Core) -> Link {
        let facts = Facts {
            websocket_id: core.ids.encode(self.id, self.opened()).into(),
            session_id: session_id.cloned(),
            peer: self.peer(core),
        };
        Link::new(self.id, facts, Arc::clone(&core.remote), &core.settings.limits)
    }
}
