//! What a connection does with bytes that arrived: a request head, then frames.

use super::connection::{Closer, Connection, Counted, Ended, Phase, Reading};
use super::core::{Core, count_more};
use super::flags::Flag;
use super::inbox::Inbox;
use super::outbox::{Outbox, Payload};
use crate::proto::frame::Opcode;
use crate::proto::{
    self, CloseCode, Events, MessageKind, Progress, ProtocolError, Refusal, Refused, Request,
};

/// How the session ended what the peer had to say.
pub(super) enum Verdict {
    /// By a violation.
    Failed(ProtocolError),
    /// By a Close frame.
    Closed(CloseCode, Box<str>),
}

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
                self.phase = Phase::Open(core.now.get().into());
                if self.flags.has(Flag::Pinged) {
                    // The next Ping may be due before the wait for this answer would have ended.
                    self.flags.clear(Flag::Pinged);
                    self.reschedule(core);
                }
                self.handle_frames(bytes, core);
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

    /// Frames, of the open connection or of one that waits for the peer's Close.
    pub(super) fn handle_frames(&mut self, bytes: &mut [u8], core: &Core) {
        let open = matches!(self.phase, Phase::Open(_));
        let talk = &mut *self.talk;
        let mut sink = Sink {
            inbox: open.then_some(&mut talk.inbox),
            outbox: &mut talk.outbox,
            reading: self.reading,
            excess_bytes: talk.excess_bytes,
            inbox_bytes_max: core.settings.limits.inbox_bytes_max,
            core,
            close: None,
        };
        let result = talk.session.handle_input(bytes, &core.session_limits, &mut sink);
        let close = sink.close;
        match (result, close) {
            (Err(error), _) => talk.verdict = Some(Verdict::Failed(error)),
            (Ok(()), Some((code, reason))) => talk.verdict = Some(Verdict::Closed(code, reason)),
            (Ok(()), None) => {}
        }
        let messages_in = talk.inbox.take_arrived();
        self.count(Counted::MessagesIn, messages_in);
        count_more(&core.counters.messages_in, messages_in);
        self.account(core);
        let binary_data = self.flags.has(Flag::BinaryData);
        if self.reading.is_some_and(|read| self.talk.inbox.is_readable(read.len(), binary_data)) {
            self.wake(core);
        }
        self.mark_dirty(core);
    }

    /// Acts on the end of the conversation that the session has found. Called when the batch is
    /// settled, so that the handler could answer the messages that came before it.
    #[inline]
    pub(super) fn conclude(&mut self, core: &Core) {
        if self.talk.verdict.is_some() {
            self.act_on_verdict(core);
        }
    }

    #[cold]
    fn act_on_verdict(&mut self, core: &Core) {
        match self.talk.verdict.take() {
            Some(Verdict::Failed(error)) => self.fail(error.close_code(), error.reason(), core),
            Some(Verdict::Closed(code, reason)) => self.handle_close(code, reason, core),
            None => {}
        }
    }

    /// The peer's Close frame: the first one answers ours, or is answered by ours
    /// (RFC 6455 §5.5.1).
    fn handle_close(&mut self, code: CloseCode, reason: Box<str>, core: &Core) {
        self.flags.set(Flag::CloseReceived);
        if matches!(self.phase, Phase::Open(_)) {
            let payload = proto::close::encode(code, &reason);
            self.talk.outbox.push_frame(Opcode::Close, Payload::Borrowed(payload.as_bytes()));
        }
        self.linger(core.settings.timeouts.close, core);
        self.end(Ended { code, reason, by: Closer::Peer }, core);
    }
}

/// Where the session puts what it finds.
struct Sink<'a> {
    /// Absent when messages are dropped.
    inbox: Option<&'a mut Inbox>,
    outbox: &'a mut Outbox,
    /// The read that waits.
    reading: Option<Reading>,
    /// What the inbox has in the growth account of the shard.
    excess_bytes: u32,
    /// Up to this cost no account is looked at.
    inbox_bytes_max: usize,
    core: &'a Core,
    close: Option<(CloseCode, Box<str>)>,
}

impl Sink<'_> {
    /// Bytes the reader wants at once, at most: what the inbox may make room for.
    fn wanted_bytes(&self) -> usize {
        let limits = &self.core.settings.limits;
        let message = usize::try_from(limits.message_bytes_max).unwrap_or(usize::MAX);
        // A character has up to four bytes.
        let asked = self.reading.map_or(0, |read| read.len().saturating_mul(4)).min(message);
        asked.max(limits.inbox_bytes_max)
    }

    /// Whether the inbox may cost so much.
    #[inline(always)]
    fn allows(&self, cost_bytes: usize) -> bool {
        cost_bytes <= self.inbox_bytes_max || cost_bytes <= self.cost_bytes_max()
    }

    /// What the inbox may cost, given how much the others of the shard have grown.
    fn cost_bytes_max(&self) -> usize {
        let others = self.core.inbox_growth_bytes.get() - self.excess_bytes as usize;
        let growth = self.core.settings.limits.inbox_growth_bytes_max.saturating_sub(others);
        self.inbox_bytes_max.saturating_add(growth)
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
        let Some(inbox) = &mut self.inbox else { return Ok(()) };
        inbox.append(bytes, frame_remaining, wanted_bytes);
        let cost_bytes = inbox.cost_bytes();
        if self.allows(cost_bytes) {
            return Ok(());
        }
        if let Some(inbox) = &mut self.inbox {
            inbox.abandon();
        }
        Err(Refused)
    }

    #[inline(always)]
    fn message(&mut self, kind: MessageKind, bytes: &[u8]) -> Result<(), Refused> {
        let Some(inbox) = &mut self.inbox else { return Ok(()) };
        inbox.push(kind, bytes);
        let cost_bytes = inbox.cost_bytes();
        if self.allows(cost_bytes) { Ok(()) } else { Err(Refused) }
    }

    fn message_end(&mut self) {
        if let Some(inbox) = &mut self.inbox {
            inbox.end();
        }
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
