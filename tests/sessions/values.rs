//! The values: shared by all WebSockets of a session, changed by one at a time, bounded.

use ringwire::SessionSettings;
use std::thread;
use support::visitor::{Browser, ask, serve};
use support::{close_of, connect_with};
use tungstenite::Message;

#[test]
fn all_websockets_of_a_session_see_the_same_values() {
    let server = serve(SessionSettings::default(), |builder| builder);
    let mut browser = Browser::default();
    // Enough that both shards have some.
    let mut clients: Vec<_> = (0..8).map(|_| browser.connect(server.address, "/").0).collect();
    assert_eq!(ask(&mut clients[0], "set user ada"), "-");
    for client in &mut clients {
        assert_eq!(ask(client, "get user"), "ada");
    }
    assert_eq!(ask(&mut clients[7], "set user grace"), "ada");
    assert_eq!(ask(&mut clients[0], "get user"), "grace");
    assert_eq!(ask(&mut clients[1], "clear"), "ok");
    assert_eq!(ask(&mut clients[0], "get user"), "-");
    let (mut other, _) = Browser::default().connect(server.address, "/");
    assert_eq!(ask(&mut other, "get user"), "-");
    // They outlive every WebSocket.
    assert_eq!(ask(&mut clients[2], "set user ada"), "-");
    drop(clients);
    let (mut later, came) = browser.connect(server.address, "/");
    assert!(!came && ask(&mut later, "get user") == "ada");
    server.finish();
}

#[test]
fn changes_from_all_shards_at_once_are_all_made() {
    let server = serve(SessionSettings::default(), |builder| builder);
    let mut browser = Browser::default();
    let mut clients: Vec<_> = (0..8).map(|_| browser.connect(server.address, "/").0).collect();
    for client in &mut clients {
        client.send(Message::text("add 500")).expect("it listens");
    }
    for client in &mut clients {
        assert_eq!(support::text(client), "ok");
    }
    assert_eq!(ask(&mut clients[0], "get count"), "4000");
    server.finish();
}

#[test]
fn what_is_too_large_or_reserved_changes_nothing() {
    let settings = SessionSettings { session_bytes_max: 1_000, ..SessionSettings::default() };
    let server = serve(settings, |builder| builder);
    let (mut client, _) = Browser::default().connect(server.address, "/");
    let too_large = "error: the values are more than a session may hold";
    assert_eq!(ask(&mut client, "set a b"), "-");
    // "long" and "ab" count as well.
    assert_eq!(ask(&mut client, "long 994"), "ok");
    assert_eq!(ask(&mut client, "long 995"), too_large);
    assert_eq!(ask(&mut client, "get long").len(), 994);
    assert_eq!(ask(&mut client, "many 65"), too_large);
    assert_eq!(ask(&mut client, "get a"), "b");
    assert_eq!(ask(&mut client, "many 64"), "ok");
    assert_eq!(ask(&mut client, "get a"), "-");
    let reserved = "error: keys of values must not begin with `ringwire.`";
    assert_eq!(ask(&mut client, "set ringwire.rotate 1"), reserved);
    assert_eq!(ask(&mut client, "get ringwire.rotate"), "-");
    server.finish();
}

#[test]
fn a_closure_that_panics_changes_nothing_and_locks_nobody_out() {
    let server = serve(SessionSettings::default(), |builder| builder);
    let mut browser = Browser::default();
    let (mut doomed, _) = browser.connect(server.address, "/?login");
    let (mut other, _) = browser.connect(server.address, "/");
    doomed.send(Message::text("panic")).expect("it listens");
    assert_eq!(close_of(&mut doomed).0, 1011);
    assert_eq!(ask(&mut other, "get user"), "ada");
    assert_eq!(ask(&mut other, "set user grace"), "ada");
    assert_eq!(server.finish().panics, 1);
}

/// Handshakes of one session on both shards while its values change.
#[test]
fn a_session_takes_handshakes_and_changes_at_once() {
    let server = serve(SessionSettings::default(), |builder| builder);
    let mut browser = Browser::default();
    let (mut first, _) = browser.connect(server.address, "/");
    let address = server.address;
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let cookie = browser.cookie.clone().expect("it has one");
            thread::spawn(move || {
                for _ in 0..25 {
                    let (mut client, answer) = connect_with(address, "/", &[("cookie", &cookie)]);
                    assert!(answer.headers().get("set-cookie").is_none());
                    assert_eq!(ask(&mut client, "add 4"), "ok");
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
    assert_eq!(ask(&mut first, "get count"), "400");
    server.finish();
}
