//! How many: WebSockets of a session, sessions in memory, and what a flood does.

use ringwire::{MemoryStore, SessionSettings, SessionStore};
use std::sync::Arc;
use std::time::Duration;
use support::eventually;
use support::visitor::{Browser, ask, serve};

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

/// Whoever comes without a cookie, or with one that was made up, pushes out nobody, and there is
/// nothing that could run out.
#[test]
fn a_flood_of_handshakes_ends_no_open_websocket_and_costs_the_store_nothing() {
    let store = Arc::new(MemoryStore::new(20));
    // So that sessions are looked after four times a second.
    let lifetime = Duration::from_secs(1);
    let settings = SessionSettings { lifetime, ..SessionSettings::default() };
    let server = serve(settings, |builder| builder.session_store(Arc::clone(&store)));
    let mut users: Vec<Browser> = (0..10).map(|_| Browser::default()).collect();
    let mut clients: Vec<_> =
        users.iter_mut().map(|user| user.connect(server.address, "/").0).collect();
    let ids: Vec<String> = clients.iter_mut().map(|client| ask(client, "id")).collect();
    for number in 0..400 {
        let mut stranger = match number % 2 {
            0 => Browser::default(),
            _ => Browser::with_cookie(&format!("{number:A>32}")),
        };
        assert!(stranger.connect(server.address, "/").1);
    }
    assert_eq!(store.sessions(), 0, "nobody has written a value");
    // Longer than a session without activity lives, and than it takes to look after them.
    std::thread::sleep(2 * lifetime);
    for ((user, client), id) in users.iter_mut().zip(&mut clients).zip(&ids) {
        assert_eq!(&ask(client, "id"), id);
        let (mut second, came) = user.connect(server.address, "/");
        assert!(!came && &ask(&mut second, "id") == id, "the cookie is good while one is open");
        assert_eq!(ask(client, "set user ada"), "-");
        assert_eq!(ask(&mut second, "get user"), "ada");
    }
    assert_eq!(store.sessions(), 10);
    server.finish();
}

/// The store is full of sessions that carry something: who carries nothing does not notice.
#[test]
fn in_a_full_store_there_is_no_room_for_values_and_nothing_else_is_lost() {
    let settings = SessionSettings { sessions_max: 10, ..SessionSettings::default() };
    let server = serve(settings, |builder| builder);
    let mut users: Vec<Browser> = (0..10).map(|_| Browser::default()).collect();
    let mut clients: Vec<_> =
        users.iter_mut().map(|user| user.connect(server.address, "/?login").0).collect();
    // One that was emptied is somebody's as well, and not pushed out.
    assert_eq!(ask(&mut clients[3], "clear"), "ok");
    let mut stranger = Browser::default();
    let (mut client, came) = stranger.connect(server.address, "/");
    assert!(came);
    assert!(ask(&mut client, "set user eve").ends_with("raise sessions_max"));
    assert_eq!(ask(&mut client, "get user"), "-", "nothing has changed");
    assert_eq!(Browser::default().refused(server.address, "/?login").0, 500);
    // There is room again.
    clients[3].send(tungstenite::Message::text("revoke")).expect("it listens");
    assert_eq!(support::close_of(&mut clients.remove(3)).0, 1008);
    users.remove(3);
    assert_eq!(ask(&mut client, "set user eve"), "-");
    for user in users.iter_mut().chain([&mut stranger]) {
        let (mut client, came) = user.connect(server.address, "/");
        assert!(!came && ["ada", "eve"].contains(&ask(&mut client, "get user").as_str()));
    }
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
    for path in ["/?refuse", "/?login+refuse"] {
        for _ in 0..30 {
            assert_eq!(Browser::default().refused(server.address, path).0, 401);
        }
    }
    assert_eq!(user.refused(server.address, "/?refuse").0, 401);
    assert!(!user.connect(server.address, "/").1, "who has one keeps it");
    eventually("the refused ones are gone", || store.sessions() == 1);
    assert!(store.is_immediate());
    server.finish();
}
