//! Which connection has which slot, and what the kernel still has of it.

use super::connection::Connection;
use std::cell::RefCell;
use std::rc::Rc;

/// A slot, which is a direct descriptor of the ring, and its generation: one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SlotId {
    pub(super) slot: u32,
    pub(super) generation: u32,
}

/// A connection, shared by the shard and the verbs of its handler.
pub(crate) type Shared = Rc<RefCell<Connection>>;

/// What a shard knows of a slot beside the connection itself.
#[derive(Default)]
pub(super) struct Slot {
    pub(super) generation: u32,
    pub(super) connection: Option<Shared>,
    /// Operations whose terminal completion has not come.
    pub(super) operations: u16,
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
    /// Armed.
    Armed,
    /// Armed, and asked to end because the inbox is full.
    Stopping,
    /// Ended for want of buffers; waits for them.
    Starved,
}

/// How far the end of a slot has come. Each step waits for the one before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Teardown {
    /// In use.
    #[default]
    None,
    /// Shutdown and cancel are under way; waiting for every operation to end.
    Quieting,
    /// The close is under way; nothing else is.
    Closing,
}

/// The slots of a shard.
///
/// The list grows with use, for the kernel gives the lowest free slot; its memory is reserved for
/// all and touched as it grows, so that growing moves nothing.
pub(super) struct Registry {
    slots: Vec<Slot>,
    slots_max: u32,
    used: u32,
}

impl Registry {
    /// A generation that no slot ever has, for the tokens of listeners.
    pub(super) const NO_SLOT: u32 = crate::ring::Token::GENERATION_MASK;

    pub(super) fn new(slots: u32) -> Self {
        Self { slots: Vec::with_capacity(slots as usize), slots_max: slots, used: 0 }
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
        if slot as usize >= self.slots.len() {
            self.slots.resize_with(slot as usize + 1, Slot::default);
        }
        SlotId { slot, generation: self.slots[slot as usize].generation }
    }

    /// A new connection has the slot.
    pub(super) fn insert(&mut self, slot: u32, connection: Shared) {
        let place = &mut self.slots[slot as usize];
        assert!(place.connection.is_none(), "the kernel gave a slot away twice");
        place.connection = Some(connection);
        self.used += 1;
    }

    /// The slot, if it is still of this generation and in use.
    pub(super) fn find(&mut self, id: SlotId) -> Option<&mut Slot> {
        let place = self.slots.get_mut(id.slot as usize)?;
        (place.generation == id.generation && place.connection.is_some()).then_some(place)
    }

    /// The connection, if the slot is still of this generation and in use.
    pub(super) fn look(&self, id: SlotId) -> Option<&Shared> {
        let place = self.slots.get(id.slot as usize)?;
        place.connection.as_ref().filter(|_| place.generation == id.generation)
    }

    /// The connection in a slot.
    pub(super) fn at(&self, slot: u32) -> Option<&Shared> {
        self.slots.get(slot as usize)?.connection.as_ref()
    }

    /// Slots that have been used.
    pub(super) fn slots(&self) -> u32 {
        self.slots.len() as u32
    }

    /// The connection has ended and the kernel has nothing of it: the slot is free.
    pub(super) fn remove(&mut self, id: SlotId) -> Option<Shared> {
        let place = self.find(id)?;
        let generation = (place.generation + 1) % Self::NO_SLOT;
        let slot = std::mem::replace(place, Slot { generation, ..Slot::default() });
        self.used -= 1;
        slot.connection
    }

    /// Every connection.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Shared> {
        self.slots.iter().filter_map(|slot| slot.connection.as_ref())
    }
}
