//! The store of one process: sessions in memory, bounded, gone at its end.

use super::id::SessionId;
use super::record::SessionRecord;
use super::store::{Replaced, SessionStore, StoreCall, StoreError};
use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Expired sessions dropped per call: more than are added, so that they cannot pile up.
const SWEEP_MAX: usize = 8;

/// Keeps sessions in memory.
pub struct MemoryStore {
    sessions_max: usize,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    sessions: HashMap<SessionId, Session>,
    /// The same by when they expire: those without values, and those with.
    empty: BTreeSet<(Instant, SessionId)>,
    filled: BTreeSet<(Instant, SessionId)>,
}

struct Session {
    record: SessionRecord,
    expires: Instant,
}

impl MemoryStore {
    /// A store for at most so many sessions.
    pub fn new(sessions_max: usize) -> Self {
        Self { sessions_max, kept: Mutex::default() }
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
        let room = kept.sessions.len() < self.sessions_max || kept.make_room();
        if room {
            kept.put(id, record, now + lifetime);
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
                kept.put(id, after, now + lifetime);
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
            kept.put(new, SessionRecord { rotation_due: false, ..record }, now + lifetime);
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
            self.put(id, record, now + lifetime);
        }
        true
    }

    fn put(&mut self, id: SessionId, record: SessionRecord, expires: Instant) {
        self.take(id);
        let order = if record.values.is_empty() { &mut self.empty } else { &mut self.filled };
        order.insert((expires, id));
        self.sessions.insert(id, Session { record, expires });
    }

    fn take(&mut self, id: SessionId) -> Option<SessionRecord> {
        let session = self.sessions.remove(&id)?;
        let empty = session.record.values.is_empty();
        let order = if empty { &mut self.empty } else { &mut self.filled };
        order.remove(&(session.expires, id));
        Some(session.record)
    }

    fn sweep(&mut self, now: Instant) {
        for _ in 0..SWEEP_MAX {
            let first = |order: &BTreeSet<(Instant, SessionId)>| order.first().copied();
            let oldest = [first(&self.empty), first(&self.filled)].into_iter().flatten().min();
            match oldest {
                Some((expires, id)) if expires <= now => drop(self.take(id)),
                _ => return,
            }
        }
    }

    /// Drops a session that carries nothing: whoever had it gets another, and has lost nothing. So
    /// a flood of new sessions pushes out itself, and nobody who is logged in.
    fn make_room(&mut self) -> bool {
        match self.empty.first().copied() {
            Some((_, id)) => self.take(id).is_some(),
            None => false,
        }
    }
}
