//! What a connection does when time passes: one set of deadlines, looked at lazily.

use super::connection::{Connection, NEVER, Phase};
use super::core::Core;
use super::flags::Flag;
use super::outbox::Payload;
use crate::clock::Moment;
use crate::proto::Refusal;
use crate::proto::frame::Opcode;
use std::time::Duration;

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
                _ => self.lose(core),
            }
        }
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

    /// Sends a Ping after silence, and gives up when nothing answers. Judged by received bytes;
    /// a connection that we do not read from cannot be judged.
    fn keep_alive(&mut self, core: &Core) {
        let Some(due) = self.keep_alive_due(core) else { return };
        if due > core.now.get() {
            return;
        }
        if self.flags.has(Flag::EndOfStream) {
            // It has gone, and nobody reads what it has left.
            self.lose(core);
        } else if self.flags.has(Flag::Paused) {
            self.phase = Phase::Open(core.now.get().into());
        } else if self.flags.has(Flag::Pinged) {
            self.cut(core);
        } else {
            self.flags.set(Flag::Pinged);
            self.talk.outbox.push_frame(Opcode::Ping, Payload::Borrowed(&[]));
            self.mark_dirty(core);
        }
    }

    fn keep_alive_due(&self, core: &Core) -> Option<Moment> {
        let timeouts = &core.settings.timeouts;
        let Phase::Open(last_received) = self.phase else { return None };
        if timeouts.ping_interval.is_zero() {
            return None;
        }
        let patience = if self.flags.has(Flag::Pinged) { timeouts.pong } else { Duration::ZERO };
        Some(last_received.moment() + timeouts.ping_interval + patience)
    }

    /// When the phase is over, whatever happens.
    fn phase_deadline(&self) -> Moment {
        match self.phase {
            Phase::Head(deadline) => deadline.moment(),
            Phase::Closing(deadline) | Phase::Lingering(deadline)
                if !self.flags.has(Flag::Dead) =>
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
        self.look_by(self.phase_deadline().min(reading).min(keep_alive), core);
    }

    /// Makes sure the wheel looks at this connection no later than then.
    #[inline]
    pub(super) fn look_by(&mut self, next: Moment, core: &Core) {
        if next < self.scheduled.moment() && !matches!(self.phase, Phase::Gone) {
            self.scheduled = core.timers.borrow_mut().schedule(self.id.slot, next).into();
        }
    }
}
