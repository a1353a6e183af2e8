//! What arrives while nobody holds the socket.

use crate::{Shared, is_gone, options, wait};
use ringwire::{
    EngineHandle, EventFilter, EventKind, EventStream, MailboxPolicy, OpenError, OpenOptions,
    READ_LEN_DEFAULT, ReadError,
};
use std::io::Write;
use std::time::Duration;
use support::raw::{BINARY, FIN, Raw, TEXT, frame, is_timeout};
use support::{LONG, close_of, eventually, quick, text};
use tungstenite::Message;

fn waiting(handle: &EngineHandle, id: &str) -> (usize, usize, u64) {
    let info = wait(handle.socket(id)).expect("it is open");
    (info.inbox_messages, info.inbox_bytes, info.messages_dropped)
}

#[test]
fn who_answers_each_message_loses_none_of_those_before_a_close() {
    let shared = Shared::quick();
    let (mut client, id) = shared.client();
    let handle = shared.server.handle();
    let mut holder = wait(handle.open_server(&id)).expect("it is free");
    for number in 0..100 {
        client.send(Message::text(format!("{number}"))).expect("it is open");
    }
    client.close(None).expect("it is open");
    client.flush().expect("it is open");
    let (mut read, mut echoes) = (0, 0);
    // As the obvious worker does: it gives up at a failed write.
    while let Ok(data) = wait(holder.read(9, LONG)) {
        assert_eq!(data, *format!("{read}"));
        read += 1;
        std::thread::sleep(Duration::from_millis(1));
        wait(holder.write(data)).expect("not before everything was read");
    }
    while client.read().is_ok_and(|message| message.is_text()) {
        echoes += 1;
    }
    assert_eq!((read, echoes), (100, 100));
    drop(holder);
    drop(client);
    shared.server.finish();
}

#[test]
fn a_full_mailbox_stops_reading_and_nothing_is_lost() {
    let shared = Shared::quick();
    let (mut client, id) = shared.client();
    let handle = shared.server.handle();
    let stream = client.get_mut();
    stream.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    let message = frame(FIN | BINARY, &[7; 1_000]);
    let mut sent = 0;
    loop {
        match stream.write(&message[sent % message.len()..]) {
            Ok(count) => sent += count,
            Err(error) if is_timeout(&error) => break,
            Err(error) => panic!("{error}"),
        }
        assert!(sent < 64 << 20, "the server reads on although nobody holds it");
    }
    eventually("it is full", || waiting(&handle, &id).1 >= 64 * 1024);
    let (messages, bytes, dropped) = waiting(&handle, &id);
    assert_eq!(dropped, 0);
    // The message that filled it, and what else came with that.
    assert!(bytes <= (64 << 10) + (16 << 10), "{bytes}");
    assert!(messages <= 1_024 && messages * 1_000 <= bytes + 1_000, "{messages}");
    let whole = sent / message.len();
    let mut socket = wait(handle.open_server(&id)).unwrap();
    for _ in 0..whole {
        assert_eq!(wait(socket.read(usize::MAX, LONG)).unwrap().len(), 1_000);
    }
    let rest = wait(socket.read(usize::MAX, Duration::from_millis(20))).err();
    assert_eq!(rest, Some(ReadError::Timeout));
    drop((client, socket));
    shared.server.finish();
}

#[test]
fn what_counts_is_payload_and_not_the_memory_it_is_in() {
    for policy in [MailboxPolicy::Close, MailboxPolicy::DropOldest, MailboxPolicy::StopReading] {
        let shared = Shared::start(quick(), options(policy));
        for bytes in [33_000, 40_000, 65_536] {
            let (mut client, id) = shared.client();
            let handle = shared.server.handle();
            client.send(Message::binary(vec![7; bytes])).unwrap();
            eventually("it has come", || waiting(&handle, &id) == (1, bytes, 0));
            let mut socket = wait(handle.open_server(&id)).unwrap();
            assert_eq!(wait(socket.read(usize::MAX, LONG)).unwrap().len(), bytes, "{policy:?}");
            drop((client, socket));
        }
        shared.server.finish();
    }
}

#[test]
fn empty_messages_fill_a_mailbox_by_their_number_however_many_come_at_once() {
    const MESSAGES: usize = 100_000;
    let shared = Shared::quick();
    let (mut client, id) = shared.client();
    let handle = shared.server.handle();
    let mut sender = client.get_ref().try_clone().unwrap();
    let sending = std::thread::spawn(move || {
        let flood =
            [frame(FIN | BINARY, b"").repeat(MESSAGES), frame(FIN | TEXT, b"last")].concat();
        sender.write_all(&flood).unwrap();
    });
    eventually("it is full", || waiting(&handle, &id).0 >= 1_024);
    for _ in 0..20 {
        let (messages, bytes, dropped) = waiting(&handle, &id);
        assert_eq!((messages, bytes, dropped), (1_024, 0, 0));
    }
    // Each comes in its order, those as well that had been received beyond the limit.
    let mut socket = wait(handle.open_server(&id)).unwrap();
    for _ in 0..MESSAGES {
        assert_eq!(wait(socket.read(99, LONG)).unwrap().len(), 0);
    }
    assert_eq!(wait(socket.read(99, LONG)).unwrap(), *"last");
    sending.join().unwrap();
    client.close(None).unwrap();
    let end = wait(socket.read(99, LONG));
    assert!(matches!(end, Err(ReadError::Closed { code, .. }) if code.0 == 1005), "{end:?}");
    drop(socket);
    shared.server.finish();
}

#[test]
fn a_flood_keeps_a_mailbox_that_drops_within_its_limits() {
    const MESSAGES: usize = 100_000;
    let shared = Shared::start(quick(), options(MailboxPolicy::DropOldest));
    let (mut client, id) = shared.client();
    let handle = shared.server.handle();
    client.get_mut().write_all(&frame(FIN | BINARY, b"").repeat(MESSAGES)).unwrap();
    client.send(Message::text("last")).unwrap();
    eventually("all have come", || {
        let (messages, bytes, dropped) = waiting(&handle, &id);
        assert!(messages <= 1_024 && bytes <= 64 << 10, "{messages}, {bytes}");
        messages as u64 + dropped == MESSAGES as u64 + 1
    });
    assert_eq!(waiting(&handle, &id), (1_024, 4, MESSAGES as u64 + 1 - 1_024));
    drop(client);
    shared.server.finish();
}

#[test]
fn drop_oldest_keeps_the_newest_and_counts_the_others() {
    let shared = Shared::start(quick(), options(MailboxPolicy::DropOldest));
    let (mut client, id) = shared.client();
    let handle = shared.server.handle();
    for number in 0..5_000 {
        client.send(Message::text(number.to_string())).unwrap();
    }
    eventually("all have come", || {
        let (messages, _, dropped) = waiting(&handle, &id);
        messages as u64 + dropped == 5_000
    });
    let (messages, bytes, dropped) = waiting(&handle, &id);
    assert!(messages <= 1_024 && bytes <= 64 * 1024, "{messages}, {bytes}");
    assert_eq!(messages, 1_024, "{bytes}");
    let mut socket = wait(handle.open_server(&id)).unwrap();
    for number in dropped..5_000 {
        assert_eq!(wait(socket.read(99, LONG)).unwrap(), *number.to_string());
    }
    client.send(Message::binary(vec![0; 300_000])).unwrap();
    assert_eq!(wait(socket.read(usize::MAX, LONG)).unwrap().len(), 300_000);
    drop(socket);
    let sender = std::thread::spawn(move || {
        let _ = client.send(Message::binary(vec![0; 300_000]));
        close_of(&mut client).0
    });
    assert_eq!(sender.join().unwrap(), 1009);
    shared.server.finish();
}

#[test]
fn close_ends_what_is_full() {
    let shared = Shared::start(quick(), options(MailboxPolicy::Close));
    let (mut client, id) = shared.client();
    let handle = shared.server.handle();
    for number in 0..400 {
        client.send(Message::text(number.to_string())).unwrap();
    }
    eventually("all have come", || waiting(&handle, &id).0 == 400);
    let more = client.send(Message::binary(vec![0; 65_000]));
    assert!(more.is_ok());
    assert_eq!(close_of(&mut client), (1013, "the mailbox is full".into()));
    // What was in it can still be read.
    let mut socket = wait(handle.open_server(&id)).unwrap();
    for number in 0..400 {
        assert_eq!(wait(socket.read(99, LONG)).unwrap(), *number.to_string());
    }
    drop(socket);
    shared.server.finish();
}

#[test]
fn the_last_words_of_a_peer_that_has_gone_are_read_and_then_its_close() {
    let shared = Shared::quick();
    let (mut client, id) = shared.client();
    let handle = shared.server.handle();
    client.send(Message::text("goodbye")).unwrap();
    client.close(None).unwrap();
    while client.read().is_ok() {}
    eventually("it is gone", || is_gone(&handle));
    let mut socket = wait(handle.open_server(&id)).expect("there is something to read");
    assert!(matches!(wait(handle.open_server(&id)).err(), Some(OpenError::Busy { .. })));
    assert_eq!(wait(socket.read(99, LONG)).unwrap(), *"goodbye");
    assert!(
        matches!(wait(socket.read(99, LONG)), Err(ReadError::Closed { code, .. }) if code.0 == 1005)
    );
    drop(socket);
    eventually("nothing is left", || {
        wait(handle.open_server(&id)).err() == Some(OpenError::Unknown)
    });
    shared.server.finish();
}

#[test]
fn pings_are_answered_while_nobody_holds_it() {
    let mut settings = quick();
    settings.timeouts.ping_interval = Duration::from_millis(100);
    settings.timeouts.pong = Duration::from_secs(2);
    let shared = Shared::start(settings, options(MailboxPolicy::StopReading));
    let (mut client, id) = shared.client();
    client.send(Message::Ping("are you there".into())).unwrap();
    assert_eq!(client.read().unwrap(), Message::Pong("are you there".into()));
    for _ in 0..5 {
        assert!(matches!(client.read().unwrap(), Message::Ping(_)));
        client.flush().unwrap();
    }
    assert!(wait(shared.server.handle().socket(&id)).is_ok());
    drop(client);
    let mut silent = Raw::open(shared.server.address, "/");
    while silent.read_frame().is_some() {}
    shared.server.finish();
}

fn next(events: &mut EventStream) -> (EventKind, String) {
    let event = wait(events.next()).expect("the engine runs");
    (event.kind, event.websocket_id.to_string())
}

#[test]
fn events_tell_of_ids_of_mail_and_of_ends() {
    let shared = Shared::quick();
    let handle = shared.server.handle();
    let mut events = handle.events(EventFilter::default(), None);
    let kinds = vec![EventKind::Closed];
    let mut ends = handle.events(EventFilter { route: Some("/".into()), kinds }, None);
    let mut elsewhere =
        handle.events(EventFilter { route: Some("/no".into()), kinds: vec![] }, None);
    let (mut client, id) = shared.client();
    assert_eq!(next(&mut events), (EventKind::Open, id.clone()));
    client.send(Message::text("1")).unwrap();
    assert_eq!(next(&mut events), (EventKind::Readable, id.clone()));
    client.send(Message::text("2")).unwrap();
    eventually("it has come", || waiting(&handle, &id).0 == 2);
    assert_eq!(events.try_next(), None, "the mailbox was not empty");
    let mut socket = wait(handle.open_server(&id)).unwrap();
    assert_eq!(wait(socket.read(9, LONG)).unwrap(), *"1");
    client.send(Message::text("3")).unwrap();
    drop(socket);
    // What is left is told again: somebody else is to see to it.
    assert_eq!(next(&mut events), (EventKind::Readable, id.clone()));
    let mut socket = wait(handle.open_server(&id)).unwrap();
    for number in ["2", "3"] {
        assert_eq!(wait(socket.read(9, LONG)).unwrap(), *number);
    }
    wait(socket.write("bye")).unwrap();
    drop(socket);
    assert_eq!(text(&mut client), "bye");
    client.close(None).unwrap();
    while client.read().is_ok() {}
    let event = wait(events.next()).unwrap();
    assert_eq!((event.kind, &*event.websocket_id, &*event.route), (EventKind::Closed, &*id, "/"));
    assert_eq!(event.close.as_ref().unwrap().code.0, 1005);
    assert!(event.unix_ms > 1_700_000_000_000);
    let last = event.id;
    let mut again = handle.events(EventFilter::default(), Some(last));
    assert_eq!(wait(ends.next()), Some(event));
    shared.server.finish();
    assert_eq!((wait(again.next()), wait(ends.next()), wait(elsewhere.next())), (None, None, None));
}

#[test]
fn the_beginning_of_a_message_is_not_told_until_a_reader_would_get_something() {
    let shared = Shared::quick();
    let handle = shared.server.handle();
    let kinds = vec![EventKind::Readable];
    let mut events = handle.events(EventFilter { kinds, ..EventFilter::default() }, None);
    let (mut client, id) = shared.client();
    let mut begin = |bytes: &[u8]| client.get_mut().write_all(bytes).unwrap();
    let has_come = |bytes: usize| {
        eventually("it has come", || waiting(&handle, &id).1 >= bytes);
        // The mark of a settled batch: a command that the shard has answered after it.
        wait(handle.status());
    };
    // Ten bytes of a message, which nobody would get, however they come back to the mailbox.
    begin(&frame(BINARY, b"0123456789"));
    has_come(10);
    let lease = OpenOptions { lease: Some(LONG), ..OpenOptions::default() };
    let mut socket = wait(handle.open_server_with(&id, lease)).unwrap();
    assert_eq!(wait(socket.read_kept(5, LONG, None)).unwrap().data.as_bytes(), b"01234");
    socket.give_back();
    has_come(10);
    assert_eq!(events.try_next(), None);
    // The end of it.
    begin(&frame(FIN, b"end"));
    assert_eq!(next(&mut events), (EventKind::Readable, id.clone()));
    let mut socket = wait(handle.open_server(&id)).unwrap();
    assert_eq!(wait(socket.read(99, LONG)).unwrap().as_bytes(), b"0123456789end");
    drop(socket);
    // As much as a read of the usual length takes, in two pieces, the first of which was given back.
    begin(&frame(BINARY, &[1; READ_LEN_DEFAULT - 1]));
    has_come(READ_LEN_DEFAULT - 1);
    let mut socket = wait(handle.open_server_with(&id, lease)).unwrap();
    assert_eq!(wait(socket.read_kept(1_000, LONG, None)).unwrap().data.len(), 1_000);
    socket.give_back();
    has_come(READ_LEN_DEFAULT - 1);
    assert_eq!(events.try_next(), None);
    begin(&frame(0, &[2]));
    assert_eq!(next(&mut events), (EventKind::Readable, id.clone()));
    let mut socket = wait(handle.open_server(&id)).unwrap();
    assert_eq!(wait(socket.read(READ_LEN_DEFAULT, LONG)).unwrap().len(), READ_LEN_DEFAULT);
    drop((client, socket));
    shared.server.finish();
}

#[test]
fn a_mailbox_that_is_full_of_one_message_is_told_because_a_reader_would_move_it_on() {
    let shared = Shared::quick();
    let handle = shared.server.handle();
    let kinds = vec![EventKind::Readable];
    let mut events = handle.events(EventFilter { kinds, ..EventFilter::default() }, None);
    let (mut client, id) = shared.client();
    // Fewer characters than a read of the usual length takes, and more bytes than a mailbox.
    let text = "\u{1f980}".repeat(READ_LEN_DEFAULT);
    let (early, late) = text.split_at(4 * 20_000);
    client.get_mut().write_all(&frame(TEXT, early.as_bytes())).unwrap();
    assert_eq!(next(&mut events), (EventKind::Readable, id.clone()));
    let mut socket = wait(handle.open_server(&id)).unwrap();
    client.get_mut().write_all(&frame(FIN, late.as_bytes())).unwrap();
    assert_eq!(wait(socket.read(READ_LEN_DEFAULT, LONG)).unwrap(), *text);
    drop((client, socket));
    shared.server.finish();
}
