//! The end of a session: revoked, expired, removed by somebody else; and that an open WebSocket
//! keeps it.

use crate::support::visitor::{Browser, ask, serve, wait};
use crate::support::{Client, close_of};
use ringwire::{MemoryStore, RevokeError, SessionSettings, SessionStore};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// What a revoked session's sockets may take to be closed, in another process as well.
const SOON: Duration = Duration::from_secs(2);

fn short() -> SessionSettings {
    SessionSettings { lifetime: Duration::from_secs(1), ..SessionSettings::default() }
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
    let (mut client, _) = browser.connect(server.address, "/");
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
    let id = ask(&mut clients[0], "id").parse().expect("an id");
    let removed = Instant::now();
    assert_eq!(wait(store.remove(id)), Ok(true));
    assert_eq!(ask(&mut clients[1], "get user"), "error: the session has ended");
    for client in &mut clients {
        assert_eq!(close_of(client), (1008, "the session has ended".into()));
    }
    assert!(removed.elapsed() < SOON);
    assert_eq!(ask(&mut other, "set still here"), "-");
    server.finish();
}

#[test]
fn a_session_expires_without_activity() {
    let server = serve(short(), |builder| builder);
    let mut browser = Browser::default();
    let (client, _) = browser.connect(server.address, "/?login");
    drop(client);
    thread::sleep(Duration::from_millis(400));
    // Coming back is activity.
    let (client, came) = browser.connect(server.address, "/");
    assert!(!came);
    drop(client);
    thread::sleep(Duration::from_millis(1_400));
    let (mut client, came) = browser.connect(server.address, "/");
    assert!(came && ask(&mut client, "get user") == "-");
    server.finish();
}

#[test]
fn an_open_websocket_keeps_its_session() {
    let server = serve(short(), |builder| builder);
    let mut browser = Browser::default();
    let (mut client, _) = browser.connect(server.address, "/?login");
    thread::sleep(Duration::from_millis(3_500));
    let (mut second, came) = browser.connect(server.address, "/");
    assert!(!came && ask(&mut second, "get user") == "ada");
    assert_eq!(ask(&mut client, "get user"), "ada");
    server.finish();
}
