//! What a connection does with bytes that arrived: a request head, then frames.
//!
//! Called by the shard with what a receive has brought, and again for bytes that had to wait for
//! room ([`room`](crate::engine::connection::room)). Bytes go to the session of [`proto`](crate::proto), what that finds into
//! inbox and outbox; the end of what the peer has to say becomes a [`verdict`](crate::engine::connection::verdict). Nothing is
//! sent here.

use crate::engine::connection::account::Holding;
use crate::engine::connection::context::Context;
use crate::engine::connection::conversation::Strain;
use crate::engine::connection::inbox::Inbox;
use crate::engine::connection::outbox::Outbox;
use crate::engine::connection::peers::Peer;
use crate::engine::connection::places::Network;
use crate::engine::connection::room::Room;
use crate::engine::connection::state::Flag;
use crate::engine::connection::verdict::Verdict;
use crate::engine::connection::{Connection, Phase, Reading};
use crate::engine::model::counters::count_more;
use crate::engine::model::ended::Counted;
use crate::proto::{CloseCode, Events, MessageKind, Progress, Refusal, Refused, Request};

/// Bytes that a session hands over at once, at most.
const BLOCK_BYTES: usize = 16 * 1024;

impl Connection {
    /// Bytes arrived. A request that is complete with them comes back.
    pub(in crate::engine) fn handle_received(
        &mut self,
        bytes: &mut [u8],
        context: &Context,
    ) -> Option<Box<Request>> {
        self.count(Counted::BytesIn, bytes.len() as u64);
        count_more(&context.counters.bytes_in, bytes.len() as u64);
        match self.phase {
            Phase::Open(_) => {
                self.handle_frames(bytes, context);
                if let Phase::Open(heard) = &mut self.phase {
                    *heard = context.now.get().into();
                }
                if self.flags.has(Flag::Pinged) {
                    // The next Ping may be due before the wait for this answer would have ended.
                    self.flags.clear(Flag::Pinged);
                    self.reschedule(context);
                }
            }
            Phase::Closing(_) => self.handle_frames(bytes, context),
            Phase::Head(_) => {
                let limit = context.settings.limits.request_head_bytes_max;
                let aside = self.aside_mut();
                match aside.head.handle_input(bytes, limit) {
                    Ok(Progress::Incomplete) => {}
                    Ok(Progress::Complete { request, consumed }) => {
                        aside.early = bytes[consumed..].to_vec();
                        self.phase = Phase::Deciding;
                        return Some(Box::new(request));
                    }
                    Err(error) => self.refuse(&Refusal::from(error), context),
                }
            }
            Phase::Deciding => {
                self.aside_mut().early.extend_from_slice(bytes);
                self.mark_dirty(context);
            }
            Phase::Lingering(_) | Phase::Gone => {}
        }
        None
    }

    /// Frames, of the open connection or of one that waits for the peer's Close. What there is no
    /// room for is kept.
    #[inline(always)]
    pub(in crate::engine) fn handle_frames(&mut self, bytes: &mut [u8], context: &Context) {
        let taken = self.take_whole_messages(bytes, context);
        if taken < bytes.len() {
            self.handle_other_frames(&mut bytes[taken..], context);
        }
    }

    /// Takes whole messages from the beginning of what has come, as most of it is, where there is
    /// room for all that it may be. Says how many bytes they were.
    fn take_whole_messages(&mut self, bytes: &mut [u8], context: &Context) -> usize {
        if !matches!(self.phase, Phase::Open(_)) || self.flags.has(Flag::Shared) {
            return 0;
        }
        let talk = &mut *self.talk;
        if talk.strain.is_some() || !talk.inbox.has_room_after(bytes.len(), Room::of(context)) {
            return 0;
        }
        let taken =
            talk.session.take_whole_messages(bytes, &context.session_limits, |kind, bytes| {
                talk.inbox.push(kind, bytes);
                true
            });
        let messages_in = talk.inbox.take_arrived();
        self.count(Counted::MessagesIn, messages_in);
        count_more(&context.counters.messages_in, messages_in);
        if self.reading.is_some() && messages_in > 0 {
            self.wake(context);
        }
        self.mark_dirty(context);
        taken
    }

    /// Whatever has come, or may have to wait for room.
    #[inline(never)]
    fn handle_other_frames(&mut self, bytes: &mut [u8], context: &Context) {
        let waits = !self.talk.unseen().is_empty();
        let taken = if waits { 0 } else { self.take_frames(bytes, context) };
        self.account(context);
        if taken < bytes.len() {
            self.keep_rest(&bytes[taken..], context);
        }
    }

    /// The same as far as there is room. Says how many bytes that was.
    pub(in crate::engine) fn take_frames(&mut self, bytes: &mut [u8], context: &Context) -> usize {
        let mut taken = 0;
        loop {
            taken += self.take_some_frames(&mut bytes[taken..], context);
            if taken == bytes.len() || !self.make_room(context) {
                return taken;
            }
        }
    }

    /// The same as far as the session goes at once.
    fn take_some_frames(&mut self, bytes: &mut [u8], context: &Context) -> usize {
        let open = matches!(self.phase, Phase::Open(_));
        let room = self.room(context);
        let talk = &mut *self.talk;
        let mut sink = Sink {
            inbox: open.then_some(&mut talk.inbox),
            outbox: &mut talk.outbox,
            reading: self.reading,
            room,
            strain: talk.strain.as_deref(),
            peer: (self.id.slot, self.peer),
            stuck: false,
            context,
            close: None,
        };
        let result = talk.session.handle_input(bytes, &context.session_limits, &mut sink);
        let Sink { close, stuck, .. } = sink;
        let taken = *result.as_ref().unwrap_or(&bytes.len());
        let messages_in = talk.inbox.take_arrived();
        self.watch_message(messages_in > 0, context);
        self.count(Counted::MessagesIn, messages_in);
        count_more(&context.counters.messages_in, messages_in);
        if stuck {
            self.wait_for_growth(taken > 0, context);
        }
        let binary_data = self.flags.has(Flag::BinaryData);
        if self.reading.is_some_and(|read| self.talk.inbox.is_readable(read.len(), binary_data)) {
            self.wake(context);
        }
        match (result, close) {
            (Err(error), _) => self.has_ended(Verdict::Failed(error), context),
            (Ok(_), Some((code, reason))) => self.has_ended(Verdict::Closed(code, reason), context),
            (Ok(_), None) => {}
        }
        self.mark_dirty(context);
        taken
    }
}

/// Where the session puts what it finds.
struct Sink<'a> {
    /// Absent when messages are dropped.
    inbox: Option<&'a mut Inbox>,
    outbox: &'a mut Outbox,
    /// The read that waits.
    reading: Option<Reading>,
    /// What the inbox takes if no read asks for more.
    room: Room,
    /// What the connection holds beyond its limits.
    strain: Option<&'a Strain>,
    /// Its slot and its peer.
    peer: (u32, Peer),
    /// It would have taken more of that than its share.
    stuck: bool,
    context: &'a Context,
    close: Option<(CloseCode, Box<str>)>,
}

impl Sink<'_> {
    /// Of so many bytes those that the connection may have of the growth account of the shard.
    fn share_bytes(&self, wanted_bytes: usize) -> usize {
        let own = self.strain.map_or_else(Holding::default, |strain| strain.holding);
        self.context.account.share_bytes(wanted_bytes, own.bytes, || self.network(own))
    }

    /// For whom it counts there.
    #[cold]
    fn network(&self, own: Holding) -> Option<Network> {
        if own.bytes > 0 {
            return own.network;
        }
        let (slot, peer) = self.peer;
        let address = self.context.peers.borrow().address(slot, peer)?;
        self.context.places.network(address.ip())
    }

    /// Bytes that the read asked for, at most; which come as one.
    fn asked_bytes(&self) -> usize {
        let limits = &self.context.settings.limits;
        let message = usize::try_from(limits.message_bytes_max).unwrap_or(usize::MAX);
        // A character has up to four bytes.
        self.reading.map_or(0, |read| read.len().saturating_mul(4)).min(message)
    }

    /// Bytes that the inbox may make room for.
    fn wanted_bytes(&self) -> usize {
        let room = self.room.bytes_max;
        let asked = self.asked_bytes();
        if asked <= room {
            return room;
        }
        room + self.share_bytes(asked - room)
    }

    /// Whether the limits are reached and there is no reader that needs more.
    #[cold]
    fn is_full_for_all(&mut self) -> bool {
        let asked = self.asked_bytes();
        let Some(inbox) = &mut self.inbox else { return false };
        let bytes = inbox.bytes();
        if bytes < self.room.bytes_max && !inbox.ends_whole() {
            return false;
        }
        if inbox.messages() != 1 || inbox.partial_bytes().is_none_or(|partial| partial >= asked) {
            return true;
        }
        let held = inbox.held_bytes();
        let growth = held.saturating_sub(self.context.settings.limits.inbox_bytes_max);
        let reserved = held - bytes;
        let wanted = growth + BLOCK_BYTES;
        self.stuck = reserved < BLOCK_BYTES && self.share_bytes(wanted) < wanted;
        self.stuck
    }
}

impl Events for Sink<'_> {
    fn message_begin(&mut self, kind: MessageKind) {
        if let Some(inbox) = &mut self.inbox {
            inbox.begin(kind);
        }
    }

    fn message_data(&mut self, bytes: &[u8], frame_remaining: u64) -> Result<(), Refused> {
        let wanted_bytes = self.wanted_bytes();
        if let Some(inbox) = &mut self.inbox {
            inbox.append(bytes, frame_remaining, wanted_bytes);
        }
        Ok(())
    }

    #[inline(always)]
    fn message(&mut self, kind: MessageKind, bytes: &[u8]) -> Result<(), Refused> {
        if let Some(inbox) = &mut self.inbox {
            inbox.push(kind, bytes);
        }
        Ok(())
    }

    fn message_end(&mut self) {
        if let Some(inbox) = &mut self.inbox {
            inbox.end();
        }
    }

    #[inline(always)]
    fn is_full(&mut self) -> bool {
        let Some(inbox) = &self.inbox else { return false };
        !inbox.has_room(self.room) && self.is_full_for_all()
    }

    fn ping(&mut self, payload: &[u8]) {
        if self.inbox.is_some() {
            self.outbox.push_pong(payload);
        }
    }

    fn pong(&mut self, _payload: &[u8]) {}

    fn close(&mut self, code: CloseCode, reason: &str) {
        self.close = Some((code, reason.into()));
    }
}
