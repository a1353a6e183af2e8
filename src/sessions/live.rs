//! Which open WebSockets belong to which session, in this process. Owned by the keeper, with one
//! lock; asked at handshakes, ends and revocations, never for a message. It knows no store.

use super::age::End;
use super::id::SessionId;
use super::record::SessionRecord;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Names a WebSocket of this process: a shard, and a slot in it with its generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SocketKey {
    pub(crate) shard: u32,
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

/// A session that has WebSockets here.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) id: SessionId,
    /// When it is too old.
    pub(super) end: End,
    /// Held while its values are changed, so that its own WebSockets never conflict with each
    /// other.
    pub(super) turn: tokio::sync::Mutex<()>,
    /// How many are ending it or giving it another id. That the store does not have it is no news
    /// then: they tell its WebSockets what has happened.
    changing: AtomicU32,
    revoked: AtomicBool,
    /// The store is known to have it. What has no values yet is only here.
    stored: AtomicBool,
    /// When it was made, if that was here.
    made: Instant,
    /// What is not stored is to have another cookie at the next handshake.
    rotation_due: AtomicBool,
}

impl Place {
    fn new(id: SessionId, end: End, stored: bool, made: Instant) -> Arc<Self> {
        Arc::new(Self {
            id,
            end,
            turn: tokio::sync::Mutex::new(()),
            changing: AtomicU32::new(0),
            revoked: AtomicBool::new(false),
            stored: AtomicBool::new(stored),
            made,
            rotation_due: AtomicBool::new(false),
        })
    }

    pub(super) fn is_revoked(&self) -> bool {
        self.revoked.load(Ordering::SeqCst)
    }

    /// It is being ended: who stores it from now on takes it out again.
    pub(super) fn set_revoked(&self) {
        self.revoked.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_stored(&self) -> bool {
        self.stored.load(Ordering::SeqCst)
    }

    pub(super) fn set_stored(&self) {
        self.stored.store(true, Ordering::SeqCst);
    }

    pub(super) fn age(&self) -> Duration {
        self.made.elapsed()
    }

    /// What would be in the store if this were worth a place there.
    pub(super) fn unwritten(&self) -> SessionRecord {
        let rotation_due = self.rotation_due();
        SessionRecord { rotation_due, ..SessionRecord::default() }
    }

    pub(super) fn rotation_due(&self) -> bool {
        self.rotation_due.load(Ordering::SeqCst)
    }

    pub(super) fn set_rotation_due(&self, due: bool) {
        self.rotation_due.store(due, Ordering::SeqCst);
    }
}

/// While it lives, a session that the store does not have is not taken for ended elsewhere.
pub(super) struct Changing(Arc<Place>);

impl Changing {
    pub(super) fn begin(place: Arc<Place>) -> Self {
        place.changing.fetch_add(1, Ordering::SeqCst);
        Self(place)
    }
}

impl Drop for Changing {
    fn drop(&mut self) {
        self.0.changing.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Bounded: a socket is in it while its connection exists, and a
/// session has at most so many.
#[derive(Default)]
pub(super) struct Live {
    /// Ordered, so that it can be gone through in pieces without holding the lock for long.
    sessions: Mutex<BTreeMap<SessionId, Members>>,
}

struct Members {
    place: Arc<Place>,
    sockets: Vec<SocketKey>,
}

impl Members {
    fn add(&mut self, socket: SocketKey, sockets_max: usize) -> Result<Arc<Place>, Crowded> {
        if self.sockets.len() >= sockets_max {
            return Err(Crowded);
        }
        self.sockets.push(socket);
        Ok(Arc::clone(&self.place))
    }
}

/// A session as the watch sees it.
pub(super) struct Seen {
    pub(super) id: SessionId,
    pub(super) end: End,
    pub(super) stored: bool,
}

/// The session has as many WebSockets as it may.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Crowded;

impl Live {
    fn sessions(&self) -> MutexGuard<'_, BTreeMap<SessionId, Members>> {
        // Nothing panics while it holds the lock.
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a socket to a session, that the store has or nobody has heard of yet.
    pub(super) fn join(
        &self,
        id: SessionId,
        end: End,
        stored: bool,
        socket: SocketKey,
        sockets_max: usize,
    ) -> Result<Arc<Place>, Crowded> {
        let mut sessions = self.sessions();
        let new = || {
            let place = Place::new(id, end, stored, Instant::now());
            Members { place, sockets: Vec::new() }
        };
        let members = sessions.entry(id).or_insert_with(new);
        if stored {
            members.place.set_stored();
        }
        members.add(socket, sockets_max)
    }

    /// Adds a socket to a session that the store does not have, because it has no values: `None`
    /// unless it has other sockets here.
    pub(super) fn join_unstored(
        &self,
        id: SessionId,
        socket: SocketKey,
        sockets_max: usize,
    ) -> Option<Result<Arc<Place>, Crowded>> {
        let mut sessions = self.sessions();
        let members = sessions.get_mut(&id)?;
        let place = &members.place;
        let known = !place.is_stored() && !place.is_revoked() && !place.end.is_over();
        known.then(|| members.add(socket, sockets_max))
    }

    /// A socket is gone.
    pub(super) fn leave(&self, id: SessionId, socket: SocketKey) {
        let mut sessions = self.sessions();
        let Some(members) = sessions.get_mut(&id) else { return };
        members.sockets.retain(|member| *member != socket);
        if members.sockets.is_empty() {
            sessions.remove(&id);
        }
    }

    /// The session is no more. Which sockets it had.
    pub(super) fn revoke(&self, id: SessionId) -> Vec<SocketKey> {
        let Some(members) = self.sessions().remove(&id) else { return Vec::new() };
        members.place.set_revoked();
        members.sockets
    }

    /// The session has a new id, and of its sockets only this one knows: the others are returned.
    pub(super) fn rotate(
        &self,
        old: &Place,
        new: SessionId,
        socket: SocketKey,
    ) -> (Arc<Place>, Vec<SocketKey>) {
        let mut others = self.revoke(old.id);
        others.retain(|other| *other != socket);
        let place = Place::new(new, old.end, old.is_stored(), old.made);
        let members = Members { place: Arc::clone(&place), sockets: vec![socket] };
        self.sessions().insert(new, members);
        (place, others)
    }

    /// A session that has sockets here.
    pub(super) fn place(&self, id: SessionId) -> Option<Arc<Place>> {
        self.sessions().get(&id).map(|members| Arc::clone(&members.place))
    }

    /// Whether a session is being ended or given another id.
    pub(super) fn is_changing(&self, id: SessionId) -> bool {
        let sessions = self.sessions();
        sessions.get(&id).is_some_and(|members| members.place.changing.load(Ordering::SeqCst) > 0)
    }

    /// Up to `count` sessions after this one.
    pub(super) fn after(&self, last: Option<SessionId>, count: usize) -> Vec<Seen> {
        let from = last.map_or(Bound::Unbounded, Bound::Excluded);
        let sessions = self.sessions();
        sessions
            .range((from, Bound::Unbounded))
            .take(count)
            .map(|(id, Members { place, .. })| Seen {
                id: *id,
                end: place.end,
                stored: place.is_stored(),
            })
            .collect()
    }
}
