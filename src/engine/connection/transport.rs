//! Between the socket's bytes and the protocol's: the one place where a layer like TLS would stand.
//!
//! Today the two are the same bytes, over TCP and over Unix sockets. The shard asks with what was
//! received, [`settle`](crate::engine::shard::settle) with what is to be sent.

use crate::ring::SendData;

/// How a connection's bytes travel.
#[derive(Debug)]
pub(in crate::engine) enum Transport {
    /// As they are.
    Plain,
}

impl Transport {
    /// What the peer said, of what the socket received.
    pub(in crate::engine) fn incoming<'a>(&mut self, received: &'a mut [u8]) -> &'a mut [u8] {
        match self {
            Self::Plain => received,
        }
    }

    /// What the socket sends, for what we say.
    pub(in crate::engine) fn outgoing(&mut self, said: SendData) -> SendData {
        match self {
            Self::Plain => said,
        }
    }
}
