//! What connections hold beyond their limits, and that nobody takes it from the others.

use ringwire::{Error, ReadError, Settings, WebSocket};
use std::net::Shutdown;
use std::sync::mpsc::channel;
use support::raw::{BINARY, FIN, PING, PONG, Raw, TEXT, frame, header};
use support::{LONG, Server, close_of, connect, echo, eventually, quick, told};
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
    let mut client = connect(server.address, "/");
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

#[test]
fn peers_that_read_nothing_leave_room_for_the_others() {
    const GROWTH: usize = 16 << 20;
    let server = Server::with(growing(GROWTH), echo);
    let message = frame(FIN | BINARY, &vec![1; 2 << 20]);
    let greedy: Vec<_> = (0..12)
        .map(|_| {
            let raw = Raw::open(server.address, "/");
            let mut sender = raw.stream.try_clone().unwrap();
            let message = message.clone();
            // Blocks once the server takes no more.
            let sending = std::thread::spawn(move || {
                let _ = std::io::Write::write_all(&mut sender, &message.repeat(3));
            });
            (raw, sending)
        })
        .collect();
    for _ in 0..5 {
        is_served(&server);
    }
    for (raw, _) in &greedy {
        raw.stream.shutdown(Shutdown::Both).unwrap();
    }
    for (_, sending) in greedy {
        sending.join().unwrap();
    }
    is_served(&server);
    server.finish();
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
