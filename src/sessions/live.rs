//! Which open WebSockets belong to which session, in this process.

use super::age::End;
use super::id::SessionId;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
}

impl Place {
    fn new(id: SessionId, end: End) -> Arc<Self> {
        Arc::new(Self {
            id,
            end,
            turn: tokio::sync::Mutex::new(()),
            changing: AtomicU32::new(0),
            revoked: AtomicBool::new(false),
        })
    }

    pub(super) fn is_revoked(&self) -> bool {
        self.revoked.load(Ordering::SeqCst)
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

/// The session has as many WebSockets as it may.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Crowded;

impl Live {
    fn sessions(&self) -> MutexGuard<'_, BTreeMap<SessionId, Members>> {
        // Nothing panics while it holds the lock.
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a socket to a session.
    pub(super) fn join(
        &self,
        id: SessionId,
        end: End,
        socket: SocketKey,
        sockets_max: usize,
    ) -> Result<Arc<Place>, Crowded> {
        let mut sessions = self.sessions();
        let new = || Members { place: Place::new(id, end), sockets: Vec::new() };
        let members = sessions.entry(id).or_insert_with(new);
        if members.sockets.len() >= sockets_max {
            return Err(Crowded);
        }
        members.sockets.push(socket);
        Ok(Arc::clone(&members.place))
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
        members.place.revoked.store(true, Ordering::SeqCst);
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
        let place = Place::new(new, old.end);
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

    /// Up to `count` sessions after this one, and when each is too old.
    pub(super) fn after(&self, last: Option<SessionId>, count: usize) -> Vec<(SessionId, End)> {
        let from = last.map_or(Bound::Unbounded, Bound::Excluded);
        let sessions = self.sessions();
        sessions
            .range((from, Bound::Unbounded))
            .take(count)
            .map(|(id, members)| (*id, members.place.end))
            .collect()
    }
}
