//! Which connection has which slot, and what the kernel still has of it.
//!
//! Owns the connections of a shard, as part of its [`Core`](crate::engine::core::Core). The shard puts them
//! in and takes them out; everybody else finds them by [`SlotId`], of which a stale one finds
//! nothing.

use crate::engine::connection::state::Flag;
use crate::engine::connection::{Connection, Phase};
use crate::engine::core::Core;
use crate::engine::core::pace::Pace;
use crate::engine::model::counters::count;
use crate::engine::model::counters::count_more;
use crate::engine::model::ended::Counted;
use crate::engine::model::ids::Claim;
use crate::engine::model::slot_id::SlotId;
use crate::proto::Request;
use crate::ring::Errno;
use crate::ring::Lease;
use std::collections::HashMap;
use std::task::Waker;

/// A slot: its connection, or none, which is one that is gone; and what the kernel has of it.
pub(in crate::engine) struct Slot {
    pub(in crate::engine) connection: Connection,
    pub(in crate::engine) held: Held,
}

// With the future of its handler it is what an idle connection costs, beside an entry of the wheel
// and one in the table of sends.
const _: () = assert!(size_of::<Slot>() <= 112);

/// What the kernel has of a slot.
#[derive(Default)]
pub(in crate::engine) struct Held {
    /// Operations whose terminal completion has not come: fewer than there are kinds, twice.
    pub(in crate::engine) operations: u8,
    /// How it receives.
    pub(in crate::engine) pace: Pace,
    /// The receive.
    pub(in crate::engine) receive: Receive,
    /// Whether a send is in flight.
    pub(in crate::engine) sending: bool,
    /// Whether FIN was sent.
    pub(in crate::engine) finished: bool,
    /// Whether the peer's end is waited for without reading.
    pub(in crate::engine) hangup_awaited: bool,
    pub(in crate::engine) teardown: Teardown,
}

/// The one receive of a slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::engine) enum Receive {
    /// Not armed.
    #[default]
    Idle,
    /// Armed, until told otherwise.
    Armed,
    /// Armed for one shot.
    Once,
    /// Armed, and asked to end: the inbox is full, or it has taken more than its share.
    Stopping,
    /// Waits for buffers, or for its turn.
    Starved,
}

/// How far the end of a slot has come. Each step waits for the one before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::engine) enum Teardown {
    /// In use.
    #[default]
    None,
    /// What was armed is being cancelled; waiting for every operation to end.
    Quieting,
    /// The close is under way; nothing else is.
    Closing,
}

/// The slots of a shard, and the connections that have lost theirs and not their handler.
///
/// The list grows with use, for the kernel gives the lowest free slot; its memory is reserved for
/// all and touched as it grows, so that growing moves nothing. The connections are in it by value:
/// shard and handler reach them by [`SlotId`].
pub(in crate::engine) struct Slots {
    slots: Vec<Slot>,
    slots_max: u32,
    used: u32,
    /// Connections that are gone while their handler is not. Their slots may have new owners.
    outlived: HashMap<SlotId, Connection>,
}

/// Room that an empty list of outlived connections keeps.
const OUTLIVED_ROOM_MAX: usize = 1_024;

impl Slots {
    /// A generation that no slot ever has, for the tokens of listeners.
    pub(in crate::engine) const NO_SLOT: u32 = crate::ring::Token::GENERATION_MASK;

    pub(in crate::engine) fn new(slots: u32) -> Self {
        Self {
            slots: Vec::with_capacity(slots as usize),
            slots_max: slots,
            used: 0,
            outlived: HashMap::new(),
        }
    }

    /// Connections that have a slot.
    pub(in crate::engine) fn used(&self) -> u32 {
        self.used
    }

    /// The generation that a connection put into `slot` now gets.
    ///
    /// # Panics
    ///
    /// If the ring has no such slot.
    pub(in crate::engine) fn id(&mut self, slot: u32) -> SlotId {
        assert!(slot < self.slots_max, "the kernel gave a slot that does not exist");
        while slot as usize >= self.slots.len() {
            let id = SlotId { slot: self.slots.len() as u32, generation: 0 };
            self.slots.push(Slot::free(id));
        }
        self.slots[slot as usize].connection.id
    }

    /// A new connection has its slot.
    pub(in crate::engine) fn insert(&mut self, connection: Connection) -> &mut Slot {
        let place = &mut self.slots[connection.id.slot as usize];
        assert!(place.is_free(), "the kernel gave a slot away twice");
        *place = Slot { connection, held: Held::default() };
        self.used += 1;
        place
    }

    /// The slot, if it is still of this generation and in use.
    #[inline]
    pub(in crate::engine) fn find(&mut self, id: SlotId) -> Option<&mut Slot> {
        let place = self.slots.get_mut(id.slot as usize)?;
        (place.connection.id.generation == id.generation && !place.is_free()).then_some(place)
    }

    /// The connection in a slot.
    pub(in crate::engine) fn at(&self, slot: u32) -> Option<&Connection> {
        self.slots.get(slot as usize).filter(|slot| !slot.is_free()).map(|slot| &slot.connection)
    }

    /// The same, to be changed.
    pub(in crate::engine) fn at_mut(&mut self, slot: u32) -> Option<&mut Connection> {
        let slot = self.slots.get_mut(slot as usize).filter(|slot| !slot.is_free())?;
        Some(&mut slot.connection)
    }

    /// The connection of a handler, which has it for as long as it lives: in its slot, or among
    /// those that have none any more.
    #[inline(always)]
    pub(in crate::engine) fn of_handler(&mut self, id: SlotId) -> Option<&mut Connection> {
        match self.slots.get_mut(id.slot as usize) {
            Some(slot) if slot.connection.id.generation == id.generation => {
                Some(&mut slot.connection)
            }
            _ => outlived(&mut self.outlived, id),
        }
    }

    /// The handler has ended. What only it needed comes back, to be dropped where nothing is
    /// borrowed.
    #[must_use = "its drop is not ours"]
    pub(in crate::engine) fn forget_handler(
        &mut self,
        id: SlotId,
    ) -> (Option<Connection>, Option<Waker>) {
        let waker = self.of_handler(id).and_then(|connection| {
            connection.flags.clear(Flag::Handled);
            connection.take_waker()
        });
        let outlived = self.outlived.remove(&id);
        if self.outlived.is_empty() && self.outlived.capacity() > OUTLIVED_ROOM_MAX {
            self.outlived = HashMap::new();
        }
        (outlived, waker)
    }

    /// Keeps a connection that has no slot any more until its handler has ended.
    pub(in crate::engine) fn keep(&mut self, connection: Connection) {
        self.outlived.insert(connection.id, connection);
    }

    /// Those that are kept.
    pub(in crate::engine) fn kept(&mut self) -> impl Iterator<Item = &mut Connection> {
        self.outlived.values_mut()
    }

    /// Slots that have been used.
    pub(in crate::engine) fn slots(&self) -> u32 {
        self.slots.len() as u32
    }

    /// The connection has ended and the kernel has nothing of it: the slot is free.
    pub(in crate::engine) fn remove(&mut self, id: SlotId) -> Option<Connection> {
        self.find(id)?;
        let next = self.next_generation(id);
        let place = self.slots.get_mut(id.slot as usize)?;
        let slot = std::mem::replace(place, Slot::free(next));
        self.used -= 1;
        Some(slot.connection)
    }

    /// What the slot is called next. Generations come again after 16.7 million connections; one that a
    /// handler has outlived its connection with is passed over, or it would have a stranger's.
    fn next_generation(&self, id: SlotId) -> SlotId {
        let mut next = id;
        loop {
            next.generation = (next.generation + 1) % Self::NO_SLOT;
            if !self.outlived.contains_key(&next) {
                return next;
            }
        }
    }

    /// The slots that are in use.
    pub(in crate::engine) fn ids(&self) -> Vec<SlotId> {
        let used = self.slots.iter().filter(|slot| !slot.is_free());
        used.map(|slot| slot.connection.id).collect()
    }

    /// Every connection that has a slot.
    pub(in crate::engine) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Connection> {
        let used = self.slots.iter_mut().filter(|slot| !slot.is_free());
        used.map(|slot| &mut slot.connection)
    }

    /// The connection that an id claims. A forged id and one of a connection that is gone fail at
    /// the same comparison.
    pub(in crate::engine) fn claimed(
        &mut self,
        claim: Claim,
        core: &Core,
    ) -> Option<&mut Connection> {
        let connection = &mut self.find(claim.slot)?.connection;
        if connection.nonce(core) ^ claim.nonce != 0 {
            return None;
        }
        // Its holder has done something before this was asked, for example left.
        if connection.flags.has(Flag::Shared) && connection.flags.has(Flag::Dirty) {
            connection.exchange(core);
        }
        Some(connection)
    }
}

impl Slot {
    fn free(id: SlotId) -> Self {
        Self { connection: Connection::gone(id), held: Held::default() }
    }

    #[inline]
    fn is_free(&self) -> bool {
        matches!(self.connection.phase, Phase::Gone)
    }

    /// Bytes arrived. A request that is complete with them comes back.
    pub(in crate::engine) fn handle_received(
        &mut self,
        mut lease: Lease,
        more: bool,
        core: &Core,
    ) -> Option<Box<Request>> {
        let connection = &mut self.connection;
        if !more {
            // One shot is no end by itself.
            count_more(&core.counters.rearmed, u64::from(self.held.receive != Receive::Once));
            self.held.receive = Receive::Idle;
            connection.mark_dirty(core);
        }
        if connection.flags.has(Flag::Dead) {
            return None;
        }
        let messages_before = connection.tally.low(Counted::MessagesIn);
        let bytes = connection.transport.incoming(&mut lease);
        let bytes_in = bytes.len() as u32;
        let request = connection.handle_received(bytes, core);
        let messages_in = connection.tally.low(Counted::MessagesIn).wrapping_sub(messages_before);
        if self.held.pace.handle_received(bytes_in, messages_in, more) {
            connection.mark_dirty(core);
        }
        request
    }

    /// The receive has ended. `true`: for want of buffers.
    pub(in crate::engine) fn handle_receive_failure(&mut self, errno: Errno, core: &Core) -> bool {
        let stopping = self.held.receive == Receive::Stopping;
        let starved = errno == Errno::NOBUFS && !stopping;
        self.held.receive = if starved { Receive::Starved } else { Receive::Idle };
        if starved {
            self.held.pace.handle_starved();
            count(&core.counters.rearmed);
        }
        self.connection.mark_dirty(core);
        // Otherwise ended by us, or for a passing reason: settling arms it again where it is
        // wanted.
        if !matches!(errno, Errno::CANCELED | Errno::NOBUFS | Errno::INTR | Errno::AGAIN) {
            self.connection.lose(core);
        }
        starved
    }
}

#[cold]
fn outlived(outlived: &mut HashMap<SlotId, Connection>, id: SlotId) -> Option<&mut Connection> {
    outlived.get_mut(&id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::bench::Seated;
    use crate::engine::model::task::Task;

    /// The connection in the first slot goes, with its handler or without it.
    fn go(seated: &Seated, id: SlotId, outlived: bool) {
        match outlived {
            true => seated.give_up(id),
            false => drop(seated.core.slots.borrow_mut().remove(id)),
        }
    }

    #[test]
    fn a_generation_that_a_handler_still_has_is_not_given_again() {
        let seated = Seated::new(1);
        let enter = || seated.spawn(Task::new(std::future::pending()));
        let held: Vec<_> = (0..3)
            .map(|_| {
                let id = enter();
                go(&seated, id, true);
                id
            })
            .collect();
        assert_eq!(held.iter().map(|id| id.generation).collect::<Vec<_>>(), [0, 1, 2]);
        // 16.7 million connections later.
        let last = SlotId { slot: 0, generation: Slots::NO_SLOT - 1 };
        seated.core.slots.borrow_mut().slots[0] = Slot::free(last);
        assert_eq!(enter(), last);
        go(&seated, last, false);
        let stranger = enter();
        assert_eq!(stranger.generation, 3);
        let mut slots = seated.core.slots.borrow_mut();
        for id in held {
            let own = slots.of_handler(id).expect("its handler lives");
            assert_eq!((own.id, own.task.is_some()), (id, true));
            assert!(slots.find(id).is_none());
        }
    }

    #[test]
    fn the_generation_of_listeners_is_never_given() {
        let seated = Seated::new(1);
        let last = SlotId { slot: 0, generation: Slots::NO_SLOT - 1 };
        seated.spawn(Task::new(std::future::pending()));
        seated.core.slots.borrow_mut().slots[0] = Slot::free(last);
        assert_eq!(seated.core.slots.borrow().next_generation(last).generation, 0);
    }
}
