//! What a connection does when time passes: one set of deadlines, looked at lazily.
//!
//! The shard calls with what comes up in the wheel ([`super::timers`]). Each deadline follows from
//! the state and is stored nowhere else, so that none can be stale; who changes the state calls
//! [`Connection::reschedule`].

use super::connection::{Connection, Counted, NEVER, Phase};
use super::core::Core;
use super::flags::Flag;
use super::progress::Purpose;
use crate::clock::Moment;
use crate::proto::{CloseCode, Refusal, limits};
use std::time::Duration;

/// How long a peer may be silent.
struct Silence {
    /// Before it is asked for a sign of life.
    before: Duration,
    /// Before it has answered.
    answer: Duration,
}

/// A peer that is seen to have ended, behind what is not being read.
#[derive(Clone, Copy)]
pub(super) struct HungUp {
    since: Moment,
    /// What had been done then.
    done: u32,
    /// Whether the peer takes what is sent has been asked.
    asked: bool,
}

/// Without Pings only those are asked who do not take what is sent.
fn silence(core: &Core) -> Silence {
    let timeouts = &core.settings.timeouts;
    if timeouts.ping_interval.is_zero() {
        return Silence { before: timeouts.stall / 2, answer: timeouts.stall / 2 };
    }
    Silence { before: timeouts.ping_interval, answer: timeouts.pong }
}

impl Connection {
    /// Time has come to some deadline, or to none: the wheel may look early.
    pub(super) fn handle_timeout(&mut self, core: &Core) {
        let now = core.now.get();
        if self.scheduled.moment() > now {
            return;
        }
        self.scheduled = NEVER.into();
        if self.phase_deadline() <= now {
            match self.phase {
                Phase::Head(_) if self.flags.has(Flag::OverCapacity) => {
                    self.refuse(&self.no_room(), core);
                }
                Phase::Head(_) => {
                    self.refuse(&Refusal::new(408, "the request head took too long"), core);
                }
                _ => self.handle_closing_timeout(core),
            }
        }
        self.look_at_hang_up(core);
        if self.verdict_due() <= now {
            self.mark_dirty(core);
        }
        self.look_at_message(core);
        if self.reading.is_some_and(|read| read.deadline() <= now) {
            self.wake(core);
        }
        if self.flags.has(Flag::Shared) {
            // Settling looks at its lease, its session and its holder's read.
            self.mark_dirty(core);
        }
        self.give_up_growth(core);
        self.keep_alive(core);
        self.reschedule(core);
    }

    /// Sends a Ping after silence, and gives up when nothing answers. Judged by received bytes, and
    /// by what the peer takes: while data are on their way to it, a Ping would only wait behind them.
    fn keep_alive(&mut self, core: &Core) {
        if !matches!(self.phase, Phase::Open(_)) || self.is_ending() || self.is_asking() {
            return;
        }
        let now = core.now.get();
        let due = self.keep_alive_due(core).is_some_and(|due| due <= now);
        let asked = self.flags.has(Flag::Pinged);
        if !asked && self.look_at_sent(!due, core) || !due {
            return;
        }
        if !asked {
            self.answer_by(now, core);
            self.ask_for_life(core);
        } else if core.held_up.get() == now {
            // Nobody could be heard for a while: what has come meanwhile is heard first.
            self.answer_by(now, core);
        } else {
            self.ask(Purpose::Silence, core);
        }
    }

    /// The patience with a peer that was asked counts from `asked`.
    fn answer_by(&mut self, asked: Moment, core: &Core) {
        let heard = asked.as_millis().saturating_sub(silence(core).before.as_millis() as u64);
        self.phase = Phase::Open(Moment::from_millis(heard).into());
    }

    /// Whether the peer has ended what it has to say: it answers nothing any more, and its end has
    /// times of its own.
    pub(super) fn is_ending(&self) -> bool {
        let hung_up = || self.aside.as_ref().is_some_and(|aside| aside.hung_up.is_some());
        self.flags.has(Flag::Ending) || hung_up()
    }

    fn keep_alive_due(&self, core: &Core) -> Option<Moment> {
        let Phase::Open(heard) = self.phase else { return None };
        if self.is_ending() {
            return None;
        }
        let asked = self.flags.has(Flag::Pinged);
        if core.settings.timeouts.ping_interval.is_zero() && !asked && !self.talk.outbox.is_flying()
        {
            return None;
        }
        let Silence { before, answer } = silence(core);
        let patience = if asked { answer } else { Duration::ZERO };
        // Asked already, the answer comes by itself.
        (!self.is_asking()).then(|| heard.moment() + before + patience)
    }

    /// When the phase is over, whatever happens.
    fn phase_deadline(&self) -> Moment {
        match self.phase {
            Phase::Head(deadline) => deadline.moment(),
            Phase::Closing(deadline) | Phase::Lingering(deadline)
                if !self.flags.has(Flag::Dead) && !self.is_asking() =>
            {
                deadline.moment()
            }
            _ => NEVER,
        }
    }

    /// Makes sure the wheel looks at this connection no later than its next deadline. Those of a
    /// shared socket, its lease's and its session's, are seen to whenever it is settled.
    pub(super) fn reschedule(&mut self, core: &Core) {
        let reading = self.reading.map_or(NEVER, |read| read.deadline());
        let keep_alive = self.keep_alive_due(core).unwrap_or(NEVER);
        let ending = self.verdict_due().min(self.message_due(core)).min(self.hang_up_due(core));
        let sending = self.stall_due();
        self.look_by(
            self.phase_deadline().min(reading).min(keep_alive).min(ending).min(sending),
            core,
        );
    }

    /// A send begins on a connection at which nobody looks: somebody has to, should it not end.
    #[cold]
    pub(super) fn watch_send(&mut self, core: &Core) {
        if matches!(self.phase, Phase::Open(_)) {
            self.look_by(core.now.get() + silence(core).before, core);
        }
    }

    /// The peer was seen to have ended while it is not read.
    pub(super) fn handle_hangup(&mut self, reset: bool, core: &Core) {
        // A FIN comes behind what is unread, and is met when that is read. A reset is not.
        if reset { self.lose(core) } else { self.wait_for_reader(core) }
    }

    /// The peer has sent FIN behind what is not being read. Whoever reads gets there; if nobody does
    /// in the time in which a silent peer is found, the connection ends.
    #[cold]
    pub(super) fn wait_for_reader(&mut self, core: &Core) {
        let hung_up = HungUp { since: core.now.get(), done: self.done(core), asked: false };
        self.aside_mut().hung_up = Some(hung_up);
        self.flags.clear(Flag::Pinged);
        self.look_by(self.hang_up_due(core), core);
    }

    /// Only an open connection waits for its reader; the others have deadlines of their own.
    fn hang_up_due(&self, core: &Core) -> Moment {
        if !matches!(self.phase, Phase::Open(_)) || self.is_asking() {
            return NEVER;
        }
        let Silence { before, answer } = silence(core);
        let hung_up = self.aside.as_ref().and_then(|aside| aside.hung_up);
        hung_up.map_or(NEVER, |hung_up| hung_up.since + before + answer)
    }

    fn look_at_hang_up(&mut self, core: &Core) {
        if self.hang_up_due(core) > core.now.get() {
            return;
        }
        let (done, flying) = (self.done(core), self.talk.outbox.is_flying());
        let may_take = flying || self.has_sent_much();
        match self.aside.as_mut().and_then(|aside| aside.hung_up.as_mut()) {
            Some(before) if before.done == done && may_take && !before.asked => {
                before.asked = true;
                self.ask(Purpose::Verdict, core);
            }
            Some(before) if before.done == done => self.lose(core),
            _ => self.wait_for_reader(core),
        }
    }

    /// Something has come, and the end of a message has not. `ended`: that of another has.
    #[cold]
    pub(super) fn watch_message(&mut self, ended: bool, core: &Core) {
        if self.talk.session.is_between_messages() {
            self.talk.partial = None;
        } else if ended || self.talk.partial.is_none() {
            self.talk.partial = Some((core.now.get().into(), self.low(Counted::BytesIn)));
            self.look_by(self.message_due(core), core);
        }
    }

    /// When the message on its way is to have ended, or to have grown.
    fn message_due(&self, core: &Core) -> Moment {
        let timeout = core.settings.timeouts.message;
        match (self.talk.partial, self.phase) {
            (Some((since, _)), Phase::Open(_)) if !timeout.is_zero() => since.moment() + timeout,
            _ => NEVER,
        }
    }

    /// Ends a conversation of which a message does not come to an end.
    fn look_at_message(&mut self, core: &Core) {
        let Some((_, before)) = self.talk.partial else { return };
        if self.message_due(core) > core.now.get() {
            return;
        }
        let received = self.low(Counted::BytesIn);
        let grown = received.wrapping_sub(before) >= limits::MESSAGE_GROWTH_BYTES_MIN;
        // Who is not read cannot send the rest, nor who was not heard for a while.
        let unheard = self.flags.has(Flag::Paused) || core.held_up.get() == core.now.get();
        if grown || unheard {
            self.talk.partial = Some((core.now.get().into(), received));
        } else {
            self.fail(CloseCode::POLICY, "the message came too slowly", core);
        }
    }

    /// Makes sure the wheel looks at this connection no later than then.
    #[inline]
    pub(super) fn look_by(&mut self, next: Moment, core: &Core) {
        if next < self.scheduled.moment() && !matches!(self.phase, Phase::Gone) {
            self.scheduled =
                core.timers.borrow_mut().schedule(self.id.slot, next, core.now.get()).into();
        }
    }
}
