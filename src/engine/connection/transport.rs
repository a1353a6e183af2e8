//! Between the socket's bytes and the protocol's.
//!
//! Today a connection is plain TCP and both are the same bytes. TLS is to be the second variant:
//! it decrypts what was received in place and encrypts what is to be sent.

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
