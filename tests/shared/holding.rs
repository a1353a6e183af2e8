//! Leases: one holder at a time, whatever happens to it.

use crate::{Shared, is_gone, options, wait};
use ringwire::{
    EngineHandle, Error, MailboxPolicy, OpenError, OpenOptions, Opening, ReadError, Refusal,
    RouteOptions, SharedSocket, SocketStatus, WebSocket, WebSocketServer, WriteError,
};
use std::sync::Barrier;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};
use support::{LONG, PATIENCE, close_of, connect, eventually, quick, text, told};
use tungstenite::Message;

const STEAL: OpenOptions = OpenOptions { steal: true, lease: None, fence: None, key: None };

fn lease(lease: Duration) -> OpenOptions {
    OpenOptions { lease: Some(lease), ..OpenOptions::default() }
}

fn fence(fence: u64) -> OpenOptions {
    OpenOptions { fence: Some(fence), ..OpenOptions::default() }
}

fn status(handle: &EngineHandle, id: &str) -> SocketStatus {
    wait(handle.socket(id)).expect("it is open").status
}

#[test]
fn the_second_is_refused_until_the_first_is_dropped() {
    let shared = Shared::quick();
    let (mut client, id) = shared.client();
    let handle = shared.server.handle();
    let first = wait(handle.open_server(&id)).unwrap();
    assert_eq!(status(&handle, &id), SocketStatus::Shared);
    let busy = Some(OpenError::Busy { expires_in: None });
    assert_eq!(wait(handle.open_server(&id)).err(), busy);
    let first_fence = first.fence();
    drop(first);
    let mut second = wait(handle.open_server(&id)).expect("it is free at once");
    assert!(second.fence() > first_fence);
    client.send(Message::text("x")).unwrap();
    assert_eq!(wait(second.read(9, LONG)).unwrap(), *"x");
    second.release();
    assert_eq!(status(&handle, &id), SocketStatus::Unattended);
    drop(client);
    shared.server.finish();
}

#[test]
fn who_steals_has_it_and_the_other_is_fenced_with_every_verb() {
    let shared = Shared::quick();
    let (mut client, id) = shared.client();
    let handle = shared.server.handle();
    let mut first = wait(handle.open_server(&id)).unwrap();
    wait(first.write("before")).unwrap();
    let waiting = std::thread::spawn(move || {
        let read = wait(first.read(9, LONG)).err();
        (read, first)
    });
    std::thread::sleep(Duration::from_millis(50));
    let mut second = wait(handle.open_server_with(&id, STEAL)).unwrap();
    let (read, mut first) = waiting.join().unwrap();
    assert_eq!(read, Some(ReadError::Fenced));
    assert_eq!(first.try_write("stale"), Err(WriteError::Fenced));
    assert_eq!(wait(first.write("stale")), Err(WriteError::Fenced));
    assert!(wait(first.end_server()).is_err());
    drop(first);
    wait(second.write("after")).unwrap();
    client.send(Message::text("for the second")).unwrap();
    assert_eq!(wait(second.read(99, LONG)).unwrap(), *"for the second");
    assert_eq!((text(&mut client), text(&mut client)), ("before".into(), "after".into()));
    drop((client, second));
    shared.server.finish();
}

#[test]
fn what_was_not_acknowledged_is_given_again() {
    let shared = Shared::quick();
    let (mut client, id) = shared.client();
    let handle = shared.server.handle();
    for number in 0..4 {
        client.send(Message::text(number.to_string())).unwrap();
    }
    let mut first = wait(handle.open_server_with(&id, lease(LONG))).unwrap();
    let kept = wait(first.read_kept(9, LONG, None)).unwrap();
    assert_eq!(kept.data, *"0");
    let again = wait(first.read_kept(9, LONG, Some(kept.sequence - 1))).unwrap();
    assert_eq!((&*again.data, again.sequence), (&*kept.data, kept.sequence));
    let next = wait(first.read_kept(9, LONG, Some(kept.sequence))).unwrap();
    assert_eq!((&*next.data, next.sequence), (&b"1"[..], kept.sequence + 1));
    let next = wait(first.read_kept(9, LONG, None)).unwrap();
    assert_eq!(next.data, *"2");
    let number = first.detach();
    assert!(matches!(
        wait(handle.open_server(&id)).err(),
        Some(OpenError::Busy { expires_in: Some(_) })
    ));
    let mut back = wait(handle.open_server_with(&id, fence(number))).unwrap();
    assert_eq!(back.fence(), number);
    let again = wait(back.read_kept(9, LONG, Some(next.sequence - 1))).unwrap();
    assert_eq!(again.data, *"2");
    // It dies; the next one gets what was not acknowledged, and then the rest.
    let mut thief = wait(handle.open_server_with(&id, STEAL)).unwrap();
    assert_eq!(wait(back.read(9, LONG)).err(), Some(ReadError::Fenced));
    assert_eq!(wait(handle.open_server_with(&id, fence(number))).err(), Some(OpenError::Fenced));
    assert_eq!(wait(thief.read(9, LONG)).unwrap(), *"2");
    assert_eq!(wait(thief.read(9, LONG)).unwrap(), *"3");
    let empty = wait(thief.read(9, Duration::from_millis(20))).err();
    assert_eq!(empty, Some(ReadError::Timeout));
    drop((client, thief, back));
    shared.server.finish();
}

#[test]
fn a_lease_ends_without_renewal_and_not_before() {
    let shared = Shared::quick();
    let (mut client, id) = shared.client();
    let handle = shared.server.handle();
    client.send(Message::text("first")).unwrap();
    let time = Duration::from_secs(1);
    let mut holder = wait(handle.open_server_with(&id, lease(time))).unwrap();
    wait(holder.read_kept(9, LONG, None)).unwrap();
    let number = holder.detach();
    let started = Instant::now();
    for _ in 0..6 {
        std::thread::sleep(time / 4);
        let back = wait(handle.open_server_with(&id, fence(number))).expect("renewed in time");
        drop(back);
    }
    let mut next = loop {
        match wait(handle.open_server(&id)) {
            Ok(next) => break next,
            Err(error) => assert!(matches!(error, OpenError::Busy { .. }), "{error}"),
        }
        assert!(started.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(5));
    };
    assert!(started.elapsed() >= 5 * time / 2, "{:?}", started.elapsed());
    assert_eq!(wait(next.read(9, LONG)).unwrap(), *"first");
    drop((client, next));
    shared.server.finish();
}

#[test]
fn a_holder_that_does_nothing_loses_its_lease_and_one_that_reads_does_not() {
    let shared = Shared::quick();
    let (client, id) = shared.client();
    let handle = shared.server.handle();
    let time = Duration::from_secs(1);
    let mut holder = wait(handle.open_server_with(&id, lease(time))).unwrap();
    assert_eq!(wait(holder.read(9, 2 * time)).err(), Some(ReadError::Timeout));
    assert_eq!(status(&handle, &id), SocketStatus::Shared);
    eventually("it is free", || status(&handle, &id) == SocketStatus::Unattended);
    assert_eq!(wait(holder.read(9, LONG)).err(), Some(ReadError::Fenced));
    drop(client);
    shared.server.finish();
}

#[test]
fn of_two_who_race_exactly_one_wins() {
    let shared = Shared::quick();
    let (mut client, id) = shared.client();
    let handle = shared.server.handle();
    let barrier = Barrier::new(2);
    let rounds = 2_000;
    let won = std::thread::scope(|scope| {
        let race = || {
            let mut won = 0;
            for _ in 0..rounds {
                barrier.wait();
                let socket = wait(handle.open_server(&id));
                won += u32::from(socket.is_ok());
                assert!(socket.is_ok() || matches!(socket, Err(OpenError::Busy { .. })));
                barrier.wait();
                drop(socket);
            }
            won
        };
        let racers = [scope.spawn(race), scope.spawn(race)];
        racers.map(|racer| racer.join().unwrap()).into_iter().sum::<u32>()
    });
    assert_eq!(won, rounds);
    client.send(Message::text("still")).unwrap();
    let mut socket = wait(handle.open_server(&id)).unwrap();
    assert_eq!(wait(socket.read(9, LONG)).unwrap(), *"still");
    drop((client, socket));
    shared.server.finish();
}

/// Ends the conversation, and takes the socket back for it from whoever steals it meanwhile.
fn end(handle: EngineHandle, id: &str, mut socket: SharedSocket) {
    while wait(socket.end_server()).is_err() {
        assert_eq!(socket.try_write("stale"), Err(WriteError::Fenced));
        // Who steals it while it waits for the peer's answer finds that it ends.
        let Ok(again) = wait(handle.open_server_with(id, STEAL)) else { return };
        socket = again;
    }
}

#[test]
fn a_message_goes_to_one_of_those_who_steal_from_each_other() {
    let shared = Shared::quick();
    let (mut client, id) = shared.client();
    let handle = shared.server.handle();
    let (sender, seen) = channel();
    let messages = 3_000_u32;
    std::thread::scope(|scope| {
        for thief in 0..3_u32 {
            let (handle, id, sender) = (handle.clone(), &*id, sender.clone());
            scope.spawn(move || {
                let mut turn = thief;
                loop {
                    turn += 1;
                    let Ok(mut socket) = wait(handle.open_server_with(id, STEAL)) else { return };
                    for _ in 0..turn % 7 {
                        match wait(socket.read(99, Duration::from_millis(1))) {
                            Ok(data) if data == "end" => return end(handle, id, socket),
                            Ok(data) => {
                                assert!(socket.at_end());
                                sender
                                    .send(data.as_text().unwrap().parse::<u32>().unwrap())
                                    .unwrap();
                            }
                            Err(ReadError::Closed { .. }) => return,
                            Err(ReadError::Timeout) => {}
                            Err(ReadError::Fenced) => break,
                        }
                    }
                }
            });
        }
        for number in 0..messages {
            client.send(Message::text(number.to_string())).unwrap();
        }
        client.send(Message::text("end")).unwrap();
        assert_eq!(close_of(&mut client), (1000, String::new()));
    });
    drop(sender);
    let mut seen: Vec<u32> = seen.iter().collect();
    seen.sort_unstable();
    assert!(seen.iter().copied().eq(0..messages), "{} of {messages}", seen.len());
    shared.server.finish();
}

/// Goes on in `server` until it is fenced, or told to leave.
struct Stays(Sender<String>);

impl WebSocketServer for Stays {
    async fn on_pre_server(&mut self, opening: &mut Opening) -> Result<(), Refusal> {
        opening.set_shared_connection(true);
        self.0.send(opening.websocket_id()).unwrap();
        Ok(())
    }

    async fn server(&mut self, ws: &mut WebSocket) -> Result<(), Error> {
        loop {
            match ws.read(99, LONG).await {
                Ok(data) if data == "leave" => return Ok(()),
                Ok(data) => ws.write(data).await?,
                Err(error) => {
                    self.0.send(format!("{error:?}")).unwrap();
                    assert_eq!(ws.try_write("stale"), Err(WriteError::Fenced));
                    return Err(error.into());
                }
            }
        }
    }
}

#[test]
fn a_running_server_holds_its_socket_until_it_leaves_or_is_robbed() {
    let (sender, said) = channel();
    let server = support::Server::start(quick(), |builder| {
        builder.route_with("/", options(MailboxPolicy::StopReading), move || Stays(sender.clone()))
    });
    let handle = server.handle();
    let mut client = connect(server.address, "/");
    let id = told(&said);
    client.send(Message::text("to the handler")).unwrap();
    assert_eq!(text(&mut client), "to the handler");
    assert_eq!(status(&handle, &id), SocketStatus::Shared);
    let busy = Some(OpenError::Busy { expires_in: None });
    assert_eq!(wait(handle.open_server(&id)).err(), busy);
    let mut thief = wait(handle.open_server_with(&id, STEAL)).unwrap();
    assert_eq!(told(&said), "Fenced");
    // That the handler then failed is no reason to close what is not its any more.
    client.send(Message::text("to the thief")).unwrap();
    assert_eq!(wait(thief.read(99, LONG)).unwrap(), *"to the thief");
    eventually("the handler is gone", || wait(handle.status()).shards[0].handlers == 0);
    drop(thief);
    assert_eq!(status(&handle, &id), SocketStatus::Unattended);

    let mut other = connect(server.address, "/");
    let id = told(&said);
    other.send(Message::text("leave")).unwrap();
    other.send(Message::text("for the next")).unwrap();
    eventually("it is left", || status(&handle, &id) == SocketStatus::Unattended);
    let mut next = wait(handle.open_server(&id)).unwrap();
    assert_eq!(wait(next.read(99, LONG)).unwrap(), *"for the next");
    drop((client, other, next));
    server.finish();
}

#[test]
fn a_session_expires_after_its_time_and_what_happens_extends_it() {
    let session_timeout = Duration::from_secs(1);
    let shared =
        Shared::start(quick(), RouteOptions { session_timeout, ..RouteOptions::default() });
    let (mut client, id) = shared.client();
    let handle = shared.server.handle();
    let mut last = Instant::now();
    for _ in 0..6 {
        std::thread::sleep(session_timeout / 4);
        last = Instant::now();
        client.send(Message::text("alive")).unwrap();
    }
    assert_eq!(support::close_of(&mut client), (1001, "the session has timed out".into()));
    // The engine knows whole milliseconds.
    let elapsed = last.elapsed() + Duration::from_millis(1);
    assert!(elapsed >= session_timeout, "{elapsed:?}");
    assert_eq!(wait(handle.open_server(&id)).err(), Some(OpenError::Expired));
    assert_eq!(told(&shared.ends).code.0, 1001);
    assert_eq!(wait(handle.open_server(&id)).err(), Some(OpenError::Expired));
    shared.server.finish();
}

#[test]
fn what_is_left_of_a_socket_is_opened_again_by_the_same_attempt_alone() {
    let shared = Shared::quick();
    let (mut client, id) = shared.client();
    let handle = shared.server.handle();
    client.send(Message::text("goodbye")).unwrap();
    client.close(None).unwrap();
    while client.read().is_ok() {}
    eventually("it is gone", || is_gone(&handle));
    let open = |key| wait(handle.open_server_with(&id, OpenOptions { key, ..lease(LONG) }));
    let first = open(Some(7)).unwrap();
    let fence = first.fence();
    drop(first);
    for other in [Some(8), None] {
        assert!(matches!(open(other).err(), Some(OpenError::Busy { .. })), "{other:?}");
    }
    let mut again = open(Some(7)).unwrap();
    assert_eq!(again.fence(), fence);
    assert_eq!(wait(again.read(99, LONG)).unwrap(), *"goodbye");
    drop(again);
    shared.server.finish();
}

/// A holder that dies after the peer has left keeps what that had said from others for as long as its
/// lease, and no longer.
#[test]
fn the_lease_of_what_is_left_ends_as_well() {
    let mut settings = quick();
    // The peer's Close waits for its holder no longer than that, hence not for as long as a lease.
    settings.timeouts.close = Duration::from_millis(300);
    let shared = Shared::start(settings, options(MailboxPolicy::StopReading));
    let (mut client, id) = shared.client();
    let handle = shared.server.handle();
    client.send(Message::text("first")).unwrap();
    client.send(Message::text("second")).unwrap();
    let time = Duration::from_secs(4);
    let mut holder = wait(handle.open_server_with(&id, lease(time))).unwrap();
    assert_eq!(wait(holder.read_kept(9, LONG, None)).unwrap().data, *"first");
    client.close(None).unwrap();
    while client.read().is_ok() {}
    eventually("it is gone", || is_gone(&handle));
    let number = holder.detach();
    let started = Instant::now();
    let mut next = loop {
        match wait(handle.open_server(&id)) {
            Ok(next) => break next,
            Err(error) => assert!(matches!(error, OpenError::Busy { .. }), "{error}"),
        }
        assert!(started.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(started.elapsed() > time / 2, "{:?}", started.elapsed());
    assert_eq!(wait(handle.open_server_with(&id, fence(number))).err(), Some(OpenError::Fenced));
    // What was not acknowledged, and the rest.
    for word in ["first", "second"] {
        assert_eq!(wait(next.read(9, LONG)).unwrap(), *word);
    }
    assert!(matches!(wait(next.read(9, LONG)), Err(ReadError::Closed { .. })));
    shared.server.finish();
}
