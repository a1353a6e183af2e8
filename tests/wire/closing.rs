//! How conversations end, and that `on_post_server` hears of each end once.

use ringwire::{
    CloseCode, Closer, Closing, EngineBuilder, Error, Opening, ReadError, Refusal, WebSocket,
    WebSocketServer,
};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};
use support::raw::{CLOSE, FIN, Raw, TEXT, close_payload, frame, upgrade};
use support::{LONG, PATIENCE, Server, close_of, connect, quick, told};

/// Does what the query of its path says, and tells how it ended.
struct Ending {
    how: String,
    sender: Sender<Closing>,
}

impl WebSocketServer for Ending {
    async fn on_pre_server(&mut self, opening: &mut Opening) -> Result<(), Refusal> {
        self.how = opening.query().unwrap_or_default().to_owned();
        if self.how == "refuse" { Err(Refusal::new(403, "not you")) } else { Ok(()) }
    }

    async fn server(&mut self, ws: &mut WebSocket) -> Result<(), Error> {
        match self.how.as_str() {
            "end" => ws.end_server().await,
            "return" => Ok(()),
            "error" => Err(Error::new("broken")),
            "code" => ws.close(CloseCode(4001), "grüße").await,
            "then_error" => {
                ws.close(CloseCode::POLICY, "first").await?;
                Err(Error::new("second"))
            }
            _ => {
                while let Ok(data) = ws.read(100, LONG).await {
                    ws.write(data).await?;
                }
                Ok(())
            }
        }
    }

    async fn on_post_server(&mut self, closing: &Closing) {
        self.sender.send(closing.clone()).unwrap();
    }
}

fn endings(builder: EngineBuilder) -> (EngineBuilder, Receiver<Closing>) {
    let (sender, closings) = channel();
    let route = move || Ending { how: String::new(), sender: sender.clone() };
    (builder.route("/", route), closings)
}

fn start() -> (Server, Receiver<Closing>) {
    let mut closings = None;
    let mut settings = quick();
    settings.timeouts.close = Duration::from_millis(300);
    let server = Server::start(settings, |builder| {
        let (builder, receiver) = endings(builder);
        closings = Some(receiver);
        builder
    });
    (server, closings.expect("routed"))
}

/// Nothing more was told after the engine's end.
fn finish(server: Server, closings: Receiver<Closing>) {
    server.finish();
    assert_eq!(closings.iter().collect::<Vec<_>>(), []);
}

fn summary(closing: &Closing) -> (u16, &str, Closer) {
    (closing.code.0, &closing.reason, closing.closed_by)
}

#[test]
fn ended_by_the_peer() {
    let (server, closings) = start();
    for (code, reason) in [(1000, ""), (1001, "away"), (3999, "ä"), (4999, "x")] {
        let mut raw = Raw::open(server.address, "/");
        raw.send(&frame(FIN | CLOSE, &close_payload(code, reason.as_bytes())));
        let answer = raw.read_frame().expect("an answer");
        assert_eq!(answer.close_code(), Some(code));
        assert_eq!(raw.read_frame(), None);
        drop(raw);
        assert_eq!(summary(&told(&closings)), (code, reason, Closer::Peer));
    }
    let mut raw = Raw::open(server.address, "/");
    raw.send(&frame(FIN | CLOSE, b""));
    assert_eq!(raw.read_frame().expect("an answer").payload, b"");
    drop(raw);
    assert_eq!(summary(&told(&closings)), (1005, "", Closer::Peer));
    finish(server, closings);
}

#[test]
fn ended_by_the_server() {
    let (server, closings) = start();
    for (how, code, reason) in [
        ("end", 1000, ""),
        ("return", 1000, ""),
        ("error", 1011, ""),
        ("code", 4001, "grüße"),
        ("then_error", 1008, "first"),
    ] {
        let mut client = connect(server.address, &format!("/?{how}"));
        assert_eq!(close_of(&mut client), (code, reason.to_owned()));
        drop(client);
        assert_eq!(summary(&told(&closings)), (code, reason, Closer::Server), "{how}");
    }
    finish(server, closings);
}

#[test]
fn ended_by_the_network() {
    let (server, closings) = start();
    Raw::open(server.address, "/").reset();
    assert_eq!(summary(&told(&closings)), (1006, "", Closer::Network));
    // FIN without a Close frame, at a boundary and in the middle of a frame.
    drop(Raw::open(server.address, "/"));
    assert_eq!(summary(&told(&closings)), (1006, "", Closer::Network));
    let mut raw = Raw::open(server.address, "/");
    raw.send(&frame(FIN | TEXT, b"cut")[..7]);
    drop(raw);
    assert_eq!(summary(&told(&closings)), (1006, "", Closer::Network));
    finish(server, closings);
}

#[test]
fn ended_by_a_violation() {
    let (server, closings) = start();
    let unmasked = vec![FIN | TEXT, 1, b'x'];
    for (bytes, code) in [
        (unmasked, 1002),
        (frame(FIN | 3, b""), 1002),
        (frame(FIN | TEXT, b"\xff"), 1007),
        (frame(FIN | CLOSE, b"x"), 1002),
    ] {
        let mut raw = Raw::open(server.address, "/");
        raw.send(&bytes);
        assert_eq!(raw.close_code(), Some(code));
        drop(raw);
        let closing = told(&closings);
        assert_eq!((closing.code.0, closing.closed_by), (code, Closer::Server));
    }
    finish(server, closings);
}

#[test]
fn a_refused_request_has_no_end_to_hear_of() {
    let (server, closings) = start();
    let reply = support::raw::http(server.address, upgrade("/?refuse", "").as_bytes());
    assert_eq!(reply.status, 403);
    finish(server, closings);
}

#[test]
fn messages_before_the_close_frame_are_answered_before_it() {
    let (server, closings) = start();
    let mut raw = Raw::open(server.address, "/");
    let close = frame(FIN | CLOSE, &close_payload(1000, b"done"));
    raw.send(&[frame(FIN | TEXT, b"1"), frame(FIN | TEXT, b"2"), close].concat());
    let texts: Vec<_> = (0..2).map(|_| raw.read_frame().expect("a message").payload).collect();
    assert_eq!(texts, [b"1", b"2"]);
    assert_eq!(raw.close_code(), Some(1000));
    drop(raw);
    let closing = told(&closings);
    assert_eq!((closing.messages_in, closing.messages_out), (2, 2));
    assert!(closing.bytes_in > 150 && closing.bytes_out > 100, "{closing:?}");
    finish(server, closings);
}

#[test]
fn a_code_that_must_not_be_sent_is_an_error_and_the_socket_lives() {
    let server = Server::with(quick(), async |ws| {
        for code in [0, 999, 1004, 1005, 1006, 1015, 2999, 5000, u16::MAX] {
            assert!(ws.close(CloseCode(code), "").await.is_err(), "{code}");
        }
        ws.write("alive").await?;
        // Cut at a character: 123 bytes hold 61 of these.
        ws.close(CloseCode(3000), &"ä".repeat(100)).await
    });
    let mut client = connect(server.address, "/");
    assert_eq!(support::text(&mut client), "alive");
    assert_eq!(close_of(&mut client), (3000, "ä".repeat(61)));
    server.finish();
}

#[test]
fn end_server_waits_for_the_answer() {
    let (sender, waits) = channel();
    let mut settings = quick();
    settings.timeouts.drain = PATIENCE / 2;
    let server = Server::with(settings, async move |ws| {
        let started = Instant::now();
        ws.end_server().await?;
        sender.send(started.elapsed()).unwrap();
        // It is over, so there is nothing to wait for.
        ws.end_server().await
    });
    let mut raw = Raw::open(server.address, "/");
    assert_eq!(raw.read_frame().and_then(|frame| frame.close_code()), Some(1000));
    std::thread::sleep(Duration::from_millis(150));
    // What comes before the answer is not for anybody.
    raw.send(&frame(FIN | TEXT, b"too late"));
    assert!(waits.try_recv().is_err());
    raw.send(&frame(FIN | CLOSE, &close_payload(1000, b"")));
    assert!(told(&waits) >= Duration::from_millis(150));
    assert_eq!(raw.read_frame(), None);
    drop(raw);
    assert_eq!(server.finish().cut, 0);
}

#[test]
fn end_server_waits_no_longer_than_the_close_timeout() {
    let (sender, waits) = channel();
    let mut settings = quick();
    settings.timeouts.close = Duration::from_millis(200);
    let server = Server::with(settings, async move |ws| {
        let started = Instant::now();
        ws.end_server().await?;
        sender.send(started.elapsed()).unwrap();
        Ok(())
    });
    let mut raw = Raw::open(server.address, "/");
    assert_eq!(raw.close_code(), Some(1000));
    let waited = told(&waits);
    assert!((Duration::from_millis(190)..Duration::from_secs(3)).contains(&waited), "{waited:?}");
    server.finish();
}

#[test]
fn a_read_after_the_peers_close_tells_code_and_reason() {
    let (sender, errors) = channel();
    let server = Server::with(quick(), async move |ws| {
        sender.send(ws.read(10, LONG).await.err()).unwrap();
        Ok(())
    });
    let mut raw = Raw::open(server.address, "/");
    raw.send(&frame(FIN | CLOSE, &close_payload(4000, "bye".as_bytes())));
    let expected = told(&errors);
    let Some(ReadError::Closed { code, reason }) = expected else { panic!("{expected:?}") };
    assert_eq!((code, &*reason), (CloseCode(4000), "bye"));
    drop(raw);
    server.finish();
}
