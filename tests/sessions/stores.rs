//! Stores: the contract, and one that fails in every way.

use ringwire::{
    MemoryStore, Replaced, SessionId, SessionRecord, SessionSettings, SessionStore, StoreCall,
    StoreError,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::time::{Duration, Instant};
use support::stores::{id, keep_the_contract, record};
use support::visitor::{Browser, ask, serve, wait};
use support::{PATIENCE, close_of, eventually};

#[test]
fn the_store_in_memory_keeps_the_contract() {
    wait(keep_the_contract(&MemoryStore::new(100)));
}

#[test]
fn the_store_in_memory_is_bounded() {
    const LIFE: Duration = Duration::from_secs(60);
    let store = MemoryStore::new(3);
    let create = |number, pairs| wait(store.create(id(number), record(pairs), LIFE));
    for number in 20..23 {
        assert_eq!(create(number, &[("user", "ada")]), Ok(()));
    }
    // Nobody is pushed out, be it one that has become empty.
    let emptied = store.replace(id(21), record(&[("user", "ada")]), record(&[]), LIFE);
    assert_eq!(wait(emptied), Ok(Replaced::Done));
    let full = create(30, &[]).expect_err("full");
    assert!(full.to_string().contains("raise sessions_max"), "{full}");
    assert_eq!(wait(store.missing((20..23).map(id).collect())), Ok(Vec::new()));
    // One that is there already takes no other place; one that has expired gives way, as does one
    // that was ended.
    assert_eq!(create(20, &[("user", "grace")]), Ok(()));
    let short =
        store.replace(id(22), record(&[("user", "ada")]), record(&[("a", "b")]), Duration::ZERO);
    assert_eq!(wait(short), Ok(Replaced::Done));
    assert_eq!(create(31, &[("user", "ada")]), Ok(()));
    assert_eq!(wait(store.remove(id(21))), Ok(true));
    assert_eq!(create(32, &[("user", "ada")]), Ok(()));
    assert_eq!(store.sessions(), 3);
    // A time that no clock can count to is for ever.
    assert_eq!(wait(store.extend(vec![id(31)], Duration::MAX)), Ok(Vec::new()));
    assert_eq!(wait(store.missing(vec![id(31)])), Ok(Vec::new()));
}

/// Says no, keeps silent, panics, is slow to say what it has removed, or is changed by others after
/// each look at it, as it is told; otherwise a store in memory.
struct Failing {
    kept: MemoryStore,
    how: AtomicU8,
    /// Says that it answers at once.
    immediate: bool,
    /// How often it was asked what is missing.
    looks: AtomicU32,
}

const WELL: u8 = 0;
const REFUSING: u8 = 1;
const SILENT: u8 = 2;
const PANICKING: u8 = 3;
const SLOW_TO_SAY: u8 = 4;
const BUSY: u8 = 5;
const SLOW: u8 = 6;

impl Failing {
    fn new(how: u8) -> Self {
        let kept = MemoryStore::new(100);
        Self { kept, how: AtomicU8::new(how), immediate: false, looks: AtomicU32::new(0) }
    }

    fn call<'a, T: Send + 'a>(&self, call: StoreCall<'a, T>) -> StoreCall<'a, T> {
        let how = self.how.load(Ordering::SeqCst);
        StoreCall::new(async move {
            match how {
                REFUSING => Err(StoreError::new("on purpose")),
                SILENT => std::future::pending().await,
                PANICKING => std::panic::panic_any(support::ON_PURPOSE),
                _ => {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                    call.await
                }
            }
        })
    }

    /// As another process does that is always faster.
    async fn change_in_between(&self, id: SessionId, life: Duration) {
        let Ok(Some(before)) = self.kept.load(id, life).await else { return };
        let mut after = before.clone();
        let others =
            before.values.get("others").map_or(0, |count| count.parse().expect("a number"));
        after.values.set("others", format!("{}", others + 1));
        assert_eq!(self.kept.replace(id, before, after, life).await, Ok(Replaced::Done));
    }
}

impl SessionStore for Failing {
    fn is_immediate(&self) -> bool {
        self.immediate
    }

    fn create(&self, id: SessionId, record: SessionRecord, life: Duration) -> StoreCall<'_, ()> {
        let created = self.call(self.kept.create(id, record, life));
        if self.how.load(Ordering::SeqCst) != SLOW {
            return created;
        }
        StoreCall::new(async move {
            created.await?;
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok(())
        })
    }

    fn load(&self, id: SessionId, life: Duration) -> StoreCall<'_, Option<SessionRecord>> {
        self.call(StoreCall::new(async move {
            let loaded = self.kept.load(id, life).await;
            if self.how.load(Ordering::SeqCst) == BUSY {
                self.change_in_between(id, life).await;
            }
            loaded
        }))
    }

    fn replace(
        &self,
        id: SessionId,
        before: SessionRecord,
        after: SessionRecord,
        life: Duration,
    ) -> StoreCall<'_, Replaced> {
        self.call(self.kept.replace(id, before, after, life))
    }

    fn rename(&self, old: SessionId, new: SessionId, life: Duration) -> StoreCall<'_, bool> {
        self.call(self.kept.rename(old, new, life))
    }

    fn remove(&self, id: SessionId) -> StoreCall<'_, bool> {
        let removed = self.kept.remove(id);
        if self.how.load(Ordering::SeqCst) != SLOW_TO_SAY {
            return self.call(removed);
        }
        StoreCall::new(async move {
            let removed = removed.await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            removed
        })
    }

    fn missing(&self, ids: Vec<SessionId>) -> StoreCall<'_, Vec<SessionId>> {
        self.looks.fetch_add(1, Ordering::SeqCst);
        self.call(self.kept.missing(ids))
    }

    fn extend(&self, ids: Vec<SessionId>, life: Duration) -> StoreCall<'_, Vec<SessionId>> {
        self.call(self.kept.extend(ids, life))
    }
}

#[test]
fn a_store_that_fails_costs_the_handshake_and_nothing_else() {
    let store = Arc::new(Failing::new(WELL));
    let server =
        serve(SessionSettings::default(), |builder| builder.session_store(Arc::clone(&store)));
    let mut browser = Browser::default();
    let (mut client, _) = browser.connect(server.address, "/?login");
    let id = ask(&mut client, "id");
    assert_eq!(ask(&mut client, "add 3"), "ok");
    for how in [REFUSING, SILENT, PANICKING] {
        store.how.store(how, Ordering::SeqCst);
        let asked = Instant::now();
        assert_eq!(browser.refused(server.address, "/"), (503, "5".into()), "{how}");
        // Who is new needs the store for the first value only.
        let (mut stranger, came) = Browser::default().connect(server.address, "/");
        assert!(came);
        assert!(ask(&mut stranger, "set user eve").starts_with("error: session store: "), "{how}");
        assert!(ask(&mut client, "get user").starts_with("error: session store: "), "{how}");
        // While one waits for the store, the shard serves others.
        assert_eq!(ask(&mut browser.connect(server.address, "/plain").0, "id"), "no session, None");
        assert!(asked.elapsed() < PATIENCE);
        store.how.store(WELL, Ordering::SeqCst);
        // Nobody was closed because the store was not to be asked, and nothing is lost.
        assert_eq!(ask(&mut stranger, "set user eve"), "-");
        assert_eq!(ask(&mut client, "get count"), "3");
        assert!(!browser.connect(server.address, "/").1);
    }
    // What cannot be removed is closed here nevertheless, and said.
    store.how.store(REFUSING, Ordering::SeqCst);
    let failed = wait(server.handle().revoke_session(&id)).expect_err("the store fails");
    assert_eq!(failed.to_string(), "session store: on purpose");
    assert_eq!(close_of(&mut client).0, 1008);
    server.finish();
}

/// Other looks at the store come between: they must not say why it ends.
#[test]
fn who_ends_a_session_tells_its_websockets_why() {
    let store = Arc::new(Failing::new(SLOW_TO_SAY));
    // Looked at twice a second.
    let lifetime = Duration::from_secs(2);
    let settings = SessionSettings { lifetime, ..SessionSettings::default() };
    let server = serve(settings, |builder| builder.session_store(Arc::clone(&store)));
    let mut browser = Browser::default();
    let mut clients: Vec<_> = (0..3).map(|_| browser.connect(server.address, "/").0).collect();
    let id = ask(&mut clients[0], "id");
    assert_eq!(wait(server.handle().revoke_session(&id)), Ok(3));
    for client in &mut clients {
        assert_eq!(close_of(client), (1008, "the session was revoked".into()));
    }
    // The same if a handshake finds that it is too old.
    let (mut client, _) = browser.connect(server.address, "/");
    assert_eq!(ask(&mut client, "set user ada"), "-");
    let id: SessionId = ask(&mut client, "id").parse().expect("an id");
    let before = wait(store.kept.load(id, lifetime)).expect("it answers").expect("it is there");
    let old = SessionRecord { created_unix_s: 1, ..before.clone() };
    let replaced = wait(store.kept.replace(id, before, old, lifetime));
    assert_eq!(replaced, Ok(Replaced::Done));
    assert!(browser.connect(server.address, "/").1);
    assert_eq!(close_of(&mut client), (1008, "the session is too old".into()));
    server.finish();
}

/// Somebody who is faster each time does not keep others from changing a session for ever: they
/// are told what it is now, and need not ask for it.
#[test]
fn a_change_gets_in_between_those_of_others() {
    let store = Arc::new(Failing::new(BUSY));
    let server =
        serve(SessionSettings::default(), |builder| builder.session_store(Arc::clone(&store)));
    let (mut client, _) = Browser::default().connect(server.address, "/");
    assert_eq!(ask(&mut client, "set user ada"), "-");
    assert_eq!(ask(&mut client, "add 50"), "ok");
    assert_eq!([ask(&mut client, "get count"), ask(&mut client, "get others")], ["50", "51"]);
    server.finish();
}

/// A session that gets its first value while somebody ends it is not there afterwards, whoever was
/// first.
#[test]
fn a_first_value_does_not_outlive_a_revocation() {
    let store = Arc::new(Failing::new(SLOW));
    let server =
        serve(SessionSettings::default(), |builder| builder.session_store(Arc::clone(&store)));
    for pause_ms in [0, 300, 1_300] {
        let mut browser = Browser::default();
        let (mut client, _) = browser.connect(server.address, "/");
        let id = ask(&mut client, "id");
        client.send(tungstenite::Message::text("set user ada")).expect("it listens");
        std::thread::sleep(Duration::from_millis(pause_ms));
        assert_eq!(wait(server.handle().revoke_session(&id)), Ok(1));
        let (_, close) = support::texts_and_close(&mut client);
        assert_eq!(close, (1008, "the session was revoked".into()));
        let id: SessionId = id.parse().expect("an id");
        // What was under way when it was ended comes to nothing.
        support::eventually("it is gone", || {
            std::thread::sleep(Duration::from_millis(1_200));
            wait(store.kept.missing(vec![id])) == Ok(vec![id])
        });
        let (mut client, came) = browser.connect(server.address, "/");
        assert!(came && ask(&mut client, "get user") == "-");
    }
    server.finish();
}

/// Asked on the engine's own threads, where a panic is not caught by a task of the store's own.
#[test]
fn a_store_that_panics_at_a_look_is_looked_at_again() {
    let store = Arc::new(Failing { immediate: true, ..Failing::new(WELL) });
    let server =
        serve(SessionSettings::default(), |builder| builder.session_store(Arc::clone(&store)));
    let mut browser = Browser::default();
    let (mut client, _) = browser.connect(server.address, "/?login");
    let id: SessionId = ask(&mut client, "id").parse().expect("an id");
    store.how.store(PANICKING, Ordering::SeqCst);
    let before = store.looks.load(Ordering::SeqCst);
    eventually("it was looked at", || store.looks.load(Ordering::SeqCst) > before + 1);
    // A handshake fails by it, and no more than that.
    let refused =
        Browser::default().try_connect(server.address, "/?login").expect_err("no session");
    assert_eq!(refused.status().as_u16(), 500);
    store.how.store(WELL, Ordering::SeqCst);
    assert_eq!(wait(store.kept.remove(id)), Ok(true));
    assert_eq!(close_of(&mut client), (1008, "the session has ended".into()));
    server.finish();
}
