//! Which connection has which slot, and what the kernel still has of it.

use super::connection::{Connection, Phase};
use super::flags::Flag;
use super::pace::Pace;
use std::collections::HashMap;
use std::task::Waker;

/// A slot, which is a direct descriptor of the ring, and its generation: one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SlotId {
    pub(super) slot: u32,
    pub(super) generation: u32,
}

/// A slot: its connection, or none, which is one that is gone; and what the kernel has of it.
pub(super) struct Slot {
    pub(super) connection: Connection,
    pub(super) held: Held,
}

// With the future of its handler it is what an idle connection costs, beside an entry of the wheel
// and one in the table of sends.
const _: () = assert!(size_of::<Slot>() <= 112);

/// What the kernel has of a slot.
#[derive(Default)]
pub(super) struct Held {
    /// Operations whose terminal completion has not come: fewer than there are kinds, twice.
    pub(super) operations: u8,
    /// How it receives.
    pub(super) pace: Pace,
    /// The receive.
    pub(super) receive: Receive,
    /// Whether a send is in flight.
    pub(super) sending: bool,
    /// Whether FIN was sent.
    pub(super) finished: bool,
    /// Whether the peer's end is waited for without reading.
    pub(super) hangup_awaited: bool,
    pub(super) teardown: Teardown,
}

/// The one receive of a slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Receive {
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
pub(super) enum Teardown {
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
pub(super) struct Registry {
    slots: Vec<Slot>,
    slots_max: u32,
    used: u32,
    /// Connections that are gone while their handler is not. Their slots may have new owners.
    outlived: HashMap<SlotId, Connection>,
}

/// Room that an empty list of outlived connections keeps.
const OUTLIVED_ROOM_MAX: usize = 1_024;

impl Registry {
    /// A generation that no slot ever has, for the tokens of listeners.
    pub(super) const NO_SLOT: u32 = crate::ring::Token::GENERATION_MASK;

    pub(super) fn new(slots: u32) -> Self {
        Self {
            slots: Vec::with_capacity(slots as usize),
            slots_max: slots,
            used: 0,
            outlived: HashMap::new(),
        }
    }

    /// Connections that have a slot.
    pub(super) fn used(&self) -> u32 {
        self.used
    }

    /// The generation that a connection put into `slot` now gets.
    ///
    /// # Panics
    ///
    /// If the ring has no such slot.
    pub(super) fn id(&mut self, slot: u32) -> SlotId {
        assert!(slot < self.slots_max, "the kernel gave a slot that does not exist");
        while slot as usize >= self.slots.len() {
            let id = SlotId { slot: self.slots.len() as u32, generation: 0 };
            self.slots.push(Slot::free(id));
        }
        self.slots[slot as usize].connection.id
    }

    /// A new connection has its slot.
    pub(super) fn insert(&mut self, connection: Connection) -> &mut Slot {
        let place = &mut self.slots[connection.id.slot as usize];
        assert!(place.is_free(), "the kernel gave a slot away twice");
        *place = Slot { connection, held: Held::default() };
        self.used += 1;
        place
    }

    /// The slot, if it is still of this generation and in use.
    #[inline]
    pub(super) fn find(&mut self, id: SlotId) -> Option<&mut Slot> {
        let place = self.slots.get_mut(id.slot as usize)?;
        (place.connection.id.generation == id.generation && !place.is_free()).then_some(place)
    }

    /// The connection in a slot.
    pub(super) fn at(&self, slot: u32) -> Option<&Connection> {
        self.slots.get(slot as usize).filter(|slot| !slot.is_free()).map(|slot| &slot.connection)
    }

    /// The same, to be changed.
    pub(super) fn at_mut(&mut self, slot: u32) -> Option<&mut Connection> {
        let slot = self.slots.get_mut(slot as usize).filter(|slot| !slot.is_free())?;
        Some(&mut slot.connection)
    }

    /// The connection of a handler, which has it for as long as it lives: in its slot, or among
    /// those that have none any more.
    #[inline(always)]
    pub(super) fn of_handler(&mut self, id: SlotId) -> Option<&mut Connection> {
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
    pub(super) fn forget_handler(&mut self, id: SlotId) -> (Option<Connection>, Option<Waker>) {
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
    pub(super) fn keep(&mut self, connection: Connection) {
        self.outlived.insert(connection.id, connection);
    }

    /// Those that are kept.
    pub(super) fn kept(&mut self) -> impl Iterator<Item = &mut Connection> {
        self.outlived.values_mut()
    }

    /// Slots that have been used.
    pub(super) fn slots(&self) -> u32 {
        self.slots.len() as u32
    }

    /// The connection has ended and the kernel has nothing of it: the slot is free.
    pub(super) fn remove(&mut self, id: SlotId) -> Option<Connection> {
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
    pub(super) fn ids(&self) -> Vec<SlotId> {
        let used = self.slots.iter().filter(|slot| !slot.is_free());
        used.map(|slot| slot.connection.id).collect()
    }

    /// Every connection that has a slot.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Connection> {
        let used = self.slots.iter_mut().filter(|slot| !slot.is_free());
        used.map(|slot| &mut slot.connection)
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
}

#[cold]
fn outlived(outlived: &mut HashMap<SlotId, Connection>, id: SlotId) -> Option<&mut Connection> {
    outlived.get_mut(&id)
}

#[cfg(test)]
mod tests {
    use super::super::bench::Seated;
    use super::*;

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
        let enter = || seated.spawn(Box::pin(std::future::pending()));
        let held: Vec<_> = (0..3)
            .map(|_| {
                let id = enter();
                go(&seated, id, true);
                id
            })
            .collect();
        assert_eq!(held.iter().map(|id| id.generation).collect::<Vec<_>>(), [0, 1, 2]);
        // 16.7 million connections later.
        let last = SlotId { slot: 0, generation: Registry::NO_SLOT - 1 };
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
        let last = SlotId { slot: 0, generation: Registry::NO_SLOT - 1 };
        seated.spawn(Box::pin(std::future::pending()));
        seated.core.slots.borrow_mut().slots[0] = Slot::free(last);
        assert_eq!(seated.core.slots.borrow().next_generation(last).generation, 0);
    }
}
