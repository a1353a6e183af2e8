//! Sessions and shared mode: the id is known everywhere, the values are in nobody's hands, and a
//! revocation reaches sockets that nobody attends to.

use ringwire::{
    Error, Opening, Refusal, RouteOptions, SessionSettings, SocketQuery, WebSocket, WebSocketServer,
};
use std::time::{Duration, Instant};
use support::visitor::{Browser, serve, wait};
use support::{close_of, eventually, text};
use tungstenite::Message;

/// Says which session it is in, and leaves the socket open.
#[derive(Default)]
struct Leaver;

impl WebSocketServer for Leaver {
    async fn on_pre_server(&mut self, opening: &mut Opening) -> Result<(), Refusal> {
        opening.set_shared_connection(true);
        let session = opening.session().ok_or_else(|| Refusal::new(500, "no session"))?;
        let set = session.with(|values| values.set("shared", "yes")).await;
        set.map(|_| ()).map_err(|error| Refusal::new(500, error.to_string()))
    }

    async fn server(&mut self, ws: &mut WebSocket) -> Result<(), Error> {
        let session = ws.session().is_some();
        let id = ws.session_id().unwrap_or_default();
        Ok(ws.write(format!("{session} {id} {}", ws.websocket_id())).await?)
    }
}

#[test]
fn a_shared_socket_knows_its_session_and_ends_with_it() {
    let options = RouteOptions { session: true, ..RouteOptions::default() };
    let server = serve(SessionSettings::default(), |builder| {
        builder.route_with("/shared", options, Leaver::default)
    });
    let handle = server.handle();
    let mut browser = Browser::default();
    let (mut client, _) = browser.connect(server.address, "/shared");
    let (mut held, came) = browser.connect(server.address, "/shared");
    assert!(!came);
    let said = text(&mut client);
    let [session, id, socket] = said.split(' ').collect::<Vec<_>>()[..] else { panic!("{said}") };
    assert_eq!(session, "false");
    let held_said = text(&mut held);
    let held_socket = held_said.split(' ').nth(2).expect("three words");

    let mut opened = wait(handle.open_server(held_socket)).expect("it is shared");
    assert_eq!(opened.session_id(), Some(id));
    assert_eq!(wait(handle.socket(socket)).expect("it is open").session_id.as_deref(), Some(id));
    let listed = wait(handle.sockets(&SocketQuery { limit: 10, ..SocketQuery::default() }));
    assert!(listed.sockets.iter().all(|info| info.session_id.as_deref() == Some(id)));
    assert_eq!(listed.sockets.len(), 2);
    held.send(Message::text("still here")).expect("it listens");
    let read = wait(opened.read(100, Duration::from_secs(20))).expect("a message");
    assert_eq!(read, "still here");

    let revoked = Instant::now();
    assert_eq!(wait(handle.revoke_session(id)), Ok(2));
    for client in [&mut client, &mut held] {
        assert_eq!(close_of(client), (1008, "the session was revoked".into()));
    }
    assert!(revoked.elapsed() < Duration::from_secs(2));
    assert!(wait(opened.read(100, Duration::from_secs(20))).is_err());
    drop(opened);
    eventually("they are gone", || wait(handle.socket(socket)).is_err());
    server.finish();
}

/// A session that has nothing but sockets to which nobody attends, and no values, is a session all the
/// same: nothing pushes it out, it does not time out, and it can be ended.
#[test]
fn a_session_of_unattended_sockets_alone_lives_and_ends_with_them() {
    #[derive(Default)]
    struct Silent;
    impl WebSocketServer for Silent {
        async fn on_pre_server(&mut self, opening: &mut Opening) -> Result<(), Refusal> {
            opening.set_shared_connection(true);
            Ok(())
        }
        async fn server(&mut self, ws: &mut WebSocket) -> Result<(), Error> {
            Ok(ws.write(ws.session_id().unwrap_or_default().to_owned()).await?)
        }
    }
    let options = RouteOptions { session: true, ..RouteOptions::default() };
    let lifetime = Duration::from_secs(1);
    let settings = SessionSettings { lifetime, sessions_max: 5, ..SessionSettings::default() };
    let server = serve(settings, |builder| builder.route_with("/silent", options, Silent::default));
    let mut browser = Browser::default();
    let (mut client, _) = browser.connect(server.address, "/silent");
    let id = text(&mut client);
    for _ in 0..50 {
        Browser::default().connect(server.address, "/");
    }
    std::thread::sleep(2 * lifetime);
    let (mut second, came) = browser.connect(server.address, "/silent");
    assert!(!came && text(&mut second) == id);
    assert_eq!(wait(server.handle().revoke_session(&id)), Ok(2));
    for client in [&mut client, &mut second] {
        assert_eq!(close_of(client), (1008, "the session was revoked".into()));
    }
    server.finish();
}

/// A WebSocket of a session is listed with it in dedicated mode as well.
#[test]
fn lists_name_the_session_of_dedicated_sockets() {
    let server = serve(SessionSettings::default(), |builder| builder);
    let mut browser = Browser::default();
    let (mut client, _) = browser.connect(server.address, "/");
    let (_plain, _) = browser.connect(server.address, "/plain");
    let id = support::visitor::ask(&mut client, "id");
    let text = Some(id.clone());
    let query = SocketQuery { limit: 10, text, ..SocketQuery::default() };
    let found = wait(server.handle().sockets(&query));
    let sessions: Vec<_> = found.sockets.into_iter().map(|info| info.session_id).collect();
    assert_eq!(sessions, [Some(id)]);
    server.finish();
}
