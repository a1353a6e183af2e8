//! The end of what the peer has to say, between its arrival and the answer.
//!
//! A Close frame and a FIN have their turn behind the messages before them: the conversation stays
//! open until the handler has read these, answered the last one and come back for more, so that
//! the obvious loop of a handler, `ws.write(..).await?`, loses none (RFC 6455 §5.5.1 lets an
//! endpoint finish what it is saying). That lasts while reading or sending goes on, and no longer
//! than the close timeout without. What violates the protocol is answered at once.

use crate::clock::{Moment, ShortMoment};
use crate::engine::connection::context::Context;
use crate::engine::connection::outbox::WriteFailure;
use crate::engine::connection::progress::Purpose;
use crate::engine::connection::state::Flag;
use crate::engine::connection::{Connection, Phase};
use crate::engine::model::ended::{Closer, Counted, Ended};
use crate::proto::{CloseCode, ProtocolError};

/// How the peer ended what it had to say.
pub(in crate::engine) enum Verdict {
    /// By a violation.
    Failed(ProtocolError),
    /// By a Close frame.
    Closed(CloseCode, Box<str>),
    /// By FIN alone.
    Finished,
}

/// A verdict that waits for its turn.
pub(in crate::engine) struct Pending {
    verdict: Verdict,
    /// How long the handler may go on without doing anything, and at all.
    until: ShortMoment,
    limit: ShortMoment,
    /// What had been done when that was looked at last.
    done: u32,
    /// The handler may still be at work on the message that it read last.
    in_hand: bool,
    /// Whether the peer takes what is sent has been asked.
    asked: bool,
}

impl Connection {
    /// The peer has ended what it has to say.
    pub(in crate::engine) fn has_ended(&mut self, verdict: Verdict, context: &Context) {
        if self.talk.verdict.is_some() {
            // FIN behind a Close.
            return;
        }
        let (now, timeouts) = (context.now.get(), &context.settings.timeouts);
        // Before this.
        let heard = if let Phase::Open(heard) = self.phase { heard.moment() } else { now };
        // What is being sent may be what its handler waits for.
        let waiting = self.talk.inbox.has_whole() || self.talk.outbox.is_flying();
        let until = if waiting { now } else { heard } + timeouts.close;
        // Who has never been told anything has nothing in hand.
        let in_hand = self.low(Counted::MessagesIn) > 0;
        let done = self.done(context);
        let limit = (now + timeouts.close_max).into();
        let pending = Pending { verdict, until: until.into(), limit, done, in_hand, asked: false };
        self.talk.verdict = Some(pending);
        self.flags.set(Flag::Ending);
        // It was heard of, and from now on this is what is looked at.
        self.flags.clear(Flag::Pinged);
        self.mark_dirty(context);
    }

    /// Acts on the end of what the peer had to say, if it is its turn. Called when the batch is
    /// settled, so that the handler could answer the messages that came before it.
    #[inline]
    pub(in crate::engine) fn conclude(&mut self, context: &Context) {
        if self.flags.has(Flag::Ending) {
            self.conclude_in_turn(context);
        }
    }

    #[cold]
    fn conclude_in_turn(&mut self, context: &Context) {
        let due = match &self.talk.verdict {
            Some(Pending { verdict: Verdict::Failed(_), .. }) => true,
            _ if !matches!(self.phase, Phase::Open(_)) => true,
            _ => self.has_caught_up(context) || self.has_stopped(context),
        };
        if due {
            self.act_on_verdict(context);
        } else {
            let until = self.verdict_due();
            self.look_by(until, context);
        }
    }

    /// Whether nobody has anything left to do for what the peer has said.
    fn has_caught_up(&self, context: &Context) -> bool {
        let unread = self.talk.inbox.has_whole();
        let in_hand = self.talk.verdict.as_ref().is_some_and(|pending| pending.in_hand);
        if self.flags.has(Flag::Shared)
            && let table = context.shared.borrow()
            && let Some(state) = table.find(self.id.slot)
            && !state.flags.serving
        {
            // What nobody holds is kept for who comes, and nobody is at work on it.
            return !state.flags.held || !unread && state.has_caught_up(in_hand);
        }
        !unread && (!in_hand || self.reading.is_some() || !self.flags.has(Flag::Handled))
    }

    /// Whether the time is over in which something had to be done, and nothing was.
    fn has_stopped(&mut self, context: &Context) -> bool {
        let (now, done, asking) = (context.now.get(), self.done(context), self.is_asking());
        let flying = self.talk.outbox.is_flying();
        let Some(pending) = &mut self.talk.verdict else { return true };
        let asked = std::mem::take(&mut pending.asked);
        if asked && asking {
            pending.asked = true;
            return false;
        }
        if !asked && pending.until.moment() > now {
            return false;
        }
        let over = pending.limit.moment() <= now;
        if pending.done == done && flying && !asked && !over {
            // A send tells at its end how far it has come, or when it is asked.
            pending.asked = true;
            self.ask(Purpose::Verdict, context);
            return false;
        }
        let goes_on = pending.done != done && !over;
        pending.done = done;
        pending.until = (now + context.settings.timeouts.close).into();
        !goes_on
    }

    /// A number that changes when the handler reads or writes, or the peer takes something.
    pub(in crate::engine) fn done(&self, context: &Context) -> u32 {
        let unread = self.talk.inbox.messages() as u32;
        let held = match self.flags.has(Flag::Shared) {
            true => {
                context.shared.borrow().find(self.id.slot).map_or(0, |state| state.linked_messages)
            }
            false => 0,
        };
        let sent = self.taken_bytes().wrapping_add(self.low(Counted::MessagesOut));
        let sent = sent.wrapping_add(self.low(Counted::BytesOut));
        let taken = self.low(Counted::MessagesIn).wrapping_sub(unread);
        sent.wrapping_add(taken).wrapping_sub(u32::from(held))
    }

    /// When the verdict is to be looked at.
    pub(in crate::engine) fn verdict_due(&self) -> Moment {
        let pending = self.talk.verdict.as_ref();
        pending.map_or(Moment::NEVER, |pending| pending.until.moment())
    }

    /// The handler has read a message, or has answered the last one.
    pub(in crate::engine) fn note_in_hand(&mut self, in_hand: bool) {
        if self.flags.has(Flag::Ending)
            && let Some(pending) = &mut self.talk.verdict
        {
            pending.in_hand = in_hand;
        }
    }

    /// A message is written to a conversation that is over. As long as something received is unread
    /// it is taken and dropped: whoever gives up at a failed write would lose that.
    pub(in crate::engine) fn write_in_vain(
        &mut self,
        bytes: usize,
    ) -> Result<(), WriteFailure<'static>> {
        if !self.talk.inbox.has_whole() {
            return Err(WriteFailure::Ended);
        }
        self.lose_message(bytes);
        Ok(())
    }

    /// A message was taken that nobody gets.
    pub(in crate::engine) fn lose_message(&mut self, bytes: usize) {
        self.add_unsent(bytes as u64);
        if let Some(aside) = &mut self.aside {
            // It is not the Close alone that nobody gets.
            aside.close_bytes = 0;
        }
    }

    /// Acts on the verdict. `false`: there is none.
    pub(in crate::engine) fn act_on_verdict(&mut self, context: &Context) -> bool {
        self.flags.clear(Flag::Ending);
        let Some(Pending { verdict, .. }) = self.talk.verdict.take() else { return false };
        match verdict {
            Verdict::Failed(error) => self.fail(error.close_code(), error.reason(), context),
            Verdict::Closed(code, reason) => self.handle_close(code, reason, context),
            Verdict::Finished => {
                self.say_what_waits(context);
                self.linger(context.settings.timeouts.close, context);
                self.end(Ended::lost(), context);
            }
        }
        true
    }

    /// The connection is lost, and how the peer ended the conversation is known.
    pub(in crate::engine) fn end_by_verdict(&mut self, context: &Context) {
        self.flags.clear(Flag::Ending);
        if let Some(Pending { verdict: Verdict::Closed(code, reason), .. }) =
            self.talk.verdict.take()
        {
            self.end(Ended { code, reason, by: Closer::Peer }, context);
        }
    }

    /// The peer's Close frame: the first one answers ours, or is answered by ours
    /// (RFC 6455 §5.5.1).
    fn handle_close(&mut self, code: CloseCode, reason: Box<str>, context: &Context) {
        self.flags.set(Flag::CloseReceived);
        if matches!(self.phase, Phase::Open(_)) {
            self.say_close(code, &reason, context);
        }
        self.linger(context.settings.timeouts.close, context);
        self.end(Ended { code, reason, by: Closer::Peer }, context);
    }
}
