//! What a ring operation is called and what comes of it: the names the safe code and `ring` share.
//!
//! No memory and no system call here.

use crate::ring::Lease;

/// What a completion answers. Packed into the 64 bits the kernel hands back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    pub op: Op,
    pub slot: u32,
    /// Counts the tenants of a slot; a completion of an earlier one is stale.
    pub generation: u16,
}

/// The kind of operation a [`Token`] belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Op {
    Accept,
    Stream,
    Exact,
    Discard,
    Send,
    SendOwned,
    Close,
}

impl Token {
    /// The 64 bits of `user_data`.
    pub fn pack(self) -> u64 {
        ((self.op as u64) << 48) | (u64::from(self.generation) << 32) | u64::from(self.slot)
    }

    /// Undoes [`Token::pack`].
    pub fn unpack(bits: u64) -> Token {
        let op = match (bits >> 48) as u8 {
            0 => Op::Accept,
            1 => Op::Stream,
            2 => Op::Exact,
            3 => Op::Discard,
            4 => Op::Send,
            5 => Op::SendOwned,
            _ => Op::Close,
        };
        Token { op, slot: bits as u32, generation: (bits >> 32) as u16 }
    }
}

/// One answer of the kernel.
#[derive(Debug)]
pub struct Completion {
    pub token: Token,
    /// The count of bytes (or the accepted slot), or what went wrong.
    pub result: Result<u32, rustix::io::Errno>,
    /// A multishot operation stays armed.
    pub more: bool,
    /// The bytes of a multishot receive.
    pub lease: Option<Lease>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_survive_the_kernel() {
        for op in
            [Op::Accept, Op::Stream, Op::Exact, Op::Discard, Op::Send, Op::SendOwned, Op::Close]
        {
            let token = Token { op, slot: 0xFFFF_FFF0, generation: 0xABCD };
            assert_eq!(Token::unpack(token.pack()), token);
        }
    }
}
