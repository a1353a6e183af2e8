//! Frames that lie, break the rules, or come in pieces.

use rustix::net::sockopt::set_socket_recv_buffer_size;
use std::thread;
use std::time::Duration;
use support::load::{Descriptors, Random, in_threads};
use support::program::Program;
use support::raw::{
    BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, Raw, TEXT, close_payload, frame, header, upgrade,
};
use support::{Server, echo, quick};

#[test]
fn bar_02_a_gibibyte_that_is_only_declared_costs_nothing() {
    const SOCKETS: usize = 1_000;
    let _reserved = Descriptors::take(SOCKETS);
    let program = Program::serve(&["--shards=1", "--log=warn,ringwire::serve=info"]);
    let mut sockets: Vec<_> = (0..SOCKETS).map(|_| Raw::open(program.address, "/echo")).collect();
    let before = program.rss_bytes();
    for raw in &mut sockets {
        raw.send(&header(FIN | BINARY, 1 << 30));
        raw.try_send(b"x");
    }
    for raw in &mut sockets {
        assert_eq!(raw.close_code(), Some(1009));
    }
    let grown = program.rss_bytes().saturating_sub(before);
    println!("grown by {grown} bytes");
    assert!(grown < 8 << 20, "{grown} bytes");
}

#[test]
fn bar_03_lengths_at_the_limit_and_beyond() {
    const LIMIT: u64 = 16 << 20;
    let server = Server::with(quick(), echo);
    let long = |length: u64| [&[FIN | BINARY, 0xff][..], &length.to_be_bytes(), &[0; 4]].concat();
    let short = |length: u16| [&[FIN | BINARY, 0xfe][..], &length.to_be_bytes(), &[0; 4]].concat();
    for (bytes, code) in [
        (long(1 << 63), 1002),
        (long(u64::MAX), 1002),
        (long(125), 1002),
        (long(65_535), 1002),
        (short(125), 1002),
        (short(0), 1002),
        (long((1 << 63) - 1), 1009),
        (long(LIMIT + 1), 1009),
        (long(1 << 32), 1009),
    ] {
        let mut raw = Raw::open(server.address, "/");
        raw.send(&bytes);
        assert_eq!(raw.close_code(), Some(code), "{bytes:?}");
    }
    // The limit counts all fragments, and speaks before a byte of the last has come.
    let mut raw = Raw::open(server.address, "/");
    raw.send(&frame(BINARY, &[0; 1_000]));
    raw.send(&header(FIN | CONTINUATION, LIMIT - 999));
    assert_eq!(raw.close_code(), Some(1009));
    let mut raw = Raw::open(server.address, "/");
    let payload: Vec<u8> = (0..LIMIT as u32).map(|at| (at ^ (at >> 11)) as u8).collect();
    raw.send(&frame(FIN | BINARY, &payload));
    let echo = raw.read_frame().expect("an echo");
    assert!(echo.first == FIN | BINARY && echo.payload == payload);
    drop(raw);
    server.finish();
}

#[test]
fn bar_04_every_violation_in_every_state_is_1002() {
    let mut violations = vec![
        ("unmasked text", vec![FIN | TEXT, 1, b'x']),
        ("unmasked ping", vec![FIN | PING, 0]),
        ("fragmented ping", frame(PING, b"x")),
        ("fragmented pong", frame(PONG, b"x")),
        ("fragmented close", frame(CLOSE, b"")),
        ("long ping", frame(FIN | PING, &[0; 126])),
        ("long pong", frame(FIN | PONG, &[0; 126])),
        ("long close", frame(FIN | CLOSE, &[0; 126])),
    ];
    let reserved_opcodes = (3..=7).chain(11..=15);
    violations.extend(reserved_opcodes.map(|code| ("reserved opcode", frame(FIN | code, b""))));
    for reserved in [0x40, 0x20, 0x10] {
        violations.push(("reserved bit", frame(FIN | reserved | TEXT, b"x")));
        violations.push(("reserved bit", frame(FIN | reserved | PING, b"x")));
    }
    let ping = frame(FIN | PING, b"");
    let states = [
        ("fresh", vec![], ("stray", frame(FIN | CONTINUATION, b"x"))),
        ("after a message", frame(FIN | TEXT, b"x"), ("stray", frame(CONTINUATION, b"x"))),
        ("in a text", frame(TEXT, b"x"), ("inside", frame(FIN | TEXT, b"x"))),
        (
            "after a ping in a message",
            [frame(BINARY, b"x"), frame(CONTINUATION, b""), ping].concat(),
            ("inside", frame(FIN | BINARY, b"x")),
        ),
    ];
    let server = Server::with(quick(), echo);
    for (state, before, own) in states {
        for (violation, bytes) in violations.iter().chain([&own]) {
            for together in [true, false] {
                let mut raw = Raw::connect(server.address);
                let opening = [upgrade("/", "").as_bytes(), &before].concat();
                if together {
                    raw.send(&[&opening, bytes.as_slice()].concat());
                } else {
                    raw.send(&opening);
                    raw.try_send(bytes);
                }
                raw.expect_101();
                let end = std::iter::from_fn(|| raw.read_frame()).last();
                let code = end.and_then(|frame| frame.close_code());
                assert_eq!(code, Some(1002), "{violation}, {state}");
            }
        }
    }
    server.finish();
}

/// Forty messages, whole and in fragments, and a Close frame.
fn script() -> Vec<u8> {
    let mut random = Random::new(5);
    let mut script = Vec::new();
    for number in 0..40 {
        let text = "aä€😀".repeat(random.below(3)) + &number.to_string();
        let (kind, bytes) = if number % 3 == 0 { (BINARY, 7) } else { (TEXT, 0) };
        let payload: Vec<u8> = text.bytes().map(|byte| byte ^ bytes).collect();
        if number % 4 == 1 {
            let (first, rest) = payload.split_at(random.below(payload.len() + 1));
            let (second, third) = rest.split_at(random.below(rest.len() + 1));
            script.extend(frame(kind, first));
            script.extend(frame(CONTINUATION, second));
            script.extend(frame(FIN | PONG, b"unasked"));
            script.extend(frame(FIN | CONTINUATION, third));
        } else {
            script.extend(frame(FIN | kind, &payload));
        }
    }
    script.extend(frame(FIN | TEXT, &[b'x'; 200]));
    script.extend(frame(FIN | CLOSE, &close_payload(1000, b"done")));
    script
}

#[test]
fn bar_05_a_script_cut_anywhere_gives_the_same_transcript() {
    const THREADS: usize = 4;
    let server = Server::with(quick(), echo);
    let script = script();
    let transcript = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let mut raw = Raw::open(server.address, "/");
        for piece in pieces {
            raw.send(piece);
            thread::sleep(Duration::from_micros(50));
        }
        raw.read_rest()
    };
    let expected = transcript(&mut [&script[..]].into_iter());
    assert!(expected.len() > 500 && expected.ends_with(b"done"));
    in_threads(THREADS, |thread| {
        for cut in (1..script.len()).skip(thread).step_by(THREADS) {
            let (first, second) = script.split_at(cut);
            assert!(transcript(&mut [first, second].into_iter()) == expected, "cut at {cut}");
        }
        assert!(transcript(&mut script.chunks(1 + 2 * thread)) == expected, "in bytes");
        for seed in (0..100).skip(thread).step_by(THREADS) {
            let mut random = Random::new(seed as u64);
            let mut rest = &script[..];
            let mut pieces = std::iter::from_fn(|| {
                let piece = rest.split_off(..rest.len().min(1 + random.below(60)));
                piece.filter(|piece| !piece.is_empty())
            });
            assert!(transcript(&mut pieces) == expected, "seed {seed}");
        }
    });
    server.finish();
}

#[test]
fn bar_06_empty_fragments_are_counted() {
    let program = Program::serve(&["--shards=1"]);
    let mut raw = Raw::open(program.address, "/echo");
    raw.send(&frame(TEXT, b"x"));
    let (before, cpu) = (program.rss_bytes(), program.cpu());
    let many = frame(CONTINUATION, b"").repeat(10_000);
    // Ten million. After the Close frame they are dropped, until the server has enough of that.
    let _ = (0..1_000).take_while(|_| raw.try_send(&many)).count();
    let first = raw.read_frame();
    assert!(first.is_none_or(|frame| frame.close_code() == Some(1008)));
    let grown = program.rss_bytes().saturating_sub(before);
    // The receive buffers are touched for the first time: 4 MiB.
    assert!(grown < 8 << 20, "{grown} bytes");
    let cpu = program.cpu() - cpu;
    println!("grown by {grown} bytes, {cpu:?} of CPU time");
    assert!(cpu < Duration::from_secs(2), "{cpu:?}");
    // One who stops there is told why.
    let mut raw = Raw::open(program.address, "/echo");
    raw.send(&frame(TEXT, b"x"));
    raw.send(&frame(CONTINUATION, b"").repeat(65_536));
    raw.send(&frame(FIN | PING, b"still fine"));
    assert_eq!(raw.read_frame().expect("a Pong").payload, b"still fine");
    raw.send(&frame(CONTINUATION, b""));
    assert_eq!(raw.close_code(), Some(1008));
}

/// Its kernel has room for few Pongs: one waits, and the rest is never made.
#[test]
fn bar_09_a_million_pings_are_owed_one_pong() {
    const PINGS: u32 = 1_000_000;
    let program = Program::serve(&["--shards=1", "--set", "limits.socket_send_buffer_bytes=16384"]);
    let mut raw = Raw::connect(program.address);
    set_socket_recv_buffer_size(&raw.stream, 16 * 1024).expect("a TCP socket");
    raw.send(upgrade("/echo", "").as_bytes());
    raw.expect_101();
    let mut before = 0;
    for thousand in 0..PINGS / 1_000 {
        let numbers = thousand * 1_000..(thousand + 1) * 1_000;
        let pings: Vec<u8> =
            numbers.flat_map(|number| frame(FIN | PING, &number.to_be_bytes())).collect();
        raw.send(&pings);
        if thousand == 100 {
            // Every buffer that the server has was used by now.
            before = program.rss_bytes();
        }
    }
    let (mut newest, mut pongs) = (None, 0);
    while newest != Some(PINGS - 1) {
        let pong = raw.read_frame().expect("a Pong");
        assert_eq!(pong.first, FIN | PONG);
        let number = u32::from_be_bytes(pong.payload.try_into().expect("four bytes"));
        assert!(newest < Some(number), "{newest:?} before {number}");
        (newest, pongs) = (Some(number), pongs + 1);
    }
    let grown = program.rss_bytes().saturating_sub(before);
    println!("grown by {grown} bytes, {pongs} Pongs");
    assert!(grown < 1 << 20, "{grown} bytes");
    assert!(pongs < PINGS / 4, "{pongs} Pongs were kept for somebody who does not read");
    raw.send(&frame(FIN | TEXT, b"still fine"));
    assert_eq!(raw.read_frame().expect("an echo").payload, b"still fine");
}
