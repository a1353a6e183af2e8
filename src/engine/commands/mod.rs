//! What other threads ask a shard to do, and how they are answered.
//!
//! [`dispatch`] makes commands, [`mailbox`] carries them, and
//! [`answer`](crate::engine::shard::answer) does them; nothing is done here. A command names its socket
//! by an id that was decoded, and checked in constant time, before; the shard finds out whether there is
//! such a socket. A command whose reply nobody waits for any more is not carried out, where that can be
//! seen in time. A [`Notice`] has no reply.

pub(in crate::engine) mod dispatch;
pub(in crate::engine) mod filter;
pub(in crate::engine) mod mailbox;
pub(in crate::engine) mod session_closer;
pub(in crate::engine) mod watch;

use crate::engine::commands::filter::Filter;
use crate::engine::model::counters::RouteCounts;
use crate::engine::model::ids::Claim;
use crate::engine::model::reply::Reply;
use crate::engine::model::slot_id::SlotId;
use crate::engine::model::sockets::SocketInfo;
use crate::engine::model::status::{Histogram, ShardStatus};
use crate::engine::shared::holder::Holder;
use crate::engine::shared::open::OpenFailure;
use crate::engine::shared::open::OpenRequest;
use crate::engine::shared::open::PendingWrite;
use crate::proto::CloseCode;
use std::sync::Arc;

/// What a shard is told, and nobody waits for. Told twice it is on the list once, so that there are
/// never more than there are connections, and two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::engine) enum Notice {
    /// Stop accepting, close every connection with 1001, and end.
    Drain,
    /// The process comes near its limit of memory, or no more.
    Memory,
    /// The session of this connection is no more: close it with 1008 and this reason.
    EndSession(SlotId, &'static str),
}

/// What a shard can be asked to do.
pub(in crate::engine) enum Command {
    Open {
        claim: Claim,
        request: OpenRequest,
        reply: Reply<Result<Holder, OpenFailure>>,
    },
    Write(PendingWrite),
    Close {
        claim: Claim,
        code: CloseCode,
        reason: Box<str>,
        reply: Reply<Result<(), OpenFailure>>,
    },
    Interrupt {
        claim: Claim,
        reply: Reply<Result<(), OpenFailure>>,
    },
    Look {
        claim: Claim,
        reply: Reply<Result<SocketInfo, OpenFailure>>,
    },
    Scan {
        scan: Scan,
        reply: Reply<Scanned>,
    },
    Status {
        reply: Reply<ShardReport>,
    },
    /// Add up what the connections from this slot on hold.
    Measure {
        from: u32,
        reply: Reply<Measured>,
    },
}

/// A part of a list of connections to be made.
#[derive(Clone)]
pub(in crate::engine) struct Scan {
    /// The slot to begin with.
    pub(in crate::engine) from: u32,
    /// Connections at most that come into the list.
    pub(in crate::engine) limit: usize,
    pub(in crate::engine) filter: Arc<Filter>,
}

/// A part of a list of connections.
#[derive(Default)]
pub(in crate::engine) struct Scanned {
    pub(in crate::engine) sockets: Vec<SocketInfo>,
    /// Connections found that the list is about, those beyond the limit of a sorted list included.
    pub(in crate::engine) found: u64,
    /// The slot to go on with.
    pub(in crate::engine) next: Option<u32>,
    /// Connections the shard has.
    pub(in crate::engine) connections: u64,
}

/// What some connections hold.
#[derive(Default)]
pub(in crate::engine) struct Measured {
    pub(in crate::engine) inbox_bytes: u64,
    pub(in crate::engine) outbox_bytes: u64,
    /// The slot to go on with.
    pub(in crate::engine) next: Option<u32>,
}

/// What a shard tells about itself.
#[derive(Default)]
pub(in crate::engine) struct ShardReport {
    pub(in crate::engine) status: ShardStatus,
    pub(in crate::engine) routes: Vec<RouteCounts>,
    pub(in crate::engine) refusals: Vec<(u16, u64)>,
    pub(in crate::engine) closes: Vec<(&'static str, u64)>,
    pub(in crate::engine) read_to_write: Histogram,
}
