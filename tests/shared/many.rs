//! Many at once.

use crate::{Shared, wait};
use ringwire::{EventFilter, EventKind, OpenError, RouteOptions};
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::time::Duration;
use support::load::in_threads;
use support::raw::{CLOSE, FIN, Raw, TEXT, frame};
use support::{LONG, eventually};

const THREADS: usize = 4;

/// So many peers say a word and leave.
fn crowd(address: SocketAddr, count: usize, word: &[u8]) {
    let mut last_words = frame(FIN | TEXT, word);
    last_words.extend(frame(FIN | CLOSE, &1_000_u16.to_be_bytes()));
    in_threads(THREADS, |_| {
        for _ in 0..count / THREADS {
            let mut raw = Raw::open(address, "/");
            raw.send(&last_words);
            while raw.read_frame().is_some() {}
        }
    });
}

#[test]
fn the_last_word_of_each_of_a_crowd_can_be_read() {
    let count = 4_000;
    let shared = Shared::quick();
    let handle = shared.server.handle();
    let mut events = handle.events(EventFilter::default(), None);
    crowd(shared.server.address, count, b"farewell");
    let (mut announced, mut closed) = (HashSet::new(), 0);
    while closed < count {
        let event = wait(events.next()).expect("the engine runs");
        match event.kind {
            EventKind::Readable => drop(announced.insert(event.websocket_id)),
            EventKind::Closed => closed += 1,
            EventKind::Open => {}
            _ => panic!("{event:?}"),
        }
    }
    assert_eq!(announced.len(), count);
    let remains = || wait(handle.status()).shards.iter().map(|shard| shard.remains).sum::<u64>();
    eventually("they are gone", || remains() == count as u64);
    for id in &announced {
        let mut socket = wait(handle.open_server(id)).expect("a minute is not over");
        assert_eq!(wait(socket.read(100, LONG)).expect("its word"), "farewell");
        assert!(wait(socket.read(100, LONG)).is_err());
    }
    eventually("nothing is left", || remains() == 0);
    assert_eq!(wait(handle.status()).totals.remains_lost, 0);
    shared.server.finish();
}

/// More than is kept: what is given up is told by its id, counted, and never confused with an id
/// that was made up.
#[test]
fn last_words_that_are_too_many_are_told_as_lost() {
    let (count, word) = (4_000, vec![b'x'; 30_000]);
    let settings = ringwire::Settings { shards: 1, ..support::quick() };
    let shared = Shared::start(settings, crate::options(ringwire::MailboxPolicy::StopReading));
    let handle = shared.server.handle();
    let mut events = handle.events(EventFilter::default(), None);
    crowd(shared.server.address, count, &word);
    let (mut readable, mut lost, mut closed) = (HashSet::new(), HashSet::new(), 0);
    let mut take = |event: ringwire::Event, lost: &mut HashSet<_>| {
        match event.kind {
            EventKind::Readable => drop(readable.insert(event.websocket_id)),
            EventKind::Lost => assert!(lost.insert(event.websocket_id), "told twice"),
            EventKind::Closed => closed += 1,
            EventKind::Open => {}
            _ => panic!("{event:?}"),
        }
        closed
    };
    while take(wait(events.next()).expect("the engine runs"), &mut lost) < count {}
    let status = || wait(handle.status());
    eventually("all are gone or kept", || {
        let status = status();
        status.shards[0].remains + status.totals.remains_lost == count as u64
    });
    while let Some(event) = events.try_next() {
        take(event, &mut lost);
    }
    assert_eq!(status().totals.remains_lost, lost.len() as u64);
    assert!(lost.len() > 500 && lost.len() < 3_500, "{}", lost.len());
    assert!(status().shards[0].remains_bytes <= 64 * 1024 * 1024);
    assert_eq!(readable.len(), count);
    for id in &readable {
        match wait(handle.open_server(id)) {
            Ok(mut socket) => {
                assert!(!lost.contains(id));
                assert_eq!(wait(socket.read(30_000, LONG)).expect("its word").as_bytes(), word);
            }
            Err(error) => assert!(error == OpenError::Expired && lost.contains(id), "{error}"),
        }
    }
    shared.server.finish();
}

#[test]
fn a_hundred_thousand_guesses_hit_nothing() {
    let shared = Shared::quick();
    let (client, id) = shared.client();
    let handle = shared.server.handle();
    let mut bits = 0x9e37_79b9_7f4a_7c15_u64;
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut guess = id.clone().into_bytes();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        for round in 0..100_000_usize {
            // Of the part that cannot be known; now and then of all of it.
            let known = if round % 10 == 0 { 0 } else { 15 };
            for letter in &mut guess[known..] {
                bits = bits.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
                *letter = alphabet[(bits >> 58) as usize];
            }
            let text = std::str::from_utf8(&guess).unwrap();
            let opened = handle.open_server(text).await;
            assert_eq!(opened.err(), Some(OpenError::Unknown), "{text}");
        }
    });
    assert!(wait(handle.open_server(&id)).is_ok());
    drop(client);
    shared.server.finish();
}

#[test]
fn ten_thousand_sessions_expire_in_their_time() {
    let count = 10_000;
    let session_timeout = Duration::from_secs(2);
    let mut settings = support::quick();
    // The kernel does not share them out evenly.
    settings.connections_max = Some(2 * count);
    settings.shards = 2;
    let options = RouteOptions { session_timeout, ..RouteOptions::default() };
    let shared = Shared::start(settings, options);
    let handle = shared.server.handle();
    let mut events = handle.events(EventFilter::default(), None);
    let address = shared.server.address;
    let clients = std::thread::spawn(move || {
        let open = || support::raw::Raw::open(address, "/");
        (0..count).map(|_| open()).collect::<Vec<_>>()
    });
    let mut opened = HashMap::new();
    let mut took_ms = Vec::new();
    while took_ms.len() < count as usize {
        let event = wait(events.next()).expect("the engine runs");
        match event.kind {
            EventKind::Open => drop(opened.insert(event.websocket_id, event.unix_ms)),
            EventKind::Closed => {
                assert_eq!(event.close.expect("it ended").code.0, 1001);
                took_ms.push(event.unix_ms - opened[&event.websocket_id]);
            }
            _ => panic!("{event:?}"),
        }
    }
    took_ms.sort_unstable();
    assert!(took_ms[0] >= 2_000, "{} ms", took_ms[0]);
    // Of those that come last the machine may have been slow.
    assert!(took_ms[took_ms.len() * 9 / 10] <= 3_000, "{:?}", took_ms.last());
    let some = opened.keys().take(100);
    let expired = some.filter(|id| wait(handle.open_server(id)).err() == Some(OpenError::Expired));
    assert_eq!(expired.count(), 100);
    drop(clients.join().unwrap());
    shared.server.finish();
}
