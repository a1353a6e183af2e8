//! The store of one process: sessions in memory, bounded, gone at its end. Asked by the keeper, on
//! any thread; answers at once.

use super::id::SessionId;
use super::record::SessionRecord;
use super::store::{Replaced, SessionStore, StoreCall, StoreError, host_unix_s};
use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Expired sessions dropped per call: more than are added, so that they cannot pile up.
const SWEEP_MAX: usize = 8;

/// A hundred years, for lifetimes that no clock can count to.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 86_400);

/// Keeps sessions in memory. Their ages count by time that only grows: what becomes of the clock of
/// the host after the start does not matter.
pub struct MemoryStore {
    sessions_max: usize,
    began: Instant,
    began_unix_s: u64,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    sessions: HashMap<SessionId, Session>,
    /// The same by when they expire.
    order: BTreeSet<(Instant, SessionId)>,
}

struct Session {
    record: SessionRecord,
    expires: Instant,
}

impl MemoryStore {
    /// A store for at most so many sessions.
    pub fn new(sessions_max: usize) -> Self {
        Self::began_at(sessions_max, host_unix_s())
    }

    /// The same where the clock of the host said so at the start.
    pub(super) fn began_at(sessions_max: usize, began_unix_s: u64) -> Self {
        Self { sessions_max, began: Instant::now(), began_unix_s, kept: Mutex::default() }
    }

    /// Sessions there are, the expired ones that were not swept yet included.
    pub fn sessions(&self) -> usize {
        self.kept().sessions.len()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Nothing panics while it holds the lock.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SessionStore for MemoryStore {
    fn is_immediate(&self) -> bool {
        true
    }

    fn create(
        &self,
        id: SessionId,
        record: SessionRecord,
        lifetime: Duration,
    ) -> StoreCall<'_, ()> {
        let now = Instant::now();
        let mut kept = self.kept();
        kept.sweep(now);
        // Nobody's session makes room for another's: it may have open WebSockets.
        let room = kept.sessions.len() < self.sessions_max || kept.sessions.contains_key(&id);
        if room {
            kept.put(id, record, later(now, lifetime));
        }
        StoreCall::ready(room.then_some(()).ok_or_else(|| {
            StoreError::new(format!(
                "{} sessions with values are as many as it takes; raise sessions_max",
                self.sessions_max
            ))
        }))
    }

    fn load(&self, id: SessionId, lifetime: Duration) -> StoreCall<'_, Option<SessionRecord>> {
        let now = Instant::now();
        let mut kept = self.kept();
        let found = kept.touch(id, now, lifetime);
        StoreCall::ready(Ok(found.then(|| kept.sessions[&id].record.clone())))
    }

    fn replace(
        &self,
        id: SessionId,
        before: SessionRecord,
        after: SessionRecord,
        lifetime: Duration,
    ) -> StoreCall<'_, Replaced> {
        let now = Instant::now();
        let mut kept = self.kept();
        StoreCall::ready(Ok(match kept.find(id, now).map(|session| &session.record) {
            None => Replaced::Missing,
            Some(record) if record.values != before.values => Replaced::Conflict(record.clone()),
            Some(_) => {
                kept.put(id, after, later(now, lifetime));
                Replaced::Done
            }
        }))
    }

    fn rename(&self, old: SessionId, new: SessionId, lifetime: Duration) -> StoreCall<'_, bool> {
        let now = Instant::now();
        let mut kept = self.kept();
        let live = kept.find(old, now).is_some();
        let record = kept.take(old).filter(|_| live);
        let found = record.is_some();
        if let Some(record) = record {
            let record = SessionRecord { rotation_due: false, ..record };
            kept.put(new, record, later(now, lifetime));
        }
        StoreCall::ready(Ok(found))
    }

    fn remove(&self, id: SessionId) -> StoreCall<'_, bool> {
        let mut kept = self.kept();
        let live = kept.find(id, Instant::now()).is_some();
        kept.take(id);
        StoreCall::ready(Ok(live))
    }

    fn missing(&self, mut ids: Vec<SessionId>) -> StoreCall<'_, Vec<SessionId>> {
        let now = Instant::now();
        let mut kept = self.kept();
        kept.sweep(now);
        ids.retain(|id| kept.find(*id, now).is_none());
        StoreCall::ready(Ok(ids))
    }

    fn extend(&self, mut ids: Vec<SessionId>, lifetime: Duration) -> StoreCall<'_, Vec<SessionId>> {
        let now = Instant::now();
        let mut kept = self.kept();
        ids.retain(|id| !kept.touch(*id, now, lifetime));
        StoreCall::ready(Ok(ids))
    }

    fn unix_s(&self) -> StoreCall<'_, u64> {
        StoreCall::ready(Ok(self.began_unix_s.saturating_add(self.began.elapsed().as_secs())))
    }
}

fn later(now: Instant, lifetime: Duration) -> Instant {
    now.checked_add(lifetime).unwrap_or_else(|| now + FOR_EVER)
}

impl Kept {
    /// The session, unless it has expired.
    fn find(&self, id: SessionId, now: Instant) -> Option<&Session> {
        self.sessions.get(&id).filter(|session| session.expires > now)
    }

    /// Lets a session live on; `false` if there is none.
    fn touch(&mut self, id: SessionId, now: Instant, lifetime: Duration) -> bool {
        if self.find(id, now).is_none() {
            return false;
        }
        if let Some(record) = self.take(id) {
            self.put(id, record, later(now, lifetime));
        }
        true
    }

    fn put(&mut self, id: SessionId, record: SessionRecord, expires: Instant) {
        self.take(id);
        self.order.insert((expires, id));
        self.sessions.insert(id, Session { record, expires });
    }

    fn take(&mut self, id: SessionId) -> Option<SessionRecord> {
        let session = self.sessions.remove(&id)?;
        self.order.remove(&(session.expires, id));
        Some(session.record)
    }

    fn sweep(&mut self, now: Instant) {
        for _ in 0..SWEEP_MAX {
            match self.order.first().copied() {
                Some((expires, id)) if expires <= now => drop(self.take(id)),
                _ => return,
            }
        }
    }
}
