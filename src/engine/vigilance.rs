//! What a shard owes its connections between two batches, looked over for the simulator: whatever can
//! go on is on some list, or waits for something that will come.

use super::connection::{Connection, Phase};
use super::core::Core;
use super::flags::Flag;
use super::registry::{Held, Receive, Slot};
use super::room::Room;
use super::shard::Shard;
use crate::ring::Ring;

impl<R: Ring> Shard<R> {
    /// What is forgotten, if something is.
    pub(super) fn forgotten(&self) -> Option<String> {
        let core = &self.core;
        let mut slots = core.slots.borrow_mut();
        if core.account.has_news() && core.account.is_waited_for() && !core.chores.get() {
            return Some("who waits for the growth account is not told".into());
        }
        for id in slots.ids() {
            let Slot { connection, held } = slots.find(id)?;
            let starved = held.receive == Receive::Starved && !self.rota.has(id);
            let what = connection.forgotten(held, core);
            if let Some(what) = what.or(starved.then_some("its receive")) {
                return Some(format!("{what} of {id:?}: {}", connection.state(held)));
            }
        }
        None
    }
}

impl Connection {
    fn forgotten(&self, held: &Held, core: &Core) -> Option<&'static str> {
        if self.flags.has(Flag::Queued) && !core.executor.has(self.id) {
            return Some("the mark that the handler is to be polled");
        }
        let dirty = core.dirty.borrow().contains(&self.id);
        if self.flags.has(Flag::Dirty) && !dirty {
            return Some("the mark that it is to be settled");
        }
        let timed = core.timers.borrow().has(self.id.slot, self.scheduled.moment());
        if !timed {
            return Some("a deadline");
        }
        if !self.flags.has(Flag::Dead) && !dirty {
            if self.talk.outbox.wants_send() && !held.sending {
                return Some("what is to be sent");
            }
            if held.sending != self.talk.outbox.is_flying() {
                return Some("the send in flight");
            }
            if held.receive == Receive::Idle && self.wants_receive(core) {
                return Some("the next receive");
            }
        }
        let ends = self.flags.has(Flag::Dead) || !matches!(self.phase, Phase::Open(_));
        if ends
            || self.flags.has(Flag::Shared)
            || self.flags.has(Flag::Queued)
            || !self.flags.has(Flag::Handled)
        {
            return None;
        }
        let marked = core.settings.limits.outbox_high_water_bytes;
        let binary_data = self.flags.has(Flag::BinaryData);
        let room = !self.talk.outbox.is_full(marked) && !core.account.is_waiting(self.id);
        if self.flags.has(Flag::Writing) && room {
            return Some("a write");
        }
        if self.reading.is_some_and(|read| self.talk.inbox.is_readable(read.len(), binary_data)) {
            return Some("a read");
        }
        let has_room = self.talk.inbox.has_room(Room::of(core));
        let stuck = self.talk.strain.as_ref().is_some_and(|strain| strain.stuck_since.is_some());
        if !self.talk.unseen().is_empty() && has_room && !stuck && !dirty {
            return Some("what was received");
        }
        None
    }

    fn state(&self, held: &Held) -> String {
        let talk = &self.talk;
        format!(
            "{:?}, outbox {} B, inbox {}, unseen {} B, receive {:?}, sending {}, asking {}, \
             reading {}",
            self.flags,
            talk.outbox.bytes(),
            talk.inbox.messages(),
            talk.unseen().len(),
            held.receive,
            held.sending,
            self.is_asking(),
            self.reading.is_some(),
        )
    }
}
