//! Facts about a connection that are either so or not, one bit each. Owned by the connection and
//! set by the modules of the engine. What excludes each other belongs into an enum instead.

/// One fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Flag {
    /// On the shard's list of connections to settle.
    Dirty,
    /// Settling stopped the receive because the inbox is full.
    Paused,
    /// A Ping is out since the last byte that came.
    Pinged,
    /// A write waits for room.
    Writing,
    /// The peer has sent FIN.
    EndOfStream,
    /// The peer has sent a Close frame.
    CloseReceived,
    /// The socket is of no more use.
    Dead,
    /// Accepted beyond the limit, to be told so.
    OverCapacity,
    /// See `WebSocket::set_binary_data`.
    BinaryData,
    /// See `WebSocket::at_end`.
    AtEnd,
    /// See `Opening::set_shared_connection`.
    Shared,
    /// Somebody has taken the shared socket over from its running handler.
    Fenced,
    /// The handler has left the shared socket open; a new one is told when it is gone.
    LeftOpen,
    /// It has a handler: a task, which is elsewhere while it is polled.
    Handled,
    /// That is on the list of those to poll.
    Queued,
    /// The peer has ended what it has to say, and that has not been acted on: reads and writes are
    /// watched.
    Ending,
}

/// All of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::engine) struct Flags(u16);

impl Flags {
    #[inline(always)]
    pub(in crate::engine) fn has(self, flag: Flag) -> bool {
        self.0 & 1 << flag as u16 != 0
    }

    /// Those of them that are among `mask`: several questions in one.
    #[inline(always)]
    pub(in crate::engine) fn among(self, mask: Self) -> Self {
        Self(self.0 & mask.0)
    }

    /// Exactly these.
    pub(in crate::engine) const fn of(flags: &[Flag]) -> Self {
        let mut all = 0;
        let mut index = 0;
        while index < flags.len() {
            all |= 1 << flags[index] as u16;
            index += 1;
        }
        Self(all)
    }

    #[inline(always)]
    pub(in crate::engine) fn set(&mut self, flag: Flag) {
        self.0 |= 1 << flag as u16;
    }

    #[inline(always)]
    pub(in crate::engine) fn clear(&mut self, flag: Flag) {
        self.0 &= !(1 << flag as u16);
    }

    #[inline(always)]
    pub(in crate::engine) fn put(&mut self, flag: Flag, is_so: bool) {
        if is_so { self.set(flag) } else { self.clear(flag) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_flag_has_a_bit_of_its_own() {
        let mut flags = Flags::default();
        flags.set(Flag::Dirty);
        flags.put(Flag::LeftOpen, true);
        flags.set(Flag::Paused);
        flags.clear(Flag::Paused);
        flags.put(Flag::Dirty, true);
        assert!(flags.has(Flag::Dirty) && flags.has(Flag::LeftOpen) && !flags.has(Flag::Paused));
        assert_eq!(flags, Flags::of(&[Flag::LeftOpen, Flag::Dirty]));
        let mask = Flags::of(&[Flag::Dirty, Flag::Paused]);
        assert_eq!(flags.among(mask), Flags::of(&[Flag::Dirty]));
        flags.put(Flag::Dirty, false);
        flags.clear(Flag::LeftOpen);
        assert_eq!(flags, Flags::default());
    }
}
