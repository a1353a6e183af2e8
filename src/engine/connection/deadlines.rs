//! What a connection does when time passes: one set of deadlines, looked at lazily.
//!
//! The shard calls with what comes up in the wheel ([`timers`](crate::engine::connection::timers)). Each deadline follows from
//! the state and is stored nowhere else, so that none can be stale; who changes the state calls
//! [`Connection::reschedule`].

use crate::clock::Moment;
use crate::engine::connection::context::Context;
use crate::engine::connection::progress::Purpose;
use crate::engine::connection::state::Flag;
use crate::engine::connection::{Connection, Phase};
use crate::engine::model::ended::Counted;
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
pub(in crate::engine) struct HungUp {
    since: Moment,
    /// What had been done then.
    done: u32,
    /// Whether the peer takes what is sent has been asked.
    asked: bool,
}

/// Without Pings only those are asked who do not take what is sent.
fn silence(context: &Context) -> Silence {
    let timeouts = &context.settings.timeouts;
    if timeouts.ping_interval.is_zero() {
        return Silence { before: timeouts.stall / 2, answer: timeouts.stall / 2 };
    }
    Silence { before: timeouts.ping_interval, answer: timeouts.pong }
}

impl Connection {
    /// Time has come to some deadline, or to none: the wheel may look early.
    pub(in crate::engine) fn handle_timeout(&mut self, context: &Context) {
        let now = context.now.get();
        if self.scheduled.moment() > now {
            return;
        }
        self.scheduled = Moment::NEVER.into();
        if self.phase_deadline() <= now {
            match self.phase {
                Phase::Head(_) if self.flags.has(Flag::OverCapacity) => {
                    self.refuse(&self.no_room(), context);
                }
                Phase::Head(_) => {
                    self.refuse(&Refusal::new(408, "the request head took too long"), context);
                }
                _ => self.handle_closing_timeout(context),
            }
        }
        self.look_at_hang_up(context);
        if self.verdict_due() <= now {
            self.mark_dirty(context);
        }
        self.look_at_message(context);
        if self.reading.is_some_and(|read| read.deadline() <= now) {
            self.wake(context);
        }
        if self.flags.has(Flag::Shared) {
            // Settling looks at its lease, its session and its holder's read.
            self.mark_dirty(context);
        }
        self.give_up_growth(context);
        self.keep_alive(context);
        self.reschedule(context);
    }

    /// Sends a Ping after silence, and gives up when nothing answers. Judged by received bytes, and
    /// by what the peer takes: while data are on their way to it, a Ping would only wait behind them.
    fn keep_alive(&mut self, context: &Context) {
        if !matches!(self.phase, Phase::Open(_)) || self.is_ending() || self.is_asking() {
            return;
        }
        let now = context.now.get();
        let due = self.keep_alive_due(context).is_some_and(|due| due <= now);
        let asked = self.flags.has(Flag::Pinged);
        if !asked && self.look_at_sent(!due, context) || !due {
            return;
        }
        if !asked {
            self.answer_by(now, context);
            self.ask_for_life(context);
        } else if context.held_up.get() == now {
            // Nobody could be heard for a while: what has come meanwhile is heard first.
            self.answer_by(now, context);
        } else {
            self.ask(Purpose::Silence, context);
        }
    }

    /// The patience with a peer that was asked counts from `asked`.
    fn answer_by(&mut self, asked: Moment, context: &Context) {
        let heard = asked.as_millis().saturating_sub(silence(context).before.as_millis() as u64);
        self.phase = Phase::Open(Moment::from_millis(heard).into());
    }

    /// Whether the peer has ended what it has to say: it answers nothing any more, and its end has
    /// times of its own.
    pub(in crate::engine) fn is_ending(&self) -> bool {
        let hung_up = || self.aside.as_ref().is_some_and(|aside| aside.hung_up.is_some());
        self.flags.has(Flag::Ending) || hung_up()
    }

    fn keep_alive_due(&self, context: &Context) -> Option<Moment> {
        let Phase::Open(heard) = self.phase else { return None };
        if self.is_ending() {
            return None;
        }
        let asked = self.flags.has(Flag::Pinged);
        if context.settings.timeouts.ping_interval.is_zero()
            && !asked
            && !self.talk.outbox.is_flying()
        {
            return None;
        }
        let Silence { before, answer } = silence(context);
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
            _ => Moment::NEVER,
        }
    }

    /// Makes sure the wheel looks at this connection no later than its next deadline. Those of a
    /// shared socket, its lease's and its session's, are seen to whenever it is settled.
    pub(in crate::engine) fn reschedule(&mut self, context: &Context) {
        let reading = self.reading.map_or(Moment::NEVER, |read| read.deadline());
        let keep_alive = self.keep_alive_due(context).unwrap_or(Moment::NEVER);
        let ending =
            self.verdict_due().min(self.message_due(context)).min(self.hang_up_due(context));
        let sending = self.stall_due();
        self.look_by(
            self.phase_deadline().min(reading).min(keep_alive).min(ending).min(sending),
            context,
        );
    }

    /// A send begins on a connection at which nobody looks: somebody has to, should it not end.
    #[cold]
    pub(in crate::engine) fn watch_send(&mut self, context: &Context) {
        if matches!(self.phase, Phase::Open(_)) {
            self.look_by(context.now.get() + silence(context).before, context);
        }
    }

    /// The peer was seen to have ended while it is not read.
    pub(in crate::engine) fn handle_hangup(&mut self, reset: bool, context: &Context) {
        // A FIN comes behind what is unread, and is met when that is read. A reset is not.
        if reset { self.lose(context) } else { self.wait_for_reader(context) }
    }

    /// The peer has sent FIN behind what is not being read. Whoever reads gets there; if nobody does
    /// in the time in which a silent peer is found, the connection ends.
    #[cold]
    pub(in crate::engine) fn wait_for_reader(&mut self, context: &Context) {
        let hung_up = HungUp { since: context.now.get(), done: self.done(context), asked: false };
        self.aside_mut().hung_up = Some(hung_up);
        self.flags.clear(Flag::Pinged);
        self.look_by(self.hang_up_due(context), context);
    }

    /// Only an open connection waits for its reader; the others have deadlines of their own.
    fn hang_up_due(&self, context: &Context) -> Moment {
        if !matches!(self.phase, Phase::Open(_)) || self.is_asking() {
            return Moment::NEVER;
        }
        let Silence { before, answer } = silence(context);
        let hung_up = self.aside.as_ref().and_then(|aside| aside.hung_up);
        hung_up.map_or(Moment::NEVER, |hung_up| hung_up.since + before + answer)
    }

    fn look_at_hang_up(&mut self, context: &Context) {
        if self.hang_up_due(context) > context.now.get() {
            return;
        }
        let (done, flying) = (self.done(context), self.talk.outbox.is_flying());
        let may_take = flying || self.has_sent_much();
        match self.aside.as_mut().and_then(|aside| aside.hung_up.as_mut()) {
            Some(before) if before.done == done && may_take && !before.asked => {
                before.asked = true;
                self.ask(Purpose::Verdict, context);
            }
            Some(before) if before.done == done => self.lose(context),
            _ => self.wait_for_reader(context),
        }
    }

    /// Something has come, and the end of a message has not. `ended`: that of another has.
    #[cold]
    pub(in crate::engine) fn watch_message(&mut self, ended: bool, context: &Context) {
        if self.talk.session.is_between_messages() {
            self.talk.partial = None;
        } else if ended || self.talk.partial.is_none() {
            self.talk.partial = Some((context.now.get().into(), self.low(Counted::BytesIn)));
            self.look_by(self.message_due(context), context);
        }
    }

    /// When the message on its way is to have ended, or to have grown.
    fn message_due(&self, context: &Context) -> Moment {
        let timeout = context.settings.timeouts.message;
        match (self.talk.partial, self.phase) {
            (Some((since, _)), Phase::Open(_)) if !timeout.is_zero() => since.moment() + timeout,
            _ => Moment::NEVER,
        }
    }

    /// Ends a conversation of which a message does not come to an end.
    fn look_at_message(&mut self, context: &Context) {
        let Some((_, before)) = self.talk.partial else { return };
        if self.message_due(context) > context.now.get() {
            return;
        }
        let received = self.low(Counted::BytesIn);
        let grown = received.wrapping_sub(before) >= limits::MESSAGE_GROWTH_BYTES_MIN;
        // Who is not read cannot send the rest, nor who was not heard for a while.
        let unheard = self.flags.has(Flag::Paused) || context.held_up.get() == context.now.get();
        if grown || unheard {
            self.talk.partial = Some((context.now.get().into(), received));
        } else {
            self.fail(CloseCode::POLICY, "the message came too slowly", context);
        }
    }

    /// Makes sure the wheel looks at this connection no later than then.
    #[inline]
    pub(in crate::engine) fn look_by(&mut self, next: Moment, context: &Context) {
        if next < self.scheduled.moment() && !matches!(self.phase, Phase::Gone) {
            self.scheduled =
                context.timers.borrow_mut().schedule(self.id.slot, next, context.now.get()).into();
        }
    }
}
