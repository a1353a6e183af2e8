//! Peers that say nothing, or whom nobody listens to.

use ringwire::{Closer, Closing, Error, ReadError, Settings, WebSocket, WebSocketServer};
use std::io::Write;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};
use support::raw::{BINARY, FIN, PING, PONG, Raw, frame, is_timeout};
use support::visitor::wait;
use support::{LONG, Server, eventually, quick, told};

fn pinging() -> Settings {
    let mut settings = quick();
    settings.timeouts.ping_interval = Duration::from_millis(200);
    settings.timeouts.pong = Duration::from_millis(200);
    settings
}

#[test]
fn silence_is_met_with_a_ping_and_an_answer_keeps_the_connection() {
    let mut settings = pinging();
    // There is one Ping until it is answered, so the next says that the answer counts.
    settings.timeouts.pong = Duration::from_secs(5);
    let server = Server::with(settings, support::echo);
    let mut raw = Raw::open(server.address, "/");
    for _ in 0..4 {
        let ping = raw.read_frame().expect("a Ping");
        assert_eq!(ping.first, FIN | PING);
        raw.send(&frame(FIN | PONG, &ping.payload));
    }
    // Anything that arrives will do, half a frame as well.
    let half = frame(FIN | BINARY, &[0; 100]);
    for byte in half.chunks(10) {
        assert_eq!(raw.read_frame().map(|frame| frame.first), Some(FIN | PING));
        raw.send(byte);
    }
    drop(raw);
    server.finish();
}

/// Tells how it ended.
struct Told(Sender<Closing>);

impl WebSocketServer for Told {
    async fn server(&mut self, ws: &mut WebSocket) -> Result<(), Error> {
        let error = ws.read(10, LONG).await.err();
        assert!(matches!(error, Some(ReadError::Closed { code, .. }) if code.0 == 1006));
        Ok(())
    }

    async fn on_post_server(&mut self, closing: &Closing) {
        self.0.send(closing.clone()).unwrap();
    }
}

#[test]
fn a_ping_that_nothing_answers_is_the_end() {
    let (sender, closings) = channel();
    let server =
        Server::start(pinging(), |builder| builder.route("/", move || Told(sender.clone())));
    let started = Instant::now();
    let mut raw = Raw::open(server.address, "/");
    assert_eq!(raw.read_frame().map(|frame| frame.first), Some(FIN | PING));
    assert_eq!(raw.read_frame(), None);
    let took = started.elapsed();
    assert!((Duration::from_millis(390)..Duration::from_secs(4)).contains(&took), "{took:?}");
    let closing = told(&closings);
    assert_eq!((closing.code.0, closing.closed_by), (1006, Closer::Network));
    server.finish();
}

/// Sends until the server takes no more; how many bytes that were.
fn send_until_it_blocks(raw: &mut Raw) -> usize {
    raw.stream.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    let message = frame(FIN | BINARY, &[7; 1_000]);
    let mut sent = 0;
    loop {
        match raw.stream.write(&message[sent % message.len()..]) {
            Ok(count) => sent += count,
            Err(error) => {
                assert!(is_timeout(&error), "{error}");
                return sent;
            }
        }
        assert!(sent < 64 << 20, "the server reads on although nobody takes it");
    }
}

#[test]
fn a_full_inbox_stops_reading_and_the_pong_timeout_does_not_judge_it() {
    let (go_on, go) = tokio::sync::watch::channel(None);
    let (sender, read) = channel();
    let mut settings = pinging();
    settings.timeouts.pong = Duration::from_secs(1);
    let server = Server::with(settings, async move |ws| {
        let mut go = go.clone();
        let whole = go.wait_for(Option::is_some).await.map_err(Error::new)?.unwrap_or_default();
        for _ in 0..whole {
            let data = ws.read(1_000, LONG).await?;
            assert_eq!((data.len(), ws.at_end()), (1_000, true));
        }
        sender.send(()).unwrap();
        let data = ws.read(1_000, LONG).await?;
        ws.write(data).await?;
        let _ = ws.read(1_000, LONG).await;
        Ok(())
    });
    let mut raw = Raw::open(server.address, "/");
    let sent = send_until_it_blocks(&mut raw);
    // Twice the ping interval and the patience for the answer, and more.
    thread::sleep(Duration::from_secs(3));
    assert!(raw.stream.peer_addr().is_ok());
    go_on.send(Some(sent / 1_008)).unwrap();
    told(&read);
    let message = frame(FIN | BINARY, &[7; 1_000]);
    raw.send(if sent.is_multiple_of(1_008) { &message } else { &message[sent % 1_008..] });
    let answer = std::iter::from_fn(|| raw.read_frame()).find(|frame| frame.opcode() == BINARY);
    assert_eq!(answer.expect("an answer").payload, [7; 1_000]);
    drop(raw);
    server.finish();
}

#[test]
fn the_reset_of_a_peer_is_noticed_while_nobody_reads() {
    let (sender, closings) = channel();
    struct Deaf(Sender<(Duration, Closing)>, Instant);
    impl WebSocketServer for Deaf {
        async fn server(&mut self, ws: &mut WebSocket) -> Result<(), Error> {
            let _ = ws;
            self.1 = Instant::now();
            // Until the socket is full, and then until it is gone: there is no read that could
            // notice, so this ends without.
            tokio::time::sleep(Duration::from_millis(100)).await;
            Ok(())
        }

        async fn on_post_server(&mut self, closing: &Closing) {
            self.0.send((self.1.elapsed(), closing.clone())).unwrap();
        }
    }
    let mut settings = quick();
    settings.timeouts.close = LONG;
    let server = Server::start(settings, |builder| {
        builder.route("/", move || Deaf(sender.clone(), Instant::now())).route(
            "/deaf",
            support::on(async |_: &mut WebSocket| {
                std::future::pending::<()>().await;
                Ok(())
            }),
        )
    });
    let mut raw = Raw::open(server.address, "/");
    raw.try_send(&frame(FIN | BINARY, &[0; 1_000]).repeat(100));
    raw.reset();
    told(&closings);
    // And with a handler that never looks again: the slot is given back all the same.
    let mut raw = Raw::open(server.address, "/deaf");
    send_until_it_blocks(&mut raw);
    raw.reset();
    let handle = server.handle();
    eventually("it is gone", || wait(handle.status()).connections == 0);
    let totals = server.finish();
    assert_eq!((totals.accepted, totals.cut), (2, 0), "{totals:?}");
}

#[test]
fn a_peer_that_dribbles_its_request_has_the_time_of_a_head() {
    let mut settings = quick();
    settings.timeouts.request_head = Duration::from_millis(300);
    let server = Server::with(settings, support::echo);
    let started = Instant::now();
    let mut raw = Raw::connect(server.address);
    let mut open = true;
    eventually("the server has enough of it", || {
        thread::sleep(Duration::from_millis(20));
        open = open && raw.try_send(b"G") && started.elapsed() < Duration::from_millis(800);
        !open
    });
    let mut silent = Raw::connect(server.address);
    assert_eq!(silent.reply().status, 408);
    assert!(started.elapsed() < Duration::from_secs(5));
    drop((raw, silent));
    server.finish();
}
