//! Requests that are wrong, slow, too many, or too long.

use ringwire::{Settings, WebSocket};
use rustix::net::{RecvFlags, recv};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};
use support::load::{Descriptors, in_threads};
use support::program::Program;
use support::raw::{FIN, Raw, TEXT, frame, http, upgrade};
use support::{PATIENCE, Server, echo, eventually, on, quick};

/// Requests, and the statuses that are right for each.
#[derive(Default)]
struct Heads(Vec<(Vec<u8>, &'static [u16])>);

impl Heads {
    /// Adds a good request with one part replaced.
    fn replace(&mut self, from: &str, to: &[u8], statuses: &'static [u16]) {
        let good = upgrade("/echo", "X-Last: y\r\n");
        let (before, after) = good.split_once(from).expect("a part of it");
        self.0.push(([before.as_bytes(), to, after.as_bytes()].concat(), statuses));
    }
}

fn malformed_request_lines(heads: &mut Heads) {
    let mut replace = |from: &str, to: &[u8], statuses| heads.replace(from, to, statuses);
    for method in ["POST", "PUT", "HEAD", "OPTIONS", "DELETE", "PATCH"] {
        replace("GET", method.as_bytes(), &[405]);
    }
    for line in ["GE T", "G\tT", "", " GET", "\u{7f}", "G\0T", "G(T"] {
        replace("GET", line.as_bytes(), &[400]);
    }
    for version in ["HTTP/1.0", "HTTP/2.0", "HTTP/0.9", "HTTP/1.2", "HTTP/3", "http/1.1", "", "X"] {
        replace("HTTP/1.1", version.as_bytes(), &[400, 426, 505]);
    }
    for target in ["*", "echo", "", "//\u{1}", "/a b", "/\u{e4}", "?", "#", "/a\0"] {
        replace("/echo", target.as_bytes(), &[400]);
    }
    for path in ["/", "/ech", "/echo/", "/echo/x", "/ECHO", "/%45cho", "/..%2Fecho", "/../echo"] {
        replace("/echo", path.as_bytes(), &[404]);
    }
}

fn malformed_handshakes(heads: &mut Heads) {
    let mut replace = |from: &str, to: &[u8], statuses| heads.replace(from, to, statuses);
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    replace(key, b"", &[400]);
    replace(key, key.repeat(2).as_bytes(), &[400]);
    for length in (0..64).filter(|length| *length != 22) {
        let key = format!("{}{}", "A".repeat(length), ["", "==", "="][length % 3]);
        replace("dGhlIHNhbXBsZSBub25jZQ==", key.as_bytes(), &[400]);
    }
    let version = "Sec-WebSocket-Version: 13\r\n";
    replace(version, b"", &[426]);
    replace(version, version.repeat(2).as_bytes(), &[426]);
    for version in (0..256).filter(|version| *version != 13) {
        replace(": 13\r", format!(": {version}\r").as_bytes(), &[426]);
    }
    for version in ["013", "13, 8", "13,13", "+13", "1 3", "-1", "x", ""] {
        replace(": 13\r", format!(": {version}\r").as_bytes(), &[426]);
    }
    replace("Upgrade: websocket\r\n", b"", &[426]);
    for upgrade in ["h2c", "web socket", "websockets", "", "TLS/1.0"] {
        replace(": websocket\r", format!(": {upgrade}\r").as_bytes(), &[426]);
    }
    replace("Connection: Upgrade\r\n", b"", &[400]);
    for connection in ["keep-alive", "close", "Upgraded", ""] {
        replace(": Upgrade\r", format!(": {connection}\r").as_bytes(), &[400]);
    }
}

fn malformed_fields(heads: &mut Heads) {
    let mut replace = |from: &str, to: &[u8], statuses| heads.replace(from, to, statuses);
    replace("Host: localhost\r\n", b"", &[400]);
    replace("Host: localhost\r\n", b"Host: a\r\nHost: a\r\n", &[400]);
    for host in ["", "a b", "a/b", "u@h", "h:x", "h:99999", "[::1", "a,b"] {
        replace(": localhost\r", format!(": {host}\r").as_bytes(), &[400]);
    }
    for byte in (0..=31).chain([127]).filter(|byte| ![b'\t', b'\r', b'\n'].contains(byte)) {
        replace("X-Last: y", &[b"X-Last: y", &[byte][..], b"z"].concat(), &[400]);
        replace("X-Last: y", &[b"X-La", &[byte][..], b"st: y"].concat(), &[400]);
    }
    for byte in 128..=255_u8 {
        replace("X-Last: y", &[b"X-La", &[byte][..], b"st: y"].concat(), &[400]);
        if byte % 4 == 0 {
            replace("localhost", &[b"local", &[byte][..]].concat(), &[400]);
            replace(": websocket", &[b": websocket", &[byte][..]].concat(), &[400]);
        }
    }
    for line in ["no colon", ": no name", "a b: c", "X-Y : z", "X\r: y", "X: y\rz", "(x): y"] {
        replace("X-Last: y", line.as_bytes(), &[400]);
    }
    for line in [" folded", "\tfolded"] {
        replace("X-Last: y\r\n", format!("X: y\r\n{line}\r\n").as_bytes(), &[400]);
    }
    replace("X-Last: y\r\n", b"X-Last: y\n", &[400]);
    for body in ["Content-Length: 1", "Content-Length: 5", "Transfer-Encoding: chunked"] {
        replace("X-Last: y", body.as_bytes(), &[400]);
    }
    for origin in ["null", "http://evil.example", "http://localhost.evil", "x", "localhost", ""] {
        replace("X-Last: y", format!("Origin: {origin}").as_bytes(), &[403]);
    }
    for protocols in ["a;b", "a,,a", "a, a", "a b", "a/b", "\"a\""] {
        replace("X-Last: y", format!("Sec-WebSocket-Protocol: {protocols}").as_bytes(), &[400]);
    }
    replace("X-Last: y\r\n", "X: y\r\n".repeat(65).as_bytes(), &[431]);
    replace("X-Last: y", &[b"X: ".as_slice(), &[b'y'; 9_000]].concat(), &[431]);
    replace("/echo", &[b"/", &[b'y'; 9_000][..]].concat(), &[414, 431]);
}

#[test]
fn bar_11_and_12_malformed_heads_are_refused_and_nothing_behind_them_is_heard() {
    const THREADS: usize = 4;
    let (sender, canary) = channel();
    let server = Server::start(quick(), |builder| {
        let canary = on(async move |_: &mut WebSocket| {
            sender.send(()).unwrap();
            Ok(())
        });
        builder.route("/echo", on(echo)).route("/canary", canary)
    });
    let mut heads = Heads::default();
    malformed_request_lines(&mut heads);
    malformed_handshakes(&mut heads);
    malformed_fields(&mut heads);
    let heads = heads.0;
    assert!(heads.len() >= 600, "{}", heads.len());
    in_threads(THREADS, |thread| {
        for (head, statuses) in heads.iter().skip(thread).step_by(THREADS) {
            let shown = String::from_utf8_lossy(&head[..head.len().min(400)]);
            let started = Instant::now();
            let mut raw = Raw::connect(server.address);
            raw.try_send(&[head, upgrade("/canary", "").as_bytes()].concat());
            let reply = raw.reply();
            assert!(statuses.contains(&reply.status), "{} for {shown:?}", reply.status);
            assert_eq!(reply.header("Connection"), Some("close"), "{shown:?}");
            let body = String::from_utf8_lossy(&reply.body);
            assert!(!body.contains("HTTP/1.1 "), "two answers for {shown:?}");
            assert!(started.elapsed() < Duration::from_secs(5), "{shown:?}");
        }
    });
    let totals = server.finish();
    assert_eq!((totals.refused, totals.opened), (heads.len() as u64, 0));
    assert!(canary.try_recv().is_err(), "the canary was reached");
}

#[test]
fn bar_15_a_head_that_dribbles_for_ever_ends_at_its_limit() {
    let program = Program::serve(&["--shards=1"]);
    let mut raw = Raw::connect(program.address);
    let before = program.cpu();
    let begun = b"GET /echo HTTP/1.1\r\nHost: localhost\r\nX: ";
    raw.send(begun);
    let (mut sent, limit) = (begun.len(), Settings::default().limits.request_head_bytes_max);
    let answered = |stream: &TcpStream| {
        recv(stream, &mut [0_u8; 1][..], RecvFlags::PEEK | RecvFlags::DONTWAIT).is_ok()
    };
    while sent < limit {
        assert!(!answered(&raw.stream), "{sent} bytes were too many");
        raw.send(b"y");
        sent += 1;
    }
    // One more is one too many, if none was before.
    raw.try_send(b"y");
    assert_eq!(raw.reply().status, 431);
    let cpu = program.cpu() - before;
    println!("{sent} bytes, one by one: {cpu:?} of CPU time");
    assert!(cpu < Duration::from_secs(1), "{cpu:?}");
}

#[test]
fn bar_16_connections_beyond_the_limit_are_told_when_to_come_back() {
    let _reserved = Descriptors::take(400);
    let mut settings = quick();
    settings.connections_max = Some(100);
    let server = Server::with(settings, echo);
    let mut welcome = Vec::new();
    let refused = loop {
        let mut raw = Raw::connect(server.address);
        raw.send(upgrade("/", "").as_bytes());
        let reply = raw.read_head();
        if reply.status != 101 {
            break reply;
        }
        welcome.push(raw);
        assert!(welcome.len() < 120, "no limit");
    };
    assert_eq!(refused.status, 503);
    assert!(welcome.len() >= 100, "{}", welcome.len());
    let mut pauses = BTreeSet::new();
    for _ in 0..1_000 {
        let reply = http(server.address, upgrade("/", "").as_bytes());
        assert_eq!(reply.status, 503);
        pauses.insert(reply.header("Retry-After").and_then(|s| s.parse::<u32>().ok()).unwrap());
    }
    assert!(pauses.len() > 5 && pauses.iter().all(|s| (5..=30).contains(s)), "{pauses:?}");
    // Many at once fill even the slots kept free for telling them: the rest is dropped.
    in_threads(8, |_| {
        let crowd: Vec<_> = (0..25).map(|_| Raw::connect(server.address)).collect();
        for mut raw in crowd {
            raw.try_send(upgrade("/", "").as_bytes());
            let said = raw.read_rest();
            assert!(said.is_empty() || said.starts_with(b"HTTP/1.1 503 "), "{said:?}");
        }
    });
    eventually("others are told again", || {
        let mut raw = Raw::connect(server.address);
        raw.try_send(upgrade("/", "").as_bytes());
        raw.read_rest().starts_with(b"HTTP/1.1 503 ")
    });
    for raw in &mut welcome {
        raw.send(&frame(FIN | TEXT, b"still here"));
        assert_eq!(raw.read_frame().expect("an echo").payload, b"still here");
    }
    welcome.pop();
    eventually("there is room again", || {
        let mut raw = Raw::connect(server.address);
        raw.send(upgrade("/", "").as_bytes());
        raw.read_head().status == 101
    });
    drop(welcome);
    server.finish();
}

#[test]
fn bar_13_fifteen_thousand_silent_are_cut_in_time_and_in_nobodys_way() {
    const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
    let reserved = Descriptors::take(15_200);
    let silent = reserved.count() - 200;
    // Several addresses, because one has ports for 28,000 connections only.
    let listen = ["--listen=127.0.0.1:0", "--listen=127.0.1.1:0", "--listen=127.0.1.2:0"];
    let log = "--log=warn,ringwire::serve=info";
    let program = Program::serve(&[listen[0], listen[1], listen[2], "--shards=1", log]);
    eventually("it listens everywhere", || program.addresses().len() == listen.len());
    let addresses = program.addresses().into_iter().cycle();
    let before = program.rss_bytes();
    let mut live: Vec<_> = (0..200).map(|_| Raw::open(program.address, "/echo")).collect();
    let started = Instant::now();
    let mut crowd: Vec<TcpStream> = addresses
        .take(silent)
        .map(|address| TcpStream::connect(address).expect("it accepts"))
        .collect();
    let connected = started.elapsed();
    let mut slowest = Duration::ZERO;
    let mut dribbled = Duration::ZERO;
    while started.elapsed() < Duration::from_secs(8) {
        for raw in live.iter_mut().step_by(10) {
            let sent = Instant::now();
            raw.send(&frame(FIN | TEXT, b"quick"));
            assert_eq!(raw.read_frame().expect("an echo").payload, b"quick");
            slowest = slowest.max(sent.elapsed());
        }
        if started.elapsed() > dribbled {
            crowd.iter_mut().step_by(2).for_each(|stream| stream.write_all(b"G").expect("open"));
            dribbled = started.elapsed() + Duration::from_secs(4);
        }
        thread::sleep(Duration::from_millis(100));
    }
    let grown = program.rss_bytes().saturating_sub(before) / silent as u64;
    assert!(grown < 1_536, "{grown} bytes for each");
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    let untouched = |crowd: &[TcpStream]| {
        let silent = |stream: &&TcpStream| {
            recv(stream, &mut [0_u8; 1][..], RecvFlags::PEEK | RecvFlags::DONTWAIT).is_err()
        };
        crowd.iter().filter(silent).count()
    };
    let early = untouched(&crowd);
    if started.elapsed() < HEAD_TIMEOUT {
        assert_eq!(early, silent, "cut before their time");
    }
    let due = connected + HEAD_TIMEOUT;
    thread::sleep(due.saturating_sub(started.elapsed()));
    println!("{silent} silent: {grown} bytes each, slowest echo {slowest:?}");
    // A connection that found the queue of the listener full was accepted some seconds later.
    eventually("they are cut", || untouched(&crowd) <= silent / 100);
    for stream in &mut crowd {
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 408 "), "{answer:?}");
    }
    assert!(started.elapsed() < due + PATIENCE, "{:?}", started.elapsed());
    for raw in &mut live {
        raw.send(&frame(FIN | TEXT, b"alive"));
        assert_eq!(raw.read_frame().expect("an echo").payload, b"alive");
    }
}
