//! How many: WebSockets of a session, sessions in memory, and what a flood does.

use crate::support::eventually;
use crate::support::visitor::{Browser, ask, serve};
use ringwire::{MemoryStore, SessionSettings, SessionStore};
use std::sync::Arc;

#[test]
fn a_session_has_so_many_websockets_and_those_that_left_do_not_count() {
    let settings = SessionSettings { session_sockets_max: 3, ..SessionSettings::default() };
    let server = serve(settings, |builder| builder);
    let mut browser = Browser::default();
    for _ in 0..3 {
        let mut clients = Vec::new();
        while clients.len() < 3 {
            // Those of the round before may still be leaving.
            eventually("there is room", || {
                clients.extend(browser.try_connect(server.address, "/").ok());
                !clients.is_empty()
            });
        }
        assert_eq!(browser.refused(server.address, "/"), (429, "5".into()));
        assert_eq!(ask(&mut clients[0].0, "get user"), "-");
        // Others are not concerned.
        Browser::default().connect(server.address, "/");
    }
    server.finish();
}

#[test]
fn a_flood_of_new_sessions_pushes_out_nobody_who_has_values() {
    let settings = SessionSettings { sessions_max: 20, ..SessionSettings::default() };
    let server = serve(settings, |builder| builder);
    let mut users: Vec<Browser> = (0..10).map(|_| Browser::default()).collect();
    for user in &mut users {
        let _ = user.connect(server.address, "/?login");
    }
    let mut strangers: Vec<Browser> = (0..50).map(|_| Browser::default()).collect();
    for stranger in &mut strangers {
        assert!(stranger.connect(server.address, "/").1);
    }
    for user in &mut users {
        let (mut client, came) = user.connect(server.address, "/");
        assert!(!came && ask(&mut client, "get user") == "ada");
    }
    // The newest of the others are there as well.
    assert!(!strangers[49].connect(server.address, "/").1);
    assert!(strangers[0].connect(server.address, "/").1);
    // When every session carries something there is no room for more.
    for stranger in &mut strangers[40..] {
        let _ = stranger.connect(server.address, "/?login");
    }
    assert_eq!(Browser::default().refused(server.address, "/"), (503, "5".into()));
    assert!(!users[0].connect(server.address, "/").1);
    server.finish();
}

/// A refused handshake sets no cookie, so its new session is of no use to anybody.
#[test]
fn a_refused_handshake_leaves_no_session() {
    let store = Arc::new(MemoryStore::new(10));
    let server =
        serve(SessionSettings::default(), |builder| builder.session_store(Arc::clone(&store)));
    let mut user = Browser::default();
    let _ = user.connect(server.address, "/?login");
    for _ in 0..30 {
        assert_eq!(Browser::default().refused(server.address, "/?refuse").0, 401);
    }
    assert_eq!(user.refused(server.address, "/?refuse").0, 401);
    assert!(!user.connect(server.address, "/").1, "who has one keeps it");
    eventually("the refused ones are gone", || store.sessions() == 1);
    assert!(store.is_immediate());
    server.finish();
}
