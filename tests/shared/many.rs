//! Many at once.

use crate::{Shared, wait};
use ringwire::{EventFilter, EventKind, OpenError, RouteOptions};
use std::collections::HashMap;
use std::time::Duration;

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
    let mut settings = crate::support::quick();
    // The kernel does not share them out evenly.
    settings.connections_max = Some(2 * count);
    settings.shards = 2;
    let options = RouteOptions { session_timeout, ..RouteOptions::default() };
    let shared = Shared::start(settings, options);
    let handle = shared.server.handle();
    let mut events = handle.events(EventFilter::default(), None);
    let address = shared.server.address;
    let clients = std::thread::spawn(move || {
        let open = || crate::support::raw::Raw::open(address, "/");
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
