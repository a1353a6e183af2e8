//! What is left to tell about a connection when it is over: how it ended, and what went each way.

use crate::proto::CloseCode;

/// What went each way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) messages_in: u64,
    pub(crate) messages_out: u64,
}

/// How a conversation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) code: CloseCode,
    pub(crate) reason: Box<str>,
    pub(crate) by: Closer,
}

impl Ended {
    /// Nobody said so.
    pub(super) fn lost() -> Self {
        Self { code: CloseCode::ABNORMAL, reason: "".into(), by: Closer::Network }
    }
}

/// Who ended a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Closer {
    /// The peer, by a Close frame.
    Peer,
    /// The handler or the engine, by a Close frame.
    Server,
    /// Nobody said so: the connection was lost or cut (1006).
    Network,
}
