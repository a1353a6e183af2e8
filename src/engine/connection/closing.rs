//! How a connection ends: by the peer, by the handler, by the engine, or by the network.
//!
//! The ways out of each phase of [`connection`](crate::engine::connection), called by whoever has a reason. They only
//! change the state and say what is to be sent; FIN and the end of the slot are for
//! [`settle`](crate::engine::shard::settle).

use crate::engine::connection::context::Context;
use crate::engine::connection::outbox::Payload;
use crate::engine::connection::state::Flag;
use crate::engine::connection::verdict::Verdict;
use crate::engine::connection::{Connection, Phase};
use crate::engine::model::counters::count;
use crate::engine::model::ended::{Closer, Ended};
use crate::proto::frame::Opcode;
use crate::proto::{self, CloseCode, Refusal};
use std::time::Duration;

impl Connection {
    /// The peer has sent FIN.
    pub(in crate::engine) fn handle_end_of_stream(&mut self, context: &Context) {
        self.flags.set(Flag::EndOfStream);
        if !self.talk.unseen().is_empty() {
            // Seen when what came before it was.
            self.wait_for_reader(context);
            return self.mark_dirty(context);
        }
        match self.phase {
            // The request is not whole.
            Phase::Head(_) | Phase::Gone => self.lose(context),
            // The handler's answer, and what it says to the first messages, still goes out.
            Phase::Deciding => {}
            Phase::Open(_) => self.has_ended(Verdict::Finished, context),
            // What is left to send is sent; the shard sees when that is done.
            Phase::Closing(_) => self.linger(context.settings.timeouts.close, context),
            Phase::Lingering(_) => {
                self.look_at_rest_again(context);
                self.mark_dirty(context);
            }
        }
    }

    /// The connection is lost: reset, timed out, or ended without a Close frame.
    pub(in crate::engine) fn lose(&mut self, context: &Context) {
        if self.flags.has(Flag::Ending) {
            self.end_by_verdict(context);
        }
        self.end(Ended::lost(), context);
        if !self.flags.has(Flag::Dead) {
            self.flags.set(Flag::Dead);
            self.lose_rest();
            self.lose_what_waits(context);
        }
        self.drop_outbox();
        self.mark_dirty(context);
    }

    /// Answers the request with something else than 101, and closes.
    pub(in crate::engine) fn refuse(&mut self, refusal: &Refusal, context: &Context) {
        count(&context.counters.refused);
        if let Some(remedy) = refusal.remedy() {
            context.log_remedy(remedy);
        }
        context.counters.refusals.borrow_mut().count(refusal.status());
        let is_head = self.aside.as_ref().is_some_and(|aside| aside.head.is_head());
        let response = if is_head { refusal.response_to_head() } else { refusal.response() };
        self.answer(refusal.status(), response, context);
    }

    /// Answers the request with these bytes, and closes.
    pub(in crate::engine) fn answer(&mut self, status: u16, response: Vec<u8>, context: &Context) {
        self.status = status;
        self.talk.outbox.push_bytes(&response);
        self.linger(context.settings.timeouts.linger, context);
    }

    /// Ends the conversation because of what the peer sent (RFC 6455 §7.1.7).
    pub(in crate::engine) fn fail(&mut self, code: CloseCode, reason: &str, context: &Context) {
        if matches!(self.phase, Phase::Open(_)) && !self.flags.has(Flag::Dead) {
            self.say_close(code, reason, context);
        }
        self.linger(context.settings.timeouts.close, context);
        self.end(Ended { code, reason: reason.into(), by: Closer::Server }, context);
    }

    /// Sends our Close and waits for the peer's.
    pub(in crate::engine) fn start_close(
        &mut self,
        code: CloseCode,
        reason: &str,
        context: &Context,
    ) {
        // Nobody hears it where the connection is lost, and it is not to count as cut.
        if !matches!(self.phase, Phase::Open(_)) || self.flags.has(Flag::Dead) {
            return;
        }
        // The peer was first, and only waits for its turn.
        if self.flags.has(Flag::Ending) && self.act_on_verdict(context) {
            return;
        }
        self.say_close(code, reason, context);
        self.limit_the_end(context);
        self.phase = Phase::Closing((context.now.get() + context.settings.timeouts.close).into());
        self.end(Ended { code, reason: reason.into(), by: Closer::Server }, context);
        self.reschedule(context);
        self.mark_dirty(context);
    }

    /// Our Close frame, behind everything else.
    pub(in crate::engine) fn say_close(
        &mut self,
        code: CloseCode,
        reason: &str,
        context: &Context,
    ) {
        self.say_what_waits(context);
        let payload = proto::close::encode(code, reason);
        let payload = payload.as_bytes();
        // A header of two bytes, and 125 at most.
        self.aside_mut().close_bytes = payload.len() as u8 + 2;
        self.talk.outbox.push_frame(Opcode::Close, Payload::Borrowed(payload));
    }

    /// Whether something that was written before our Close frame has not been sent.
    pub(in crate::engine) fn is_truncated(&self) -> bool {
        let unsent = self.aside.as_ref().map(|aside| (aside.unsent_bytes, aside.close_bytes));
        unsent.is_some_and(|(unsent_bytes, close_bytes)| unsent_bytes > close_bytes.into())
    }

    /// Whether it has not been told to go.
    pub(in crate::engine) fn is_welcome(&self) -> bool {
        matches!(self.phase, Phase::Head(_) | Phase::Deciding | Phase::Open(_))
    }

    /// The server ends: says so in the language of the phase.
    pub(in crate::engine) fn send_away(&mut self, context: &Context) {
        match self.phase {
            Phase::Open(_) => {
                self.start_close(CloseCode::GOING_AWAY, "server is going away", context)
            }
            _ => self.refuse(&Refusal::new(503, "the server is going away"), context),
        }
    }

    /// The handler has panicked and is no more.
    pub(in crate::engine) fn handle_panic(&mut self, context: &Context) {
        match self.phase {
            Phase::Open(_) if self.flags.has(Flag::Fenced) => self.stop_serving(context),
            Phase::Open(_) => self.fail(CloseCode::INTERNAL_ERROR, "the handler failed", context),
            Phase::Deciding => self.refuse(&Refusal::new(500, "the handler failed"), context),
            _ => {}
        }
    }

    pub(in crate::engine) fn linger(&mut self, patience: Duration, context: &Context) {
        self.limit_the_end(context);
        self.phase = Phase::Lingering((context.now.get() + patience).into());
        self.reschedule(context);
        self.mark_dirty(context);
    }

    /// Remembers how the conversation ended, the first time, and tells the handler.
    pub(in crate::engine) fn end(&mut self, ended: Ended, context: &Context) {
        self.aside_mut().ended.get_or_insert_with(|| Box::new(ended));
        self.wake(context);
    }

    /// Cuts it: the peer sees a reset, which it cannot take for an end in order.
    pub(in crate::engine) fn cut(&mut self, context: &Context) {
        self.aside_mut().reset = true;
        self.lose(context);
    }

    /// An operator ends it, in the language of the phase.
    pub(in crate::engine) fn close_from_outside(
        &mut self,
        code: CloseCode,
        reason: &str,
        context: &Context,
    ) {
        match self.phase {
            Phase::Open(_) => self.start_close(code, reason, context),
            Phase::Head(_) | Phase::Deciding => self.lose(context),
            Phase::Closing(_) | Phase::Lingering(_) | Phase::Gone => {}
        }
    }

    pub(in crate::engine) fn end_session(&mut self, reason: &'static str, context: &Context) {
        match self.phase {
            Phase::Open(_) => self.start_close(CloseCode::POLICY, reason, context),
            Phase::Deciding => self.refuse(&Refusal::new(403, reason), context),
            _ => {}
        }
    }
}
