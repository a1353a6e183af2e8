//! The cookie: what it looks like, whose word counts, and how it is changed.

use ringwire::{MemoryStore, RevokeError, SameSite, SessionSettings};
use std::sync::Arc;
use std::time::Duration;
use support::visitor::{Browser, ask, serve, wait};
use support::{close_of, connect_with, eventually};

#[test]
fn a_handshake_makes_a_session_and_the_cookie_brings_it_back() {
    let server = serve(SessionSettings::default(), |builder| builder);
    let (mut client, answer) = connect_with(server.address, "/", &[]);
    let cookie = answer.headers()["set-cookie"].to_str().expect("ASCII").to_owned();
    let (pair, attributes) = cookie.split_once("; ").expect("attributes");
    assert_eq!(attributes, "Path=/; HttpOnly; Secure; SameSite=Lax");
    let mut browser = Browser { cookie: Some(pair.to_owned()) };
    assert_eq!(browser.value().len(), 32);
    let id = ask(&mut client, "id");
    assert!(id.len() == 32 && id != browser.value(), "the id does not give the cookie away");

    let (mut again, came) = browser.connect(server.address, "/");
    assert!(!came && ask(&mut again, "id") == id);
    let (mut other, came) = Browser::default().connect(server.address, "/");
    assert!(came && ask(&mut other, "id") != id);

    let (mut plain, came) = browser.connect(server.address, "/plain");
    assert!(!came);
    assert_eq!(ask(&mut plain, "id"), "no session, None");
    server.finish();
}

#[test]
fn the_settings_are_in_the_cookie_and_in_who_is_recognized() {
    let settings = SessionSettings {
        cookie_name: "who".into(),
        cookie_max_age: Some(Duration::from_secs(77)),
        http_only: false,
        secure: false,
        same_site: SameSite::Strict,
        ..SessionSettings::default()
    };
    let server = serve(settings, |builder| builder);
    let (mut first, answer) = connect_with(server.address, "/", &[]);
    let cookie = answer.headers()["set-cookie"].to_str().expect("ASCII").to_owned();
    let (pair, attributes) = cookie.split_once("; ").expect("attributes");
    assert!(pair.starts_with("who=") && pair.len() == 4 + 32, "{pair}");
    assert_eq!(attributes, "Path=/; Max-Age=77; SameSite=Strict");
    // Among others, and its age counts anew.
    let cookies = format!("a=b; {pair}; {pair}x");
    let (mut second, answer) = connect_with(server.address, "/", &[("cookie", &cookies)]);
    assert_eq!(answer.headers()["set-cookie"], cookie);
    assert_eq!(ask(&mut first, "id"), ask(&mut second, "id"));
    server.finish();
}

/// Fixation: what a client brings is a session only if the store knows it.
#[test]
fn an_unknown_cookie_is_never_adopted() {
    let server = serve(SessionSettings::default(), |builder| builder);
    let mut known = Browser::default();
    let (mut client, _) = known.connect(server.address, "/");
    let id = ask(&mut client, "id");
    let mut revoked = Browser::default();
    let (mut client, _) = revoked.connect(server.address, "/");
    ask_to_revoke(&mut client);

    let upper = known.value().to_ascii_uppercase();
    let cut = &known.value()[..31];
    for planted in
        ["AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", &id, revoked.value(), &upper, cut, "", "x", "*", "\""]
    {
        let mut browser = Browser::with_cookie(planted);
        let (mut client, came) = browser.connect(server.address, "/");
        assert!(came, "{planted:?} must be replaced");
        assert_ne!(browser.value(), planted);
        let own = ask(&mut client, "id");
        assert!(own != id && own != planted, "{planted:?}");
        // Nor does it become one later.
        let (mut client, came) = Browser::with_cookie(planted).connect(server.address, "/");
        assert!(came && ask(&mut client, "id") != own);
    }
    server.finish();
}

fn ask_to_revoke(client: &mut support::Client) {
    client.send(tungstenite::Message::text("revoke")).expect("it listens");
    assert_eq!(close_of(client), (1008, "the session was revoked".into()));
}

#[test]
fn a_login_rotates_and_the_old_cookie_is_worthless() {
    let server = serve(SessionSettings::default(), |builder| builder);
    let mut browser = Browser::default();
    let (mut before, _) = browser.connect(server.address, "/");
    let old_id = ask(&mut before, "id");
    assert_eq!(ask(&mut before, "set basket 7"), "-");
    let mut planted = browser.clone();

    let (mut after, came) = browser.connect(server.address, "/?login");
    assert!(came && browser.value() != planted.value());
    let id = ask(&mut after, "id");
    assert_ne!(id, old_id);
    assert_eq!([ask(&mut after, "get user"), ask(&mut after, "get basket")], ["ada", "7"]);
    // Whoever has the old cookie is out, and does not come in again.
    assert_eq!(close_of(&mut before), (1008, "the session has a new cookie".into()));
    let (mut stranger, came) = planted.connect(server.address, "/");
    assert!(came && ask(&mut stranger, "id") != id);
    assert_eq!(ask(&mut stranger, "get user"), "-");
    let (mut again, came) = browser.connect(server.address, "/");
    assert!(!came && ask(&mut again, "id") == id);
    assert_eq!(ask(&mut again, "get user"), "ada");

    // A session made by the login itself needs no rotation.
    let (mut new, came) = Browser::default().connect(server.address, "/?login");
    assert!(came && ask(&mut new, "get user") == "ada");
    server.finish();
}

#[test]
fn over_an_open_websocket_a_rotation_waits_for_the_next_handshake() {
    let server = serve(SessionSettings::default(), |builder| builder);
    let mut browser = Browser::default();
    let (mut first, _) = browser.connect(server.address, "/");
    let id = ask(&mut first, "id");
    assert_eq!(ask(&mut first, "set user ada"), "-");
    assert_eq!(ask(&mut first, "rotate"), "ok");
    assert_eq!(ask(&mut first, "id"), id);
    let old = browser.clone();
    let (mut second, came) = browser.connect(server.address, "/");
    assert!(came && ask(&mut second, "id") != id && ask(&mut second, "get user") == "ada");
    assert_eq!(close_of(&mut first), (1008, "the session has a new cookie".into()));
    assert!(old.clone().connect(server.address, "/").1, "the old cookie is worthless");
    // Once, and not again and again.
    assert!(!browser.connect(server.address, "/").1);
    server.finish();
}

/// Many tabs with one cookie that is to be rotated: one of them gets the new one, and none keeps
/// the session with the old one.
#[test]
fn of_many_rotations_at_once_one_wins() {
    let server = serve(SessionSettings::default(), |builder| builder);
    let mut browser = Browser::default();
    let (mut first, _) = browser.connect(server.address, "/");
    ask(&mut first, "set basket 7");
    let address = server.address;
    let tabs: Vec<_> = (0..8)
        .map(|_| {
            let mut tab = browser.clone();
            std::thread::spawn(move || {
                let (mut client, _) = tab.try_connect(address, "/?login").ok()?;
                client.send(tungstenite::Message::text("get basket")).ok()?;
                match client.read() {
                    Ok(tungstenite::Message::Text(basket)) if basket.as_str() == "7" => Some(tab),
                    _ => None,
                }
            })
        })
        .collect();
    let tabs: Vec<Option<Browser>> =
        tabs.into_iter().map(|tab| tab.join().expect("no panic")).collect();
    let mut holders = 0;
    for mut tab in tabs.into_iter().flatten() {
        let (mut client, came) = tab.connect(server.address, "/");
        holders += usize::from(!came && ask(&mut client, "get basket") == "7");
    }
    assert_eq!(holders, 1);
    assert!(browser.connect(server.address, "/").1, "the old cookie is worthless");
    server.finish();
}

#[test]
fn settings_that_browsers_would_not_follow_do_not_start() {
    let settings = SessionSettings { cookie_name: "a b".into(), ..SessionSettings::default() };
    let engine = ringwire::Engine::builder()
        .sessions(settings)
        .listen("127.0.0.1:0".parse().expect("an address"));
    let error = engine.start().err().expect("it does not start");
    assert_eq!(error.exit_code(), 78);
    assert!(error.to_string().starts_with("sessions: `a b` cannot name a cookie;"), "{error}");
}

/// What has no values is rotated and revoked as well, and its cookie is good for as long as one of
/// its WebSockets is open.
#[test]
fn a_session_without_values_is_a_session_while_it_has_a_websocket() {
    let store = Arc::new(MemoryStore::new(10));
    let server =
        serve(SessionSettings::default(), |builder| builder.session_store(Arc::clone(&store)));
    let mut browser = Browser::default();
    let (mut first, _) = browser.connect(server.address, "/");
    let id = ask(&mut first, "id");
    // At the next handshake, as it was asked for.
    assert_eq!(ask(&mut first, "rotate"), "ok");
    let mut old = browser.clone();
    let (mut second, came) = browser.connect(server.address, "/");
    let second_id = ask(&mut second, "id");
    assert!(came && second_id != id);
    assert_eq!(close_of(&mut first), (1008, "the session has a new cookie".into()));
    assert!(old.connect(server.address, "/").1, "the old cookie is worthless");
    // Once only.
    assert!(!browser.connect(server.address, "/").1);
    // At the handshake itself.
    let (mut third, came) = browser.connect(server.address, "/?login");
    assert!(came && ask(&mut third, "get user") == "ada");
    assert_eq!(close_of(&mut second), (1008, "the session has a new cookie".into()));
    assert_eq!(store.sessions(), 1);

    let mut empty = Browser::default();
    let mut clients: Vec<_> = (0..3).map(|_| empty.connect(server.address, "/").0).collect();
    let id = ask(&mut clients[0], "id");
    assert_eq!(wait(server.handle().revoke_session(&id)), Ok(3));
    for client in &mut clients {
        assert_eq!(close_of(client), (1008, "the session was revoked".into()));
    }
    assert_eq!(wait(server.handle().revoke_session(&id)), Err(RevokeError::Unknown));
    let revoked = empty.clone();
    let (client, came) = empty.connect(server.address, "/");
    assert!(came && revoked.value() != empty.value(), "a revoked cookie is never adopted");
    // Nobody has it open any more, and there was nothing to be lost.
    drop(client);
    eventually("it is forgotten", || {
        // The one before this look has left by then as well.
        std::thread::sleep(Duration::from_millis(200));
        empty.clone().connect(server.address, "/").1
    });
    assert_eq!(store.sessions(), 1);
    server.finish();
}
