//! What a shard keeps of a shared socket beside its connection: who attends to it, its lease, what is in
//! its link. A socket that nobody holds has one small box here and no link.
//!
//! Owned by the table of the shard, and taken out of it while the connection is settled, which changes
//! it ([`exchange`](crate::engine::connection::exchange)). Does nothing by itself.

use crate::clock::Moment;
use crate::engine::shared::link::{Link, Waiting};
use std::sync::Arc;
use std::time::Duration;

/// A shared socket, beside its connection.
pub(in crate::engine) struct SharedState {
    /// While somebody holds it, and until what the holder has left is read or sent.
    pub(in crate::engine) link: Option<Arc<Link>>,
    pub(in crate::engine) session_id: Option<Arc<str>>,
    /// When something has happened that counts against the session timeout.
    pub(in crate::engine) activity: Moment,
    /// When the lease ends unless it is used.
    pub(in crate::engine) lease_until: Moment,
    /// What the messages cost that are in the link; and their number.
    pub(in crate::engine) linked_bytes: u32,
    pub(in crate::engine) linked_messages: u16,
    /// Messages each way when they were last looked at.
    pub(in crate::engine) messages: u32,
    /// Messages that a full mailbox has dropped.
    pub(in crate::engine) dropped: u32,
    /// Milliseconds of a lease; 0: it does not expire.
    pub(in crate::engine) lease_ms: u32,
    pub(in crate::engine) flags: SharedFlags,
}

/// Facts about a shared socket that are either so or not.
#[derive(Clone, Copy, Default)]
pub(in crate::engine) struct SharedFlags {
    /// Somebody holds a lease.
    pub(in crate::engine) held: bool,
    /// `server` runs.
    pub(in crate::engine) serving: bool,
    /// The holder has gone and may come back.
    pub(in crate::engine) detached: bool,
    /// The event that there is something to read was published.
    pub(in crate::engine) told_readable: bool,
    /// The event that it has ended was published.
    pub(in crate::engine) told_closed: bool,
    /// Counted as unattended.
    pub(in crate::engine) counted: bool,
}

// With its slot it is what an idle socket costs that nobody attends to, beside its entries in tables.
const _: () = assert!(size_of::<SharedState>() <= 64);

impl SharedState {
    pub(in crate::engine) fn new(session_id: Option<Arc<str>>, now: Moment) -> Self {
        Self {
            link: None,
            session_id,
            activity: now,
            lease_until: Moment::NEVER,
            linked_bytes: 0,
            linked_messages: 0,
            messages: 0,
            dropped: 0,
            lease_ms: 0,
            flags: SharedFlags { serving: true, ..SharedFlags::default() },
        }
    }

    /// Whether somebody is there for what arrives.
    pub(in crate::engine) fn is_attended(&self) -> bool {
        self.flags.held || self.flags.serving
    }

    /// Whether its holder has nothing left to do for what the peer has said; `in_hand`: it may be at
    /// work on the message that it read last.
    pub(in crate::engine) fn has_caught_up(&self, in_hand: bool) -> bool {
        let waits =
            |link: &Arc<Link>| link.lock().waiting.as_ref().is_some_and(Waiting::is_for_a_message);
        self.linked_messages == 0 && (!in_hand || self.link.as_ref().is_some_and(waits))
    }

    /// When it is to be looked at next, whatever happens.
    pub(in crate::engine) fn deadline(&self, session_timeout: Option<Duration>) -> Moment {
        let session = session_timeout.map_or(Moment::NEVER, |timeout| self.activity + timeout);
        session.min(self.lease_until)
    }

    /// The lease begins now, or begins anew.
    pub(in crate::engine) fn renew(&mut self, now: Moment) {
        self.flags.detached = false;
        self.lease_until = match self.lease_ms {
            0 => Moment::NEVER,
            lease_ms => now + Duration::from_millis(u64::from(lease_ms)),
        };
    }
}
