//! Who gets a place when there are many: among all, among those of one address, among the shards;
//! and storms of those who come and vanish.

use ringwire::{EngineHandle, ListenAddress, Settings};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;
use support::load::{Descriptors, in_threads};
use support::program::Program;
use support::raw::{FIN, Raw, TEXT, frame, http, upgrade};
use support::visitor::wait;
use support::{PATIENCE, Server, echo, eventually, quick};

const THREADS: usize = 4;

fn connections(handle: &EngineHandle) -> Vec<u64> {
    let status = wait(handle.status());
    status.shards.iter().map(|shard| shard.connections).collect()
}

fn echoes(raw: &mut Raw, said: &str) {
    raw.send(&frame(FIN | TEXT, said.as_bytes()));
    assert_eq!(raw.read_frame().expect("an echo").payload, said.as_bytes());
}

/// The status of the answer to an upgrade, when to come back, and the connection.
fn ask(address: SocketAddr) -> (u16, Option<u32>, Raw) {
    ask_at(address, "/")
}

fn ask_at(address: SocketAddr, path: &str) -> (u16, Option<u32>, Raw) {
    let mut raw = Raw::connect(address);
    raw.send(upgrade(path, "").as_bytes());
    let reply = raw.read_head();
    let pause = reply.header("Retry-After").and_then(|seconds| seconds.parse().ok());
    (reply.status, pause, raw)
}

/// However the kernel spreads them: none is refused before the process is full.
#[test]
fn bar_16_no_shard_refuses_while_the_process_has_room() {
    const ROUNDS: usize = 5;
    let _reserved = Descriptors::take(300);
    let mut settings = Settings { shards: 2, connections_max: Some(100), ..quick() };
    settings.timeouts.drain = PATIENCE / 2;
    let server = Server::with(settings, echo);
    for round in 0..ROUNDS {
        let mut all: Vec<_> = (0..100)
            .map(|number| {
                let (status, _, raw) = ask(server.address);
                assert_eq!(status, 101, "round {round}, connection {number}");
                raw
            })
            .collect();
        let (status, pause, _) = ask(server.address);
        assert_eq!(status, 503);
        assert!(pause.is_some_and(|seconds| (5..=30).contains(&seconds)), "{pause:?}");
        // One goes, and the next one has its place.
        drop(all.pop());
        eventually("there is a place again", || ask(server.address).0 == 101);
        drop(all);
        eventually("all are gone", || connections(&server.handle()).iter().sum::<u64>() == 0);
    }
    server.finish();
}

/// One socket for all shards: each gets its part, and none more than there may be.
#[test]
fn bar_16_a_unix_socket_feeds_every_shard() {
    const SHARDS: usize = 3;
    let path = std::env::temp_dir().join(format!("ringwire-spread-{}.sock", std::process::id()));
    let mut settings = Settings { shards: SHARDS, connections_max: Some(200), ..quick() };
    settings.listen = vec![ListenAddress::Unix(path.clone())];
    settings.timeouts.drain = PATIENCE / 2;
    let server = Server::with(settings, echo);
    let open = || {
        let mut stream = UnixStream::connect(&path).expect("it accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        stream.write_all(upgrade("/", "").as_bytes()).expect("it reads");
        let mut head = [0; 12];
        stream.read_exact(&mut head).expect("an answer");
        (head, stream)
    };
    let all: Vec<_> = (0..200).map(|_| open()).collect();
    assert!(all.iter().all(|(head, _)| head == b"HTTP/1.1 101"));
    let spread = connections(&server.handle());
    // A shard that does not come to its turn has some less; one that has all is what must not be.
    assert!(spread.iter().all(|count| *count >= 200 / SHARDS as u64 / 4), "{spread:?}");
    assert_eq!(&open().0, b"HTTP/1.1 503");
    drop(all);
    server.finish();
}

/// Loopback counts as an address here. What the others have is not touched, and a silent one over
/// the limit is cut soon.
#[test]
fn bar_16_one_address_has_its_limit_and_the_rest_is_429() {
    const MOST: usize = 50;
    let _reserved = Descriptors::take(300);
    let mut settings = Settings { shards: 2, ..quick() };
    settings.limits.connections_per_address_max = MOST as u16;
    settings.limits.trusted_addresses = vec!["127.0.0.128/25".parse().expect("a range")];
    settings.timeouts.drain = PATIENCE / 2;
    let server = Server::with(settings, echo);
    let handle = server.handle();
    let known = {
        let mut first = Raw::open(server.address, "/");
        echoes(&mut first, "who am I");
        let page = wait(handle.sockets(&ringwire::SocketQuery::default()));
        page.sockets.first().is_some_and(|socket| socket.peer.is_some())
    };
    if !known {
        // Before Linux 6.7 the kernel does not tell who a peer is.
        server.finish();
        return;
    }
    eventually("it is gone", || connections(&handle).iter().sum::<u64>() == 0);
    // Half of them silent: they have places as well.
    let silent: Vec<_> = (0..MOST / 2).map(|_| Raw::connect(server.address)).collect();
    eventually("they are there", || connections(&handle).iter().sum::<u64>() == MOST as u64 / 2);
    let mut open: Vec<_> = (0..MOST / 2)
        .map(|_| {
            let (status, _, raw) = ask(server.address);
            assert_eq!(status, 101);
            raw
        })
        .collect();
    let mut pauses = std::collections::BTreeSet::new();
    for _ in 0..200 {
        let reply = http(server.address, upgrade("/", "").as_bytes());
        assert_eq!(reply.status, 429, "{}", reply.head);
        assert_eq!(reply.header("Connection"), Some("close"));
        pauses.extend(reply.header("Retry-After").and_then(|s| s.parse::<u32>().ok()));
    }
    assert!(pauses.len() > 5 && pauses.iter().all(|s| (5..=30).contains(s)), "{pauses:?}");
    // One that says nothing is told as well, long before a head has to be there.
    let told = Raw::connect(server.address).reply();
    assert_eq!(told.status, 429);
    // Somebody else, and somebody with many people behind them.
    let other = Raw::open_from("127.0.0.2", server.address, "/");
    let trusted = |_| Raw::open_from("127.0.0.200", server.address, "/");
    let many: Vec<_> = (0..2 * MOST).map(trusted).collect();
    open.iter_mut().for_each(|raw| echoes(raw, "still here"));
    // One goes, and the next one has its place.
    drop(open.pop());
    eventually("there is a place again", || ask(server.address).0 == 101);
    drop((open, silent));
    let refusals = wait(handle.status()).refusals;
    let told = refusals.iter().find(|(status, _)| *status == 429).map(|(_, count)| *count);
    assert!(told.is_some_and(|count| count >= 201), "{refusals:?}");
    drop((other, many));
    server.finish();
}

#[test]
fn bar_26_a_storm_of_resets_gives_every_slot_back() {
    let reserved = Descriptors::take(3_000);
    let (stormers, newcomers) = (reserved.count() * 9 / 10, reserved.count() / 10);
    let mut settings = quick();
    settings.connections_max = Some(reserved.count() as u32);
    settings.timeouts.drain = PATIENCE / 2;
    let server = Server::with(settings, echo);
    let handle = server.handle();
    let mut witness = Raw::open(server.address, "/");
    for round in 0..3 {
        let mut crowd: Vec<_> = (0..stormers - 1)
            .map(|_| {
                let mut raw = Raw::connect(server.address);
                raw.send(upgrade("/", "").as_bytes());
                raw
            })
            .collect();
        crowd.iter_mut().for_each(|raw| drop(raw.expect_101()));
        crowd.into_iter().for_each(Raw::reset);
        // In the middle of it others come, and every one of them is taken.
        let mut new: Vec<_> = (0..newcomers).map(|_| Raw::open(server.address, "/")).collect();
        new.iter_mut().for_each(|raw| echoes(raw, "new"));
        echoes(&mut witness, &round.to_string());
        eventually("the slots are free", || connections(&handle)[0] == 1 + newcomers as u64);
        drop(new);
        eventually("all are gone", || connections(&handle)[0] == 1);
    }
    drop(witness);
    assert_eq!(server.finish().panics, 0);
}

#[test]
fn bar_27_connect_upgrade_reset_for_ever_leaves_nothing() {
    const CYCLES: usize = 12_000;
    let mut program = Program::serve(&[
        "--shards=1",
        "--connections-max=256",
        "--log=warn,ringwire::serve=info,ringwire=info,ringwire::access=off",
    ]);
    let address = program.address;
    let storm = |cycles: usize| {
        in_threads(THREADS, |thread| {
            let mut witness = Raw::open(address, "/echo");
            for cycle in 0..cycles / THREADS {
                let mut raw = Raw::connect(address);
                raw.send(upgrade("/echo", "").as_bytes());
                if cycle % 2 == 0 {
                    raw.expect_101();
                }
                raw.reset();
                if cycle % 100 == 0 {
                    echoes(&mut witness, &format!("{thread} {cycle}"));
                }
            }
        });
    };
    storm(CYCLES / 4);
    let before = program.rss_bytes();
    storm(CYCLES);
    let grown = program.rss_bytes().saturating_sub(before);
    println!("grown by {grown} bytes");
    assert!(grown < 4 << 20, "{grown} bytes");
    // Every slot is there for somebody else.
    let mut full: Vec<_> = Vec::new();
    eventually("everybody is taken", || {
        let (status, _, raw) = ask_at(address, "/echo");
        full.extend((status == 101).then_some(raw));
        full.len() == 256
    });
    full.iter_mut().for_each(|raw| echoes(raw, "here"));
    drop(full);
    thread::sleep(Duration::from_millis(100));
    assert_eq!(program.stop().code(), Some(0));
    assert_eq!(program.counter("panics"), 0);
}
