//! What every session store must do, asked of each of them.

use ringwire::{
    MemoryStore, Replaced, SessionId, SessionRecord, SessionStore, SessionValues, StoreCall,
};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const LIFE: Duration = Duration::from_secs(60);

/// A made-up id.
pub fn id(number: u32) -> SessionId {
    format!("{number:A>32}").parse().expect("32 characters of base64url")
}

pub fn record(pairs: &[(&str, &str)]) -> SessionRecord {
    let values: SessionValues = pairs.iter().copied().collect();
    SessionRecord { values, created_unix_s: 1_700_000_000, rotation_due: false }
}

/// Walks a store without anything in it through its whole contract.
pub async fn keep_the_contract(store: &dyn SessionStore) {
    make_and_read(store).await;
    replace_what_was_read(store).await;
    rename_and_remove(store).await;
    tell_what_is_missing(store).await;
    expire(store).await;
}

async fn make_and_read(store: &dyn SessionStore) {
    assert_eq!(store.load(id(1), LIFE).await, Ok(None));
    for (number, pairs) in
        [(1, &[][..]), (2, &[("user", "ada"), ("ünï \r\n\0", "\u{1F980} \" {}"), ("", "")])]
    {
        store.create(id(number), record(pairs), LIFE).await.expect("there is room");
        assert_eq!(store.load(id(number), LIFE).await, Ok(Some(record(pairs))));
    }
    assert_eq!(store.load(id(3), LIFE).await, Ok(None));
}

async fn replace_what_was_read(store: &dyn SessionStore) {
    let (before, after) = (record(&[("a", "1"), ("b", "2")]), record(&[("b", "3"), ("c", "4")]));
    store.create(id(10), before.clone(), LIFE).await.expect("there is room");
    let replace = |before: &SessionRecord, after: &SessionRecord| {
        store.replace(id(10), before.clone(), after.clone(), LIFE)
    };
    // Another value, one fewer, one more: all of it is a conflict, says what is there, and changes
    // nothing.
    for other in [
        record(&[("a", "1"), ("b", "x")]),
        record(&[("a", "1")]),
        record(&[("a", "1"), ("b", "2"), ("c", "")]),
        record(&[]),
    ] {
        let conflict = Replaced::Conflict(before.clone());
        assert_eq!(replace(&other, &after).await, Ok(conflict), "{other:?}");
        assert_eq!(store.load(id(10), LIFE).await, Ok(Some(before.clone())));
    }
    assert_eq!(replace(&before, &after).await, Ok(Replaced::Done));
    assert_eq!(store.load(id(10), LIFE).await, Ok(Some(after.clone())));
    // Without any value it is still a session.
    assert_eq!(replace(&after, &record(&[])).await, Ok(Replaced::Done));
    assert_eq!(store.load(id(10), LIFE).await, Ok(Some(record(&[]))));
    let due = SessionRecord { rotation_due: true, ..record(&[("a", "1")]) };
    assert_eq!(replace(&record(&[]), &due).await, Ok(Replaced::Done));
    assert_eq!(store.load(id(10), LIFE).await, Ok(Some(due)));
    let nobody = store.replace(id(11), record(&[]), record(&[("a", "1")]), LIFE);
    assert_eq!(nobody.await, Ok(Replaced::Missing));
    assert_eq!(store.load(id(11), LIFE).await, Ok(None));
}

async fn rename_and_remove(store: &dyn SessionStore) {
    let due = SessionRecord { rotation_due: true, ..record(&[("user", "ada")]) };
    store.create(id(20), due, LIFE).await.expect("there is room");
    assert_eq!(store.rename(id(20), id(21), LIFE).await, Ok(true));
    assert_eq!(store.rename(id(20), id(22), LIFE).await, Ok(false));
    assert_eq!(store.load(id(20), LIFE).await, Ok(None));
    assert_eq!(store.load(id(22), LIFE).await, Ok(None));
    assert_eq!(store.load(id(21), LIFE).await, Ok(Some(record(&[("user", "ada")]))));
    assert_eq!(store.remove(id(21)).await, Ok(true));
    assert_eq!(store.remove(id(21)).await, Ok(false));
    assert_eq!(store.load(id(21), LIFE).await, Ok(None));
}

async fn tell_what_is_missing(store: &dyn SessionStore) {
    assert_eq!(store.missing(Vec::new()).await, Ok(Vec::new()));
    assert_eq!(store.extend(Vec::new(), LIFE).await, Ok(Vec::new()));
    for number in [30, 32] {
        store.create(id(number), record(&[]), LIFE).await.expect("there is room");
    }
    let all = || (30..34).map(id).collect();
    let there = vec![id(30), id(32)];
    assert_eq!(store.missing(there.clone()).await, Ok(Vec::new()));
    assert_eq!(store.missing(all()).await, Ok(vec![id(31), id(33)]));
    assert_eq!(store.extend(all(), LIFE).await, Ok(vec![id(31), id(33)]));
    assert_eq!(store.extend(there, LIFE).await, Ok(Vec::new()));
}

/// Each way of touching a session lets it live on; what nobody touches ends.
async fn expire(store: &dyn SessionStore) {
    const SHORT: Duration = Duration::from_millis(200);
    let kept = record(&[("user", "ada")]);
    for number in 40..46 {
        store.create(id(number), kept.clone(), SHORT).await.expect("there is room");
    }
    assert!(store.load(id(41), LIFE).await.expect("it answers").is_some());
    assert_eq!(store.extend(vec![id(42)], LIFE).await, Ok(Vec::new()));
    let replaced = store.replace(id(43), kept.clone(), record(&[]), LIFE).await;
    assert_eq!(replaced, Ok(Replaced::Done));
    assert_eq!(store.rename(id(44), id(46), LIFE).await, Ok(true));
    assert_eq!(store.missing(vec![id(45)]).await, Ok(Vec::new()));
    tokio::time::sleep(2 * SHORT).await;
    let all = (40..47).map(id).collect();
    assert_eq!(store.missing(all).await, Ok(vec![id(40), id(44), id(45)]));
    assert_eq!(store.load(id(40), LIFE).await, Ok(None));
    assert_eq!(store.replace(id(45), kept, record(&[]), LIFE).await, Ok(Replaced::Missing));
    assert_eq!(store.rename(id(40), id(47), LIFE).await, Ok(false));
    assert_eq!(store.remove(id(40)).await, Ok(false));
}

/// A store in memory that could be shared by several hosts: what time it is, the test says.
pub struct Clocked {
    pub kept: MemoryStore,
    unix_s: AtomicU64,
}

impl Clocked {
    pub fn new(unix_s: u64) -> Self {
        Self { kept: MemoryStore::new(1_000), unix_s: AtomicU64::new(unix_s) }
    }

    /// Somebody sets the clock.
    pub fn set(&self, unix_s: u64) {
        self.unix_s.store(unix_s, Ordering::SeqCst);
    }
}

impl SessionStore for Clocked {
    fn is_immediate(&self) -> bool {
        self.kept.is_immediate()
    }

    fn create(&self, id: SessionId, record: SessionRecord, life: Duration) -> StoreCall<'_, ()> {
        self.kept.create(id, record, life)
    }

    fn load(&self, id: SessionId, life: Duration) -> StoreCall<'_, Option<SessionRecord>> {
        self.kept.load(id, life)
    }

    fn replace(
        &self,
        id: SessionId,
        before: SessionRecord,
        after: SessionRecord,
        life: Duration,
    ) -> StoreCall<'_, Replaced> {
        self.kept.replace(id, before, after, life)
    }

    fn rename(&self, old: SessionId, new: SessionId, life: Duration) -> StoreCall<'_, bool> {
        self.kept.rename(old, new, life)
    }

    fn remove(&self, id: SessionId) -> StoreCall<'_, bool> {
        self.kept.remove(id)
    }

    fn missing(&self, ids: Vec<SessionId>) -> StoreCall<'_, Vec<SessionId>> {
        self.kept.missing(ids)
    }

    fn extend(&self, ids: Vec<SessionId>, life: Duration) -> StoreCall<'_, Vec<SessionId>> {
        self.kept.extend(ids, life)
    }

    fn unix_s(&self) -> StoreCall<'_, u64> {
        StoreCall::ready(Ok(self.unix_s.load(Ordering::SeqCst)))
    }
}
