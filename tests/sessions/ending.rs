//! The end of a session: revoked, expired, removed by somebody else; and that an open WebSocket
//! keeps it.

use ringwire::{MemoryStore, RevokeError, SessionId, SessionSettings, SessionStore};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use support::visitor::{Browser, ask, serve, wait};
use support::{Client, close_of, texts_and_close};

/// What a revoked session's sockets may take to be closed, in another process as well.
const SOON: Duration = Duration::from_secs(2);

fn short() -> SessionSettings {
    SessionSettings { lifetime: Duration::from_secs(2), ..SessionSettings::default() }
}

#[test]
fn a_revocation_closes_every_websocket_of_the_session_and_no_other() {
    let server = serve(SessionSettings::default(), |builder| builder);
    let (mut browser, mut bystander) = (Browser::default(), Browser::default());
    let mut clients: Vec<Client> = (0..8).map(|_| browser.connect(server.address, "/").0).collect();
    let (mut other, _) = bystander.connect(server.address, "/");
    let id = ask(&mut clients[0], "id");
    let handle = server.handle();
    for unknown in ["", "x", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", browser.value()] {
        assert_eq!(wait(handle.revoke_session(unknown)), Err(RevokeError::Unknown), "{unknown}");
    }
    let revoked = Instant::now();
    assert_eq!(wait(handle.revoke_session(&id)), Ok(8));
    for client in &mut clients {
        assert_eq!(close_of(client), (1008, "the session was revoked".into()));
    }
    assert!(revoked.elapsed() < SOON);
    assert_eq!(wait(handle.revoke_session(&id)), Err(RevokeError::Unknown));
    let (mut client, came) = browser.connect(server.address, "/");
    assert!(came && ask(&mut client, "id") != id);
    assert_eq!(ask(&mut other, "set still here"), "-");
    server.finish();
}

#[test]
fn a_handler_can_log_everybody_out() {
    let server = serve(SessionSettings::default(), |builder| builder);
    let mut browser = Browser::default();
    let mut clients: Vec<Client> = (0..3).map(|_| browser.connect(server.address, "/").0).collect();
    clients[1].send(tungstenite::Message::text("revoke")).expect("it listens");
    for client in &mut clients {
        assert_eq!(close_of(client), (1008, "the session was revoked".into()));
    }
    server.finish();
}

/// A session without a WebSocket is revoked as well.
#[test]
fn a_revocation_needs_no_websocket() {
    let server = serve(SessionSettings::default(), |builder| builder);
    let mut browser = Browser::default();
    let (mut client, _) = browser.connect(server.address, "/?login");
    let id = ask(&mut client, "id");
    drop(client);
    // Long enough that it has left; on a busy machine it may be there and be closed.
    thread::sleep(Duration::from_millis(300));
    assert!(wait(server.handle().revoke_session(&id)).expect("it is known") <= 1);
    assert!(browser.connect(server.address, "/").1);
    server.finish();
}

/// As another process would do it, that shares the store.
#[test]
fn what_is_removed_from_the_store_is_closed_soon() {
    let store = Arc::new(MemoryStore::new(100));
    let server =
        serve(SessionSettings::default(), |builder| builder.session_store(Arc::clone(&store)));
    let mut browser = Browser::default();
    let mut clients: Vec<Client> = (0..4).map(|_| browser.connect(server.address, "/").0).collect();
    let (mut other, _) = Browser::default().connect(server.address, "/");
    assert_eq!(ask(&mut clients[0], "set user ada"), "-");
    let id = ask(&mut clients[0], "id").parse().expect("an id");
    let removed = Instant::now();
    assert_eq!(wait(store.remove(id)), Ok(true));
    // Its values are gone at once, unless a look at the store closes the socket before it can ask.
    clients[1].send(tungstenite::Message::text("get user")).expect("it listens");
    let (texts, close) = texts_and_close(&mut clients[1]);
    assert!(texts.is_empty() || texts == ["error: the session has ended"], "{texts:?}");
    assert_eq!(close, (1008, "the session has ended".into()));
    clients.remove(1);
    for client in &mut clients {
        assert_eq!(close_of(client), (1008, "the session has ended".into()));
    }
    assert!(removed.elapsed() < SOON);
    assert_eq!(ask(&mut other, "set still here"), "-");
    server.finish();
}

#[test]
fn a_session_expires_without_activity() {
    let lifetime = Duration::from_secs(3);
    let settings = SessionSettings { lifetime, ..SessionSettings::default() };
    let server = serve(settings, |builder| builder);
    let mut browser = Browser::default();
    let (client, _) = browser.connect(server.address, "/?login");
    drop(client);
    thread::sleep(lifetime / 3);
    // Coming back is activity.
    let (client, came) = browser.connect(server.address, "/");
    assert!(!came);
    drop(client);
    thread::sleep(lifetime + Duration::from_millis(400));
    let (mut client, came) = browser.connect(server.address, "/");
    assert!(came && ask(&mut client, "get user") == "-");
    server.finish();
}

/// Neither an open WebSocket nor coming back, changing values or another cookie makes it live on.
#[test]
fn a_session_ends_at_its_age_although_it_is_used() {
    let age_max = Duration::from_secs(5);
    let settings = SessionSettings { age_max: Some(age_max), ..short() };
    let store = Arc::new(MemoryStore::new(100));
    let server = serve(settings, |builder| builder.session_store(Arc::clone(&store)));
    let made = Instant::now();
    let (mut busy, mut idle) = (Browser::default(), Browser::default());
    let (mut first, _) = busy.connect(server.address, "/");
    let (mut other, _) = idle.connect(server.address, "/?login");
    let id = ask(&mut first, "id");
    // Its cookie is new, and the session as old as before.
    assert_eq!(ask(&mut first, "set user ada"), "-");
    assert_eq!(ask(&mut first, "rotate"), "ok");
    let (mut client, came) = busy.connect(server.address, "/");
    assert!(came && ask(&mut client, "id") != id);
    assert_eq!(close_of(&mut first).0, 1008);
    while made.elapsed() < age_max - Duration::from_millis(2_500) {
        assert!(!busy.connect(server.address, "/").1);
        assert!(["ada", "grace"].contains(&ask(&mut client, "set user grace").as_str()));
        thread::sleep(Duration::from_millis(200));
    }
    let too_old = (1008, "the session is too old".into());
    assert_eq!([close_of(&mut client), close_of(&mut other)], [too_old.clone(), too_old]);
    // Whole seconds are known of when it was made, and once a second is looked.
    let took = made.elapsed();
    assert!(took >= age_max - Duration::from_secs(1) && took < age_max + SOON, "{took:?}");
    for browser in [&mut busy, &mut idle] {
        let (mut client, came) = browser.connect(server.address, "/");
        assert!(came && ask(&mut client, "get user") == "-");
    }
    server.finish();
}

/// As it is after a day in which only the cookie was kept, and as programs make them that do not
/// say when.
#[test]
fn an_old_session_is_not_admitted_and_one_of_unknown_age_is_young() {
    let store = Arc::new(MemoryStore::new(100));
    let server =
        serve(SessionSettings::default(), |builder| builder.session_store(Arc::clone(&store)));
    let mut browser = Browser::default();
    let (mut client, _) = browser.connect(server.address, "/?login");
    let id: SessionId = ask(&mut client, "id").parse().expect("an id");
    drop(client);
    let life = Duration::from_secs(900);
    let load = || wait(store.load(id, life)).expect("it answers");
    let made_at = |created_unix_s| {
        let before = load().expect("it is there");
        let after = ringwire::SessionRecord { created_unix_s, ..before.clone() };
        wait(store.replace(id, before, after, life)).expect("it answers");
    };
    made_at(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    assert!(!browser.connect(server.address, "/").1);
    assert!(load().is_some_and(|record| record.created_unix_s.abs_diff(now) < 10));
    made_at(now - 86_400 + 100);
    assert!(!browser.connect(server.address, "/").1);
    made_at(now - 86_400 - 1);
    let (mut client, came) = browser.connect(server.address, "/");
    assert!(came && ask(&mut client, "get user") == "-");
    assert_eq!(load(), None);
    server.finish();
}

#[test]
fn an_open_websocket_keeps_its_session() {
    let server = serve(short(), |builder| builder);
    let mut browser = Browser::default();
    let (mut client, _) = browser.connect(server.address, "/?login");
    thread::sleep(Duration::from_secs(5));
    let (mut second, came) = browser.connect(server.address, "/");
    assert!(!came && ask(&mut second, "get user") == "ada");
    assert_eq!(ask(&mut client, "get user"), "ada");
    server.finish();
}
