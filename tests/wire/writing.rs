//! `write` and `try_write`: backpressure, limits, kinds.

use ringwire::{Error, MessageKind, WebSocket, WriteError};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;
use support::raw::{BINARY, FIN, Raw, TEXT};
use support::{LONG, Server, connect, eventually, quick, text, told};
use tungstenite::Message;

const MESSAGE_BYTES: usize = 10_000;

#[test]
fn a_write_waits_for_a_peer_that_does_not_read_and_goes_on_when_it_does() {
    const MESSAGES: usize = 2_000;
    let written = Arc::new(AtomicUsize::new(0));
    let buffered_max = Arc::new(AtomicUsize::new(0));
    let (count, most) = (Arc::clone(&written), Arc::clone(&buffered_max));
    let server = Server::with(quick(), async move |ws| {
        for number in 0..MESSAGES {
            ws.write(vec![number as u8; MESSAGE_BYTES]).await?;
            count.fetch_add(1, Ordering::Relaxed);
            most.fetch_max(ws.buffered_bytes(), Ordering::Relaxed);
        }
        Ok(())
    });
    let mut raw = Raw::open(server.address, "/");
    let mut before = 0;
    eventually("the writer waits", || {
        thread::sleep(Duration::from_millis(100));
        let now = written.load(Ordering::Relaxed);
        now > 0 && now == std::mem::replace(&mut before, now)
    });
    assert!(before < MESSAGES, "20 MB must not fit anywhere");
    for number in 0..MESSAGES {
        let frame = raw.read_frame().expect("a message");
        assert_eq!((frame.first, frame.payload.len()), (FIN | BINARY, MESSAGE_BYTES));
        assert!(frame.payload.iter().all(|byte| *byte == number as u8));
    }
    assert_eq!(written.load(Ordering::Relaxed), MESSAGES);
    let buffered_max = buffered_max.load(Ordering::Relaxed);
    assert!(buffered_max <= 64 * 1024 + MESSAGE_BYTES + 16, "{buffered_max}");
    drop(raw);
    server.finish();
}

#[test]
fn the_limit_of_a_message_holds_for_small_ones_behind_others() {
    let mut settings = quick();
    settings.limits.message_bytes_max = 100;
    let server = Server::with(settings, async |ws| {
        ws.read(100, LONG).await?;
        for bytes in [100, 101] {
            let taken = ws.write("x".repeat(bytes)).await;
            ws.write(format!("{bytes}: {taken:?}")).await?;
        }
        Ok(())
    });
    let mut client = connect(server.address, "/");
    client.send(Message::text("go")).unwrap();
    assert_eq!(text(&mut client), "x".repeat(100));
    assert_eq!(text(&mut client), "100: Ok(())");
    assert_eq!(text(&mut client), "101: Err(TooLong)");
    drop(client);
    server.finish();
}

#[test]
fn try_write_says_full_and_takes_again_when_the_peer_has_read() {
    let mut settings = quick();
    settings.limits.socket_send_buffer_bytes = 16 * 1024;
    let (sender, fulls) = channel();
    let (end, ends) = channel();
    let server = Server::with(settings, async move |ws| {
        let mut taken = 0;
        loop {
            match ws.try_write("x".repeat(MESSAGE_BYTES)) {
                Ok(()) => taken += 1,
                Err(error) => {
                    assert_eq!(error, WriteError::Full);
                    assert!(ws.buffered_bytes() >= 64 * 1024);
                    // What the kernel takes leaves the outbox; wait until it takes no more.
                    if ws.read(1, Duration::from_millis(100)).await.is_ok() {
                        break;
                    }
                    if ws.try_write("probe") == Err(WriteError::Full) {
                        sender.send(taken).unwrap();
                    } else {
                        taken += 1;
                    }
                }
            }
        }
        ws.write("after").await?;
        end.send(taken).unwrap();
        Ok(())
    });
    let mut client = connect(server.address, "/");
    let full_after = told(&fulls);
    assert!(full_after > 6, "{full_after}");
    client.send(Message::text("go on")).unwrap();
    let mut messages = 0;
    while text(&mut client) != "after" {
        messages += 1;
    }
    assert_eq!(messages, told(&ends));
    drop(client);
    server.finish();
}

#[test]
fn a_message_over_the_limit_is_not_written_and_the_socket_lives() {
    let mut settings = quick();
    settings.limits.message_bytes_max = 1_000;
    let server = Server::with(settings, async |ws| {
        assert_eq!(ws.write("x".repeat(1_001)).await, Err(WriteError::TooLong));
        assert_eq!(ws.try_write(vec![0; 5_000]), Err(WriteError::TooLong));
        ws.write("x".repeat(1_000)).await?;
        Ok(())
    });
    let mut client = connect(server.address, "/");
    assert_eq!(text(&mut client).len(), 1_000);
    assert_eq!(support::close_of(&mut client).0, 1000);
    server.finish();
}

#[test]
fn nothing_is_written_after_the_end() {
    let (sender, results) = channel();
    let server = Server::with(quick(), async move |ws| {
        let _ = ws.read(1, LONG).await;
        sender.send((ws.write("late").await, ws.try_write("late"))).unwrap();
        Ok(())
    });
    let mut client = connect(server.address, "/");
    client.close(None).unwrap();
    assert_eq!(told(&results), (Err(WriteError::Closed), Err(WriteError::Closed)));
    assert_eq!(support::close_of(&mut client).0, 1005);
    server.finish();
}

/// One of everything that can be written, in a fixed order.
async fn write_all_kinds(ws: &mut WebSocket) -> Result<(), Error> {
    ws.write("text").await?;
    ws.write(String::from("text")).await?;
    ws.write(b"bytes").await?;
    ws.write(vec![1, 2]).await?;
    ws.write(&[3_u8][..]).await?;
    Ok(())
}

#[test]
fn kinds_on_the_wire_and_binary_data() {
    let (sender, read) = channel();
    let server = Server::with(quick(), async move |ws| {
        write_all_kinds(ws).await?;
        ws.set_binary_data(true);
        assert!(ws.binary_data());
        write_all_kinds(ws).await?;
        // Text is handed on as bytes: two of them, though they are one character.
        let first = ws.read(1, LONG).await?;
        sender.send((first.to_vec(), ws.at_end())).unwrap();
        ws.set_binary_data(false);
        let second = ws.read(usize::MAX, LONG).await?;
        assert_eq!(second.kind(), MessageKind::Text);
        sender.send((second.to_vec(), ws.at_end())).unwrap();
        Ok(())
    });
    let mut client = connect(server.address, "/");
    let mut kinds = String::new();
    for _ in 0..10 {
        kinds.push(if client.read().unwrap().is_text() { 't' } else { 'b' });
    }
    assert_eq!(kinds, "ttbbbbbbbb");
    client.send(Message::text("ä!")).unwrap();
    assert_eq!(told(&read), (vec![0xc3], false));
    assert_eq!(told(&read), (vec![0xa4, b'!'], true));
    drop(client);
    server.finish();
}

#[test]
fn sizes_around_every_change_of_the_header_arrive_whole() {
    let sizes = [0, 1, 125, 126, 127, 4_095, 4_096, 4_097, 65_535, 65_536, 65_537, 3_000_000];
    let server = Server::with(quick(), support::echo);
    let mut client = connect(server.address, "/");
    for (index, size) in sizes.into_iter().enumerate() {
        let payload: Vec<u8> = (0..size).map(|at| (at * 31 + index) as u8).collect();
        client.send(Message::binary(payload.clone())).unwrap();
        assert_eq!(client.read().unwrap(), Message::binary(payload), "{size} bytes");
    }
    // All at once, so that answers wait for each other.
    for (index, size) in sizes.into_iter().enumerate() {
        client.write(Message::binary(vec![index as u8; size])).unwrap();
    }
    let mut writer = thread::spawn(move || {
        client.flush().unwrap();
        client
    })
    .join()
    .unwrap();
    for (index, size) in sizes.into_iter().enumerate() {
        assert_eq!(writer.read().unwrap(), Message::binary(vec![index as u8; size]));
    }
    drop(writer);
    server.finish();
}

#[test]
fn data_that_was_read_can_be_kept_sent_elsewhere_and_written_later() {
    let server = Server::with(quick(), async |ws| {
        let mut kept = Vec::new();
        for _ in 0..3 {
            kept.push(ws.read(usize::MAX, LONG).await?);
        }
        let copy = kept[0].clone();
        let kept = thread::spawn(move || kept).join().expect("no panic");
        for data in kept.into_iter().rev() {
            ws.write(data).await?;
        }
        ws.write(&copy).await?;
        Ok(())
    });
    let mut raw = Raw::open(server.address, "/");
    for (kind, payload) in [(TEXT, vec![b'a'; 70_000]), (BINARY, vec![1]), (TEXT, b"c".to_vec())] {
        raw.send(&support::raw::frame(FIN | kind, &payload));
    }
    let lengths: Vec<_> = (0..4)
        .map(|_| raw.read_frame().expect("a message"))
        .map(|frame| (frame.opcode(), frame.payload.len()))
        .collect();
    assert_eq!(lengths, [(TEXT, 1), (BINARY, 1), (TEXT, 70_000), (TEXT, 70_000)]);
    drop(raw);
    server.finish();
}
