//! Peers that vanish, handlers that fail, descriptors that run out: nothing may be left behind.

use ringwire::{Error, WebSocket};
use std::thread;
use std::time::{Duration, Instant};
use support::load::{Descriptors, Random, in_threads};
use support::program::Program;
use support::raw::{BINARY, CLOSE, FIN, Raw, TEXT, frame, upgrade};
use support::{LONG, ON_PURPOSE, PATIENCE, Server, echo, eventually, on, quick};

const THREADS: usize = 4;

#[test]
fn bar_10_peers_that_never_answer_a_close_are_gone_in_time() {
    let reserved = Descriptors::take(5_000);
    let mut settings = quick();
    settings.connections_max = Some(6_000);
    settings.timeouts.close = Duration::from_secs(1);
    settings.timeouts.drain = PATIENCE / 2;
    let server = Server::with(settings, async |ws: &mut WebSocket| ws.end_server().await);
    let mut deaf: Vec<_> = (0..reserved.count())
        .map(|_| {
            let mut raw = Raw::connect(server.address);
            raw.send(upgrade("/", "").as_bytes());
            raw
        })
        .collect();
    let all_there = Instant::now();
    for raw in &mut deaf {
        raw.expect_101();
        assert_eq!(raw.read_frame().and_then(|frame| frame.close_code()), Some(1000));
        assert_eq!(raw.read_frame(), None);
    }
    let took = all_there.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
    let totals = server.finish();
    assert_eq!((totals.opened, totals.cut), (reserved.count() as u64, 0));
}

/// Connects, says part of what it has to say, and vanishes; so many times in all.
fn vanish(program: &Program, count: usize, seed: u64) {
    in_threads(THREADS, |thread| {
        let mut random = Random::new(seed + thread as u64);
        for _ in 0..count / THREADS {
            let mut bytes = upgrade("/echo", "").into_bytes();
            let head = bytes.len();
            let payload = vec![b'x'; random.below(3_000)];
            bytes.extend(frame(FIN | TEXT, &payload).repeat(2));
            let end = if random.below(4) == 0 { head } else { bytes.len() };
            bytes.truncate(random.below(end));
            let mut raw = Raw::connect(program.address);
            raw.send(&bytes);
            if random.below(3) == 0 && bytes.len() > head {
                raw.expect_101();
            }
            if random.below(2) == 0 {
                raw.reset();
            }
        }
    });
}

#[test]
fn bar_21_ten_thousand_peers_that_vanish_at_any_byte_leave_nothing() {
    const PEERS: usize = 10_000;
    const WARM_UP: usize = 2_000;
    let every_line = "limits.log_lines_per_second_max=0";
    // Those that vanish before the first byte are told at debug.
    let log = "--log=info,ringwire::access=debug";
    let arguments = ["--shards=1", "--connections-max=256", log, "--set", every_line];
    let mut program = Program::serve(&arguments);
    vanish(&program, WARM_UP, 1);
    eventually("they are gone", || program.lines_with("ringwire::access") == WARM_UP);
    let before = program.rss_bytes();
    vanish(&program, PEERS, 100);
    eventually("all are gone", || program.lines_with("ringwire::access") == WARM_UP + PEERS);
    let grown = program.rss_bytes().saturating_sub(before);
    println!("grown by {grown} bytes");
    assert!(grown < 4 << 20, "{grown} bytes");
    // Every slot is there for somebody else.
    let mut full: Vec<_> = (0..256).map(|_| Raw::open(program.address, "/echo")).collect();
    for raw in &mut full {
        raw.send(&frame(FIN | TEXT, b"here"));
        assert_eq!(raw.read_frame().expect("an echo").payload, b"here");
    }
    drop(full);
    assert_eq!(program.stop().code(), Some(0));
    assert_eq!(program.counter("accepted"), (WARM_UP + PEERS + 256) as u64);
    assert_eq!(program.lines_with("ringwire::access"), WARM_UP + PEERS + 256);
    assert_eq!(program.counter("panics"), 0);
}

#[test]
fn bar_25_a_server_without_descriptors_waits_quietly_and_recovers() {
    let _reserved = Descriptors::take(300);
    let log = "--log=info,ringwire::access=off";
    let program = Program::limited("ulimit -n 64", &["--shards=1", log]);
    let mut held: Vec<_> = (0..200).map(|_| Raw::connect(program.address)).collect();
    eventually("it is full", || program.lines_with("accept failed") >= 1);
    let (lines, cpu) = (program.lines(), program.cpu());
    let full = Duration::from_secs(4);
    thread::sleep(full);
    let (lines, cpu) = (program.lines() - lines, program.cpu() - cpu);
    println!("full: {cpu:?} of CPU time in {full:?}, {lines} lines");
    assert!(cpu < full / 20, "{cpu:?}");
    assert!(lines <= 4, "{lines} lines");
    held.clear();
    eventually("it accepts again", || {
        let mut raw = Raw::connect(program.address);
        raw.send(upgrade("/echo", "").as_bytes());
        raw.read_head().status == 101
    });
}

#[test]
fn bar_28_ten_thousand_handlers_panic_and_nobody_else_notices() {
    const PANICS: usize = 10_000;
    let server = Server::start(quick(), |builder| {
        let panics = on(async |ws: &mut WebSocket| -> Result<(), Error> {
            let _ = ws.read(10, LONG).await;
            std::panic::panic_any(ON_PURPOSE)
        });
        builder.route("/panic", panics).route("/echo", on(echo))
    });
    in_threads(THREADS, |thread| {
        let mut witness = Raw::open(server.address, "/echo");
        for number in 0..PANICS / THREADS {
            let mut raw = Raw::open(server.address, "/panic");
            raw.send(&frame(FIN | TEXT, b"now"));
            assert_eq!(raw.close_code(), Some(1011));
            if number % 50 == 0 {
                let said = format!("{thread} {number}");
                witness.send(&frame(FIN | TEXT, said.as_bytes()));
                assert_eq!(witness.read_frame().expect("an echo").payload, said.as_bytes());
            }
        }
        witness.send(&frame(FIN | CLOSE, b""));
        assert_eq!(witness.close_code(), Some(1005));
    });
    let totals = server.finish();
    assert_eq!(totals.panics, PANICS as u64);
    assert_eq!(totals.opened, (PANICS + THREADS) as u64);
}

/// What belongs to the connection that said `name`, and to no other.
pub fn content(name: &[u8], number: usize) -> Vec<u8> {
    let mut random = Random::new(name.iter().fold(7, |seed, byte| seed * 31 + u64::from(*byte)));
    let start = random.bits();
    (0..64 + 600 * number as u64).map(|at| (start.wrapping_add(at * 13) >> 3) as u8).collect()
}

#[test]
fn bar_36_slots_that_change_hands_in_mid_send_never_mix_their_bytes() {
    const CYCLES: usize = 20_000;
    const FRAMES: usize = 12;
    let mut settings = quick();
    // Few slots, so that each is used again at once.
    settings.connections_max = Some(24);
    let server = Server::with(settings, async |ws: &mut WebSocket| {
        let name = ws.read(100, LONG).await?;
        for number in 0..FRAMES {
            ws.write(content(&name, number)).await?;
        }
        while let Ok(data) = ws.read(100, LONG).await {
            assert!(data == *String::from_utf8_lossy(&name), "somebody else's message");
        }
        Ok(())
    });
    in_threads(THREADS, |thread| {
        let mut random = Random::new(36 + thread as u64);
        for cycle in 0..CYCLES / THREADS {
            let name = format!("{thread}-{cycle}");
            let mut raw = Raw::open(server.address, "/");
            let own = frame(FIN | TEXT, name.as_bytes());
            raw.send(&own.repeat(1 + random.below(3)));
            for number in 0..random.below(FRAMES + 1) {
                let frame = raw.read_frame().expect("a frame");
                assert_eq!(frame.first, FIN | BINARY);
                assert!(frame.payload == content(name.as_bytes(), number), "{name}: {number}");
            }
            match random.below(3) {
                0 => raw.reset(),
                1 => raw.send(&frame(FIN | CLOSE, b"")),
                _ => {}
            }
        }
    });
    let totals = server.finish();
    assert_eq!((totals.opened, totals.panics), (CYCLES as u64, 0), "{totals:?}");
    println!("{} stale completions were dropped", totals.stale_completions);
}
