//! What the holder of a shared socket and the shard have in common: messages each way, under one
//! lock.
//!
//! The shard moves messages in and takes messages out whenever it settles the connection, in one
//! go ([`exchange`](crate::engine::connection::exchange)); the holder, on any thread, reads and writes without asking the shard,
//! and nudges it only when there is something for it to do. Neither waits while it has the lock,
//! and no waker is called under it.

use crate::clock::Moment;
use crate::engine::model::bell::Bell;
use crate::engine::model::ended::Ended;
use crate::engine::model::settings::Limits;
use crate::engine::model::slot_id::SlotId;
use crate::engine::shared::open::Leaving;
use crate::engine::shared::open::OpenRequest;
use crate::engine::shared::open::Outgoing;
use crate::engine::shared::ready::{Ready, Taken};
use crate::engine::shared::wake_batch::{Companion, ThreadMark};
use crate::proto::{CloseCode, limits};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

/// One shared socket, between its holder and its shard.
pub(in crate::engine) struct Link {
    state: Mutex<LinkState>,
    pub(in crate::engine) bell: Arc<Bell>,
    pub(in crate::engine) slot: SlotId,
    pub(in crate::engine) facts: Facts,
    pub(in crate::engine) high_water_bytes: usize,
    pub(in crate::engine) message_bytes_max: u64,
    /// What the mailbox may hold.
    pub(in crate::engine) inbox_bytes_max: usize,
    pub(in crate::engine) inbox_messages_max: usize,
}

/// What does not change about a socket.
pub(in crate::engine) struct Facts {
    pub(in crate::engine) websocket_id: Box<str>,
    pub(in crate::engine) session_id: Option<Arc<str>>,
    pub(in crate::engine) peer: Option<SocketAddr>,
}

pub(in crate::engine) struct LinkState {
    /// The number of the lease; 0: nobody has one.
    pub(in crate::engine) fence: u64,
    /// What whoever took the lease called the attempt, to be known again.
    pub(in crate::engine) key: Option<u64>,
    /// Who holds it: the last to have opened the socket, or to have come back with the fence.
    pub(in crate::engine) attachment: u64,
    /// What can be read.
    pub(in crate::engine) ready: Ready,
    /// What was read and is not acknowledged.
    pub(in crate::engine) kept: Option<Taken>,
    /// The number of the last message that was to be acknowledged.
    pub(in crate::engine) sequence: u64,
    pub(in crate::engine) outgoing: Vec<Outgoing>,
    pub(in crate::engine) outgoing_bytes: usize,
    pub(in crate::engine) waiting: Option<Waiting>,
    /// Others whose holders are to be woken by this one, see [`crate::engine::shared::wake_batch`].
    pub(in crate::engine) companions: Vec<Companion>,
    /// The close that the holder asks for.
    pub(in crate::engine) close: Option<(CloseCode, Box<str>)>,
    pub(in crate::engine) leaving: Leaving,
    /// How the conversation ended, once it has and everything readable is in `ready`.
    pub(in crate::engine) ended: Option<Box<Ended>>,
    /// Nothing more can be written.
    pub(in crate::engine) shut: bool,
    /// The closing handshake is over.
    pub(in crate::engine) closed: bool,
    /// The shard knows that it is to look.
    pub(in crate::engine) nudged: bool,
    /// A part of a message waits in the inbox: who asks for less than all of it must nudge.
    pub(in crate::engine) partial: bool,
    /// The receive is stopped because too much waits: who makes room must nudge.
    pub(in crate::engine) paused: bool,
    /// The shard looks at the deadline of a read by itself at this time.
    pub(in crate::engine) watched_until: Moment,
    /// Verbs so far: whether the holder lives.
    pub(in crate::engine) verbs: u32,
    /// The same when the lease began anew.
    verbs_seen: u32,
}

/// What the holder waits for.
pub(in crate::engine) struct Waiting {
    pub(in crate::engine) waker: Waker,
    /// Where it was polled last.
    pub(in crate::engine) thread: ThreadMark,
    pub(in crate::engine) purpose: Purpose,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Purpose {
    /// So much of a message, until then.
    Read { len: usize, as_bytes: bool, deadline: Moment },
    /// Room for a message.
    Room,
    /// The end of the closing handshake.
    Close,
}

impl Waiting {
    pub(in crate::engine) fn is_for_a_message(&self) -> bool {
        matches!(self.purpose, Purpose::Read { .. })
    }
}

impl Link {
    pub(in crate::engine) fn new(
        slot: SlotId,
        facts: Facts,
        bell: Arc<Bell>,
        limits: &Limits,
    ) -> Self {
        let state = LinkState {
            fence: 0,
            key: None,
            attachment: 0,
            ready: Ready::default(),
            kept: None,
            sequence: 0,
            outgoing: Vec::new(),
            outgoing_bytes: 0,
            waiting: None,
            companions: Vec::new(),
            close: None,
            leaving: Leaving::No,
            ended: None,
            shut: false,
            closed: false,
            nudged: false,
            partial: false,
            paused: false,
            watched_until: Moment::NEVER,
            verbs: 0,
            verbs_seen: 0,
        };
        Self {
            state: Mutex::new(state),
            bell,
            slot,
            facts,
            high_water_bytes: limits.outbox_high_water_bytes,
            message_bytes_max: limits.message_bytes_max,
            inbox_bytes_max: limits.inbox_bytes_max,
            inbox_messages_max: limits.inbox_messages_max,
        }
    }

    pub(in crate::engine) fn lock(&self) -> MutexGuard<'_, LinkState> {
        // Nothing panics while it holds the lock, and the state is whole at every step.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the shard look, unless it is going to anyway.
    pub(in crate::engine) fn nudge(&self, mut state: MutexGuard<'_, LinkState>) {
        let first = !std::mem::replace(&mut state.nudged, true);
        drop(state);
        if first {
            self.bell.nudge(self.slot);
        }
    }
}

impl LinkState {
    /// The lease is somebody else's from now on, or nobody's. What the last holder had read and
    /// not acknowledged is the first to be read again. Who waited is to be woken.
    #[must_use = "somebody may wait"]
    pub(in crate::engine) fn pass_on(&mut self, fence: u64) -> Option<Waiting> {
        self.fence = fence;
        self.key = None;
        if let Some(kept) = self.kept.take() {
            self.ready.give_back(kept);
        }
        self.attach()
    }

    /// The lease that a request goes on with: the one it names, or the one that an earlier attempt
    /// of it has taken.
    pub(in crate::engine) fn resumed_by(&self, request: &OpenRequest) -> Option<u64> {
        let again = self.fence > 0 && request.key.is_some() && request.key == self.key;
        request.fence.or(again.then_some(self.fence))
    }

    /// The lease stays, and somebody has come back for it; who had it until now has it no more.
    #[must_use = "somebody may wait"]
    pub(in crate::engine) fn attach(&mut self) -> Option<Waiting> {
        self.attachment += 1;
        self.leaving = Leaving::No;
        self.waiting.take()
    }

    /// Whether the holder waits, or has done something since this was asked last.
    pub(in crate::engine) fn is_used(&mut self) -> bool {
        let seen = std::mem::replace(&mut self.verbs_seen, self.verbs);
        self.waiting.is_some() || seen != self.verbs
    }

    /// Whether there is nothing that a next holder, or the peer, would miss.
    pub(in crate::engine) fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.kept.is_none() && self.outgoing.is_empty()
    }

    /// Whether less than half of what a mailbox holds is here.
    pub(in crate::engine) fn is_half_empty(&self, link: &Link) -> bool {
        self.bytes() <= link.inbox_bytes_max / 2
            && self.ready.messages() <= link.inbox_messages_max / 2
    }

    /// Bytes of the messages here, as in an inbox.
    pub(in crate::engine) fn bytes(&self) -> usize {
        self.ready.bytes() + self.kept.as_ref().map_or(0, Taken::len)
    }

    /// What the messages here cost: their bytes, and something for each.
    pub(in crate::engine) fn cost_bytes(&self) -> usize {
        let kept = self.kept.as_ref().map_or(0, |kept| kept.len() + limits::MESSAGE_COST_BYTES);
        self.ready.cost_bytes() + kept
    }

    /// Whether what the holder waits for has come.
    pub(in crate::engine) fn is_due(&self, now: Moment, high_water_bytes: usize) -> bool {
        let Some(waiting) = &self.waiting else { return false };
        match waiting.purpose {
            Purpose::Read { len, as_bytes, deadline } => {
                self.ready.is_readable(len, as_bytes) || self.ended.is_some() || deadline <= now
            }
            Purpose::Room => self.shut || self.outgoing_bytes < high_water_bytes,
            Purpose::Close => self.closed,
        }
    }
}
