//! The words the safe code and `ring` share: what an operation is called, what comes of it, the
//! memory of an exact receive, the size of a ring.
//!
//! No system call here, and no unsafe.

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

/// Own memory for exact receives. It belongs to the ring from `Ring::recv_exact` until the
/// completion, so nobody can read it while the kernel writes.
#[derive(Debug)]
pub struct Region(Box<[u8]>);

impl Region {
    /// Zeroed memory of `len_bytes`.
    pub fn new(len_bytes: usize) -> Region {
        Region(vec![0; len_bytes].into_boxed_slice())
    }

    /// Where the kernel writes. `ring` alone asks.
    pub fn start(&mut self) -> *mut u8 {
        self.0.as_mut_ptr()
    }

    /// The bytes the last exact receive brought, and older ones behind them.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// How large a ring is.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    pub submissions: u32,
    pub completions: u32,
    /// Slots for direct descriptors; at most `RLIMIT_NOFILE`.
    pub slots: u32,
    pub buffers: u16,
    pub buffer_bytes: u32,
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
