//! What connections hold beyond their limits, and that nobody takes it from the others.

use ringwire::{Error, ReadError, Settings, WebSocket};
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread::JoinHandle;
use support::raw::{BINARY, FIN, PING, PONG, Raw, TEXT, frame, header};
use support::{LONG, Server, close_of, connect, connect_from, echo, eventually, on, quick, told};
use tokio::sync::Semaphore;
use tungstenite::Message;

fn growing(bytes: usize) -> Settings {
    let mut settings = quick();
    settings.limits.inbox_growth_bytes_max = bytes;
    // So that what is not read stays with us and not with the kernel.
    settings.limits.socket_send_buffer_bytes = 16 * 1024;
    settings
}

/// A message and a burst, as everybody sends them.
fn is_served(server: &Server) {
    is_served_at("127.0.0.1", server);
}

fn is_served_at(ip: &str, server: &Server) {
    let mut client = connect_from(ip, server.address, "/");
    let long = vec![5; 200_000];
    client.send(Message::binary(long.clone())).unwrap();
    assert_eq!(client.read().unwrap(), Message::binary(long));
    let sender = client.get_ref().try_clone().unwrap();
    let burst = frame(FIN | BINARY, &[6; 1_000]).repeat(200);
    let sending = std::thread::spawn(move || std::io::Write::write_all(&mut &sender, &burst));
    for _ in 0..200 {
        assert_eq!(client.read().unwrap().len(), 1_000);
    }
    sending.join().unwrap().unwrap();
}

/// Peers that send more than there is room for, and read nothing.
struct Greedy(Vec<(Raw, JoinHandle<()>)>);

impl Greedy {
    fn start(count: usize, server: &Server) -> Self {
        let message = frame(FIN | BINARY, &vec![1; 2 << 20]);
        let start = |_| {
            let raw = Raw::open(server.address, "/");
            let mut sender = raw.stream.try_clone().unwrap();
            let message = message.clone();
            // Blocks once the server takes no more.
            let sending = std::thread::spawn(move || {
                let _ = std::io::Write::write_all(&mut sender, &message.repeat(3));
            });
            (raw, sending)
        };
        Self((0..count).map(start).collect())
    }

    fn end(self) {
        for (raw, _) in &self.0 {
            raw.stream.shutdown(Shutdown::Both).unwrap();
        }
        for (_, sending) in self.0 {
            sending.join().unwrap();
        }
    }
}

/// Whether the kernel tells who a peer is.
fn knows_peers(server: &Server) -> bool {
    let mut client = connect(server.address, "/");
    // It is told with the first batch, and this is a later one.
    client.send(Message::text("who am I")).unwrap();
    client.read().unwrap();
    let query = ringwire::SocketQuery::default();
    let page = support::visitor::wait(server.handle().sockets(&query));
    drop(client);
    page.sockets.first().is_some_and(|socket| socket.peer.is_some())
}

#[test]
fn peers_that_read_nothing_leave_room_for_the_others() {
    const GROWTH: usize = 16 << 20;
    let server = Server::with(growing(GROWTH), echo);
    let greedy = Greedy::start(12, &server);
    for _ in 0..5 {
        is_served(&server);
    }
    greedy.end();
    is_served(&server);
    server.finish();
}

/// An engine, and 40 connections from 127.0.0.2 that have sent 200,000 bytes each to a handler that keeps
/// what it has read. All of them together may grow by that much, and by less than one more needs.
struct Kept {
    server: Server,
    crowd: Vec<Raw>,
    read: Arc<AtomicUsize>,
    goes_on: Arc<Semaphore>,
}

impl Kept {
    const CONNECTIONS: usize = 40;
    const MESSAGE: usize = 200_000;

    fn start(trusted: &[&str]) -> Self {
        let mut settings = growing(Self::CONNECTIONS * Self::MESSAGE + 140_000);
        let trusted = trusted.iter().map(|range| range.parse().unwrap());
        settings.limits.trusted_addresses = trusted.collect();
        let (read, goes_on) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
        let (counted, gate) = (Arc::clone(&read), Arc::clone(&goes_on));
        let keep = async move |ws: &mut WebSocket| {
            assert_eq!(ws.read(usize::MAX, LONG).await?.len(), Self::MESSAGE);
            counted.fetch_add(1, Ordering::Relaxed);
            let _ = gate.acquire().await;
            Ok::<(), Error>(())
        };
        let server = Server::start(settings, |builder| {
            builder.route("/", on(echo)).route("/keep", on(keep))
        });
        let message = frame(FIN | BINARY, &vec![1; Self::MESSAGE]);
        let start = |_| {
            let mut raw = Raw::open_from("127.0.0.2", server.address, "/keep");
            // What it does not take is in the buffers of the kernel.
            raw.try_send(&message);
            raw
        };
        let crowd = (0..Self::CONNECTIONS).map(start).collect();
        let kept = Self { server, crowd, read, goes_on };
        let mut before = 0;
        eventually("they get no more", || {
            std::thread::sleep(std::time::Duration::from_millis(100));
            let growth = kept.growth_bytes();
            growth >= 3_800_000 && std::mem::replace(&mut before, growth) == growth
        });
        kept
    }

    fn growth_bytes(&self) -> u64 {
        let status = support::visitor::wait(self.server.handle().status());
        status.shards[0].memory.growth_bytes
    }

    fn finish(self) {
        self.goes_on.close();
        drop(self.crowd);
        self.server.finish();
    }
}

#[test]
fn many_connections_of_one_address_leave_room_for_another() {
    // Loopback counts as addresses here.
    let kept = Kept::start(&[]);
    if knows_peers(&kept.server) {
        for _ in 0..5 {
            is_served_at("127.0.0.3", &kept.server);
        }
        let read = kept.read.load(Ordering::Relaxed);
        assert!((15..25).contains(&read), "{read}: half of the growth");
    }
    // Otherwise it is before Linux 6.7, and the kernel does not tell who a peer is.
    kept.finish();
}

#[test]
fn the_people_behind_a_trusted_address_have_shares_of_their_own() {
    let kept = Kept::start(&["127.0.0.2"]);
    assert_eq!(kept.read.load(Ordering::Relaxed), Kept::CONNECTIONS);
    kept.finish();
}

#[test]
fn messages_that_are_never_finished_leave_room_for_the_others() {
    let server = Server::with(growing(8 << 20), echo);
    let begun: Vec<_> = (0..12)
        .map(|_| {
            let mut raw = Raw::open(server.address, "/");
            raw.send(&header(FIN | BINARY, 4 << 20));
            let mut sender = raw.stream.try_clone().unwrap();
            let sending = std::thread::spawn(move || {
                let _ = std::io::Write::write_all(&mut sender, &vec![0; (4 << 20) - 1]);
            });
            (raw, sending)
        })
        .collect();
    for _ in 0..5 {
        is_served(&server);
    }
    for (raw, _) in &begun {
        raw.stream.shutdown(Shutdown::Both).unwrap();
    }
    for (_, sending) in begun {
        sending.join().unwrap();
    }
    server.finish();
}

#[test]
fn a_message_that_finds_no_room_for_long_ends_with_1013() {
    let server = Server::with(growing(0), echo);
    let mut client = connect(server.address, "/");
    // What an inbox holds needs none.
    client.send(Message::binary(vec![1; 60_000])).unwrap();
    assert_eq!(client.read().unwrap().len(), 60_000);
    let mut sender = client.get_ref().try_clone().unwrap();
    let sending = std::thread::spawn(move || {
        let _ = std::io::Write::write_all(&mut sender, &frame(FIN | BINARY, &[1; 200_000]));
    });
    assert_eq!(close_of(&mut client), (1013, "no room".into()));
    sending.join().unwrap();
    drop(client);
    server.finish();
}

#[test]
fn a_fin_behind_more_than_an_inbox_holds_is_seen_behind_it() {
    let (go, going) = channel::<()>();
    let going = std::sync::Arc::new(std::sync::Mutex::new(going));
    let (sender, ends) = channel();
    let server = Server::with(quick(), async move |ws: &mut WebSocket| {
        let going = going.clone();
        tokio::task::spawn_blocking(move || going.lock().unwrap().recv()).await.unwrap().unwrap();
        let mut messages = 0;
        let end = loop {
            match ws.read(usize::MAX, LONG).await {
                Ok(data) => {
                    assert_eq!(data.len(), 1_000);
                    messages += 1;
                }
                Err(error) => break error,
            }
        };
        sender.send((messages, end)).unwrap();
        Ok::<(), Error>(())
    });
    let mut raw = Raw::open(server.address, "/");
    raw.send(&frame(FIN | BINARY, &[7; 1_000]).repeat(180));
    raw.stream.shutdown(Shutdown::Write).unwrap();
    eventually("it has come", || {
        let status = support::visitor::wait(server.handle().status());
        status.totals.bytes_in >= 180 * 1_008
    });
    go.send(()).unwrap();
    let (messages, end) = told(&ends);
    assert_eq!(messages, 180);
    assert!(matches!(end, ReadError::Closed { code, .. } if code.0 == 1006), "{end:?}");
    drop(raw);
    server.finish();
}

#[test]
fn a_flood_of_pings_costs_a_few_pongs_at_a_time() {
    let server = Server::with(quick(), echo);
    let mut raw = Raw::open(server.address, "/");
    let flood = frame(FIN | PING, &[9; 100]).repeat(10_000);
    let mut sender = raw.stream.try_clone().unwrap();
    let sending = std::thread::spawn(move || {
        std::io::Write::write_all(&mut sender, &flood).unwrap();
        std::io::Write::write_all(&mut sender, &frame(FIN | PING, b"the last")).unwrap();
        std::io::Write::write_all(&mut sender, &frame(FIN | TEXT, b"end")).unwrap();
    });
    let mut pongs = Vec::new();
    loop {
        let frame = raw.read_frame().expect("a frame");
        if frame.payload == b"end" {
            break;
        }
        pongs.push(frame);
    }
    sending.join().unwrap();
    assert!(!pongs.is_empty() && pongs.iter().all(|pong| pong.first == FIN | PONG));
    drop(raw);
    server.finish();
}
