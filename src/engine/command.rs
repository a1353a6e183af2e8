//! What other threads ask a shard to do, and how they are answered.
//!
//! [`reach`](super::reach) makes commands, [`remote`](super::remote) carries them, and
//! [`answering`](super::answering) does them; nothing is done here. A command names its socket by an
//! id that was decoded, and checked in constant time, before; the shard finds out whether there is
//! such a socket. A command whose reply nobody waits for any more is not carried out, where that can
//! be seen in time. A [`Notice`] has no reply.

use super::connection::Ended;
use super::core::RouteCounts;
use super::foreign;
use super::holder::{HeldWriteFailure, Holder};
use super::ids::Claim;
use super::link::{Leaving, Outgoing};
use super::registry::SlotId;
use super::sockets::{SocketInfo, SocketOrder, SocketStatus};
use super::status::{Histogram, ShardStatus};
use crate::proto::CloseCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

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
    pub(super) fn leaving(&self) -> Leaving {
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
    pub(super) fn ended(how: Option<&Ended>) -> Self {
        Self::Ended(Box::new(how.cloned().unwrap_or_else(Ended::lost)))
    }
}

/// Where the answer to a command goes.
pub(super) struct Reply<T>(Option<oneshot::Sender<T>>);

impl<T> Reply<T> {
    /// A reply, and where its answer comes.
    pub(super) fn new() -> (Self, oneshot::Receiver<T>) {
        let (reply, answer) = oneshot::channel();
        (Self(Some(reply)), answer)
    }

    /// Answers, which wakes who waits; what nobody waits for is dropped.
    pub(super) fn send(mut self, answer: T) {
        let sender = self.0.take();
        let _ = foreign::call(|| sender.map(|sender| sender.send(answer)));
    }

    /// Whether nobody waits for the answer any more.
    pub(super) fn is_abandoned(&self) -> bool {
        self.0.as_ref().is_none_or(oneshot::Sender::is_closed)
    }
}

/// Who waits for the answer is woken by its drop as well.
impl<T> Drop for Reply<T> {
    fn drop(&mut self) {
        let sender = self.0.take();
        let _ = foreign::call(|| drop(sender));
    }
}

/// What a shard is told, and nobody waits for. Told twice it is on the list once, so that there are
/// never more than there are connections, with a few for each, and two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Notice {
    /// Stop accepting, close every connection with 1001, and end.
    Drain,
    /// The process comes near its limit of memory, or no more.
    Memory,
    /// The waker of whoever holds this socket has panicked: close it with 1011.
    Panicked(SlotId),
    /// The session of this connection is no more: close it with 1008 and this reason.
    EndSession(SlotId, &'static str),
}

/// What a shard can be asked to do.
pub(super) enum Command {
    Open { claim: Claim, request: OpenRequest, reply: Reply<Result<Holder, OpenFailure>> },
    Write(PendingWrite),
    Close { claim: Claim, code: CloseCode, reason: Box<str>, reply: Reply<Result<(), OpenFailure>> },
    Interrupt { claim: Claim, reply: Reply<Result<(), OpenFailure>> },
    Look { claim: Claim, reply: Reply<Result<SocketInfo, OpenFailure>> },
    Scan { scan: Scan, reply: Reply<Scanned> },
    Status { reply: Reply<ShardReport> },
}

/// A message to a socket, by its id.
pub(super) struct PendingWrite {
    pub(super) claim: Claim,
    pub(super) message: Outgoing,
    /// Whether it waits for room, or is told that there is none.
    pub(super) waits: bool,
    pub(super) reply: Reply<Result<(), ReachFailure>>,
}

/// A part of a list of connections to be made.
#[derive(Clone)]
pub(super) struct Scan {
    /// The slot to begin with.
    pub(super) from: u32,
    /// Connections at most that come into the list.
    pub(super) limit: usize,
    pub(super) filter: Arc<Filter>,
}

/// Which connections a list is about.
pub(super) struct Filter {
    pub(super) route: Option<String>,
    pub(super) status: Option<SocketStatus>,
    pub(super) text: Option<String>,
    pub(super) sort: Option<(SocketOrder, bool)>,
}

/// A part of a list of connections.
#[derive(Default)]
pub(super) struct Scanned {
    pub(super) sockets: Vec<SocketInfo>,
    /// Connections found that the list is about, those beyond the limit of a sorted list included.
    pub(super) found: u64,
    /// The slot to go on with.
    pub(super) next: Option<u32>,
    /// Connections the shard has.
    pub(super) connections: u64,
}

/// What a shard tells about itself.
#[derive(Default)]
pub(super) struct ShardReport {
    pub(super) status: ShardStatus,
    pub(super) routes: Vec<RouteCounts>,
    pub(super) refusals: Vec<(u16, u64)>,
    pub(super) closes: Vec<(&'static str, u64)>,
    pub(super) read_to_write: Histogram,
}
