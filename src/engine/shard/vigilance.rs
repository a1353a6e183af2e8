//! What a shard owes its connections between two batches, looked over for the simulator: whatever can
//! go on is on some list, or waits for something that will come.

use crate::engine::connection::room::Room;
use crate::engine::connection::state::Flag;
use crate::engine::connection::{Connection, Phase};
use crate::engine::core::Core;
use crate::engine::core::slots::{Held, Receive, Slot};
use crate::engine::shard::Shard;
use crate::ring::Ring;

impl<R: Ring> Shard<R> {
    /// What is forgotten, if something is.
    pub(in crate::engine) fn forgotten(&self) -> Option<String> {
        let core = &self.core;
        let mut slots = core.slots.borrow_mut();
        if core.account.has_news() && core.account.is_waited_for() && !core.chores.get() {
            return Some("who waits for the growth account is not told".into());
        }
        for id in slots.ids() {
            let Slot { connection, held } = slots.find(id)?;
            let starved = held.receive == Receive::Starved && !self.rota.has(id);
            let what = forgotten(connection, held, core);
            if let Some(what) = what.or(starved.then_some("its receive")) {
                return Some(format!("{what} of {id:?}: {}", state(connection, held)));
            }
        }
        None
    }
}

fn forgotten(connection: &Connection, held: &Held, core: &Core) -> Option<&'static str> {
    if connection.flags.has(Flag::Queued) && !core.ready.borrow().contains(&connection.id) {
        return Some("the mark that the handler is to be polled");
    }
    let dirty = core.dirty.borrow().contains(&connection.id);
    if connection.flags.has(Flag::Dirty) && !dirty {
        return Some("the mark that it is to be settled");
    }
    let timed = core.timers.borrow().has(connection.id.slot, connection.scheduled.moment());
    if !timed {
        return Some("a deadline");
    }
    if !connection.flags.has(Flag::Dead) && !dirty {
        if connection.talk.outbox.wants_send() && !held.sending {
            return Some("what is to be sent");
        }
        if held.sending != connection.talk.outbox.is_flying() {
            return Some("the send in flight");
        }
        if held.receive == Receive::Idle && connection.wants_receive(core) {
            return Some("the next receive");
        }
    }
    let ends = connection.flags.has(Flag::Dead) || !matches!(connection.phase, Phase::Open(_));
    if ends
        || connection.flags.has(Flag::Shared)
        || connection.flags.has(Flag::Queued)
        || !connection.flags.has(Flag::Handled)
    {
        return None;
    }
    let marked = core.settings.limits.outbox_high_water_bytes;
    let binary_data = connection.flags.has(Flag::BinaryData);
    let room = !connection.talk.outbox.is_full(marked) && !core.account.is_waiting(connection.id);
    if connection.flags.has(Flag::Writing) && room {
        return Some("a write");
    }
    if connection
        .reading
        .is_some_and(|read| connection.talk.inbox.is_readable(read.len(), binary_data))
    {
        return Some("a read");
    }
    let has_room = connection.talk.inbox.has_room(Room::of(core));
    let stuck = connection.talk.strain.as_ref().is_some_and(|strain| strain.stuck_since.is_some());
    if !connection.talk.unseen().is_empty() && has_room && !stuck && !dirty {
        return Some("what was received");
    }
    None
}

fn state(connection: &Connection, held: &Held) -> String {
    let talk = &connection.talk;
    format!(
        "{:?}, outbox {} B, inbox {}, unseen {} B, receive {:?}, sending {}, asking {}, \
         reading {}",
        connection.flags,
        talk.outbox.bytes(),
        talk.inbox.messages(),
        talk.unseen().len(),
        held.receive,
        held.sending,
        connection.is_asking(),
        connection.reading.is_some(),
    )
}
