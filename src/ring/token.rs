//! The 64 bits that come back with a completion: operation, slot, and the generation of the slot.
//!
//! Made by the engine; a ring carries it and gives it back. A completion that comes too late fails
//! the comparison of generations.

/// What an operation is, as far as a completion must know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Operation {
    /// [`Submission::Accept`](super::Submission::Accept).
    Accept = 1,
    /// [`Submission::Receive`](super::Submission::Receive) and
    /// [`Submission::ReceiveOnce`](super::Submission::ReceiveOnce).
    Receive = 2,
    /// [`Submission::Send`](super::Submission::Send).
    Send = 3,
    /// [`Submission::ShutdownWrite`](super::Submission::ShutdownWrite).
    Shutdown = 4,
    /// [`Submission::Cancel`](super::Submission::Cancel).
    Cancel = 5,
    /// [`Submission::AwaitHangup`](super::Submission::AwaitHangup).
    Hangup = 6,
    /// [`Submission::PeerAddress`](super::Submission::PeerAddress).
    PeerAddress = 7,
    /// [`Submission::Close`](super::Submission::Close).
    Close = 8,
    /// The doorbell.
    Doorbell = 9,
    /// [`Submission::ResetOnClose`](super::Submission::ResetOnClose).
    ResetOnClose = 10,
    /// [`Submission::Unacknowledged`](super::Submission::Unacknowledged).
    Unacknowledged = 11,
}

impl Operation {
    const ALL: [Self; 11] = [
        Self::Accept,
        Self::Receive,
        Self::Send,
        Self::Shutdown,
        Self::Cancel,
        Self::Hangup,
        Self::PeerAddress,
        Self::Close,
        Self::Doorbell,
        Self::ResetOnClose,
        Self::Unacknowledged,
    ];
}

/// Names an operation: its kind, the slot it is about, and the slot's generation.
///
/// A completion whose generation is not the slot's is stale: it belongs to a connection that is
/// gone, and must change nothing of the one that has the slot now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token {
    /// What was asked.
    pub operation: Operation,
    /// Of which slot (of which listener, for an accept).
    pub slot: u32,
    /// The slot's generation: the low 24 bits of it.
    pub generation: u32,
}

impl Token {
    /// Bits of a generation that a token carries. A slot would have to be reused 16.7 million
    /// times while one operation is in flight for a stale completion to pass.
    pub const GENERATION_MASK: u32 = 0x00ff_ffff;

    /// A token; `generation` is cut to 24 bits.
    pub const fn new(operation: Operation, slot: u32, generation: u32) -> Self {
        Self { operation, slot, generation: generation & Self::GENERATION_MASK }
    }

    /// As `user_data`: operation 8 bits, generation 24, slot 32.
    pub const fn to_bits(self) -> u64 {
        (self.operation as u64) << 56 | (self.generation as u64) << 32 | self.slot as u64
    }

    /// From `user_data`; `None` for bits this program never wrote.
    pub fn from_bits(bits: u64) -> Option<Self> {
        let operation = usize::from((bits >> 56) as u8).checked_sub(1)?;
        Some(Self {
            operation: *Operation::ALL.get(operation)?,
            slot: bits as u32,
            generation: (bits >> 32) as u32 & Self::GENERATION_MASK,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_and_back() {
        for operation in Operation::ALL {
            let token = Token::new(operation, u32::MAX - 7, 0x01ab_cdef);
            assert_eq!(Token::from_bits(token.to_bits()), Some(token));
            assert_eq!(token.generation, 0x00ab_cdef);
        }
        assert_eq!(Token::from_bits(0), None);
        assert_eq!(Token::from_bits(u64::MAX), None);
    }
}
