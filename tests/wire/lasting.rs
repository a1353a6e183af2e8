//! Ends that wait: what was said before the end is heard, and what was written before it is
//! delivered, while the peer takes it.

use ringwire::{CloseCode, Closing, Error, ReadError, Settings, WebSocket, WebSocketServer};
use rustix::net::sockopt;
use std::io::Read;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;
use support::raw::{BINARY, CLOSE, FIN, Raw, TEXT, close_payload, frame, upgrade};
use support::visitor::wait;
use support::{LONG, Server, eventually, on, quick, told};

/// The loop of the README, counting what it has read; each message takes it a moment.
struct Obvious {
    read: Arc<AtomicU32>,
    pause: Duration,
}

impl WebSocketServer for Obvious {
    async fn server(&mut self, ws: &mut WebSocket) -> Result<(), Error> {
        loop {
            let data = match ws.read(100_000, LONG).await {
                Ok(data) => data,
                Err(ReadError::Closed { .. }) => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            self.read.fetch_add(1, Ordering::SeqCst);
            if !self.pause.is_zero() {
                tokio::time::sleep(self.pause).await;
            }
            ws.write(data).await?;
        }
    }
}

fn obvious(settings: Settings, pause: Duration) -> (Server, Arc<AtomicU32>) {
    let read = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&read);
    let server = Server::start(settings, |builder| {
        builder.route("/", move || Obvious { read: Arc::clone(&counted), pause })
    });
    (server, read)
}

fn crowd_of_messages(count: usize) -> Vec<u8> {
    frame(FIN | TEXT, &[b'm'; 500]).repeat(count)
}

#[test]
fn everything_before_a_close_is_read_and_answered() {
    let (server, read) = obvious(quick(), Duration::ZERO);
    let mut raw = Raw::open(server.address, "/");
    let close = frame(FIN | CLOSE, &close_payload(1000, b""));
    raw.send(&[crowd_of_messages(900), close].concat());
    let mut echoes = 0;
    let code = loop {
        let frame = raw.read_frame().expect("a Close frame at the end");
        if let Some(code) = frame.close_code() {
            break code;
        }
        echoes += 1;
    };
    assert_eq!((echoes, code, read.load(Ordering::SeqCst)), (900, 1000, 900));
    server.finish();
}

#[test]
fn everything_before_a_fin_is_read_and_answered() {
    let (server, read) = obvious(quick(), Duration::ZERO);
    let mut raw = Raw::open(server.address, "/");
    raw.send(&crowd_of_messages(900));
    raw.say_fin();
    let echoes = std::iter::from_fn(|| raw.read_frame()).count();
    assert_eq!((echoes, read.load(Ordering::SeqCst)), (900, 900));
    server.finish();
}

#[test]
fn a_request_a_message_and_fin_at_once_get_their_answer() {
    let (server, _) = obvious(quick(), Duration::from_millis(20));
    for end in [b"".to_vec(), frame(FIN | CLOSE, b"")] {
        for _ in 0..50 {
            let mut raw = Raw::connect(server.address);
            let message = frame(FIN | TEXT, b"all at once");
            raw.send(&[upgrade("/", "").into_bytes(), message, end.clone()].concat());
            raw.say_fin();
            raw.expect_101();
            assert_eq!(raw.read_frame().expect("an answer").payload, b"all at once");
            let closed = raw.read_frame().map(|frame| frame.close_code());
            assert_eq!(closed, (!end.is_empty()).then_some(Some(1005)));
        }
    }
    server.finish();
}

#[test]
fn who_reads_slowly_loses_nothing_of_what_came_before_the_end() {
    let mut settings = quick();
    // Every message takes longer than the time in which something has to happen.
    settings.timeouts.close = Duration::from_millis(30);
    let (server, read) = obvious(settings, Duration::from_millis(60));
    let mut raw = Raw::open(server.address, "/");
    raw.send(&[crowd_of_messages(20), frame(FIN | CLOSE, b"")].concat());
    raw.read_rest();
    eventually("all is read", || read.load(Ordering::SeqCst) == 20);
    server.finish();
}

#[test]
fn who_never_reads_does_not_hold_a_close_up() {
    let mut settings = quick();
    settings.timeouts.close = LONG;
    let server = Server::with(settings, async |ws: &mut WebSocket| {
        loop {
            tokio::time::sleep(LONG).await;
            ws.write("tick").await?;
        }
    });
    let mut raw = Raw::open(server.address, "/");
    raw.send(&frame(FIN | CLOSE, &close_payload(1001, b"")));
    assert_eq!(raw.close_code(), Some(1001));
    drop(raw);
    eventually("it is gone", || wait(server.handle().status()).connections == 0);
    drop(server);
}

/// Writes so much, and ends the conversation.
struct Much {
    bytes: usize,
    sender: Sender<Closing>,
}

impl WebSocketServer for Much {
    async fn server(&mut self, ws: &mut WebSocket) -> Result<(), Error> {
        ws.write(vec![7; self.bytes]).await?;
        ws.close(CloseCode::NORMAL, "all").await
    }

    async fn on_post_server(&mut self, closing: &Closing) {
        self.sender.send(closing.clone()).unwrap();
    }
}

/// Reads so many bytes every so often, until the end of the stream or `most` bytes.
fn read_slowly(stream: &mut TcpStream, step: usize, pause: Duration, most: usize) -> Vec<u8> {
    let mut all = Vec::new();
    let mut part = vec![0; step];
    while all.len() < most {
        match stream.read(&mut part) {
            Ok(0) | Err(_) => break,
            Ok(count) => all.extend_from_slice(&part[..count]),
        }
        thread::sleep(pause);
    }
    all
}

/// A connection whose own kernel takes little ahead of it.
fn narrow(address: std::net::SocketAddr) -> Raw {
    let mut raw = Raw::connect(address);
    sockopt::set_socket_recv_buffer_size(&raw.stream, 16 * 1024).expect("a TCP socket");
    raw.send(upgrade("/", "").as_bytes());
    raw.expect_101();
    raw
}

#[test]
fn a_slow_peer_gets_everything_that_was_written_before_the_end() {
    const BYTES: usize = 3 << 20;
    let (sender, closings) = channel();
    let mut settings = quick();
    settings.timeouts.close = Duration::from_millis(200);
    settings.limits.socket_send_buffer_bytes = 64 * 1024;
    let server = Server::start(settings, |builder| {
        builder.route("/", move || Much { bytes: BYTES, sender: sender.clone() })
    });
    let mut raw = narrow(server.address);
    // Several times the close timeout in all.
    let all = read_slowly(&mut raw.stream, 64 * 1024, Duration::from_millis(25), usize::MAX);
    let close = [&[FIN | CLOSE, 5][..], &close_payload(1000, b"all")].concat();
    assert!(all.ends_with(&close), "{} bytes without a Close at the end", all.len());
    // Less what came together with the answer to the handshake.
    assert!(all.len() > BYTES - 64 * 1024);
    drop(raw);
    let closing = told(&closings);
    assert_eq!((closing.code.0, closing.unsent_bytes), (1000, 0));
    assert_eq!(server.finish().truncated, 0);
}

#[test]
fn who_takes_nothing_is_cut_and_that_is_told() {
    const BYTES: usize = 8 << 20;
    let (sender, closings) = channel();
    let mut settings = quick();
    settings.timeouts.close = Duration::from_millis(200);
    settings.limits.socket_send_buffer_bytes = 64 * 1024;
    let server = Server::start(settings, |builder| {
        builder.route("/", move || Much { bytes: BYTES, sender: sender.clone() })
    });
    let raw = narrow(server.address);
    let closing = told(&closings);
    assert_eq!(closing.code.0, 1000);
    assert!(closing.unsent_bytes > BYTES as u64 / 2, "{closing:?}");
    drop(raw);
    assert_eq!(server.finish().truncated, 1);
}

#[test]
fn an_end_lasts_no_longer_than_its_limit_however_slowly_the_peer_takes() {
    let (sender, closings) = channel();
    let mut settings = quick();
    settings.timeouts.close = Duration::from_millis(300);
    settings.timeouts.close_max = Duration::from_millis(900);
    settings.limits.socket_send_buffer_bytes = 64 * 1024;
    let server = Server::start(settings, |builder| {
        builder.route("/", move || Much { bytes: 16 << 20, sender: sender.clone() })
    });
    let mut raw = narrow(server.address);
    let reader = thread::spawn(move || {
        read_slowly(&mut raw.stream, 16 * 1024, Duration::from_millis(50), 16 << 20).len()
    });
    assert!(told(&closings).unsent_bytes > 0);
    assert!(reader.join().expect("it reads") < 16 << 20);
    server.finish();
}

#[test]
fn a_drain_that_cuts_a_slow_reader_says_so() {
    let (sender, closings) = channel();
    let mut settings = quick();
    settings.timeouts.drain = Duration::from_millis(600);
    settings.timeouts.close = Duration::from_millis(100);
    settings.limits.socket_send_buffer_bytes = 64 * 1024;
    let server = Server::start(settings, |builder| {
        builder.route("/", move || Much { bytes: 8 << 20, sender: sender.clone() })
    });
    let raw = narrow(server.address);
    let totals = server.finish();
    assert_eq!((totals.cut, totals.truncated), (1, 1));
    drop((raw, closings));
}

/// Echoes whole messages.
async fn echo_all(ws: &mut WebSocket) -> Result<(), Error> {
    while let Ok(data) = ws.read(usize::MAX, LONG).await {
        ws.write(data).await?;
    }
    Ok(())
}

#[test]
fn taking_what_is_sent_is_life() {
    let mut settings = quick();
    settings.timeouts.ping_interval = Duration::from_millis(300);
    settings.timeouts.pong = Duration::from_millis(300);
    settings.limits.socket_send_buffer_bytes = 64 * 1024;
    let server = Server::with(settings, echo_all);
    let mut raw = narrow(server.address);
    const BYTES: usize = 4 << 20;
    raw.send(&frame(FIN | BINARY, &vec![3; BYTES]));
    // It reads all the time and says nothing, for longer than silence may last.
    let all = read_slowly(&mut raw.stream, 64 * 1024, Duration::from_millis(40), BYTES);
    assert!(all.len() >= BYTES, "cut after {} bytes", all.len());
    drop(raw);
    server.finish();
}

/// Reads nothing until it is told to.
async fn deaf(ws: &mut WebSocket) -> Result<(), Error> {
    // Its socket is held all the while.
    tokio::time::timeout(LONG, std::future::pending::<()>()).await.unwrap_or_default();
    ws.end_server().await
}

#[test]
fn who_has_gone_behind_a_full_inbox_is_found() {
    let mut settings = quick();
    settings.timeouts.ping_interval = Duration::from_millis(200);
    settings.timeouts.pong = Duration::from_millis(200);
    settings.timeouts.close = Duration::from_millis(200);
    let server = Server::start(settings, |builder| builder.route("/", on(deaf)));
    let handle = server.handle();
    let connections = || wait(handle.status()).connections;
    let messages = frame(FIN | BINARY, &[9; 1_000]).repeat(200);
    let mut finished = Raw::open(server.address, "/");
    finished.send(&messages);
    let mut there = Raw::open(server.address, "/");
    there.send(&messages);
    eventually("both are there", || connections() == 2);
    // One closes its end and is gone; the other is only not read, and answers no Ping that it
    // could not answer.
    drop(finished);
    eventually("the one that has gone is found", || connections() == 1);
    thread::sleep(Duration::from_millis(1_200));
    assert_eq!(connections(), 1, "who is not read cannot answer");
    drop(there);
    eventually("both are gone", || connections() == 0);
    drop(server);
}

#[test]
fn a_message_that_does_not_end_is_the_end() {
    let mut settings = quick();
    settings.timeouts.message = Duration::from_millis(400);
    let server = Server::with(settings, echo_all);
    let mut slow = Raw::open(server.address, "/");
    let endless = frame(FIN | BINARY, &[5; 100_000]);
    let mut quick = Raw::open(server.address, "/");
    let writer = thread::spawn(move || {
        for byte in endless.chunks(1).take(200) {
            if !slow.try_send(byte) {
                break;
            }
            thread::sleep(Duration::from_millis(20));
        }
        slow.close_code()
    });
    // Beside it, messages in parts that end in time.
    let message = frame(FIN | TEXT, b"in parts");
    for _ in 0..20 {
        for part in message.chunks(5) {
            quick.send(part);
            thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(quick.read_frame().expect("an echo").payload, b"in parts");
    }
    assert_eq!(writer.join().expect("it writes"), Some(1008));
    drop(quick);
    server.finish();
}
