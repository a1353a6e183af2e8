//! What names one connection of a shard: its slot, and which of the owners of that it is.

/// A slot, which is a direct descriptor of the ring, and its generation: one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SlotId {
    pub(in crate::engine) slot: u32,
    pub(in crate::engine) generation: u32,
}
