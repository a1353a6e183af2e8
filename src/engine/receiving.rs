//! What a connection does with bytes that arrived: a request head, then frames.

use super::connection::{Connection, Counted, Phase, Reading};
use super::core::{Core, count_more};
use super::flags::Flag;
use super::inbox::Inbox;
use super::outbox::Outbox;
use super::room::Room;
use super::verdict::Verdict;
use crate::proto::{
    CloseCode, Events, MessageKind, Progress, ProtocolError, Refusal, Refused, Request,
};

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
    pub(super) fn handle_frames(&mut self, bytes: &mut [u8], core: &Core) {
        let first = self.talk.rest.is_empty();
        let taken = if first { self.take_some_frames(bytes, core) } else { 0 };
        if taken < bytes.len() {
            return self.handle_more_frames(bytes, taken, first, core);
        }
        // Only the inbox has grown, and what is small is not accounted for.
        let small = self.talk.inbox.held_bytes() <= core.settings.limits.inbox_bytes_max;
        if !small || self.talk.excess_bytes > 0 || self.flags.has(Flag::Shared) {
            self.account(core);
        }
    }

    /// The same for what there was no room for at once; `first`: nothing waits before it.
    #[cold]
    fn handle_more_frames(&mut self, bytes: &mut [u8], taken: usize, first: bool, core: &Core) {
        let more = first && self.make_room(core);
        let taken = if more { taken + self.take_frames(&mut bytes[taken..], core) } else { taken };
        self.account(core);
        if taken < bytes.len() {
            self.keep_rest(&bytes[taken..], core);
        }
    }

    /// The same as far as there is room. Says how many bytes that was.
    #[cold]
    pub(super) fn take_frames(&mut self, bytes: &mut [u8], core: &Core) -> usize {
        let mut taken = 0;
        loop {
            taken += self.take_some_frames(&mut bytes[taken..], core);
            if taken == bytes.len() || !self.make_room(core) {
                return taken;
            }
        }
    }

    #[inline(always)]
    fn take_some_frames(&mut self, bytes: &mut [u8], core: &Core) -> usize {
        let open = matches!(self.phase, Phase::Open(_));
        let room = self.room(core);
        let talk = &mut *self.talk;
        let mut sink = Sink {
            inbox: open.then_some(&mut talk.inbox),
            outbox: &mut talk.outbox,
            reading: self.reading,
            room,
            excess_bytes: talk.excess_bytes,
            stuck: false,
            core,
            close: None,
        };
        let result = talk.session.handle_input(bytes, &core.session_limits, &mut sink);
        let Sink { close, stuck, .. } = sink;
        let taken = *result.as_ref().unwrap_or(&bytes.len());
        let messages_in = talk.inbox.take_arrived();
        if talk.partial.is_some() || !talk.session.is_between_messages() {
            self.watch_message(messages_in > 0, core);
        }
        self.count(Counted::MessagesIn, messages_in);
        count_more(&core.counters.messages_in, messages_in);
        if stuck {
            self.wait_for_growth(taken > 0, core);
        }
        let binary_data = self.flags.has(Flag::BinaryData);
        if self.reading.is_some_and(|read| self.talk.inbox.is_readable(read.len(), binary_data)) {
            self.wake(core);
        }
        if result.is_err() || close.is_some() {
            self.has_said_all(result, close, core);
        }
        self.mark_dirty(core);
        taken
    }
}

impl Connection {
    /// The session has found the end of what the peer says.
    #[cold]
    fn has_said_all(
        &mut self,
        result: Result<usize, ProtocolError>,
        close: Option<(CloseCode, Box<str>)>,
        core: &Core,
    ) {
        match (result, close) {
            (Err(error), _) => self.has_ended(Verdict::Failed(error), core),
            (Ok(_), Some((code, reason))) => self.has_ended(Verdict::Closed(code, reason), core),
            (Ok(_), None) => {}
        }
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
    /// What the connection has of the growth account of the shard.
    excess_bytes: u32,
    /// It would have taken more of that than its share.
    stuck: bool,
    core: &'a Core,
    close: Option<(CloseCode, Box<str>)>,
}

impl Sink<'_> {
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
        asked.min(room.saturating_add(self.core.account.share_bytes(self.excess_bytes)))
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
        let share = self.core.account.share_bytes(self.excess_bytes);
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
        (inbox.bytes() >= self.room.bytes_max || inbox.messages() >= self.room.messages_max)
            && self.is_full_for_all()
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
