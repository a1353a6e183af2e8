//! How a connection ends: by the peer, by the handler, by the engine, or by the network.
//!
//! The ways out of each phase of [`super::connection`], called by whoever has a reason. They only
//! change the state and say what is to be sent; FIN and the end of the slot are for
//! [`super::settle`].

use super::connection::{Closer, Connection, Ended, Phase};
use super::core::{Core, count};
use super::flags::Flag;
use super::outbox::Payload;
use super::verdict::Verdict;
use crate::proto::frame::Opcode;
use crate::proto::{self, CloseCode, Refusal};
use std::time::Duration;

impl Connection {
    /// The peer has sent FIN.
    pub(super) fn handle_end_of_stream(&mut self, core: &Core) {
        self.flags.set(Flag::EndOfStream);
        if !self.talk.unseen().is_empty() {
            // Seen when what came before it was.
            self.wait_for_reader(core);
            return self.mark_dirty(core);
        }
        match self.phase {
            // The request is not whole.
            Phase::Head(_) | Phase::Gone => self.lose(core),
            // The handler's answer, and what it says to the first messages, still goes out.
            Phase::Deciding => {}
            Phase::Open(_) => self.has_ended(Verdict::Finished, core),
            // What is left to send is sent; the shard sees when that is done.
            Phase::Closing(_) => self.linger(core.settings.timeouts.close, core),
            Phase::Lingering(_) => {
                self.look_at_rest_again(core);
                self.mark_dirty(core);
            }
        }
    }

    /// The connection is lost: reset, timed out, or ended without a Close frame.
    pub(super) fn lose(&mut self, core: &Core) {
        if self.flags.has(Flag::Ending) {
            self.end_by_verdict(core);
        }
        self.end(Ended::lost(), core);
        if !self.flags.has(Flag::Dead) {
            self.flags.set(Flag::Dead);
            self.lose_rest();
        }
        self.drop_outbox();
        self.mark_dirty(core);
    }

    /// Answers the request with something else than 101, and closes.
    pub(super) fn refuse(&mut self, refusal: &Refusal, core: &Core) {
        count(&core.counters.refused);
        if let Some(remedy) = refusal.remedy() {
            core.log_remedy(remedy);
        }
        core.counters.refusals.borrow_mut().count(refusal.status());
        let is_head = self.aside.as_ref().is_some_and(|aside| aside.head.is_head());
        let response = if is_head { refusal.response_to_head() } else { refusal.response() };
        self.answer(refusal.status(), response, core);
    }

    /// Answers the request with these bytes, and closes.
    pub(super) fn answer(&mut self, status: u16, response: Vec<u8>, core: &Core) {
        self.status = status;
        self.talk.outbox.push_bytes(&response);
        self.linger(core.settings.timeouts.linger, core);
    }

    /// Ends the conversation because of what the peer sent (RFC 6455 §7.1.7).
    pub(super) fn fail(&mut self, code: CloseCode, reason: &str, core: &Core) {
        if matches!(self.phase, Phase::Open(_)) && !self.flags.has(Flag::Dead) {
            let payload = proto::close::encode(code, reason);
            self.talk.outbox.push_frame(Opcode::Close, Payload::Borrowed(payload.as_bytes()));
        }
        self.linger(core.settings.timeouts.close, core);
        self.end(Ended { code, reason: reason.into(), by: Closer::Server }, core);
    }

    /// Sends our Close and waits for the peer's.
    pub(super) fn start_close(&mut self, code: CloseCode, reason: &str, core: &Core) {
        // Nobody hears it where the connection is lost, and it is not to count as cut.
        if !matches!(self.phase, Phase::Open(_)) || self.flags.has(Flag::Dead) {
            return;
        }
        // The peer was first, and only waits for its turn.
        if self.flags.has(Flag::Ending) && self.act_on_verdict(core) {
            return;
        }
        let payload = proto::close::encode(code, reason);
        self.talk.outbox.push_frame(Opcode::Close, Payload::Borrowed(payload.as_bytes()));
        self.limit_the_end(core);
        self.phase = Phase::Closing((core.now.get() + core.settings.timeouts.close).into());
        self.end(Ended { code, reason: reason.into(), by: Closer::Server }, core);
        self.reschedule(core);
        self.mark_dirty(core);
    }

    /// Whether it has not been told to go.
    pub(super) fn is_welcome(&self) -> bool {
        matches!(self.phase, Phase::Head(_) | Phase::Deciding | Phase::Open(_))
    }

    /// The server ends: says so in the language of the phase.
    pub(super) fn send_away(&mut self, core: &Core) {
        match self.phase {
            Phase::Open(_) => self.start_close(CloseCode::GOING_AWAY, "server is going away", core),
            _ => self.refuse(&Refusal::new(503, "the server is going away"), core),
        }
    }

    /// The handler has panicked and is no more.
    pub(super) fn handle_panic(&mut self, core: &Core) {
        match self.phase {
            Phase::Open(_) if self.flags.has(Flag::Fenced) => self.stop_serving(core),
            Phase::Open(_) => self.fail(CloseCode::INTERNAL_ERROR, "the handler failed", core),
            Phase::Deciding => self.refuse(&Refusal::new(500, "the handler failed"), core),
            _ => {}
        }
    }

    pub(super) fn linger(&mut self, patience: Duration, core: &Core) {
        self.limit_the_end(core);
        self.phase = Phase::Lingering((core.now.get() + patience).into());
        self.reschedule(core);
        self.mark_dirty(core);
    }

    /// Remembers how the conversation ended, the first time, and tells the handler.
    pub(super) fn end(&mut self, ended: Ended, core: &Core) {
        self.aside_mut().ended.get_or_insert_with(|| Box::new(ended));
        self.wake(core);
    }
}
