//! What is asked of a shared socket by its id, and why it may not be had.

use crate::engine::model::ended::Ended;
use crate::engine::model::ids::Claim;
use crate::engine::model::reply::Reply;
use crate::proto::MessageKind;
use crate::ring::Buffer;
use std::time::Duration;

/// How to open a socket: see `OpenOptions`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct OpenRequest {
    pub(crate) steal: bool,
    pub(crate) lease: Option<Duration>,
    pub(crate) fence: Option<u64>,
    pub(crate) key: Option<u64>,
}

impl OpenRequest {
    /// What it means when the holder is dropped: a lease with a time goes on for this time.
    pub(in crate::engine) fn leaving(&self) -> Leaving {
        match self.lease.is_some() || self.fence.is_some() {
            true => Leaving::Detached,
            false => Leaving::Released,
        }
    }
}

/// Why a socket was not reached: see `OpenError`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OpenFailure {
    NotShared,
    Unknown,
    Busy { expires_in: Option<Duration> },
    Expired,
    Fenced,
}

/// Why a message was not written to the socket with an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ReachFailure {
    Open(OpenFailure),
    Write(HeldWriteFailure),
    Ended(Box<Ended>),
}

impl ReachFailure {
    /// The conversation is over, and this is known of its end.
    pub(in crate::engine) fn ended(how: Option<&Ended>) -> Self {
        Self::Ended(Box::new(how.cloned().unwrap_or_else(Ended::lost)))
    }
}

/// A message to a socket, by its id.
pub(in crate::engine) struct PendingWrite {
    pub(in crate::engine) claim: Claim,
    pub(in crate::engine) message: Outgoing,
    /// Whether it waits for room, or is told that there is none.
    pub(in crate::engine) waits: bool,
    pub(in crate::engine) reply: Reply<Result<(), ReachFailure>>,
}

/// A message on its way out.
pub(crate) struct Outgoing {
    pub(crate) kind: MessageKind,
    pub(crate) payload: Buffer,
}

/// Whether the holder is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Leaving {
    /// It is.
    No,
    /// It has gone, and the socket is free.
    Released,
    /// It has gone and comes back, with its fence, before the lease expires.
    Detached,
}

/// Why a holder did not get anything to read.
pub(crate) enum HeldReadFailure {
    Timeout,
    Ended(Box<Ended>),
    Fenced,
}

/// Why a holder's message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeldWriteFailure {
    Full,
    TooLong,
    Ended,
    Fenced,
}
