//! Peers that take nothing, and peers that are not there any more: they are found, and nobody waits
//! for them.

use ringwire::{Error, WebSocket};
use rustix::net::sockopt::set_socket_recv_buffer_size;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;
use support::load::Descriptors;
use support::program::Program;
use support::raw::{BINARY, FIN, PING, Raw, TEXT, frame, upgrade};
use support::visitor::wait;
use support::{PATIENCE, Server, echo, eventually, on, quick};

const MIB: u64 = 1 << 20;

const SHARDS: u64 = 2;

/// How far a member of a broadcast may be behind.
const BEHIND_MESSAGES_MAX: u64 = 1_024;
const BEHIND_BYTES_MAX: u64 = 8 * MIB;

/// What was said and a shard has not taken.
const LETTERS_BYTES_MAX: u64 = MIB;

/// Tells others that it is over, also when something fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A connection whose own kernel takes little ahead of it.
fn narrow(address: SocketAddr, path: &str) -> Raw {
    let mut raw = Raw::connect(address);
    set_socket_recv_buffer_size(&raw.stream, 16 * 1024).expect("a TCP socket");
    raw.send(upgrade(path, "").as_bytes());
    raw.expect_101();
    raw
}

fn program() -> Program {
    let log = "--log=warn,ringwire::serve=info,ringwire::access=info";
    // Who is closed as slow reads its Close when the others have heard everything, which takes a busy
    // machine longer than a peer may go on taking nothing.
    let sets = ["limits.socket_send_buffer_bytes=65536", "timeouts.close_ms=30000"];
    Program::serve(&["--shards=2", log, "--set", sets[0], "--set", sets[1]])
}

fn hears(member: &mut Raw, wanted: &str) {
    while !member.read_frame().expect("a message").payload.ends_with(wanted.as_bytes()) {}
}

/// So many in a room, and one who reads nothing from now on. All have joined for certain.
fn members(program: &Program, path: &str, count: usize) -> (Vec<Raw>, Raw) {
    let mut members: Vec<Raw> = (0..count).map(|_| Raw::open(program.address, path)).collect();
    members.push(narrow(program.address, path));
    for (number, member) in members.iter_mut().enumerate() {
        // In a chat the first is its name.
        let hello = format!("hello {number}");
        member.send(&frame(FIN | TEXT, format!("member {number}").as_bytes()));
        member.send(&frame(FIN | TEXT, hello.as_bytes()));
        hears(member, &hello);
    }
    members[0].send(&frame(FIN | TEXT, b"all here"));
    members.iter_mut().for_each(|member| hears(member, "all here"));
    let slow = members.pop().expect("it came last");
    (members, slow)
}

/// What is said, so many bytes of it.
fn payload(number: usize, bytes: usize) -> String {
    format!("{number:0bytes$}")
}

/// One says `count` messages of `bytes`, and all of these hear every one, in order. The most memory
/// that the program had meanwhile.
fn all_hear(members: &mut [Raw], program: &Program, count: usize, bytes: usize) -> u64 {
    const BURST: usize = 8;
    let mut most = 0;
    for first in (0..count).step_by(BURST) {
        let burst = first..(first + BURST).min(count);
        let said = burst.clone().map(|number| payload(number, bytes));
        let said = said.flat_map(|text| frame(FIN | TEXT, text.as_bytes()));
        members[0].send(&said.collect::<Vec<_>>());
        for member in members.iter_mut() {
            for number in burst.clone() {
                let heard = member.read_frame().expect("a message").payload;
                assert!(heard.ends_with(payload(number, bytes).as_bytes()), "{number} is lost");
            }
        }
        most = most.max(program.rss_bytes());
    }
    most
}

/// What so many members of a broadcast may make the program grow by, from messages of so many bytes.
fn broadcast_bytes_max(members: u64, message_bytes: u64) -> u64 {
    let limits = ringwire::Limits::default();
    // One log at most: a message is there once, whoever is behind.
    let behind = BEHIND_BYTES_MAX.min(BEHIND_MESSAGES_MAX * message_bytes);
    let letters = SHARDS * (LETTERS_BYTES_MAX + message_bytes);
    // One message may start below a mark and end above it.
    let marks = limits.inbox_bytes_max + limits.outbox_high_water_bytes;
    let boxes = members * (marks as u64 + 2 * message_bytes);
    let receive_buffers = SHARDS * ringwire::RingSettings::default().buffer_pool_bytes as u64;
    // A message may be in memory of up to twice its size. What a shard keeps for its next use it had
    // in use before, so that is counted already.
    2 * (behind + letters + boxes) + receive_buffers
}

/// Too far behind in bytes, and in messages. What it was sent before is whole and in order.
#[test]
fn bar_22_who_reads_nothing_is_cut_as_slow_and_the_others_lose_nothing() {
    for (count, bytes) in [(900, 60_000), (5_000, 100)] {
        let program = program();
        let (mut members, mut slow) = members(&program, "/broadcast", 4);
        let before = program.rss_bytes();
        let grown = all_hear(&mut members, &program, count, bytes).saturating_sub(before);
        let max = broadcast_bytes_max(members.len() as u64 + 1, bytes as u64);
        println!("{count} of {bytes} bytes: grown by {grown} bytes at most, of {max}");
        assert!(grown <= max, "{grown} bytes of {max}");
        let mut heard = 0;
        let close = loop {
            let frame = slow.read_frame().expect("a Close frame at the end");
            if frame.close_code().is_some() {
                break frame;
            }
            let wanted = payload(heard, bytes);
            assert!(frame.payload == wanted.as_bytes(), "{heard} was left out before the end");
            heard += 1;
        };
        assert_eq!(close.close_code(), Some(1008));
        assert!(close.payload.ends_with(b"too far behind what is said here"));
        assert!(heard < count, "it was never too far behind");
        drop(slow);
        eventually("the log says why", || program.lines_with("code=1008") == 1);
        // The room goes on.
        all_hear(&mut members, &program, 8, bytes);
    }
}

/// Where the slow are not closed, they are told what they missed.
#[test]
fn bar_22_who_reads_nothing_in_a_chat_is_told_what_it_missed() {
    const LINES: usize = 5_000;
    const BYTES: usize = 900;
    let program = program();
    let (mut members, mut slow) = members(&program, "/chat", 4);
    let before = program.rss_bytes();
    let grown = all_hear(&mut members, &program, LINES, BYTES).saturating_sub(before);
    println!("grown by {grown} bytes at most");
    assert!(grown < 16 * MIB, "{grown} bytes");
    let (mut next, mut missed) = (0, 0);
    while next < LINES {
        let line = String::from_utf8(slow.read_frame().expect("a line").payload).expect("text");
        let lost = line.strip_suffix(" lines missed").and_then(|line| line.strip_prefix("* "));
        if let Some(count) = lost.and_then(|count| count.parse::<usize>().ok()) {
            missed += count;
            next += count;
        } else {
            assert!(line.ends_with(&payload(next, BYTES)), "not line {next}: {line}");
            next += 1;
        }
    }
    assert!((1..LINES).contains(&missed), "{missed} of {LINES} missed");
    members.push(slow);
    all_hear(&mut members, &program, 8, BYTES);
}

/// How somebody stopped being there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Silence {
    InTheHead,
    Idle,
    InAFrame,
    /// While the server says something all the time.
    Deaf,
}

fn fall_silent(address: SocketAddr, how: Silence) -> Raw {
    match how {
        Silence::InTheHead => {
            let mut raw = Raw::connect(address);
            raw.send(b"GET / HTTP/1.1\r\n");
            raw
        }
        Silence::Idle => Raw::open(address, "/"),
        Silence::InAFrame => {
            let mut raw = Raw::open(address, "/");
            raw.try_send(&frame(FIN | BINARY, &[7; 100])[..50]);
            raw
        }
        Silence::Deaf => narrow(address, "/talks"),
    }
}

/// Whoever does not answer is gone, and whoever does is not.
#[test]
fn bar_24_peers_that_fell_silent_are_all_gone() {
    const WITNESSES: usize = 4;
    const KINDS: [Silence; 4] =
        [Silence::InTheHead, Silence::Idle, Silence::InAFrame, Silence::Deaf];
    let reserved = Descriptors::take(2_000);
    let mut settings = quick();
    settings.shards = 2;
    settings.connections_max = Some(2 * reserved.count() as u32);
    settings.limits.socket_send_buffer_bytes = 16 * 1024;
    settings.timeouts.drain = PATIENCE / 2;
    settings.timeouts.request_head = Duration::from_secs(2);
    settings.timeouts.ping_interval = Duration::from_secs(2);
    settings.timeouts.pong = Duration::from_secs(2);
    settings.timeouts.stall = Duration::from_secs(4);
    let server = Server::start(settings, |builder| {
        let talks = on(async |ws: &mut WebSocket| -> Result<(), Error> {
            loop {
                ws.write(vec![1; 16_000]).await?;
            }
        });
        builder.route("/", on(echo)).route("/talks", talks)
    });
    let handle = server.handle();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for witness in 0..WITNESSES {
            let mut raw = Raw::open(server.address, "/");
            let over = &over;
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    raw.send(&frame(FIN | TEXT, &[b'0' + witness as u8]));
                    let heard = raw.read_frame().expect("an echo").payload;
                    assert_eq!(heard, [b'0' + witness as u8]);
                    thread::sleep(Duration::from_millis(100));
                }
            });
        }
        let _over = Over(&over);
        let silent: Vec<_> = (0..reserved.count() - WITNESSES)
            .map(|number| KINDS[number % KINDS.len()])
            .map(|how| (how, fall_silent(server.address, how)))
            .collect();
        eventually("the silent are gone", || wait(handle.status()).connections == WITNESSES as u64);
        for (how, mut raw) in silent {
            let end = match how {
                Silence::InTheHead => raw.reply().status,
                // A Ping was all that was said.
                Silence::Idle | Silence::InAFrame => {
                    assert_eq!(raw.read_frame().map(|frame| frame.first), Some(FIN | PING));
                    raw.close_code().unwrap_or(1006)
                }
                Silence::Deaf => raw.close_code().unwrap_or(1006),
            };
            assert_eq!(end, if how == Silence::InTheHead { 408 } else { 1006 }, "{how:?}");
        }
        thread::sleep(Duration::from_millis(200));
        assert_eq!(wait(handle.status()).connections, WITNESSES as u64);
    });
    let totals = server.finish();
    assert_eq!((totals.cut, totals.panics), (0, 0), "{totals:?}");
}
