//! What a holder's verbs promise: the same as a handler's.

use crate::{Shared, wait};
use ringwire::{
    CloseCode, Data, EngineHandle, MessageKind, OpenError, OpenOptions, OpenOrWriteError,
    ReadError, SharedSocket, WriteError,
};
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};
use support::{LONG, close_of, connect, eventually, text, told};
use tungstenite::Message;

fn is_text(data: Result<Data, ReadError>, text: &str) {
    assert_eq!(data.expect("a message"), *text);
}

#[test]
fn an_id_from_on_pre_server_opens_reads_writes_and_ends() {
    let shared = Shared::quick();
    let (mut client, id) = shared.client();
    client.send(Message::text("while nobody was there")).unwrap();
    let mut socket = wait(shared.server.handle().open_server(&id)).expect("it is open");
    assert_eq!((socket.websocket_id(), socket.shared_connection()), (&*id, true));
    assert_eq!(socket.peer_addr(), client.get_ref().local_addr().ok());
    is_text(wait(socket.read(100, LONG)), "while nobody was there");
    wait(socket.write("héllo")).unwrap();
    assert_eq!(text(&mut client), "héllo");
    client.send(Message::binary(vec![7; 300_000])).unwrap();
    let data = wait(socket.read(usize::MAX, LONG)).unwrap();
    assert_eq!((data.len(), data.kind(), socket.at_end()), (300_000, MessageKind::Binary, true));
    wait(socket.write(data)).unwrap();
    assert_eq!(client.read().unwrap(), Message::binary(vec![7; 300_000]));
    let ended = std::thread::spawn(move || close_of(&mut client));
    wait(socket.end_server()).unwrap();
    assert_eq!(ended.join().unwrap(), (1000, String::new()));
    assert!(matches!(
        wait(socket.read(1, LONG)),
        Err(ReadError::Closed { code: CloseCode(1000), .. })
    ));
    assert_eq!(wait(socket.write("late")), Err(WriteError::Closed));
    let closing = told(&shared.ends);
    assert_eq!((closing.code, closing.websocket_id.as_deref()), (CloseCode::NORMAL, Some(&*id)));
    assert_eq!((closing.messages_in, closing.messages_out), (2, 2));
    drop(socket);
    assert_eq!(wait(shared.server.handle().open_server(&id)).err(), Some(OpenError::Unknown));
    shared.server.finish();
}

#[test]
fn a_read_takes_len_characters_times_out_and_loses_nothing_when_dropped() {
    let shared = Shared::quick();
    let (mut client, id) = shared.client();
    let mut socket = wait(shared.server.handle().open_server(&id)).unwrap();
    let started = Instant::now();
    let timeout = Duration::from_millis(150);
    assert_eq!(wait(socket.read(10, timeout)).err(), Some(ReadError::Timeout));
    assert!(started.elapsed() >= timeout, "{:?}", started.elapsed());
    {
        let mut read = pin!(socket.read(100, LONG));
        assert!(wait(poll_fn(|context| Poll::Ready(read.as_mut().poll(context).is_pending()))));
    }
    client.send(Message::text("äöü€😀")).unwrap();
    is_text(wait(socket.read(2, LONG)), "äö");
    assert!(!socket.at_end());
    is_text(wait(socket.read(3, LONG)), "ü€😀");
    assert!(socket.at_end());
    // Half a message is given as soon as `len` is there, and kept until then.
    let mut half = support::raw::frame(support::raw::BINARY, &[1; 1_000]);
    std::io::Write::write_all(client.get_mut(), &half).unwrap();
    assert_eq!(wait(socket.read(5_000, timeout)).err(), Some(ReadError::Timeout));
    assert_eq!(wait(socket.read(400, LONG)).unwrap().len(), 400);
    assert!(!socket.at_end());
    half = support::raw::frame(support::raw::FIN, &[2; 10]);
    std::io::Write::write_all(client.get_mut(), &half).unwrap();
    assert_eq!(wait(socket.read(5_000, LONG)).unwrap().len(), 610);
    assert!(socket.at_end());
    drop((client, socket));
    shared.server.finish();
}

#[test]
fn a_glance_takes_what_is_here_of_a_message_that_is_not_complete() {
    let shared = Shared::quick();
    let (mut client, id) = shared.client();
    let handle = shared.server.handle();
    let begun = support::raw::frame(support::raw::BINARY, &[1; 50_000]);
    std::io::Write::write_all(client.get_mut(), &begun).unwrap();
    eventually("it has come", || wait(handle.socket(&id)).unwrap().inbox_bytes >= 50_000);
    let mut socket = wait(handle.open_server(&id)).unwrap();
    assert_eq!(wait(socket.read(1_000, Duration::ZERO)).map(|data| data.len()), Ok(1_000));
    assert_eq!(wait(socket.read(60_000, Duration::ZERO)).err(), Some(ReadError::Timeout));
    drop((client, socket));
    shared.server.finish();
}

#[test]
fn a_message_larger_than_the_mailbox_is_read_whole_and_in_parts() {
    let shared = Shared::quick();
    let (mut client, id) = shared.client();
    let large = vec![9; 3 << 20];
    let sender = std::thread::spawn(move || {
        client.send(Message::binary(large)).unwrap();
        client.send(Message::binary(vec![8; 2 << 20])).unwrap();
        client
    });
    let mut socket = wait(shared.server.handle().open_server(&id)).unwrap();
    assert_eq!(wait(socket.read(usize::MAX, LONG)).unwrap().len(), 3 << 20);
    let mut got = 0;
    loop {
        got += wait(socket.read(10_000, LONG)).unwrap().len();
        if socket.at_end() {
            break;
        }
    }
    assert_eq!(got, 2 << 20);
    drop((sender.join().unwrap(), socket));
    shared.server.finish();
}

#[test]
fn binary_data_is_of_the_holder() {
    let shared = Shared::quick();
    let (mut client, id) = shared.client();
    let mut socket = wait(shared.server.handle().open_server(&id)).unwrap();
    socket.set_binary_data(true);
    client.send(Message::text("€€")).unwrap();
    assert_eq!(wait(socket.read(4, LONG)).unwrap().len(), 4);
    wait(socket.write("text")).unwrap();
    assert_eq!(client.read().unwrap(), Message::binary("text".as_bytes().to_vec()));
    drop((client, socket));
    shared.server.finish();
}

#[test]
fn a_slow_peer_holds_the_writer_up_and_nobody_else() {
    let shared = Shared::quick();
    let (mut client, id) = shared.client();
    let handle = shared.server.handle();
    let mut socket = wait(handle.open_server(&id)).unwrap();
    let full = Err(OpenOrWriteError::Write(WriteError::Full));
    // The kernel's buffers grow for a while after they were full for the first time.
    let (mut written, mut refused_since) = (0, Instant::now());
    while refused_since.elapsed() < Duration::from_millis(200) {
        let by_id = wait(handle.try_write_to(&id, vec![5; 10_000]));
        if socket.try_write(vec![5; 10_000]).is_ok() || by_id != full {
            written += 1;
            assert!(written < 100_000, "nothing stops the writer");
            refused_since = Instant::now();
        }
    }
    assert!(buffered(&handle, &id) >= 64 * 1024);
    let mut pending = Box::pin(socket.write("one more"));
    assert!(wait(poll_fn(|context| Poll::Ready(pending.as_mut().poll(context).is_pending()))));
    let reader = std::thread::spawn(move || {
        loop {
            match client.read().unwrap() {
                Message::Text(text) if text.as_str() == "one more" => return client,
                Message::Text(other) => panic!("{other}"),
                _ => {}
            }
        }
    });
    wait(pending).unwrap();
    drop(reader.join().unwrap());
    shared.server.finish();
}

#[test]
fn what_a_holder_was_told_is_written_goes_before_a_close_from_elsewhere() {
    let shared = Shared::quick();
    let (mut client, id) = shared.client();
    let handle = shared.server.handle();
    let mut socket = wait(handle.open_server(&id)).unwrap();
    let (mut written, mut refused_since) = (0, Instant::now());
    while refused_since.elapsed() < Duration::from_millis(200) {
        if socket.try_write(vec![5; 10_000]).is_ok() {
            written += 1;
            assert!(written < 100_000, "nothing stops the writer");
            refused_since = Instant::now();
        }
    }
    // More of it waits with the holder than its outbox takes.
    assert!(buffered(&handle, &id) >= 64 * 1024);
    wait(handle.close_socket(&id, CloseCode::POLICY, "enough")).unwrap();
    assert_eq!(socket.try_write("late"), Err(WriteError::Closed));
    let mut read = 0;
    let close = loop {
        match client.read().unwrap() {
            Message::Binary(bytes) => {
                assert_eq!(bytes.len(), 10_000);
                read += 1;
            }
            Message::Close(close) => break close.expect("it has a code"),
            other => panic!("{other}"),
        }
    };
    assert_eq!((read, u16::from(close.code)), (written, 1008));
    drop((client, socket));
    shared.server.finish();
}

fn buffered(handle: &EngineHandle, id: &str) -> usize {
    wait(handle.socket(id)).unwrap().outbox_bytes
}

#[test]
fn writes_by_id_need_no_lease_and_wait_for_room() {
    let shared = Shared::quick();
    let (mut client, id) = shared.client();
    let handle = shared.server.handle();
    wait(handle.write_to(&id, "nobody holds it")).unwrap();
    let socket = wait(handle.open_server(&id)).unwrap();
    wait(handle.write_to(&id, "somebody does")).unwrap();
    assert_eq!(
        (text(&mut client), text(&mut client)),
        ("nobody holds it".into(), "somebody does".into())
    );
    let long = vec![0; (16 << 20) + 1];
    let too_long = Err(OpenOrWriteError::Write(WriteError::TooLong));
    assert_eq!(wait(handle.write_to(&id, long)), too_long);
    let writer = std::thread::spawn({
        let (handle, id) = (handle.clone(), id.clone());
        move || (0..2_000).try_for_each(|_| wait(handle.write_to(&id, vec![3; 10_000])))
    });
    eventually("the peer is behind", || buffered(&handle, &id) >= 64 * 1024);
    for _ in 0..2_000 {
        assert_eq!(client.read().unwrap().into_data().len(), 10_000);
    }
    writer.join().unwrap().unwrap();
    drop((client, socket));
    shared.server.finish();
}

#[test]
fn dedicated_sockets_are_not_shared_and_unknown_ids_all_answer_alike() {
    let shared = Shared::quick();
    let (client, id) = shared.client();
    let handle = shared.server.handle();
    let dedicated = connect(shared.server.address, "/dedicated");
    let listed = wait(handle.sockets(&ringwire::SocketQuery {
        route: Some("/dedicated".into()),
        ..Default::default()
    }));
    let dedicated_id = &listed.sockets[0].id;
    assert_eq!(wait(handle.open_server(dedicated_id)).err(), Some(OpenError::NotShared));
    let not_shared = Err(OpenOrWriteError::Open(OpenError::NotShared));
    assert_eq!(wait(handle.write_to(dedicated_id, "x")), not_shared);
    let guess = format!("{}AAAA", &id[..28]);
    for unknown in ["", "nonsense", &guess, &id.to_uppercase()] {
        let options = OpenOptions { steal: true, ..OpenOptions::default() };
        let opened = wait(handle.open_server_with(unknown, options));
        assert_eq!(opened.err(), Some(OpenError::Unknown), "{unknown}");
        assert_eq!(wait(handle.interrupt(unknown)), Err(OpenError::Unknown));
        assert_eq!(wait(handle.socket(unknown)).err(), Some(OpenError::Unknown));
        let written = wait(handle.write_to(unknown, "x"));
        assert_eq!(written, Err(OpenOrWriteError::Open(OpenError::Unknown)));
    }
    drop((client, dedicated));
    eventually("they are gone", || wait(handle.socket(&id)).is_err());
    assert_eq!(wait(handle.open_server(&id)).err(), Some(OpenError::Unknown));
    shared.server.finish();
    assert_eq!(wait(handle.open_server(&id)).err(), Some(OpenError::Unknown));
    // It has ended because it was to.
    assert!(!handle.is_ready() && handle.is_healthy());
}

#[test]
fn operators_close_and_cut_any_socket() {
    let shared = Shared::quick();
    let handle = shared.server.handle();
    let (mut closed, id) = shared.client();
    wait(handle.close_socket(&id, CloseCode::POLICY, "out")).unwrap();
    assert_eq!(close_of(&mut closed), (1008, "out".into()));
    let mut cut = connect(shared.server.address, "/dedicated");
    let page = wait(handle.sockets(&ringwire::SocketQuery {
        status: Some(ringwire::SocketStatus::WebSocket),
        ..Default::default()
    }));
    wait(handle.interrupt(&page.sockets[0].id)).unwrap();
    // Not an end in order, which could be taken for one of a page that went away.
    match cut.read() {
        Err(tungstenite::Error::Io(error)) => {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        }
        other => panic!("{other:?}"),
    }
    shared.server.finish();
}

#[test]
fn the_end_of_the_engine_ends_a_holder() {
    let shared = Shared::quick();
    let (client, id) = shared.client();
    let handle = shared.server.handle();
    let mut socket = wait(handle.open_server(&id)).unwrap();
    let reader = std::thread::spawn(move || {
        let read = wait(socket.read(1, LONG)).err();
        (read, wait(socket.end_server()).is_ok())
    });
    std::thread::sleep(Duration::from_millis(50));
    shared.server.finish();
    let (read, ended) = reader.join().unwrap();
    assert!(matches!(read, Some(ReadError::Closed { code: CloseCode(1001), .. })), "{read:?}");
    assert!(ended);
    drop(client);
}

#[test]
fn it_can_go_to_any_thread() {
    fn is_send<T: Send>(_: &T) {}
    let shared = Shared::quick();
    let handle = shared.server.handle();
    is_send(&handle.open_server("x"));
    is_send(&handle.write_to("x", "y"));
    is_send(&handle.status());
    fn verbs(socket: &mut SharedSocket) {
        is_send(&socket.read(1, LONG));
        is_send(&socket.write("x"));
        is_send(&socket.end_server());
        is_send(socket);
    }
    let _ = verbs;
    shared.server.finish();
}
