//! What is kept while nobody looks: detached sockets, sessions, ages.

use ringwire::proto::limits::{INBOX_BYTES_MAX, INBOX_MESSAGES_MAX};
use ringwire::{
    EngineHandle, Error, Event, EventFilter, EventKind, EventStream, MailboxPolicy, MemoryStore,
    OpenError, Opening, Refusal, RouteOptions, SessionSettings, WebSocket, WebSocketServer,
};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};
use support::load::{Descriptors, in_threads};
use support::raw::{FIN, PING, PONG, Raw, TEXT, frame};
use support::stores::Clocked;
use support::visitor::{Browser, ask, serve, wait};
use support::{PATIENCE, Server, close_of, quick};

const THREADS: usize = 4;

/// Says its id, and leaves the socket to nobody.
#[derive(Default)]
struct Leave;

impl WebSocketServer for Leave {
    async fn on_pre_server(&mut self, opening: &mut Opening) -> Result<(), Refusal> {
        opening.set_shared_connection(true);
        Ok(())
    }

    async fn server(&mut self, ws: &mut WebSocket) -> Result<(), Error> {
        let id = ws.websocket_id();
        Ok(ws.write(id).await?)
    }
}

/// A client that asks whether anybody is there; every hundredth one says much more than a mailbox
/// holds before. How many messages wait then, if its time is not over yet.
fn detached(address: SocketAddr, handle: &EngineHandle, number: usize) -> (Raw, Option<usize>) {
    let mut raw = Raw::open(address, "/");
    let id = raw.read_frame().expect("its id").payload;
    let id = String::from_utf8(id).expect("text");
    if number.is_multiple_of(100) {
        // More bytes than a mailbox holds, or more messages.
        let (count, bytes) = if number.is_multiple_of(200) { (300, 1_024) } else { (3_000, 0) };
        raw.send(&frame(FIN | TEXT, &vec![b'x'; bytes]).repeat(count));
    }
    raw.send(&frame(FIN | PING, b"anybody?"));
    let pong = raw.read_frame().expect("a Pong");
    assert_eq!((pong.opcode(), pong.payload.as_slice()), (PONG, &b"anybody?"[..]));
    let info = wait(handle.socket(&id));
    let waiting = info.ok().map(|info| {
        assert!(info.inbox_bytes <= INBOX_BYTES_MAX, "{info:?}");
        assert!(info.inbox_messages <= INBOX_MESSAGES_MAX, "{info:?}");
        info.inbox_messages
    });
    (raw, waiting)
}

/// How long each of so many was open, by its id.
fn follow(events: &mut EventStream, count: usize) -> HashMap<Arc<str>, u64> {
    let mut opened = HashMap::new();
    let mut took_ms = HashMap::new();
    while took_ms.len() < count {
        let Event { kind, websocket_id, unix_ms, close, .. } =
            wait(events.next()).expect("the engine runs");
        match kind {
            EventKind::Open => drop(opened.insert(websocket_id, unix_ms)),
            EventKind::Closed => {
                assert_eq!(close.expect("it ended").code.0, 1001);
                took_ms.insert(Arc::clone(&websocket_id), unix_ms - opened[&websocket_id]);
            }
            EventKind::Readable => {}
            _ => panic!("{kind:?}"),
        }
    }
    took_ms
}

#[test]
fn bar_40_ten_thousand_detached_sockets_expire_in_time_answer_pings_and_keep_their_caps() {
    let reserved = Descriptors::take(10_000);
    let count = reserved.count() / THREADS * THREADS;
    let session_timeout = Duration::from_secs(8);
    let mut settings = quick();
    // The kernel does not share them out evenly.
    (settings.shards, settings.connections_max) = (2, Some(2 * count as u32));
    settings.timeouts.drain = PATIENCE / 2;
    let mailbox = MailboxPolicy::DropOldest;
    let options = RouteOptions { session_timeout, mailbox, ..RouteOptions::default() };
    let server = Server::start(settings, |b| b.route_with("/", options, Leave::default));
    let (address, handle) = (server.address, server.handle());
    let mut events = handle.events(EventFilter::default(), None);
    let (raws, full) = (Mutex::new(Vec::new()), AtomicUsize::new(0));
    let took_ms = thread::scope(|scope| {
        scope.spawn(|| {
            in_threads(THREADS, |thread| {
                for number in 0..count / THREADS {
                    let (raw, waiting) = detached(address, &handle, number * THREADS + thread);
                    full.fetch_add(usize::from(waiting > Some(0)), Ordering::Relaxed);
                    raws.lock().expect("not poisoned").push(raw);
                }
            });
        });
        follow(&mut events, count)
    });
    assert!(full.into_inner() > 0, "some mailboxes were looked at");
    let mut sorted: Vec<u64> = took_ms.values().copied().collect();
    sorted.sort_unstable();
    assert!(sorted[0] >= 8_000, "{} ms", sorted[0]);
    // Of those that come last the machine may have been slow.
    assert!(sorted[count * 9 / 10] <= 11_000, "{:?}", sorted.last());
    let some = took_ms.keys().take(100);
    let expired = some.filter(|id| wait(handle.open_server(id)).err() == Some(OpenError::Expired));
    assert_eq!(expired.count(), 100);
    for mut raw in raws.into_inner().expect("not poisoned").into_iter().take(100) {
        assert_eq!(raw.close_code(), Some(1001));
    }
    assert_eq!(server.finish().cut, 0);
}

/// Whatever is done to the clock, an hour or years, and wherever it began.
#[test]
fn bar_29_a_clock_that_leaps_closes_nothing_and_ends_no_wait() {
    const NOW_S: u64 = 1_800_000_000;
    const LEAPS_S: [i64; 5] = [3_600, -3_600, 400 * 86_400, -400 * 86_400, -1_700_000_000];
    let store = Arc::new(Clocked::new(NOW_S));
    let server =
        serve(SessionSettings::default(), |builder| builder.session_store(Arc::clone(&store)));
    let (mut browser, mut silent) = (Browser::default(), Browser::default());
    let (mut client, _) = browser.connect(server.address, "/?login");
    let (mut empty, _) = silent.connect(server.address, "/");
    let id = ask(&mut empty, "id");
    for leap_s in LEAPS_S {
        store.set(NOW_S.saturating_add_signed(leap_s));
        // Longer than it takes to look after sessions.
        thread::sleep(Duration::from_millis(1_200));
        assert_eq!(ask(&mut client, "get user"), "ada", "{leap_s}");
        assert_eq!(ask(&mut empty, "id"), id, "{leap_s}");
        store.set(NOW_S);
    }
    // Who comes while it is an hour off has the same session.
    for leap_s in [3_600, -3_600] {
        store.set(NOW_S.saturating_add_signed(leap_s));
        for browser in [&mut browser, &mut silent] {
            assert!(!browser.connect(server.address, "/").1, "{leap_s}");
        }
    }
    server.finish();
}

/// Fixation, rotation, revocation, in two servers that share the sessions.
#[test]
fn bar_41_a_planted_cookie_is_nobody_and_a_revoked_one_is_closed_everywhere() {
    let store = Arc::new(MemoryStore::new(100));
    let start =
        || serve(SessionSettings::default(), |builder| builder.session_store(Arc::clone(&store)));
    let (here, there) = (start(), start());
    // Made up, or got from the server and planted before a login.
    let mut planted = Browser::with_cookie("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    assert!(planted.connect(here.address, "/").1);
    let mut victim = Browser::default();
    let (mut before, _) = victim.connect(here.address, "/");
    assert_eq!(ask(&mut before, "set basket 7"), "-");
    let attacker = victim.clone();
    let (mut after, came) = victim.connect(here.address, "/?login");
    assert!(came && ask(&mut after, "get basket") == "7");
    assert_eq!(close_of(&mut before), (1008, "the session has a new cookie".into()));
    for server in [&here, &there] {
        let (mut client, came) = attacker.clone().connect(server.address, "/");
        assert!(came && ask(&mut client, "get user") == "-");
    }
    let (mut elsewhere, came) = victim.connect(there.address, "/");
    assert!(!came && ask(&mut elsewhere, "get user") == "ada");
    let revoked = Instant::now();
    assert_eq!(wait(here.handle().revoke_session(&ask(&mut after, "id"))), Ok(1));
    assert_eq!(close_of(&mut after), (1008, "the session was revoked".into()));
    assert_eq!(close_of(&mut elsewhere), (1008, "the session has ended".into()));
    assert!(revoked.elapsed() < PATIENCE);
    for server in [&here, &there] {
        assert!(victim.clone().connect(server.address, "/").1, "the cookie is worthless");
    }
    here.finish();
    there.finish();
}
