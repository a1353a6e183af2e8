//! What a connection does with bytes that arrived: a request head, then frames.
//!
//! Called by the shard with what a receive has brought, and again for bytes that had to wait for
//! room ([`super::room`]). Bytes go to the session of [`proto`](crate::proto), what that finds into
//! inbox and outbox; the end of what the peer has to say becomes a [`super::verdict`]. Nothing is
//! sent here.

use super::connection::{Connection, Counted, Phase, Reading};
use super::conversation::Strain;
use super::core::{Core, count_more};
use super::flags::Flag;
use super::inbox::Inbox;
use super::outbox::Outbox;
use super::room::Room;
use super::verdict::Verdict;
use crate::proto::{CloseCode, Events, MessageKind, Progress, Refusal, Refused, Request};

/// Bytes that a session hands over at once, at most.
const BLOCK_BYTES: usize = 16 * 1024;

impl Connection {
    /// Bytes arrived. A request that is complete with them comes back.
    pub(super) fn handle_received(
        &mut self,
        bytes: &mut [u8],
        core: &Core,
    ) -> Option<Box<Request>> {
        self.count(Counted::BytesIn, bytes.len() as u64);
        count_more(&core.counters.bytes_in, bytes.len() as u64);
        match self.phase {
            Phase::Open(_) => {
                self.handle_frames(bytes, core);
                if let Phase::Open(heard) = &mut self.phase {
                    *heard = core.now.get().into();
                }
                if self.flags.has(Flag::Pinged) {
                    // The next Ping may be due before the wait for this answer would have ended.
                    self.flags.clear(Flag::Pinged);
                    self.reschedule(core);
                }
            }
            Phase::Closing(_) => self.handle_frames(bytes, core),
            Phase::Head(_) => {
                let limit = core.settings.limits.request_head_bytes_max;
                let aside = self.aside_mut();
                match aside.head.handle_input(bytes, limit) {
                    Ok(Progress::Incomplete) => {}
                    Ok(Progress::Complete { request, consumed }) => {
                        aside.early = bytes[consumed..].to_vec();
                        self.phase = Phase::Deciding;
                        return Some(Box::new(request));
                    }
                    Err(error) => self.refuse(&Refusal::from(error), core),
                }
            }
            Phase::Deciding => {
                self.aside_mut().early.extend_from_slice(bytes);
                self.mark_dirty(core);
            }
            Phase::Lingering(_) | Phase::Gone => {}
        }
        None
    }

    /// Frames, of the open connection or of one that waits for the peer's Close. What there is no
    /// room for is kept.
    #[inline(always)]
    pub(super) fn handle_frames(&mut self, bytes: &mut [u8], core: &Core) {
        let taken = self.take_whole_messages(bytes, core);
        if taken < bytes.len() {
            self.handle_other_frames(&mut bytes[taken..], core);
        }
    }

    /// Takes whole messages from the beginning of what has come, as most of it is, where there is
    /// room for all that it may be. Says how many bytes they were.
    fn take_whole_messages(&mut self, bytes: &mut [u8], core: &Core) -> usize {
        if !matches!(self.phase, Phase::Open(_)) || self.flags.has(Flag::Shared) {
            return 0;
        }
        let talk = &mut *self.talk;
        if talk.strain.is_some() || !talk.inbox.has_room_after(bytes.len(), Room::of(core)) {
            return 0;
        }
        let taken = talk.session.take_whole_messages(bytes, &core.session_limits, |kind, bytes| {
            talk.inbox.push(kind, bytes);
            true
        });
        let messages_in = talk.inbox.take_arrived();
        self.count(Counted::MessagesIn, messages_in);
        count_more(&core.counters.messages_in, messages_in);
        if self.reading.is_some() && messages_in > 0 {
            self.wake(core);
        }
        self.mark_dirty(core);
        taken
    }

    /// Whatever has come, or may have to wait for room.
    #[inline(never)]
    fn handle_other_frames(&mut self, bytes: &mut [u8], core: &Core) {
        let waits = !self.talk.unseen().is_empty();
        let taken = if waits { 0 } else { self.take_frames(bytes, core) };
        self.account(core);
        if taken < bytes.len() {
            self.keep_rest(&bytes[taken..], core);
        }
    }

    /// The same as far as there is room. Says how many bytes that was.
    pub(super) fn take_frames(&mut self, bytes: &mut [u8], core: &Core) -> usize {
        let mut taken = 0;
        loop {
            taken += self.take_some_frames(&mut bytes[taken..], core);
            if taken == bytes.len() || !self.make_room(core) {
                return taken;
            }
        }
    }

    /// The same as far as the session goes at once.
    fn take_some_frames(&mut self, bytes: &mut [u8], core: &Core) -> usize {
        let open = matches!(self.phase, Phase::Open(_));
        let room = self.room(core);
        let talk = &mut *self.talk;
        let mut sink = Sink {
            inbox: open.then_some(&mut talk.inbox),
            outbox: &mut talk.outbox,
            reading: self.reading,
            room,
            strain: talk.strain.as_deref(),
            stuck: false,
            core,
            close: None,
        };
        let result = talk.session.handle_input(bytes, &core.session_limits, &mut sink);
        let Sink { close, stuck, .. } = sink;
        let taken = *result.as_ref().unwrap_or(&bytes.len());
        let messages_in = talk.inbox.take_arrived();
        self.watch_message(messages_in > 0, core);
        self.count(Counted::MessagesIn, messages_in);
        count_more(&core.counters.messages_in, messages_in);
        if stuck {
            self.wait_for_growth(taken > 0, core);
        }
        let binary_data = self.flags.has(Flag::BinaryData);
        if self.reading.is_some_and(|read| self.talk.inbox.is_readable(read.len(), binary_data)) {
            self.wake(core);
        }
        match (result, close) {
            (Err(error), _) => self.has_ended(Verdict::Failed(error), core),
            (Ok(_), Some((code, reason))) => self.has_ended(Verdict::Closed(code, reason), core),
            (Ok(_), None) => {}
        }
        self.mark_dirty(core);
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
    /// It would have taken more of that than its share.
    stuck: bool,
    core: &'a Core,
    close: Option<(CloseCode, Box<str>)>,
}

impl Sink<'_> {
    /// What the connection may have of the growth account of the shard.
    fn share_bytes(&self) -> usize {
        self.core.account.share_bytes(self.strain.map_or(0, |strain| strain.excess_bytes))
    }

    /// Bytes that the read asked for, at most; which come as one.
    fn asked_bytes(&self) -> usize {
        let limits = &self.core.settings.limits;
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
        asked.min(room.saturating_add(self.share_bytes()))
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
        let growth = held.saturating_sub(self.core.settings.limits.inbox_bytes_max);
        let reserved = held - bytes;
        let share = self.share_bytes();
        self.stuck = reserved < BLOCK_BYTES && growth + BLOCK_BYTES > share;
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
